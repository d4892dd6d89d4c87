package handshake

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/lru"
)

// Bounds of one certificate, in bytes.
const (
	maxDER    = 16 << 10
	maxName   = 2048 // of a name in it
	maxSerial = 64
	maxIssuer = 1024 // of the words for it
	overhead  = 2048 // what an entry takes besides
)

// How many certificates that are new are read a second: reading and judging one takes a tenth of a millisecond or two.
const (
	readEach, readEachBurst = 200, 4000 // of one cgroup's handshakes
	readAll, readAllBurst   = 500, 8000
	maxReaders              = 4096
)

// How long a verdict holds, where no certificate begins or ends meanwhile: bundles change.
const (
	verdictLife = 10 * time.Second
	maxVerdicts = 4096
)

const (
	maxJudged    = 6 // certificates of a chain
	maxNamesakes = 8 // authorities of one name
)

type fingerprint [sha256.Size]byte

// certificate is what is kept of one. It does not change, but for what was asked of it last.
type certificate struct {
	sum             fingerprint
	der             []byte
	issuer, subject []byte // names in DER form, within der
	authority       bool
	spiffe          bool // it has a URI of that scheme, valid or not
	words           string
	names           *x509.Certificate // with nothing but the names of servers; nil if it has none
	plain, proven   event.Certificate // as told

	asked   string // whether it is this server's
	answers bool

	parent *certificate // who signed it, once that is known
	sought int          // how many authorities were known when nobody was found
}

func (c *certificate) told(proven bool) *event.Certificate {
	switch {
	case c == nil:
		return nil
	case proven:
		return &c.proven
	}
	return &c.plain
}

// signs says whether c can be the issuer of d, by their names.
func (c *certificate) signs(d *certificate) bool {
	return c.authority && bytes.Equal(c.subject, d.issuer)
}

// of says whether it is a server's of that name.
func (c *certificate) of(server string) bool {
	if c.names == nil {
		return false
	}
	if c.asked != server {
		c.asked, c.answers = server, c.names.VerifyHostname(server) == nil
	}
	return c.answers
}

// certificates are known ones by fingerprint, and what was thought of them.
type certificates struct {
	cfg    Config
	losses *[causes]uint64

	cache       *lru.Cache[fingerprint, *certificate]
	bytes       int
	authorities map[string][]*certificate // among them, by the name they sign with; the latest last
	learned     int                       // authorities
	verdicts    *lru.Cache[fingerprint, verdict]
	all         *rate.Limiter
	readers     *lru.Cache[uint64, *rate.Limiter]
	chain       []*certificate // scratch
	ders        [][]byte
}

type verdict struct {
	Verdict
	at time.Time
}

func newCertificates(cfg Config, losses *[causes]uint64) certificates {
	return certificates{
		cfg: cfg, losses: losses, cache: lru.New[fingerprint, *certificate](cfg.Certificates), authorities: map[string][]*certificate{},
		verdicts: lru.New[fingerprint, verdict](maxVerdicts), all: rate.NewLimiter(readAll, readAllBurst), readers: lru.New[uint64, *rate.Limiter](maxReaders),
	}
}

// get gives the certificate of a DER form, which is not kept; nil, and counted, if it cannot be read. Length is what it had before it was cut.
func (c *certificates) get(der []byte, length int, cgroup uint64, now time.Duration) *certificate {
	if length > len(der) || len(der) > maxDER {
		c.losses[certificateTooLarge]++
		return nil
	}
	sum := sha256.Sum256(der)
	if known := c.cache.Get(sum); known != nil {
		return *known
	}
	if !c.allowed(cgroup, now) {
		c.losses[certificateRate]++
		return nil
	}
	parsed, err := x509.ParseCertificate(der)
	switch {
	case err != nil, !writable(parsed.NotBefore), !writable(parsed.NotAfter):
		c.losses[certificateMalformed]++
		return nil
	case len(parsed.RawIssuer) > maxName || len(parsed.RawSubject) > maxName:
		c.losses[certificateTooLarge]++
		return nil
	}
	n := newCertificate(sum, parsed)
	c.keep(n)
	return n
}

// writable says whether a date can be told: RFC 3339 has four digits for the year, and no year 0.
func writable(t time.Time) bool {
	y := t.UTC().Year()
	return y >= 1 && y <= 9999
}

func (c *certificates) allowed(cgroup uint64, now time.Duration) bool {
	at := time.Unix(0, int64(now))
	r := c.readers.Get(cgroup)
	if r == nil {
		c.readers.Put(cgroup, rate.NewLimiter(readEach, readEachBurst))
		r = c.readers.Get(cgroup)
	}
	return (*r).AllowN(at, 1) && c.all.AllowN(at, 1)
}

