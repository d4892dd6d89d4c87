package api

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/ambit-nhi/ambit/collector/audit"
	"github.com/ambit-nhi/ambit/collector/health"
	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/collector/triage"
	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

var update = flag.Bool("update", false, "write golden files")

func TestMain(m *testing.M) {
	if os.Getenv("AMBIT_TESTENV_ENGINE") != "" {
		os.Exit(testenv.Main(m))
	}
	goleak.VerifyTestMain(m)
}

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// live is a collector that nothing happens in; what it says of learning comes from a real detector.
type live struct {
	detector *detector.Detector
	checks   []health.Check
	findings chan event.Finding
}

func (l *live) Progress(id event.Identity) (detector.Progress, bool) { return l.detector.Progress(id) }

// Judge has the detector itself hear of a verdict, in place of the stream.
func (l *live) Judge(_ context.Context, v *event.Verdict) error {
	l.detector.Judge(v, nil)
	return nil
}

func (l *live) Health(context.Context) []health.Check { return l.checks }

func (l *live) Follow(ctx context.Context, after uint64, tell func(uint64, []byte) error) error {
	if err := tell(after, nil); err != nil {
		return err
	}
	for n := after + 1; ; n++ {
		select {
		case f := <-l.findings:
			data, err := json.Marshal(f)
			if err != nil {
				return err
			}
			if err := tell(n, data); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func identity(t testing.TB, uri string) event.Identity {
	t.Helper()
	id, err := event.ParseIdentity(uri)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

const (
	checkout = "spiffe://shop.example/ns/shop/sa/checkout"
	idle     = "spiffe://shop.example/node/n1/unit/idle.service"
)

// fill puts a small world into the store and the detector.
func fill(t testing.TB, s *store.Store, d *detector.Detector) {
	t.Helper()
	ctx := t.Context()
	shop := event.Workload{
		Identity: identity(t, checkout), Evidence: event.EvidenceKubernetes, Namespace: "shop", ServiceAccount: "checkout",
		Owner: "Deployment/checkout", Executable: "/app/checkout",
	}
	unit := event.Workload{Identity: identity(t, idle), Evidence: event.EvidenceSystemd, Unit: "idle.service"}
	observation := func(after time.Duration, name string, port uint16, c event.Counts) event.Observation {
		return event.Observation{
			Time: noon.Add(after), Node: "n1", Workload: shop, Direction: event.Outbound, Protocol: event.TCP,
			Peer: event.Peer{Address: netip.MustParseAddr("192.0.2.7"), Port: port, Name: name, NameSource: event.NameDNS}, Counts: c,
		}
	}
	in := observation(3*time.Minute, "", 0, event.Counts{Connections: 1, BytesReceived: 9})
	in.Direction, in.Peer = event.Inbound, event.Peer{Address: netip.MustParseAddr("2001:db8::9"), Port: 8443}
	all := []event.Observation{
		observation(time.Minute, "db.shop.example", 5432, event.Counts{Connections: 3, BytesSent: 300, BytesReceived: 4000}),
		observation(2*time.Minute, "api.example.com", 443, event.Counts{Connections: 2, Failed: 1, BytesSent: 70}),
		in,
		observation(59*time.Minute, "new.example.net", 443, event.Counts{Connections: 1}),
		stray(t),
	}
	d.Cover("n1", "b1", noon, noon)
	d.Sight(&shop, "n1", noon)
	d.Sight(&unit, "n1", noon.Add(50*time.Minute))
	var rows []store.ObservationRow
	var findings []event.Finding
	for i := range all {
		o := &all[i]
		d.Cover("n1", "b1", noon, o.Time)
		findings = d.Observe(o, findings)
		rows = append(rows, store.RowOf(o, o.Time, uint64(i+1)))
	}
	if len(findings) != 1 {
		t.Fatalf("got %d findings, want the one of new.example.net", len(findings))
	}
	for _, err := range []error{
		s.InsertFindings(ctx, findings),
		s.InsertObservations(ctx, "token", rows),
		s.InsertSightings(ctx, []store.Sighting{{Workload: shop, Node: "n1", Time: noon}, {Workload: unit, Node: "n1", Time: noon.Add(50 * time.Minute)}}),
		s.InsertCoverage(ctx, []store.Coverage{{Node: "n1", Boot: "b1", From: noon, Until: noon.Add(time.Hour), Version: "v1", Kernel: "6.1"}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

const strayPod = "spiffe://shop.example/node/n1/cgroup/kubepods/pod1"

// stray is an observation of a pod that nobody knows.
func stray(t testing.TB) event.Observation {
	return event.Observation{
		Time: noon.Add(2 * time.Minute), Node: "n1", Direction: event.Outbound, Protocol: event.TCP,
		Workload: event.Workload{Identity: identity(t, strayPod), Evidence: event.EvidenceCgroup, Executable: "/bin/nc", Cgroup: "/kubepods/pod1",
			Unattributed: event.UnattributedPod},
		Peer: event.Peer{Address: netip.MustParseAddr("192.0.2.9"), Port: 443}, Counts: event.Counts{Connections: 2},
	}
}

const testToken = "0123456789abcdef"

// newServer is an API on a real store.
func newServer(t testing.TB) (*Server, *live) {
	t.Helper()
	socket := testenv.Engine(t)
	c := store.Default()
	c.Socket = socket
	s, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	config := detector.Default()
	config.Learn = 30 * time.Minute
	l := &live{detector: detector.New(config), checks: []health.Check{health.Of("stream", nil), health.Warn("disk", "12 MiB are left")}, findings: make(chan event.Finding)}
	fill(t, s, l.detector)
	log := trail(t, s)
	server := New(Config{
		Reports: report.New(s, func(id event.Identity) string { p, _ := l.Progress(id); return string(p.State) }),
		Triage:  triage.New(s, log, l), Inventory: s, Standing: s, Live: l, Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
		Scopes: s, Trails: s, Audit: log, Token: testToken, Anonymous: Viewer,
	})
	server.now = func() time.Time { return noon.Add(time.Hour) }
	return server, l
}

// trail is a log on a server of its own.
func trail(t testing.TB, s *store.Store) *audit.Log {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(testenv.NATSServer(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), audit.Stream()); err != nil {
		t.Fatal(err)
	}
	l := audit.New(s)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- l.Run(ctx, js, slog.New(slog.DiscardHandler), func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-ready
	return l
}

func ask(t testing.TB, s http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:8480"
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	var value any
	if err := json.Unmarshal(got, &value); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	pretty, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(file, append(pretty, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(pretty)+"\n" {
		t.Errorf("%s differs (go test -update writes it anew), got:\n%s", file, pretty)
	}
}

func TestAnswers(t *testing.T) {
	s, l := newServer(t)
	at := func(id string) string { return "/api/v1/identities/" + url.PathEscape(id) }
	for _, c := range []struct{ name, target string }{
		{"identities", "/api/v1/identities"},
		{"identities_stable", "/api/v1/identities?state=stable"},
		{"identities_none", "/api/v1/identities?q=nothing"},
		{"identities_unattributed", "/api/v1/identities?unattributed=true"},
		{"identity", at(checkout)},
		{"reach", at(checkout) + "/reach"},
		{"reach_inbound", at(checkout) + "/reach?direction=inbound"},
		{"reach_none", at(idle) + "/reach?direction=any"},
		{"findings", "/api/v1/findings?identity=" + url.QueryEscape(checkout)},
		{"unused", "/api/v1/reports/unused?window=5m"},
		{"coverage", "/api/v1/reports/coverage?window=1h"},
		{"ready", "/readyz?format=json"},
	} {
		w := ask(t, s, "GET", c.target, "")
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s: %s", c.target, w.Code, w.Header().Get("Content-Type"), w.Body)
			continue
		}
		golden(t, c.name, w.Body.Bytes())
		path, _, _ := strings.Cut(c.target, "?")
		path = strings.Replace(path, strings.TrimPrefix(at(checkout), "/api/v1/identities/"), "{id}", 1)
		path = strings.Replace(path, strings.TrimPrefix(at(idle), "/api/v1/identities/"), "{id}", 1)
		checkAnswer(t, path, w.Code, "application/json", w.Body.Bytes())
	}

	if both, alias := ask(t, s, "GET", "/api/v1/reports/coverage", ""), ask(t, s, "GET", "/api/v1/coverage", ""); both.Body.String() != alias.Body.String() {
		t.Error("/coverage differs from /reports/coverage")
	}
	t.Run("ready", func(t *testing.T) { testReady(t, s, l) })

	t.Run("pages", func(t *testing.T) {
		var seen []string
		for target := "/api/v1/identities?limit=1"; target != ""; {
			var page Page[Identity]
			w := ask(t, s, "GET", target, "")
			if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || len(page.Items) > 1 {
				t.Fatalf("%s: %v: %s", target, err, w.Body)
			}
			for _, i := range page.Items {
				seen = append(seen, i.Identity.String())
			}
			target = ""
			if page.NextCursor != "" {
				target = "/api/v1/identities?limit=1&cursor=" + url.QueryEscape(page.NextCursor)
			}
		}
		if strings.Join(seen, " ") != strayPod+" "+idle+" "+checkout {
			t.Errorf("pages hold %v", seen)
		}
	})

	t.Run("status", func(t *testing.T) {
		var page Page[event.Finding]
		if err := json.Unmarshal(ask(t, s, "GET", "/api/v1/findings", "").Body.Bytes(), &page); err != nil || len(page.Items) != 1 {
			t.Fatalf("%v, %d findings", err, len(page.Items))
		}
		target := "/api/v1/findings/" + page.Items[0].ID
		patch := func(want int, target, body string, header ...string) string {
			t.Helper()
			w := ask(t, s, "PATCH", target, body, append([]string{"Authorization", "Bearer " + testToken}, header...)...)
			if w.Code != want {
				t.Errorf("PATCH %s: %d, want %d: %s", body, w.Code, want, w.Body)
			}
			return w.Body.String()
		}
		const kind, is = "Content-Type", "application/json"
		patch(http.StatusUnsupportedMediaType, target, `{"status":"resolved"}`)
		patch(http.StatusUnsupportedMediaType, target, `{"status":"resolved"}`, kind, "text/plain")
		patch(http.StatusBadRequest, target, `{"status":"gone"}`, kind, is)
		patch(http.StatusBadRequest, target, `{"verdict":"forgive"}`, kind, is)
		patch(http.StatusBadRequest, target, `{"status":"new","verdict":"reopen"}`, kind, is)
		patch(http.StatusBadRequest, target, `{"status":"suppressed"}`, kind, is)
		patch(http.StatusBadRequest, target, `{"verdict":"suppress","reason":"a test","until":"2026-01-01T00:00:00Z"}`, kind, is)
		patch(http.StatusBadRequest, target, `{"verdict":"approve"}`, kind, is)
		patch(http.StatusBadRequest, target, `{"status":"resolved","score":1}`, kind, is)
		patch(http.StatusBadRequest, target, `{"status":"resolved"}{}`, kind, is)
		patch(http.StatusBadRequest, target, ``, kind, is)
		patch(http.StatusRequestEntityTooLarge, target, `{"status":"`+strings.Repeat("x", maxBody)+`"}`, kind, is)
		patch(http.StatusForbidden, target, `{"status":"resolved"}`, kind, is, "Sec-Fetch-Site", "cross-site")
		patch(http.StatusNotFound, "/api/v1/findings/none", `{"status":"resolved"}`, kind, is)
		patch(http.StatusBadRequest, target+"?x=1", `{"status":"resolved"}`, kind, is)
		for range 2 {
			var f event.Finding
			if err := json.Unmarshal([]byte(patch(http.StatusOK, target, `{"status":"acknowledged"}`, kind, is)), &f); err != nil || f.Status != event.StatusAcknowledged {
				t.Errorf("%v: status is %q", err, f.Status)
			}
		}
		var f event.Finding
		if err := json.Unmarshal(ask(t, s, "GET", target, "").Body.Bytes(), &f); err != nil || f.Status != event.StatusAcknowledged {
			t.Errorf("%v: status is %q", err, f.Status)
		}
	})

	t.Run("verdict", func(t *testing.T) {
		var page Page[event.Finding]
		if err := json.Unmarshal(ask(t, s, "GET", "/api/v1/findings", "").Body.Bytes(), &page); err != nil || len(page.Items) != 1 {
			t.Fatalf("%v, %d findings", err, len(page.Items))
		}
		told := page.Items[0]
		until := time.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
		decide := func(body string) (f event.Finding) {
			t.Helper()
			w := ask(t, s, "PATCH", "/api/v1/findings/"+told.ID, body, "Authorization", "Bearer "+testToken, "Content-Type", "application/json")
			if err := json.Unmarshal(w.Body.Bytes(), &f); err != nil || w.Code != http.StatusOK {
				t.Fatalf("%s: %d %s", body, w.Code, w.Body)
			}
			return f
		}
		f := decide(`{"verdict":"suppress","reason":"a load test","until":"` + until.Format(time.RFC3339) + `"}`)
		if f.Status != event.StatusSuppressed || f.Verdict != event.VerdictSuppress || f.Reason != "a load test" || f.By != "local" || !f.Until.Equal(until) || f.Decided.IsZero() {
			t.Errorf("got %+v", f)
		}
		f = decide(`{"verdict":"approve","reason":"a new supplier"}`)
		if f.Status != event.StatusResolved || f.Verdict != event.VerdictApprove || !f.Until.IsZero() {
			t.Errorf("got %+v", f)
		}
		// The reach says whose word makes it normal.
		var reach Page[Reach]
		if err := json.Unmarshal(ask(t, s, "GET", "/api/v1/identities/"+url.PathEscape(told.Identity.String())+"/reach", "").Body.Bytes(), &reach); err != nil {
			t.Fatal(err)
		}
		approved := 0
		for _, r := range reach.Items {
			switch {
			case r.Resource != told.Resource && r.Approved != nil:
				t.Errorf("%s is approved, too", r.Resource)
			case r.Resource == told.Resource && r.Approved != nil && r.Approved.Finding == told.ID && r.Approved.By == "local" && r.Approved.Reason == "a new supplier":
				approved++
			}
		}
		if approved != 1 {
			t.Errorf("%d of the reach are approved: %+v", approved, reach.Items)
		}
		// And the audit trail has both; it comes into the store a little later.
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			var actions []string
			for r, err := range s.Inventory.(*store.Store).EachAudit(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if r.Subject == told.ID && r.Actor == "local" && r.Detail["reason"] != "" {
					actions = append(actions, r.Action)
				}
			}
			if strings.Join(actions, " ") == "finding.suppress finding.approve" {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the trail has %v", actions)
			}
		}
		for query, want := range map[string]int{"?text=NEW.example": 1, "?text=nothing": 0, "?since=2026-01-01T00:00:00Z": 1, "?since=2126-01-01T00:00:00Z": 0, "?status=resolved": 1} {
			var page Page[event.Finding]
			if err := json.Unmarshal(ask(t, s, "GET", "/api/v1/findings"+query, "").Body.Bytes(), &page); err != nil || len(page.Items) != want {
				t.Errorf("%s: %v, %d findings, want %d", query, err, len(page.Items), want)
			}
		}
		decide(`{"verdict":"reopen"}`)
	})

	t.Run("token", func(t *testing.T) {
		var page Page[event.Finding]
		if err := json.Unmarshal(ask(t, s, "GET", "/api/v1/findings", "").Body.Bytes(), &page); err != nil || len(page.Items) != 1 {
			t.Fatalf("%v, %d findings", err, len(page.Items))
		}
		target := "/api/v1/findings/" + page.Items[0].ID
		f := func(s *Server, header ...string) {
			t.Helper()
			w := ask(t, s, "PATCH", target, `{"status":"resolved"}`, append(header, "Content-Type", "application/json")...)
			var p Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != http.StatusUnauthorized || p.Status != w.Code ||
				!strings.Contains(p.Detail, "token") || w.Header().Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%q: %d %v: %s", header, w.Code, err, w.Body)
			}
		}
		f(s)
		f(s, "Authorization", testToken)
		f(s, "Authorization", "Basic "+testToken)
		f(s, "Authorization", "Bearer")
		f(s, "Authorization", "Bearer ")
		f(s, "Authorization", "Bearer "+testToken[1:])
		f(s, "Authorization", "Bearer "+testToken+"0")
		without := *s
		without.Config.Token = ""
		without.handler = without.guard(without.routes())
		f(&without, "Authorization", "Bearer ")
		if got := page.Items[0].Status; got == event.StatusResolved {
			t.Errorf("the status is %s", got)
		}
		var after event.Finding
		if err := json.Unmarshal(ask(t, s, "GET", target, "").Body.Bytes(), &after); err != nil || after.Status != page.Items[0].Status {
			t.Errorf("the status is now %s (%v)", after.Status, err)
		}
	})

	t.Run("refusals", func(t *testing.T) {
		f := func(method, target string, want int, says string, header ...string) {
			t.Helper()
			w := ask(t, s, method, target, "", header...)
			var p Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s %s: no problem document: %v: %s", method, target, err, w.Body)
			}
			if w.Code != want || p.Status != want || !strings.Contains(p.Detail, says) {
				t.Errorf("%s %s: %d %q, want %d %q", method, target, w.Code, p.Detail, want, says)
			}
		}
		f("GET", "/api/v1/identities?stat=stable", 400, `"stat"`)
		f("GET", "/api/v1/identities?inventory=lost", 400, "declared-seen, declared-never-seen, seen-undeclared, orphaned")
		f("GET", "/api/v1/identities?state=ready", 400, "warming, learning, partial, stable, unstable")
		f("GET", "/api/v1/identities?unattributed=yes", 400, "true, false")
		f("GET", "/api/v1/identities?unattributed=true&window=90", 400, "90d")
		f("GET", "/api/v1/identities?window=90d", 400, "unattributed=true")
		f("GET", "/api/v1/identities?limit=0", 400, "limit")
		f("GET", "/api/v1/identities?limit=1001", 400, "1000")
		f("GET", "/api/v1/identities?limit=1&limit=2", 400, "twice")
		f("GET", "/api/v1/identities?cursor=%21", 400, "cursor")
		f("GET", "/api/v1/identities?q=%zz", 400, "query")
		f("GET", "/api/v1/identities?q="+strings.Repeat("x", maxQuery+1), 400, "longer")
		f("GET", at("spiffe://shop.example/none"), 404, "")
		f("GET", at("spiffe://shop.example/none")+"/reach", 404, "")
		f("GET", at("nonsense"), 400, "%2F")
		f("GET", at(checkout)+"/reach?direction=sideways", 400, "direction")
		f("GET", at(checkout)+"/reach?cursor=%21", 400, "cursor")
		f("GET", "/api/v1/findings?severity=bad", 400, "severity")
		f("GET", "/api/v1/findings?identity=bad", 400, "identity")
		f("GET", "/api/v1/findings/none", 404, "")
		f("GET", "/api/v1/reports/unused?window=90", 400, "90d")
		f("GET", "/readyz?format=xml", 400, "text, json")
		f("GET", "/api/v1/reports/nothing", 404, "openapi.yaml")
		f("GET", "/", 404, "openapi.yaml")
		f("POST", "/api/v1/identities", 405, "GET")
		f("DELETE", "/api/v1/findings/x", 405, "GET, PATCH")
		f("GET", "/api/v1/events", 400, "Last-Event-ID", "Last-Event-ID", "x")
		f("GET", "/api/v1/identities", 421, "loopback", "Host", "evil.example:8480")
		f("GET", "/api/v1/identities", 421, "loopback", "Host", "127.0.0.1.evil.example")
		for _, host := range []string{"localhost:8480", "[::1]:8480", "[::1]", "127.0.0.1"} {
			if w := ask(t, s, "GET", "/healthz", "", "Host", host); w.Code != 200 {
				t.Errorf("host %s: %d", host, w.Code)
			}
		}
	})
}

func TestCheckListen(t *testing.T) {
	f := func(address string, ok bool) {
		t.Helper()
		if err := CheckListen(address, false); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
	f("127.0.0.1:8480", true)
	f("[::1]:0", true)
	f("localhost:80", true)
	f("0.0.0.0:8480", false)
	f(":8480", false)
	f("[::]:8480", false)
	f("192.0.2.1:80", false)
	f("example.com:80", false)
	f("8480", false)
	f("127.0.0.1:", false)
}

func TestEvents(t *testing.T) {
	l := &live{findings: make(chan event.Finding)}
	s := New(Config{Anonymous: Viewer, Live: l, Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
	listener, err := Listen("127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(listener.Addr().String(), false); err == nil || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("a taken port: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx, listener) }()
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+listener.Addr().String()+"/api/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Last-Event-ID", "41")
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	l.findings <- event.Finding{ID: "f1", Identity: identity(t, checkout)}
	stop() // an open stream does not keep the server
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	text := string(got)
	if !strings.HasPrefix(text, "id: 41\n: following\n\nid: 42\nevent: finding\ndata: {\"id\":\"f1\"") || !strings.HasSuffix(text, "}\n\n") {
		t.Errorf("the stream is %q", text)
	}
}
