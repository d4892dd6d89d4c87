package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/collector/audit"
	"github.com/ambit-nhi/ambit/collector/decision"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// people are known by tokens of their own.
type people map[string]Principal

func (p people) Authenticate(r *http.Request) (Principal, bool, error) {
	token, _ := bearer(r)
	who, ok := p[token]
	return who, ok, nil
}

// withDecisions gives a server a service of decisions, on a NATS server of its own.
func withDecisions(t *testing.T, s *Server) {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	db := s.Inventory.(*store.Store)
	cfg := collector.DefaultBusConfig()
	cfg.Dir, cfg.Logger = t.TempDir(), quiet
	bus, err := collector.OpenBus(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bus.Close)
	nc, err := bus.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	c := decision.Default()
	c.Log = quiet
	c.Protected = []string{idle}
	if c.TrustDomain, err = event.ParseTrustDomain("shop.example"); err != nil {
		t.Fatal(err)
	}
	if c.Key, err = nkeys.CreateAccount(); err != nil {
		t.Fatal(err)
	}
	service, err := decision.New(c, db, s.Audit.(*audit.Log), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- service.Run(ctx, nc, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-ready
	s.Decisions = service
}

func TestDecisions(t *testing.T) {
	s, _ := newServer(t)
	withDecisions(t, s)
	s.Authenticators = []Authenticator{people{
		"viewer": {"token:viewer", Viewer}, "responder": {"token:responder", Responder}, "admin": {"token:admin", Admin}, "second": {"token:second", Admin},
	}}
	send := func(token, method, target, body string) *httptest.ResponseRecorder {
		t.Helper()
		headers := []string{"Content-Type", "application/json"}
		if token != "" {
			headers = append(headers, "Authorization", "Bearer "+token)
		}
		return ask(t, s, method, target, body, headers...)
	}
	f := func(want int, token, method, target, body string) []byte {
		t.Helper()
		w := send(token, method, target, body)
		if w.Code != want {
			t.Errorf("%s %s %s as %q: %d, want %d: %s", method, target, body, token, w.Code, want, w.Body)
		}
		if w.Code >= 400 && w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: the error is %s", method, target, w.Header().Get("Content-Type"))
		}
		return w.Body.Bytes()
	}
	const at = "/api/v1/decisions"
	wish := func(more string) string {
		return `{"identity":"` + checkout + `","to":"dns:api.example.com:443/tcp","for":"1h","reason":"leaked"` + more + `}`
	}
	var d Decision
	read := func(data []byte) Decision {
		t.Helper()
		d = Decision{}
		if err := json.Unmarshal(data, &d); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		return d
	}

	t.Run("roles", func(t *testing.T) {
		f(401, "", "POST", at, wish(""))
		f(401, "wrong", "POST", at, wish(""))
		f(403, "viewer", "POST", at, wish(""))
		f(403, "viewer", "POST", at+"/preview", wish(""))
		f(200, "responder", "POST", at, wish(""))
		f(403, "responder", "POST", at, wish(`,"mode":"enforce","yes":true`))
		f(200, "admin", "POST", at, wish(`,"mode":"enforce","yes":true`))
		f(403, "responder", "POST", at+"/d-1/approve", `{}`)
		f(403, "viewer", "DELETE", at+"/d-1?reason=r", "")
		s.DecisionRoles = DecisionRoles{Enforce: Responder, DryRun: Admin}
		f(200, "responder", "POST", at, wish(`,"mode":"enforce","yes":true`))
		f(403, "responder", "POST", at, wish(""))
		s.DecisionRoles = DecisionRoles{}
	})
	t.Run("refused", func(t *testing.T) {
		for _, body := range []string{
			"", "{", "[]", "null", `{"more":1}`, wish(`,"mode":"harder"`), wish(`,"direction":"up"`), wish(`,"glob":1`), wish("") + wish(""),
			`{"identity":"` + checkout + `","to":"*","for":3600,"reason":"r"}`, `{"identity":"` + checkout + `","to":"*","for":"forever","reason":"r"}`,
			`{"identity":"` + checkout + `","to":"*","reason":"r"}`, `{"identity":"` + checkout + `","to":"*","for":"48h","reason":"r"}`,
			`{"identity":"` + checkout + `","to":"nowhere","for":"1h","reason":"r"}`, `{"identity":"` + checkout + `","to":"*","for":"1h","reason":""}`,
			`{"identity":"` + checkout + `","to":"*","for":"1h","reason":"a\u0000b"}`, `{"identity":"not one","to":"*","for":"1h","reason":"r"}`,
		} {
			f(400, "admin", "POST", at, body)
			f(400, "admin", "POST", at+"/preview", body)
		}
		f(422, "admin", "POST", at, strings.Replace(wish(""), "checkout", "nobody", 1))
		f(422, "admin", "POST", at, strings.Replace(wish(""), checkout, idle, 1))
		f(422, "admin", "POST", at, strings.Replace(wish(""), "dns:api.example.com:443/tcp", "net:127.0.0.1", 1))
		f(428, "admin", "POST", at, wish(`,"mode":"enforce"`))
		f(428, "admin", "POST", at, wish(`,"mode":"enforce","preview":"AAAA"`))
		f(413, "admin", "POST", at, `{"reason":"`+strings.Repeat("x", maxBody)+`"}`)
		f(404, "", "GET", at+"/d-nobody", "")
		f(404, "admin", "DELETE", at+"/d-nobody?reason=r", "")
		f(400, "admin", "DELETE", at+"/d-nobody", "")
		f(404, "admin", "POST", at+"/d-nobody/approve", `{}`)
		f(404, "admin", "GET", at+"/d-nobody/policy", "")
		f(405, "admin", "PATCH", at+"/d-nobody", "")
		f(404, "admin", "GET", at+"/%2e%2e", "")
		f(404, "admin", "GET", at+"/%00", "")
		f(400, "", "GET", at+"?state=done", "")
		f(400, "", "GET", at+"?cursor=x", "")
		f(400, "", "GET", at+"?more=1", "")
		if w := ask(t, s, "POST", at, wish(""), "Authorization", "Bearer admin", "Content-Type", "text/plain"); w.Code != 415 {
			t.Errorf("a form is taken: %d", w.Code)
		}
	})
	t.Run("life", func(t *testing.T) {
		preview := f(200, "admin", "POST", at+"/preview", wish(`,"mode":"enforce"`))
		checkMethod(t, at+"/preview", "post", 200, preview)
		var p decision.Preview
		if err := json.Unmarshal(preview, &p); err != nil {
			t.Fatal(err)
		}
		f(428, "admin", "POST", at, wish(`,"mode":"enforce","approve":true,"preview":"`+p.Token+`"`)) // it was of another request
		f(428, "second", "POST", at, wish(`,"mode":"enforce","preview":"`+p.Token+`"`))               // and shown to somebody else
		asked := f(200, "admin", "POST", at, wish(`,"mode":"enforce","preview":"`+p.Token+`"`))
		checkMethod(t, at, "post", 200, asked)
		id := read(asked).ID
		if d.State != decision.StateInForce || len(d.Signature) == 0 {
			t.Fatalf("asked %s", asked)
		}
		waiting := read(f(200, "admin", "POST", at, wish(`,"mode":"enforce","approve":true,"yes":true`))).ID
		if d.State != decision.StateWaiting || len(d.Signature) != 0 {
			t.Errorf("waiting is %+v", d)
		}
		checkMethod(t, at+"/{id}", "get", 200, f(200, "", "GET", at+"/"+waiting, ""))
		f(422, "admin", "POST", at+"/"+waiting+"/approve", `{}`)
		approved := f(200, "second", "POST", at+"/"+waiting+"/approve", `{}`)
		checkMethod(t, at+"/{id}/approve", "post", 200, approved)
		if read(approved); d.Approver != "token:second" || d.Requester != "token:admin" || d.State != decision.StateInForce {
			t.Errorf("approved is %+v", d)
		}
		f(409, "second", "POST", at+"/"+waiting+"/approve", `{}`)
		list := f(200, "", "GET", at+"?state=in-force&mode=enforce&limit=2", "")
		checkAnswer(t, at, 200, "application/json", list)
		one := f(200, "", "GET", at+"/"+id, "")
		checkAnswer(t, at+"/{id}", 200, "application/json", one)
		coverage := f(200, "", "GET", at+"/coverage", "")
		checkAnswer(t, at+"/coverage", 200, "application/json", coverage)
		wide := read(f(200, "admin", "POST", at, strings.Replace(wish(""), "dns:api.example.com:443/tcp", "net:10.0.0.0/8", 1))).ID
		if text := f(200, "", "GET", at+"/"+wide+"/policy?format=kubernetes&selector=app%3Da", ""); !strings.Contains(string(text), "kind: NetworkPolicy") {
			t.Errorf("the policy is %s", text)
		}
		if text := f(200, "", "GET", at+"/"+wide+"/policy", ""); !strings.Contains(string(text), "kind: CiliumNetworkPolicy") {
			t.Errorf("the policy is %s", text)
		}
		f(400, "", "GET", at+"/"+waiting+"/policy?format=kubernetes", "")
		revoked := f(200, "responder", "DELETE", at+"/"+id+"?reason=over", "")
		checkMethod(t, at+"/{id}", "delete", 200, revoked)
		if read(revoked); d.State != decision.StateRevoked || d.RevokedBy != "token:responder" || d.RevokedWhy != "over" {
			t.Errorf("revoked is %+v", d)
		}
		f(409, "responder", "DELETE", at+"/"+id+"?reason=over", "")
		dropped := read(f(200, "admin", "POST", at, wish(`,"approve":true`))).ID
		if read(f(200, "admin", "DELETE", at+"/"+dropped+"?reason=r", "")); d.State != decision.StateWithdrawn {
			t.Errorf("dropped is %+v", d)
		}
		f(404, "", "GET", at+"/"+dropped, "")
	})
	t.Run("events", func(t *testing.T) { testDecisionEvents(t, s, wish("")) })
	t.Run("authzen", func(t *testing.T) { testAuthZEN(t, s, f, send) })
}

// checkMethod is checkAnswer for other methods than GET.
func checkMethod(t *testing.T, path, method string, status int, body []byte) {
	t.Helper()
	checkAnswerOf(t, path, method, status, "application/json", body)
}

func testDecisionEvents(t *testing.T, s *Server, body string) {
	server := httptest.NewServer(s)
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/api/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "id:") { // it follows
	}
	var d Decision
	w := ask(t, s, "POST", "/api/v1/decisions", body, "Authorization", "Bearer admin", "Content-Type", "application/json")
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(2*time.Minute, cancel)
	for kind := ""; lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			kind = name
		}
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && kind == "decision" {
			var c decision.Change
			if err := json.Unmarshal([]byte(data), &c); err != nil {
				t.Fatal(err)
			}
			if c.Decision == d.ID && c.What == "signed" {
				return
			}
		}
	}
	t.Errorf("nobody told of decision %s", d.ID)
}

