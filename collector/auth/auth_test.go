package auth

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"crypto/tls"

	"github.com/ambit-nhi/ambit/collector/api"
)

func with(token string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// status is that of the problem that an error is, 500 of another error, 0 of none.
func status(err error) int {
	var p *api.Problem
	switch {
	case err == nil:
		return 0
	case errors.As(err, &p):
		return p.Status
	}
	return 500
}

func check(t *testing.T, a api.Authenticator, r *http.Request, who string, role api.Role, want int) {
	t.Helper()
	p, ok, err := a.Authenticate(r)
	if p.Name != who || p.Role != role || ok != (who != "") || status(err) != want {
		t.Errorf("%+v %v %v, want %s %s %d", p, ok, err, who, role, want)
	}
	if token, _ := bearer(r); err != nil && token != "" && strings.Contains(err.Error(), token) {
		t.Errorf("the error repeats the token: %v", err)
	}
}

func TestTokens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	now := time.Now()
	var failed []error
	tokens, err := NewTokens(path, func(err error) { failed = append(failed, err) })
	if err != nil {
		t.Fatal(err)
	}
	tokens.now = func() time.Time { return now }
	next := func() { now = now.Add(2 * lookAgain) }
	ci, text, err := NewToken("ci", api.Viewer, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	check(t, tokens, with(""), "", 0, 0)
	check(t, tokens, with("another"), "", 0, 0) // it may be another authenticator's
	check(t, tokens, with(text), "", 0, http.StatusUnauthorized)
	if err := AddToken(path, ci, now); err != nil {
		t.Fatal(err)
	}
	if err := AddToken(path, ci, now); err == nil {
		t.Error("two tokens have the same name")
	}
	next()
	check(t, tokens, with(text), "token:ci", api.Viewer, 0)
	check(t, tokens, with(text+"x"), "", 0, http.StatusUnauthorized)
	if data, err := os.ReadFile(path); err != nil || strings.Contains(string(data), text) {
		t.Errorf("the file holds the token itself (%v)", err)
	}
	now = now.Add(2 * time.Hour)
	check(t, tokens, with(text), "", 0, http.StatusUnauthorized)
	ops, text, err := NewToken("ops", api.Admin, now, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := AddToken(path, ops, now); err != nil {
		t.Fatal(err)
	}
	next()
	check(t, tokens, with(text), "token:ops", api.Admin, 0)
	if err := RevokeToken(path, "ops", now); err != nil {
		t.Fatal(err)
	}
	if err := RevokeToken(path, "ops", now); err == nil {
		t.Error("a token is revoked twice")
	}
	next()
	check(t, tokens, with(text), "", 0, http.StatusUnauthorized)
	if err := os.WriteFile(path, []byte("[{]"), 0o600); err != nil {
		t.Fatal(err)
	}
	next()
	check(t, tokens, with(text), "", 0, http.StatusUnauthorized)
	next()
	check(t, tokens, with(text), "", 0, http.StatusUnauthorized)
	if len(failed) != 1 {
		t.Errorf("a broken file is told %d times", len(failed))
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := NewTokens(path, nil); err == nil || !strings.Contains(err.Error(), "chmod") {
		t.Errorf("a file that others may write is taken: %v", err)
	}
	for _, name := range []string{"", "a b", "a\n", strings.Repeat("a", 65), "<b>"} {
		if _, _, err := NewToken(name, api.Viewer, now, 0); err == nil {
			t.Errorf("%q is a name of a token", name)
		}
	}
	if _, _, err := NewToken("a", api.Nobody, now, 0); err == nil {
		t.Error("a token of no role is made")
	}
}

// TestRevokeWithExpired has two tokens of a name, of which the first one has expired.
func TestRevokeWithExpired(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	now := time.Now()
	var text string
	for _, at := range []time.Time{now.Add(-2 * time.Hour), now} {
		token, shown, err := NewToken("ci", api.Admin, at, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if err := AddToken(path, token, at); err != nil {
			t.Fatal(err)
		}
		text = shown
	}
	if err := RevokeToken(path, "ci", now); err != nil {
		t.Fatal(err)
	}
	tokens, err := NewTokens(path, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	check(t, tokens, with(text), "", 0, http.StatusUnauthorized)
}

// issuer is an OpenID provider with one key.
type issuer struct {
	*httptest.Server
	key  *rsa.PrivateKey
	away bool
	keys atomic.Int64 // how often its keys were asked for
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case i.away:
			w.WriteHeader(http.StatusBadGateway)
		case r.URL.Path == "/keys":
			i.keys.Add(1)
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "RS256", Use: "sig"}}})
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL, "token_endpoint": i.URL,
				"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256", "HS256"}})
		}
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) token(t *testing.T, key any, algorithm jose.SignatureAlgorithm, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "k"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]any{"iss": i.URL, "aud": "ambit", "sub": "alice", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(), "groups": []string{"dev", "soc"}}
	for name, v := range claims {
		all[name] = v
	}
	text, err := jwt.Signed(signer).Claims(all).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestOIDC(t *testing.T) {
	i := newIssuer(t)
	grants, err := ParseGrants([]string{"soc=responder", "ambit-*=admin"})
	if err != nil {
		t.Fatal(err)
	}
	i.away = true
	o, err := NewOIDC(OIDCConfig{Issuer: i.URL, Audience: "ambit", Grants: grants})
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	now := time.Now()
	o.now = func() time.Time { return now }
	good := i.token(t, i.key, jose.RS256, nil)
	check(t, o, with(good), "", 0, http.StatusServiceUnavailable)
	i.away = false
	check(t, o, with(good), "", 0, http.StatusServiceUnavailable) // it is not asked again at once
	now = now.Add(2 * discoverAgain)
	check(t, o, with(good), "oidc:alice", api.Responder, 0)
	check(t, o, with(""), "", 0, 0)
	check(t, o, with("ambit_abc"), "", 0, 0)
	f := func(claims map[string]any, who string, role api.Role, want int) {
		t.Helper()
		check(t, o, with(i.token(t, i.key, jose.RS256, claims)), who, role, want)
	}
	f(map[string]any{"groups": "ambit-x"}, "oidc:alice", api.Admin, 0)
	f(map[string]any{"groups": []any{1, "soc", nil}}, "oidc:alice", api.Responder, 0)
	f(map[string]any{"groups": []string{"dev"}}, "", 0, http.StatusForbidden)
	f(map[string]any{"groups": nil}, "", 0, http.StatusForbidden)
	f(map[string]any{"aud": "another"}, "", 0, http.StatusUnauthorized)
	f(map[string]any{"iss": "https://evil.example"}, "", 0, http.StatusUnauthorized)
	f(map[string]any{"exp": now.Add(-time.Minute).Unix()}, "", 0, http.StatusUnauthorized)
	f(map[string]any{"nbf": now.Add(time.Hour).Unix()}, "", 0, http.StatusUnauthorized)
	f(map[string]any{"sub": ""}, "", 0, http.StatusUnauthorized)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	check(t, o, with(i.token(t, other, jose.RS256, nil)), "", 0, http.StatusUnauthorized)
	// The public key as a secret, and no signature at all.
	public := x509.MarshalPKCS1PublicKey(&i.key.PublicKey)
	check(t, o, with(i.token(t, public, jose.HS256, nil)), "", 0, http.StatusUnauthorized)
	parts := strings.Split(good, ".")
	check(t, o, with("eyJhbGciOiJub25lIn0."+parts[1]+"."), "", 0, http.StatusUnauthorized)
	check(t, o, with(parts[0]+"."+parts[1]+"."+strings.Repeat("a", maxJWT)), "", 0, http.StatusUnauthorized)
	for _, c := range []OIDCConfig{{Issuer: "http://idp.example", Audience: "a", Grants: grants}, {Issuer: i.URL, Grants: grants}, {Issuer: i.URL, Audience: "a"}, {Audience: "a", Grants: grants}} {
		if _, err := NewOIDC(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}

// Tokens that anybody makes up do not have the provider asked without end, and the good ones are taken all the while.
func TestMadeUpTokens(t *testing.T) {
	i := newIssuer(t)
	grants, err := ParseGrants([]string{"soc=responder"})
	if err != nil {
		t.Fatal(err)
	}
	o, err := NewOIDC(OIDCConfig{Issuer: i.URL, Audience: "ambit", Grants: grants})
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	o.cfg.Client.Transport.(*paced).limit.SetLimit(0) // so that no time is counted
	good := i.token(t, i.key, jose.RS256, nil)
	check(t, o, with(good), "oidc:alice", api.Responder, 0)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	bad := with(i.token(t, other, jose.RS256, nil))
	for range 2 * askBurst {
		check(t, o, bad, "", 0, http.StatusUnauthorized)
	}
	if n := i.keys.Load(); n >= askBurst {
		t.Errorf("the provider was asked for its keys %d times", n)
	}
	check(t, o, with(good), "oidc:alice", api.Responder, 0)
}

func TestSPIFFE(t *testing.T) {
	grants, err := ParseGrants([]string{"spiffe://shop.example/ops/*=admin", "spiffe://shop.example/ns/soc/sa/bot=responder"})
	if err != nil {
		t.Fatal(err)
	}
	var id string
	s := &SPIFFE{Grants: grants, Verify: func([]*x509.Certificate) (string, error) {
		if id == "" {
			return "", errors.New("it is self-signed")
		}
		return id, nil
	}}
	shown := httptest.NewRequest("GET", "/", nil)
	check(t, s, shown, "", 0, 0)
	shown.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}
	check(t, s, shown, "", 0, http.StatusUnauthorized)
	id = "spiffe://shop.example/ops/alice"
	check(t, s, shown, id, api.Admin, 0)
	id = "spiffe://shop.example/ns/shop/sa/web"
	check(t, s, shown, "", 0, http.StatusForbidden)
	for _, bad := range []string{"", "a", "=admin", "*=admin", "a=root", "a=nobody", "**=viewer", "spiffe://*=admin", "spiffe://*/ops=admin", "spiffe://shop*/ops=viewer"} {
		if _, err := ParseGrants([]string{bad}); err == nil {
			t.Errorf("%q is a grant", bad)
		}
	}
}
