package web_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/auth"
	"github.com/ambit-nhi/ambit/collector/store"
)

// provider is an OpenID provider at which everybody is alice.
type provider struct {
	*httptest.Server
	t      *testing.T
	signer jose.Signer
	asked  url.Values     // what the browser brought last
	claims map[string]any // that replace others
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{t: t, claims: map[string]any{}}
	if p.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "k")); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": p.URL, "jwks_uri": p.URL + "/keys", "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token",
			"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"}})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("POST /token", p.token)
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

// token gives a token for the code, to who knows the verifier.
func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	id, secret, ok := r.BasicAuth()
	if r.FormValue("code") != "good" || base64.RawURLEncoding.EncodeToString(sum[:]) != p.asked.Get("code_challenge") || p.asked.Get("code_challenge_method") != "S256" ||
		!ok || id != "pages" || secret != "hush" || r.FormValue("redirect_uri") != p.asked.Get("redirect_uri") {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	claims := map[string]any{"iss": p.URL, "aud": "pages", "sub": "alice", "nonce": p.asked.Get("nonce"), "groups": []string{"soc"}, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	for name, v := range p.claims {
		claims[name] = v
	}
	text, err := jwt.Signed(p.signer).Claims(claims).Serialize()
	if err != nil {
		p.t.Error(err)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": text})
}

func testOIDC(t *testing.T, s *store.Store) {
	p := newProvider(t)
	grants, err := auth.ParseGrants([]string{"soc=responder"})
	if err != nil {
		t.Fatal(err)
	}
	known, err := auth.NewOIDC(auth.OIDCConfig{Issuer: p.URL, Audience: "ambit", Grants: grants, ClientID: "pages", ClientSecret: "hush", Scopes: []string{"profile"}})
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	site := newSite(t, s, api.Nobody, known)

	// leave goes to the provider, and gives the way back.
	leave := func(b *browser) url.Values {
		t.Helper()
		answer, _ := b.send("GET", "/login/oidc?next="+url.QueryEscape("/coverage?window=7d"), "")
		to, err := url.Parse(answer.Header.Get("Location"))
		if err != nil || !strings.HasPrefix(to.String(), p.URL+"/authorize?") {
			t.Fatalf("it leads to %s", to)
		}
		p.asked = to.Query()
		if p.asked.Get("response_type") != "code" || p.asked.Get("client_id") != "pages" || len(p.asked.Get("nonce")) < 20 || p.asked.Get("scope") != "openid profile" ||
			p.asked.Get("redirect_uri") != site.url+"/login/oidc/callback" {
			t.Errorf("it asks for %v", p.asked)
		}
		return url.Values{"state": {p.asked.Get("state")}, "code": {"good"}}
	}
	back := func(b *browser, with url.Values) (int, string) {
		answer, page := b.send("GET", "/login/oidc/callback?"+with.Encode(), "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate")
		return answer.StatusCode, page
	}

	b := site.browser()
	with := leave(b)
	if status, page := back(b, with); status != http.StatusOK || !strings.Contains(page, `content="0;url=/coverage?window=7d"`) {
		t.Fatalf("back: %d %.300s", status, page)
	}
	if answer, page := b.send("GET", "/coverage", ""); answer.StatusCode != http.StatusOK || !strings.Contains(page, "oidc:alice") {
		t.Errorf("logged in: %s", answer.Status)
	}
	if answer, _ := b.send("POST", "/api/v1/exemptions", exemption, "Ambit-CSRF", b.csrf()); answer.StatusCode != http.StatusNotFound {
		t.Errorf("a responder's write: %s", answer.Status)
	}
	if status, _ := back(b, with); status != http.StatusBadRequest {
		t.Errorf("the same way back again: %d", status)
	}
	for what, c := range map[string]struct {
		change func(with url.Values)
		want   int
	}{
		"another state":      {func(with url.Values) { with.Set("state", "x") }, http.StatusBadRequest},
		"no code":            {func(with url.Values) { with.Del("code") }, http.StatusBadRequest},
		"refused":            {func(with url.Values) { with.Set("error", "access_denied") }, http.StatusForbidden},
		"another code":       {func(with url.Values) { with.Set("code", "bad") }, http.StatusBadGateway},
		"another nonce":      {func(url.Values) { p.claims["nonce"] = "x" }, http.StatusBadGateway},
		"another audience":   {func(url.Values) { p.claims["aud"] = "x" }, http.StatusBadGateway},
		"the API's audience": {func(url.Values) { p.claims["aud"] = "ambit" }, http.StatusBadGateway},
		"an expired token":   {func(url.Values) { p.claims["exp"] = 1 }, http.StatusBadGateway},
		"nobody's groups":    {func(url.Values) { p.claims["groups"] = "dev" }, http.StatusForbidden},
	} {
		p.claims = map[string]any{}
		b := site.browser()
		with := leave(b)
		c.change(with)
		if status, _ := back(b, with); status != c.want || b.cookies() != 0 {
			t.Errorf("%s: %d and %d cookies, want %d and none", what, status, b.cookies(), c.want)
		}
	}
	p.claims = map[string]any{}
	if status, _ := back(site.browser(), leave(site.browser())); status != http.StatusBadRequest {
		t.Errorf("in another browser: %d", status)
	}
	b = site.browser()
	answer, page := b.send("GET", "/login/oidc?next=/"+strings.Repeat("a", 4000), "")
	if answer.StatusCode != http.StatusBadRequest || !strings.Contains(page, "has 4001 bytes") || b.cookies() != 0 {
		t.Errorf("a long way back: %s", answer.Status)
	}
	// One address has a budget of its own.
	status, tried := 0, 0
	for ; status != http.StatusTooManyRequests && tried < 200; tried++ {
		with := leave(b)
		with.Set("code", "bad")
		status, _ = back(b, with)
	}
	if status != http.StatusTooManyRequests || b.cookies() != 0 {
		t.Errorf("%d logins of one address end with %d", tried, status)
	}
	p.Close()
	if answer, page := site.browser().send("GET", "/login", ""); answer.StatusCode != http.StatusOK || !strings.Contains(page, "/login/oidc?next=") {
		t.Errorf("the page to log in: %s", answer.Status)
	}
}
