package web_test

import (
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/auth"
	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/collector/web"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// gate is the one of the command line, in short.
type gate struct{ server *api.Server }

func (g *gate) Login(r *http.Request) error { return g.server.Login(r) }

func viewer(p api.Principal) web.Viewer {
	return web.Viewer{Name: p.Name, Role: web.Role(p.Role), Anonymous: p.Anonymous()}
}

func (g *gate) Who(r *http.Request) (web.Viewer, error) {
	p, err := g.server.Who(r)
	return viewer(p), err
}

func (g *gate) Judge(r *http.Request, token string) (web.Viewer, error) {
	p, err := g.server.Judge(r, token)
	return viewer(p), err
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.server.ServeHTTP(w, r) }

// site is pages and API on an empty store, served on loopback.
type site struct {
	t      testing.TB
	url    string
	tokens string            // file
	token  map[string]string // of somebody with each role, by its name
}

// newSite serves. provider may be nil; anonymous is what who shows nothing may do.
func newSite(t testing.TB, s *store.Store, anonymous api.Role, provider *auth.OIDC) *site {
	t.Helper()
	out := &site{t: t, tokens: filepath.Join(t.TempDir(), "tokens.json"), token: map[string]string{}}
	for _, role := range []api.Role{api.Viewer, api.Responder, api.Admin} {
		made, text, err := auth.NewToken(role.String(), role, time.Now(), 0)
		if err == nil {
			err = auth.AddToken(out.tokens, made, time.Now())
		}
		if err != nil {
			t.Fatal(err)
		}
		out.token[role.String()] = text
	}
	tokens, err := auth.NewTokens(out.tokens, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	g, reports := &gate{}, report.New(s, func(event.Identity) string { return "" })
	c := web.Config{Reports: reports, Gate: g, API: g, Key: []byte(strings.Repeat("k", 32)), Version: "test", Logger: slog.New(slog.DiscardHandler)}
	known := []api.Authenticator{tokens}
	if provider != nil {
		c.OIDC, known = provider, append(known, provider)
	}
	pages, err := web.New(c)
	if err != nil {
		t.Fatal(err)
	}
	g.server = api.New(api.Config{
		Reports: reports, Inventory: s, Standing: s, Scopes: s, Trails: s, Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
		Authenticators: known, Anonymous: anonymous, Pages: pages, Sessions: pages, Live: still{}, Decisions: undecided{},
	})
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	out.url = server.URL
	return out
}

// browser keeps cookies and follows no redirect.
type browser struct {
	*site
	client *http.Client
}

func (s *site) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &browser{s, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// send sends a request with headers in pairs, and gives the answer and its body.
func (b *browser) send(method, path, body string, headers ...string) (*http.Response, string) {
	b.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = b.url + path
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if method == http.MethodPost && strings.Contains(body, "=") {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if strings.HasPrefix(body, "{") {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer, string(text)
}

var csrfMeta = regexp.MustCompile(`<meta name="csrf" content="([^"]+)">`)

func (b *browser) csrf() string {
	b.t.Helper()
	_, page := b.send("GET", "/login", "")
	found := csrfMeta.FindStringSubmatch(page)
	if found == nil {
		b.t.Fatalf("there is no CSRF token in the page: %.300s", page)
	}
	return found[1]
}

func (b *browser) login(token, next string) *http.Response {
	b.t.Helper()
	answer, _ := b.send("POST", "/login", url.Values{"csrf": {b.csrf()}, "token": {token}, "next": {next}}.Encode())
	return answer
}

func (b *browser) cookies() int {
	u, err := url.Parse(b.url)
	if err != nil {
		b.t.Fatal(err)
	}
	return len(b.client.Jar.Cookies(u))
}

func openStore(t testing.TB) *store.Store {
	t.Helper()
	c := store.Default()
	c.Socket = testenv.Engine(t)
	s, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// exemption is a write that is refused last, because nobody knows the identity.
var exemption = `{"identity":"spiffe://shop.example/ns/shop/sa/nobody","reason":"r","until":"` + time.Now().Add(24*time.Hour).UTC().Format(time.RFC3339) + `"}`

// TestSite looks at who may do what with a browser.
func TestSite(t *testing.T) {
	s := openStore(t)
	on := func(anonymous api.Role, f func(t *testing.T, s *site)) func(*testing.T) {
		return func(t *testing.T) { f(t, newSite(t, s, anonymous, nil)) }
	}
	want := func(t *testing.T, what string, answer *http.Response, status int) {
		t.Helper()
		if answer.StatusCode != status {
			t.Errorf("%s: %s, want %d", what, answer.Status, status)
		}
	}

	t.Run("headers", on(api.Viewer, func(t *testing.T, s *site) {
		b := s.browser()
		inline := regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|javascript:|<script(?:[^>]*)>[^<]`)
		for _, path := range []string{"/", "/coverage", "/login", "/nothing", "/findings", "/identities", "/reports", "/map"} {
			answer, page := b.send("GET", path, "")
			h := answer.Header
			if csp := h.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'; script-src 'self'; style-src 'self';") || strings.Contains(csp, "unsafe") {
				t.Errorf("%s: policy %q", path, csp)
			}
			for name, value := range map[string]string{
				"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
				"X-Frame-Options": "DENY", "Cache-Control": "no-store",
			} {
				if h.Get(name) != value {
					t.Errorf("%s: %s is %q", path, name, h.Get(name))
				}
			}
			if found := inline.FindString(page); found != "" {
				t.Errorf("%s: %q stands in the page", path, found)
			}
			if answer.StatusCode >= 500 {
				t.Errorf("%s: %s", path, answer.Status)
			}
		}
	}))
	t.Run("nobody", on(api.Nobody, func(t *testing.T, s *site) {
		b := s.browser()
		answer, _ := b.send("GET", "/coverage?window=7d", "")
		want(t, "a page", answer, http.StatusSeeOther)
		if to := answer.Header.Get("Location"); to != "/login?next=%2Fcoverage%3Fwindow%3D7d" {
			t.Errorf("it leads to %s", to)
		}
		answer, _ = b.send("GET", "/login", "")
		want(t, "the page to log in", answer, http.StatusOK)
		answer, page := b.send("GET", "/coverage", "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate")
		if answer.StatusCode != http.StatusOK || !strings.Contains(page, `<meta http-equiv="refresh" content="0;url=/coverage">`) {
			t.Errorf("from another site: %s %.300s", answer.Status, page)
		}
	}))
	t.Run("roles", on(api.Viewer, func(t *testing.T, s *site) {
		b := s.browser()
		answer, _ := b.send("POST", "/api/v1/exemptions", exemption, "Ambit-CSRF", b.csrf())
		want(t, "anonymous", answer, http.StatusUnauthorized)
		for role, status := range map[api.Role]int{api.Viewer: http.StatusForbidden, api.Responder: http.StatusNotFound, api.Admin: http.StatusNotFound} {
			b := s.browser()
			answer := b.login(s.token[role.String()], "/coverage?window=24h")
			if answer.StatusCode != http.StatusSeeOther || answer.Header.Get("Location") != "/coverage?window=24h" || b.cookies() != 1 {
				t.Fatalf("%s: login: %s, %d cookies", role, answer.Status, b.cookies())
			}
			answer, _ = b.send("GET", "/api/v1/identities", "")
			want(t, "reading as "+role.String(), answer, http.StatusOK)
			answer, _ = b.send("POST", "/api/v1/exemptions", exemption, "Ambit-CSRF", b.csrf())
			want(t, "writing as "+role.String(), answer, status)
			answer, _ = b.send("POST", "/api/v1/exemptions", exemption)
			want(t, "without CSRF token as "+role.String(), answer, http.StatusForbidden)
			answer, _ = b.send("POST", "/api/v1/exemptions", exemption, "Ambit-CSRF", s.browser().csrf())
			want(t, "with another session's CSRF token as "+role.String(), answer, http.StatusForbidden)
			answer, _ = b.send("POST", "/api/v1/exemptions", exemption, "Ambit-CSRF", b.csrf(), "Sec-Fetch-Site", "cross-site")
			want(t, "from another site as "+role.String(), answer, http.StatusForbidden)
			answer, _ = b.send("POST", "/logout", "csrf="+url.QueryEscape(b.csrf()))
			if answer.StatusCode != http.StatusSeeOther || b.cookies() != 0 {
				t.Errorf("%s: logout: %s, %d cookies", role, answer.Status, b.cookies())
			}
		}
	}))
	t.Run("login", on(api.Viewer, func(t *testing.T, s *site) {
		b := s.browser()
		good := s.token["admin"]
		answer, _ := b.send("POST", "/login", url.Values{"token": {good}}.Encode())
		want(t, "without CSRF token", answer, http.StatusForbidden)
		answer, _ = b.send("POST", "/login", url.Values{"token": {good}, "csrf": {b.csrf()}}.Encode(), "Origin", "https://evil.example")
		want(t, "from another site", answer, http.StatusForbidden)
		want(t, "with no token", b.login("", "/"), http.StatusBadRequest)
		if answer := b.login(good, "//evil.example/"); answer.Header.Get("Location") != "/" {
			t.Errorf("login leads to %s", answer.Header.Get("Location"))
		}
		other := s.browser()
		status := 0
		for range 60 {
			status = other.login("ambit_"+strings.Repeat("a", 30), "/").StatusCode
			if status == http.StatusTooManyRequests {
				break
			}
		}
		if status != http.StatusTooManyRequests || other.cookies() != 0 {
			t.Errorf("guessing ends with %d", status)
		}
	}))
	t.Run("session", on(api.Nobody, func(t *testing.T, s *site) {
		b := s.browser()
		b.login(s.token["viewer"], "/")
		answer, _ := b.send("GET", "/coverage", "")
		want(t, "logged in", answer, http.StatusOK)
		u, err := url.Parse(s.url)
		if err != nil {
			t.Fatal(err)
		}
		held := b.client.Jar.Cookies(u)[0]
		thief := s.browser()
		bad := []byte(held.Value)
		bad[len(bad)/2] ^= 1
		thief.client.Jar.SetCookies(u, []*http.Cookie{{Name: held.Name, Value: string(bad), Path: "/"}})
		answer, _ = thief.send("GET", "/api/v1/identities", "")
		want(t, "a tampered cookie at the API", answer, http.StatusUnauthorized)
		answer, _ = thief.send("GET", "/coverage", "")
		if answer.StatusCode != http.StatusSeeOther || thief.cookies() != 0 {
			t.Errorf("a tampered cookie: %s, %d cookies", answer.Status, thief.cookies())
		}
		if err := auth.RevokeToken(s.tokens, "viewer", time.Now()); err != nil {
			t.Fatal(err)
		}
		for range 300 { // what was read of the file may be used for a second
			if answer, _ = b.send("GET", "/api/v1/identities", ""); answer.StatusCode != http.StatusOK {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		want(t, "revoked, at the API", answer, http.StatusUnauthorized)
		answer, _ = b.send("GET", "/coverage", "")
		if answer.StatusCode != http.StatusSeeOther || b.cookies() != 0 {
			t.Errorf("revoked: %s, %d cookies", answer.Status, b.cookies())
		}
	}))
	t.Run("oidc", func(t *testing.T) { testOIDC(t, s) })
}

// TestTemplates keeps scripts and styles out of pages: the policy would refuse them in silence.
func TestTemplates(t *testing.T) {
	bad := regexp.MustCompile(`(?i)\sstyle=|\son[a-z]+="|<style|<script(?: [^>]*)?>[^<]|safeHTML`)
	err := fs.WalkDir(os.DirFS("templates"), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join("templates", path))
		if found := bad.Find(text); found != nil {
			t.Errorf("%s holds %q", path, found)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