func (c *certificates) keep(n *certificate) {
	c.bytes += n.size()
	for c.cache.Len() >= c.cfg.Certificates || c.bytes > c.cfg.CertificateBytes && c.cache.Len() > 0 {
		_, old := c.cache.Oldest()
		c.bytes -= (*old).size()
		c.forget(*old)
		c.cache.RemoveOldest()
	}
	c.cache.Put(n.sum, n)
	if !n.authority {
		return
	}
	name := string(n.subject)
	same := c.authorities[name]
	if len(same) == maxNamesakes {
		same = slices.Delete(same, 0, 1)
	}
	c.authorities[name] = append(same, n)
	c.learned++
}

func (c *certificates) forget(n *certificate) {
	name := string(n.subject)
	same := c.authorities[name]
	i := slices.Index(same, n)
	if i < 0 {
		return
	}
	if same = slices.Delete(same, i, i+1); len(same) > 0 {
		c.authorities[name] = same
	} else {
		delete(c.authorities, name)
	}
}

// issuer finds who signed x among the known authorities, nil if nobody did. Names are not enough: authorities change their keys and keep their names.
func (c *certificates) issuer(x *certificate) *certificate {
	same := c.authorities[string(x.issuer)]
	if x.parent != nil || len(same) == 0 || x.sought == c.learned {
		return x.parent
	}
	x.sought = c.learned
	child, err := x509.ParseCertificate(x.der)
	if err != nil { // it could be read before
		return nil
	}
	for _, a := range slices.Backward(same) {
		if parent, err := x509.ParseCertificate(a.der); err == nil && child.CheckSignatureFrom(parent) == nil {
			x.parent = a
			break
		}
	}
	return x.parent
}

func (c *certificate) size() int { return 2*len(c.der) + overhead }

// judge says what a chain proved at a time. The issuers that are missing in it are looked for among the known certificates.
func (c *certificates) judge(chain []*certificate, at time.Time) Verdict {
	c.chain = append(c.chain[:0], chain...)
	for len(c.chain) < maxJudged {
		next := c.issuer(c.chain[len(c.chain)-1])
		if next == nil || slices.Contains(c.chain, next) {
			break
		}
		c.chain = append(c.chain, next)
	}
	c.ders = c.ders[:0]
	h := sha256.New()
	for _, x := range c.chain {
		c.ders = append(c.ders, x.der)
		h.Write(x.sum[:])
	}
	var key fingerprint
	h.Sum(key[:0])
	if v := c.verdicts.Get(key); v != nil && c.holds(v.at, at) {
		return v.Verdict
	}
	v := c.cfg.Judge(c.ders, at)
	c.verdicts.Put(key, verdict{v, at})
	return v
}

// holds says whether what was thought of the chain at one time holds at another.
func (c *certificates) holds(then, at time.Time) bool {
	from, to := then, at
	if to.Before(from) {
		from, to = to, from
	}
	if to.Sub(from) > verdictLife {
		return false
	}
	for _, x := range c.chain {
		for _, limit := range [...]time.Time{x.plain.NotBefore, x.plain.NotAfter} {
			if !limit.Before(from) && !limit.After(to) && from != to {
				return false
			}
		}
	}
	return true
}

func newCertificate(sum fingerprint, parsed *x509.Certificate) *certificate {
	der := bytes.Clone(parsed.Raw)
	n := &certificate{sum: sum, der: der, issuer: bytes.Clone(parsed.RawIssuer), subject: bytes.Clone(parsed.RawSubject), authority: parsed.IsCA}
	n.spiffe = slices.ContainsFunc(parsed.URIs, func(u *url.URL) bool { return strings.EqualFold(u.Scheme, "spiffe") })
	n.words = parsed.Subject.String()
	if len(parsed.DNSNames)+len(parsed.IPAddresses) > 0 {
		n.names = &x509.Certificate{DNSNames: parsed.DNSNames, IPAddresses: parsed.IPAddresses}
	}
	n.plain = event.Certificate{
		SHA256: hex.EncodeToString(sum[:]), Serial: serial(parsed.SerialNumber), Issuer: line(parsed.Issuer.String(), maxIssuer),
		NotBefore: parsed.NotBefore.UTC(), NotAfter: parsed.NotAfter.UTC(),
	}
	n.proven = n.plain
	n.proven.Proven = true
	return n
}

// serial is in hex as OpenSSL prints it: whole bytes.
func serial(n *big.Int) string {
	b := n.Bytes()
	sign, more := "", ""
	if n.Sign() < 0 {
		sign = "-"
	}
	if len(b) == 0 {
		b = []byte{0}
	}
	if len(b) > maxSerial {
		b, more = b[:maxSerial], "…"
	}
	return fmt.Sprintf("%s%X%s", sign, b, more)
}

// line cuts a text where it is too long.
func line(s string, most int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
