package detector

import (
	"fmt"
	"time"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/lru"
)

// credential is the certificate that an identity presents.
type credential struct {
	sha              string
	notBefore, after int64 // µs
	since            int64 // first seen, µs
	rotations        int
	interval         int64 // between the last two, µs
}

// certificates remember where each certificate was presented last: its key should be in one place.
type certificates struct {
	where *lru.Cache[string, presented]
}

type presented struct {
	node     string
	identity uint32
	at       int64 // µs
	since    int64 // likewise, the first time
	told     int64 // when other partitions heard of it last, µs; 0: never
}

// maxCertificates bounds them; with a life of an hour each, it is what 50,000 workloads present in four hours.
const maxCertificates = 200_000

func newCertificates() certificates { return certificates{lru.New[string, presented](maxCertificates)} }

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// certificate judges the certificates of a handshake.
func (s *sight) certificate() {
	own := s.o.TLS.OwnCertificate
	if own == nil || own.SHA256 == "" {
		return
	}
	s.reuse(own)
	c := &s.id.profile.own
	if c.sha != own.SHA256 {
		if c.sha != "" && micros(own.NotBefore) >= c.notBefore {
			c.rotations++
			c.interval = micros(own.NotBefore) - c.notBefore
		}
		s.longLived(own, c)
		if micros(own.NotBefore) >= c.notBefore {
			if c.sha != "" {
				s.renewed(own)
			}
			c.sha, c.notBefore, c.after, c.since = own.SHA256, micros(own.NotBefore), micros(own.NotAfter), s.first
		}
	}
	s.stalled(own)
}

// renewed ends what was told of the certificate before.
func (s *sight) renewed(own *event.Certificate) {
	about := edgeKey{s.who, wholeIdentity}
	reason := fmt.Sprintf("It presents a new certificate since %s, which is valid until %s.", clockMicros(s.first), clock(own.NotAfter))
	if micros(own.NotAfter) > s.first {
		s.out = s.d.heal(findingKey{about, &ruleRotationStalled}, s.first, reason, s.out)
	}
	if own.NotAfter.Sub(own.NotBefore) <= longLived {
		s.out = s.d.heal(findingKey{about, &ruleLongLivedCredential}, s.first, reason, s.out)
	}
}
