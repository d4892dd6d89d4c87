package decision_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/ambit-nhi/ambit/collector/decision"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

var hookSecret = []byte("a secret of sixteen bytes or more")

// receiver takes webhooks as a receiver should: it checks who sends, when, and whether it has the very one already. It fails at first.
type receiver struct {
	mu    sync.Mutex
	fail  int
	seen  map[string]int
	kinds []string
	bad   []string
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	body, err := io.ReadAll(q.Body)
	if err != nil {
		r.bad = append(r.bad, err.Error())
	}
	if r.fail > 0 {
		r.fail--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	at, mac, ok := strings.Cut(strings.TrimPrefix(q.Header.Get(decision.SignatureHeader), "t="), ",v1=")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if !ok || err != nil || time.Since(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		r.bad = append(r.bad, "signature header "+q.Header.Get(decision.SignatureHeader))
	}
	h := hmac.New(sha256.New, hookSecret)
	fmt.Fprintf(h, "%s.%s", at, body)
	if got, err := hex.DecodeString(mac); err != nil || !hmac.Equal(got, h.Sum(nil)) {
		r.bad = append(r.bad, "the signature does not fit")
	}
	var d decision.Delivery
	if err := json.Unmarshal(body, &d); err != nil {
		r.bad = append(r.bad, err.Error())
		return
	}
	r.seen[q.Header.Get("Idempotency-Key")]++
	r.kinds = append(r.kinds, d.Type+" "+d.Decision.ID)
}

func (r *receiver) state() (kinds, bad string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.kinds, "; "), strings.Join(r.bad, "; ")
}

// shared receives security event tokens and checks them with a library of its own.
type shared struct {
	keys jose.JSONWebKeySet
	mu   sync.Mutex
	got  []map[string]any
	bad  []string
}

func (r *shared) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	body, _ := io.ReadAll(q.Body)
	if k := q.Header.Get("Content-Type"); k != "application/secevent+jwt" || q.Header.Get("Authorization") != "Bearer abc" {
		r.bad = append(r.bad, "headers "+k)
	}
	token, err := jwt.ParseSigned(string(body), []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256, jose.RS256})
	if err != nil {
		r.bad = append(r.bad, err.Error())
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if kind := token.Headers[0].ExtraHeaders[jose.HeaderType]; kind != "secevent+jwt" {
		r.bad = append(r.bad, fmt.Sprint("typ ", kind))
	}
	var standard jwt.Claims
	claims := map[string]any{}
	if err := token.Claims(r.keys, &standard, &claims); err != nil {
		r.bad = append(r.bad, err.Error())
	}
	if err := standard.Validate(jwt.Expected{Issuer: "https://ambit.example", AnyAudience: jwt.Audience{"https://idp.example"}}); err != nil || standard.ID == "" || standard.IssuedAt == nil {
		r.bad = append(r.bad, fmt.Sprint("claims ", err))
	}
	r.got = append(r.got, claims)
	w.WriteHeader(http.StatusAccepted)
}

