package svid

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// TestStatus looks at one source over the life of its SVID.
func TestStatus(t *testing.T) {
	ca := testenv.NewCA(t, "shop")
	begin := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	issued := ca.Issue(testenv.Leaf{URIs: []string{agentID}, NotBefore: begin, NotAfter: begin.Add(time.Hour)})
	s, err := New(Config{Socket: "/run/api.sock", Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	f := func(at time.Time, status string, ready, missing bool) {
		t.Helper()
		s.now = func() time.Time { return at }
		if got := s.Status(); got != status {
			t.Errorf("status is %q, want %q", got, status)
		}
		if err := s.Ready(); (err == nil) != ready || err != nil && err.Error() != status {
			t.Errorf("%s: ready is %v", status, err)
		}
		if got := s.Missing(); (len(got) == 1 && strings.HasPrefix(got[0], "own certificate: the Workload API at /run/api.sock ")) != missing || len(got) > 1 {
			t.Errorf("%s: missing is %q", status, got)
		}
	}
	f(begin, "waiting for the Workload API at /run/api.sock", false, true)
	s.fail(apiAway, "away", errors.New("no such\nfile"))
	f(begin, "Workload API at /run/api.sock away since 2026-11-01T12:00:00Z, no SVID yet: no such file", false, true)
	s.install(&material{own: &tls.Certificate{Leaf: issued.Certificate}, id: spiffeid.RequireFromString(agentID), bundles: x509bundle.NewSet()})
	f(begin.Add(-time.Minute), "SVID of "+agentID+" is not valid before 2026-11-01T12:00:00Z; is the clock right?", false, true)
	f(begin, "SVID of "+agentID+" valid until 2026-11-01T13:00:00Z", true, false)
	f(begin.Add(55*time.Minute), "SVID of "+agentID+" ends in 5m, and the Workload API at /run/api.sock has not renewed it yet", true, true)
	f(begin.Add(62*time.Minute), "SVID of "+agentID+" ended 2m ago, and the Workload API at /run/api.sock gave no other", false, true)
	s.now = func() time.Time { return begin.Add(10 * time.Minute) }
	s.fail(apiAway, "away", errors.New(strings.Repeat("x", 300)))
	long := strings.Repeat("x", 200) + "…"
	f(begin.Add(59*time.Minute+20*time.Second), "Workload API at /run/api.sock away since 2026-11-01T12:10:00Z, SVID of "+agentID+" ends in 40s: "+long, true, true)
	f(begin.Add(3*time.Hour), "Workload API at /run/api.sock away since 2026-11-01T12:10:00Z, SVID of "+agentID+" ended 2h0m ago: "+long, false, true)
}

// TestConfig checks what New refuses.
func TestConfig(t *testing.T) {
	for _, c := range []Config{{}, {Socket: "x"}, {Socket: "/x", Cert: "a"}, {Cert: "a", Key: "b"}, {Key: "b", CA: "c"}, {Cert: "a", CA: "c"}} {
		if s, err := New(c); err == nil || s != nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v gives %v", c, err)
		}
	}
}

func BenchmarkJudge(b *testing.B) {
	ca := testenv.NewCA(b, "shop")
	below := ca.Intermediate("below")
	chain := [][]byte{below.SVID(agentID).Certificate.Raw, below.Certificate.Raw}
	bundles := x509bundle.NewSet(x509bundle.FromX509Authorities(spiffeid.RequireTrustDomainFromString("shop.example"), certs(ca)))
	at := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if v := judgeDER(chain, bundles, at); !v.Verified {
			b.Fatal(v)
		}
	}
}
