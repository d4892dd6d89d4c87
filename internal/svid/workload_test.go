package svid

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc/codes"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

const agentID = "spiffe://shop.example/ns/ambit/sa/agent"

// TestWorkloadAPI goes through the life of a Workload API: away at the start, without a registration, with one, rotating, sending nonsense, restarted.
func TestWorkloadAPI(t *testing.T) {
	t.Parallel()
	ca, next, partner := testenv.NewCA(t, "shop"), testenv.NewCA(t, "shop again"), testenv.NewCA(t, "partner")
	api := testenv.NewWorkloadAPI(t)
	log := &safeBuffer{}
	s := run(t, Config{Socket: api.Socket, Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})

	s.awaitStatus("Workload API at "+api.Socket, "away since", "no SVID yet", "no such file")
	if s.Ready() == nil {
		t.Error("ready without an SVID")
	}
	if _, err := s.own(); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("a handshake without an SVID gives %v", err)
	}
	api.Refuse(codes.PermissionDenied, "no identity issued")
	api.Start()
	s.awaitStatus("gives no SVID since", "no identity issued", "registration entry")

	first := ca.SVID(agentID)
	api.Give(first, certs(ca), map[string][]*x509.Certificate{"spiffe://partner.example": certs(partner)})
	s.awaitReady()
	if got, want := s.Status(), "SVID of "+agentID+" valid until "+first.Certificate.NotAfter.Format(time.RFC3339); got != want {
		t.Errorf("status %q, want %q", got, want)
	}
	if id, ok := s.ID(); !ok || id.String() != agentID || !s.Until().Equal(first.Certificate.NotAfter) {
		t.Errorf("the SVID is of %s until %s", id, s.Until())
	}
	if got := s.TrustDomains(); len(got) != 2 || got[0].Name() != "partner.example" || got[1].Name() != "shop.example" {
		t.Errorf("trust domains are %v", got)
	}
	stranger := partner.SVID("spiffe://partner.example/ns/a/sa/b").Certificate
	if v := s.Judge([]*x509.Certificate{stranger}, time.Now()); !v.Verified {
		t.Errorf("the SVID of a federated trust domain: %+v", v)
	}

	// Another SVID, then other authorities: an SVID of the new one is believed from then on, and one of the former no more when that goes.
	api.Give(ca.SVID(agentID), certs(ca), nil)
	await(t, "a rotation", func() bool { return s.Counters()[rotated] == 1 }, s.Status)
	if v := s.Judge([]*x509.Certificate{stranger}, time.Now()); v.Verified || v.Cause != CauseNoBundle {
		t.Errorf("the SVID of a trust domain that is federated no more: %+v", v)
	}
	api.Give(next.SVID(agentID), certs(ca, next), nil)
	await(t, "both authorities", func() bool {
		return s.Judge([]*x509.Certificate{first.Certificate}, time.Now()).Verified && s.Judge([]*x509.Certificate{next.SVID(agentID).Certificate}, time.Now()).Verified
	}, s.Status)
	api.Give(next.SVID(agentID), certs(next), nil)
	await(t, "the end of the former authority", func() bool {
		v := s.Judge([]*x509.Certificate{first.Certificate}, time.Now())
		return !v.Verified && v.Cause == CauseUntrusted
	}, s.Status)
	before := s.current()

	// What cannot be read changes nothing.
	r := &workload.X509SVIDResponse{Svids: []*workload.X509SVID{{SpiffeId: agentID, X509Svid: []byte("nonsense"), X509SvidKey: []byte("secret"), Bundle: nil}}}
	api.GiveRaw(r)
	s.awaitStatus("sends what cannot be read since", "SVID of "+agentID+" ends in ")
	mixed, other := next.SVID(agentID), next.SVID(agentID)
	other.Certificate = mixed.Certificate // not the one of its key
	api.Give(other, certs(next), nil)
	await(t, "another update that cannot be read", func() bool { return s.Counters()[unreadable] == 2 }, s.Status)
	if s.current() != before || s.Ready() != nil {
		t.Errorf("an unreadable update took away the SVID: %s", s.Status())
	}
	ended := next.Issue(testenv.Leaf{URIs: []string{agentID}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(-time.Minute)})
	api.Give(ended, certs(next), nil)
	await(t, "an expired update", func() bool { return s.Counters()[expiredUpdate] == 1 }, s.Status)
	if s.Ready() != nil || s.current().leaf().Equal(ended.Certificate) {
		t.Errorf("an expired update took away the SVID: %s", s.Status())
	}

	// The server goes away and comes back.
	for range 3 {
		api.Stop()
		s.awaitStatus("away since", "SVID of "+agentID+" ends in ")
		if err := s.Ready(); err != nil {
			t.Errorf("not ready, with an SVID that is valid: %v", err)
		}
		last := next.SVID(agentID)
		api.Give(last, certs(next), nil)
		api.Start()
		await(t, "the SVID from after a restart", func() bool { return s.current().leaf().Equal(last.Certificate) }, s.Status)
		s.awaitStatus("valid until")
	}
	if got := s.Counters(); got[apiAway] < 3 || got[rotated] < 4 || got[bundlesChanged] < 2 || got[apiRefused] == 0 {
		t.Errorf("counters are %v", got)
	}
	key, err := x509.MarshalPKCS8PrivateKey(first.Key)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range [][]byte{[]byte("secret"), key, []byte(base64.StdEncoding.EncodeToString(key))} {
		if strings.Contains(log.String(), string(secret)) {
			t.Error("the log has a key")
		}
	}
	if n := strings.Count(log.String(), "\n"); n > 30 {
		t.Errorf("the log has %d lines", n)
	}
}