func testPoints(t *testing.T, s *store.Store) {
	hook := &receiver{fail: 2, seen: map[string]int{}}
	hookServer := httptest.NewServer(hook)
	defer hookServer.Close()
	webhook, err := decision.NewWebhook(hookServer.URL+"/hook", hookSecret, hookServer.Client())
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ssf := &shared{}
	ssfServer := httptest.NewTLSServer(ssf)
	defer ssfServer.Close()
	caep, err := decision.NewCAEP(decision.CAEPConfig{URL: ssfServer.URL, Issuer: "https://ambit.example", Audience: "https://idp.example", Authorization: "Bearer abc", Key: key}, ssfServer.Client())
	if err != nil {
		t.Fatal(err)
	}
	ssf.keys = caep.Keys()

	w := start(t, s, func(c *decision.Config) { c.Points = []decision.Point{webhook, caep} })
	eventually(t, func() string {
		for _, name := range []string{"ambit-point-webhook", "ambit-point-caep"} {
			if _, err := w.js.Consumer(t.Context(), "KV_"+event.BucketDecisions, name); err != nil {
				return err.Error()
			}
		}
		return ""
	})
	narrow, err := w.Issue(t.Context(), "ada", wish(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	r := wish()
	r.To, r.Mode = "*", event.Enforce
	whole, err := w.Issue(t.Context(), "ada", r, "", true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Revoke(t.Context(), "ada", narrow.Decision.ID, "over"); err != nil {
		t.Fatal(err)
	}
	// Forged ones are passed to nobody.
	kv, err := w.js.KeyValue(t.Context(), event.BucketDecisions)
	if err != nil {
		t.Fatal(err)
	}
	forged := whole.Decision.Clone()
	forged.ID, forged.Identity = "d-forged", database
	data, err := json.Marshal(forged)
	if err == nil {
		_, err = kv.Put(t.Context(), forged.ID, data)
	}
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("decision.issued %s; decision.issued %s; decision.revoked %s", narrow.Decision.ID, whole.Decision.ID, narrow.Decision.ID)
	eventually(t, func() string {
		kinds, bad := hook.state()
		if bad != "" {
			t.Fatal(bad)
		}
		if kinds != want || w.counter(t, "ambit_decision_points_total") < 8 {
			return fmt.Sprintf("the webhook got %s, want %s", kinds, want)
		}
		return ""
	})
	ssf.mu.Lock()
	defer ssf.mu.Unlock()
	if len(ssf.bad) > 0 || len(ssf.got) != 1 {
		t.Fatalf("tokens: %v, %v", ssf.got, ssf.bad)
	}
	claims, err := json.Marshal(ssf.got[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		`"sub_id":{"format":"uri","uri":"` + checkout + `"}`, `"` + decision.SessionRevoked + `":{`, `"initiating_entity":"admin"`, `"reason_admin":{"en":"token was leaked"}`,
		fmt.Sprintf(`"event_timestamp":%d`, whole.Decision.Issued.Unix()),
	} {
		if !bytes.Contains(claims, []byte(part)) {
			t.Errorf("the token %s does not hold %s", claims, part)
		}
	}
}

func TestPointsRefuse(t *testing.T) {
	client := http.DefaultClient
	for _, address := range []string{"", "http://192.0.2.1/x", "ftp://a.example", "https://", "://", "http://example.com"} {
		if _, err := decision.NewWebhook(address, hookSecret, client); err == nil {
			t.Errorf("webhook to %q", address)
		}
	}
	if _, err := decision.NewWebhook("https://a.example/x", []byte("short"), client); err == nil {
		t.Error("a short secret is taken")
	}
	odd, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := []crypto.Signer{odd, nil}
	if weak, err := rsa.GenerateKey(rand.Reader, 1024); err == nil { // else this Go makes none
		keys = append(keys, weak)
	}
	for _, key := range keys {
		if _, err := decision.NewCAEP(decision.CAEPConfig{URL: "https://a.example", Issuer: "i", Audience: "a", Key: key}, client); err == nil {
			t.Errorf("a key %T is taken", key)
		}
	}
}

// What a receiver refuses for good is not sent again, and redirects are not followed: the signature is for the one that was named.
func TestWebhookAnswers(t *testing.T) {
	status := http.StatusOK
	var other int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/other" {
			other++
			return
		}
		w.Header().Set("Location", "/other")
		w.WriteHeader(status)
	}))
	defer server.Close()
	hook, err := decision.NewWebhook(server.URL, hookSecret, server.Client())
	if err != nil {
		t.Fatal(err)
	}
	for code, want := range map[int]error{200: nil, 204: nil, 400: decision.ErrPointless, 401: decision.ErrPointless, 307: decision.ErrPointless, 410: decision.ErrPointless} {
		status = code
		if err := hook.Tell(t.Context(), &event.Decision{ID: "d"}); !errors.Is(err, want) {
			t.Errorf("%d: %v", code, err)
		}
	}
	for _, code := range []int{408, 429, 500, 503} {
		status = code
		if err := hook.Tell(t.Context(), &event.Decision{ID: "d"}); err == nil || errors.Is(err, decision.ErrPointless) {
			t.Errorf("%d: %v", code, err)
		}
	}
	if other != 0 {
		t.Error("a redirect was followed")
	}
}

func TestCAEPTokens(t *testing.T) {
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	d := event.Decision{ID: "d-1", Serial: 3, Identity: checkout, To: "*", Direction: event.Both, Mode: event.Enforce, Reason: "r", Automatic: true, Issued: time.Now(), Expires: time.Now().Add(time.Hour)}
	for _, key := range []crypto.Signer{curve, strong} {
		c, err := decision.NewCAEP(decision.CAEPConfig{URL: "https://a.example", Issuer: "i", Audience: "a", Key: key}, http.DefaultClient)
		if err != nil {
			t.Fatal(err)
		}
		token, err := c.Token(&d)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := jose.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256, jose.RS256})
		if err != nil {
			t.Fatal(err)
		}
		keys := c.Keys()
		payload, err := parsed.Verify(keys.Keys[0].Key)
		if err != nil || !bytes.Contains(payload, []byte(`"initiating_entity":"policy"`)) || !bytes.Contains(payload, []byte(`"jti":"d-1-3"`)) {
			t.Errorf("%s, %v", payload, err)
		}
		if !keys.Keys[0].IsPublic() {
			t.Error("the private key is told")
		}
		for name, change := range map[string]func(d *event.Decision){
			"dry run": func(d *event.Decision) { d.Mode = event.DryRun }, "narrow": func(d *event.Decision) { d.To = "*:443" },
			"pattern": func(d *event.Decision) { d.Glob = true }, "revoked": func(d *event.Decision) { d.Revoked = time.Now() },
		} {
			x := d
			change(&x)
			if token, err := c.Token(&x); token != "" || err != nil {
				t.Errorf("%s: a token is made, %v", name, err)
			}
		}
	}
}
