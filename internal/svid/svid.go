// Package svid holds the certificate that Ambit shows and the authorities that it believes, from the SPIFFE Workload API or from files, and
// renews both under open connections. It also judges certificates that were seen elsewhere.
package svid

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"golang.org/x/time/rate"
)

// SocketEnv is the environment variable that tells workloads where the Workload API is.
const SocketEnv = workloadapi.SocketEnv

// Config names one of the two origins: the Workload API, or the three files.
type Config struct {
	Socket string // of the Workload API: unix:///…, a path, or tcp://<loopback address>:<port>

	Cert, Key, CA string // PEM files: the certificate with its intermediates, its key, and the authorities of others

	Poll   time.Duration // how often files are looked at; default 2s
	Logger *slog.Logger  // default slog.Default()
}

// Validate says what is wrong.
func (c *Config) Validate() error {
	files := []string{c.Cert, c.Key, c.CA}
	if c.Socket != "" {
		for _, file := range files {
			if file != "" {
				return errors.New("both a Workload API and certificate files are given; leave one out")
			}
		}
		_, err := socketAddress(c.Socket)
		return err
	}
	for i, file := range files {
		if file == "" {
			return fmt.Errorf("the file of the %s is not given; certificate, key and authorities belong together", [...]string{"certificate", "key", "authorities"}[i])
		}
	}
	return nil
}

// Source is the certificate and the authorities, always the newest. It is safe for concurrent use; Run runs once.
type Source struct {
	cfg Config
	log *slog.Logger
	now func() time.Time // time.Now but in tests
	say *rate.Limiter    // of what is logged: a Workload API may come and go many times a second

	mu       sync.RWMutex
	material *material // nil until there is some; never changed, but replaced
	fault    fault
	counters map[string]uint64
	ready    func() // called with the first certificate
}

// New makes a source without anything in it; Run fills it.
func New(cfg Config) (*Source, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Poll <= 0 {
		cfg.Poll = 2 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	s := &Source{cfg: cfg, log: cfg.Logger, now: time.Now, say: rate.NewLimiter(rate.Every(10*time.Second), 20), ready: func() {}}
	s.counters = map[string]uint64{}
	for _, cause := range causes {
		s.counters[cause] = 0
	}
	return s, nil
}

// Run keeps the source up to date until ctx ends, and calls ready once, when there is a certificate. It waits for a Workload API that is
// away, as long as that takes; files that cannot be read at the start are an error.
func (s *Source) Run(ctx context.Context, ready func()) error {
	s.mu.Lock()
	s.ready = sync.OnceFunc(ready)
	s.mu.Unlock()
	if s.cfg.Socket != "" {
		return s.watch(ctx)
	}
	return s.follow(ctx)
}

// What counters count.
const (
	rotated        = "svid-rotated"         // the certificate was replaced by another
	bundlesChanged = "bundles-changed"      // the authorities were
	apiAway        = "workload-api-away"    // times that the Workload API went away
	apiRefused     = "workload-api-refused" // times that it began to refuse a certificate
	unreadable     = "update-unreadable"    // updates that could not be read; the former certificate stayed
	expiredUpdate  = "update-expired"       // certificates that had ended when they came, and were not taken
	peerRefused    = "peer-refused"         // handshakes with others who are not allowed
)

var causes = []string{rotated, bundlesChanged, apiAway, apiRefused, unreadable, expiredUpdate, peerRefused}

// Counters are by cause, and only grow.
func (s *Source) Counters() map[string]uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.counters)
}

func (s *Source) count(cause string) {
	s.mu.Lock()
	s.counters[cause]++
	s.mu.Unlock()
}

// ID is the SPIFFE id of the own certificate, if there is one with such an id.
func (s *Source) ID() (spiffeid.ID, bool) {
	m := s.current()
	if m == nil || m.id.IsZero() {
		return spiffeid.ID{}, false
	}
	return m.id, true
}

// Until is when the own certificate ends, zero without one.
func (s *Source) Until() time.Time {
	if m := s.current(); m != nil {
		return m.leaf().NotAfter
	}
	return time.Time{}
}

// TrustDomains are those whose certificates can be judged.
func (s *Source) TrustDomains() []spiffeid.TrustDomain {
	m := s.current()
	if m == nil {
		return nil
	}
	var out []spiffeid.TrustDomain
	for _, b := range m.bundles.Bundles() {
		out = append(out, b.TrustDomain())
	}
	return out
}

// GetX509BundleForTrustDomain implements [x509bundle.Source].
func (s *Source) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	m := s.current()
	if m == nil {
		return nil, errors.New(s.Status())
	}
	return m.bundles.GetX509BundleForTrustDomain(td)
}

func (s *Source) current() *material {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.material
}

// install replaces what there is. A certificate that has ended does not replace one that has not, but its authorities count.
func (s *Source) install(m *material) {
	now := s.now()
	s.mu.Lock()
	old, fault := s.material, s.fault
	s.fault.words = ""
	late := old != nil && now.After(m.leaf().NotAfter) && !now.After(old.leaf().NotAfter)
	if late {
		s.counters[expiredUpdate]++
		m.own, m.id = old.own, old.id
	}
	turned := old != nil && !old.sameCertificate(m)
	if turned {
		s.counters[rotated]++
	}
	if old != nil && !old.sameAuthorities(m) {
		s.counters[bundlesChanged]++
	}
	s.material = m
	ready := s.ready
	s.mu.Unlock()

	if fault.words != "" {
		s.tell(slog.LevelWarn, "the "+s.origin()+" is back", "after", now.Sub(fault.since).Round(time.Second))
	}
	switch {
	case late:
		s.tell(slog.LevelWarn, "the "+s.origin()+" gave a certificate that has ended; the former one stays")
	case turned:
		s.tell(slog.LevelInfo, "the certificate was replaced")
	}
	if !now.After(m.leaf().NotAfter) {
		ready()
	}
}

// fail notes why there is no update. Each cause is told once.
func (s *Source) fail(cause, words string, err error) {
	text := oneLine(err)
	s.mu.Lock()
	again := s.fault.words == words
	if s.fault.words == "" {
		s.fault.since = s.now()
	}
	s.fault.words, s.fault.reason = words, text
	if !again || cause == unreadable {
		s.counters[cause]++
	}
	s.mu.Unlock()
	if !again {
		s.tell(slog.LevelWarn, "no new certificate")
	}
}

// tell logs the status too.
func (s *Source) tell(level slog.Level, message string, args ...any) {
	if s.say.Allow() {
		s.log.Log(context.Background(), level, message, append(args, "svid", s.Status())...)
	}
}