// testAuthZEN asks as the specification has it.
func testAuthZEN(t *testing.T, s *Server, f func(want int, token, method, target, body string) []byte, send func(token, method, target, body string) *httptest.ResponseRecorder) {
	const at = "/access/v1/evaluation"
	f(200, "admin", "POST", "/api/v1/decisions", `{"identity":"`+checkout+`","to":"dns:evil.example.net","for":"1h","reason":"it is evil","mode":"enforce","yes":true,"direction":"both"}`)
	question := func(subject, action, resource string) string {
		return fmt.Sprintf(`{"subject":{"type":"workload","id":%q,"properties":{"a":{"b":[1]}}},"action":{"name":%q,"properties":{}},"resource":%s,"context":{"time":"1985-10-26T01:22-07:00"},"later":1}`, subject, action, resource)
	}
	answer := func(subject, action, resource string) EvaluationAnswer {
		t.Helper()
		body := f(200, "viewer", "POST", at, question(subject, action, resource))
		checkMethod(t, at, "post", 200, body)
		var a EvaluationAnswer
		if err := json.Unmarshal(body, &a); err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, resource := range []string{`{"type":"host","id":"dns:evil.example.net:443/tcp"}`, `{"type":"dns","id":"evil.example.net"}`, `{"type":"dns","id":"Evil.example.net:*/udp","properties":{"x":1}}`} {
		for _, action := range []string{"connect", "accept", "can_read"} {
			if a := answer(checkout, action, resource); a.Decision || a.Context.Code != "decision" || a.Context.ID == "" || !strings.Contains(a.Context.ReasonAdmin["en"], "it is evil") {
				t.Errorf("%s %s: %+v", action, resource, a)
			}
		}
	}
	if a := answer(checkout, "connect", `{"type":"dns","id":"good.example.net:443/tcp"}`); !a.Decision || a.Context.Code != "no-decision" {
		t.Errorf("good: %+v", a)
	}
	if a := answer("spiffe://elsewhere.example/a", "connect", `{"type":"dns","id":"evil.example.net:443/tcp"}`); !a.Decision {
		t.Errorf("of another: %+v", a)
	}
	// Who shows nothing asks nothing: each answer is written down with who asked.
	f(401, "", "POST", at, question(checkout, "connect", `{"type":"dns","id":"good.example.net"}`))
	f(405, "viewer", "GET", at, "")
	for _, body := range []string{
		"", "{", "[]", `{}`, `{"subject":{"type":"a","id":"` + checkout + `"},"action":{"name":"x"}}`, `{"subject":{"id":"` + checkout + `"},"action":{"name":"x"},"resource":{"type":"dns","id":"a.b"}}`,
		`{"subject":"` + checkout + `","action":{"name":"x"},"resource":{"type":"dns","id":"a.b"}}`, question("nobody", "x", `{"type":"dns","id":"a.b"}`),
		question(checkout, "x", `{"type":"book","id":"123"}`), question(checkout, "", `{"type":"dns","id":"a.b"}`), question(checkout, "x", `{"type":"dns","id":"`+strings.Repeat("a", 5000)+`"}`),
	} {
		f(400, "viewer", "POST", at, body)
	}
	if w := ask(t, s, "POST", at, question(checkout, "x", `{"type":"dns","id":"a.b"}`), "Authorization", "Bearer viewer", "Content-Type", "application/json", "X-Request-ID", "abc-1"); w.Header().Get("X-Request-ID") != "abc-1" {
		t.Error("the ID of the request does not come back")
	}
	if body := f(200, "", "GET", "/.well-known/authzen-configuration", ""); !strings.Contains(string(body), `"access_evaluation_endpoint":"http://127.0.0.1:8480/access/v1/evaluation"`) {
		t.Errorf("it says %s", body)
	}
}