// TestSVIDEnds lets an SVID end while the Workload API is away.
func TestSVIDEnds(t *testing.T) {
	t.Parallel()
	ca, api := testenv.NewCA(t, "shop"), testenv.NewWorkloadAPI(t)
	api.Start()
	var later atomic.Int64
	s := runAt(t, Config{Socket: api.Socket}, func() time.Time { return time.Now().Add(time.Duration(later.Load())) })
	api.Give(ca.SVID(agentID), certs(ca), nil)
	s.awaitReady()
	api.Stop()
	s.awaitStatus("away since", "ends in ")
	later.Store(int64(90 * time.Minute))
	s.awaitStatus("away since", "SVID of "+agentID+" ended 30m ago")
	if s.Ready() == nil {
		t.Error("ready with an SVID that has ended")
	}
	if _, err := s.own(); err == nil || !strings.Contains(err.Error(), "ended") {
		t.Errorf("a handshake with an SVID that has ended gives %v", err)
	}
	api.Give(ca.Issue(testenv.Leaf{URIs: []string{agentID}, NotAfter: time.Now().Add(48 * time.Hour)}), certs(ca), nil)
	api.Start()
	s.awaitStatus("valid until")
	if err := s.Ready(); err != nil {
		t.Error(err)
	}
}

// TestSocketAddress checks what is taken for an address.
func TestSocketAddress(t *testing.T) {
	for text, want := range map[string]string{
		"/run/spire/api.sock":        "unix:///run/spire/api.sock",
		"unix:///run/spire/api.sock": "unix:///run/spire/api.sock",
		"tcp://127.0.0.1:8081":       "tcp://127.0.0.1:8081",
		"tcp://[::1]:8081":           "tcp://[::1]:8081",
		"tcp://10.0.0.1:8081":        "", "tcp://[2001:db8::1]:8081": "", "tcp://0.0.0.0:1": "", "tcp://localhost:1": "",
		"": "", "run/api.sock": "", "http://127.0.0.1": "", "unix:api.sock": "", "unix://": "", "tcp://127.0.0.1": "",
	} {
		got, err := socketAddress(text)
		if got != want || (err == nil) != (want != "") || err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%q is %q: %v", text, got, err)
		}
	}
}

func certs(cas ...*testenv.CA) (out []*x509.Certificate) {
	for _, ca := range cas {
		out = append(out, ca.Certificate)
	}
	return out
}

// safeBuffer is written and read at the same time.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
