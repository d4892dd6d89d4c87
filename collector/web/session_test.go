package web

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func testSealer(t testing.TB, fill byte) sealer {
	t.Helper()
	s, err := newSealer(bytes.Repeat([]byte{fill}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// What one seals another with the same key opens, for the same purpose, until it expires, and nobody opens anything else.
func TestSeal(t *testing.T) {
	s, other := testSealer(t, 1), testSealer(t, 2)
	rapid.Check(t, func(rt *rapid.T) {
		token := rapid.String().Draw(rt, "token")
		life := time.Duration(rapid.IntRange(1, 43_200).Draw(rt, "seconds")) * time.Second
		sealed, err := s.close("session", token, noon.Add(life))
		if err != nil {
			rt.Fatal(err)
		}
		open := func(s sealer, purpose, text string, at time.Time) (string, error) {
			var out string
			err := s.open(purpose, text, at, &out)
			return out, err
		}
		if got, err := open(s, "session", sealed, noon.Add(life-time.Second)); err != nil || got != strings.ToValidUTF8(token, "\uFFFD") {
			rt.Fatalf("opened %q, %v", got, err)
		}
		raw, err := base64.RawURLEncoding.DecodeString(sealed)
		if err != nil {
			rt.Fatal(err)
		}
		raw[rapid.IntRange(0, len(raw)-1).Draw(rt, "at")] ^= byte(rapid.IntRange(1, 255).Draw(rt, "flip"))
		for name, try := range map[string]func() (string, error){
			"expired":  func() (string, error) { return open(s, "session", sealed, noon.Add(life)) },
			"purpose":  func() (string, error) { return open(s, "login", sealed, noon) },
			"key":      func() (string, error) { return open(other, "session", sealed, noon) },
			"tampered": func() (string, error) { return open(s, "session", base64.RawURLEncoding.EncodeToString(raw), noon) },
			"cut":      func() (string, error) { return open(s, "session", sealed[:len(sealed)/2], noon) },
			"empty":    func() (string, error) { return open(s, "session", "", noon) },
		} {
			if got, err := try(); err != errSession {
				rt.Fatalf("%s: opened %q, %v", name, got, err)
			}
		}
	})
	if _, err := newSealer(nil); err == nil {
		t.Error("a key of no bytes is taken")
	}
}

func testSite(t testing.TB, secured bool) *Site {
	return &Site{Config: Config{Secured: secured, Ended: NewEnded()}, seal: testSealer(t, 1), now: func() time.Time { return noon }}
}

// back is a request of a browser that keeps what an answer set.
func back(method string, w *httptest.ResponseRecorder) *http.Request {
	r := httptest.NewRequest(method, "/", nil)
	for _, c := range w.Result().Cookies() {
		if c.MaxAge >= 0 {
			r.AddCookie(c)
		}
	}
	return r
}

// A token of any length that is taken comes back, in as many cookies as it needs, which nobody but us can read or keep too long.
func TestSessionCookies(t *testing.T) {
	for _, secured := range []bool{false, true} {
		s := testSite(t, secured)
		for _, length := range []int{1, 100, 3000, 8000} {
			token := strings.Repeat("t", length)
			w := httptest.NewRecorder()
			if err := s.start(w, token, 24*time.Hour); err != nil {
				t.Fatal(err)
			}
			for _, c := range w.Result().Cookies() {
				if !c.HttpOnly || c.Secure != secured || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || c.MaxAge > int(sessionLife/time.Second) {
					t.Errorf("the cookie is %+v", c)
				}
				if secured != strings.HasPrefix(c.Name, "__Host-") || len(c.String()) > 4096 || strings.Contains(c.Value, "tttt") {
					t.Errorf("the cookie is %s", c)
				}
			}
			got, ok, err := s.Token(back("GET", w))
			if got != token || !ok || err != nil {
				t.Errorf("of %d bytes: %d, %t, %v", length, len(got), ok, err)
			}
			s.now = func() time.Time { return noon.Add(sessionLife) }
			if _, _, err := s.Token(back("GET", w)); err == nil {
				t.Error("it is good for longer than it may be")
			}
			s.now = func() time.Time { return noon }
		}
		if err := s.start(httptest.NewRecorder(), strings.Repeat("t", maxSession), time.Hour); status(err) != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a token that is too long: %v", err)
		}
		if _, ok, err := s.Token(httptest.NewRequest("GET", "/", nil)); ok || err != nil {
			t.Errorf("without a cookie: %t, %v", ok, err)
		}
	}
}

// Only what was stamped for the same session is meant.
func TestMeant(t *testing.T) {
	s := testSite(t, false)
	session := func(token string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		if err := s.start(w, token, time.Hour); err != nil {
			t.Fatal(err)
		}
		return w
	}
	one, two := session("one"), session("two")
	stamp := s.CSRF(back("GET", one))
	if again := s.CSRF(back("GET", one)); again == stamp {
		t.Error("it is the same each time: what is compressed beside it would tell it")
	}
	f := func(w *httptest.ResponseRecorder, header string, want bool) {
		t.Helper()
		r := back("POST", w)
		r.Header.Set(csrfHeader, header)
		if s.Meant(r) != want {
			t.Errorf("%q: %t", header, !want)
		}
	}
	f(one, stamp, true)
	f(two, stamp, false)
	f(httptest.NewRecorder(), stamp, false)
	f(one, s.CSRF(httptest.NewRequest("GET", "/", nil)), false)
	f(one, "", false)
	f(one, "AAAA", false)
	f(one, stamp+"A", false)
	f(one, stamp[:len(stamp)-1]+"_", stamp[len(stamp)-1] == '_')
	f(one, strings.Repeat("A", len(stamp)), false)

	form := back("POST", one)
	body := url.Values{csrfField: {stamp}}.Encode()
	form2, err := http.NewRequest("POST", "/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	form2.Header = form.Header.Clone()
	form2.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if !s.Meant(form2) {
		t.Error("a form with the field is not meant")
	}
	in, err := http.NewRequest("POST", "/?"+body, nil)
	if err != nil {
		t.Fatal(err)
	}
	in.Header = form2.Header.Clone()
	if s.Meant(in) {
		t.Error("what stands in the address counts")
	}
}

// Where somebody is sent after logging in is on this site.
func TestLocal(t *testing.T) {
	for in, want := range map[string]string{
		"/": "/", "/findings/x?a=b#c": "/findings/x?a=b#c", "/identities/spiffe:%2F%2Fa%2Fb": "/identities/spiffe:%2F%2Fa%2Fb", "": "/", "findings": "/", "//evil.example": "/",
		"https://evil.example/": "/", "/\\evil.example": "/", "javascript:alert(1)": "/", "/a\r\nSet-Cookie: x": "/", "http:/x": "/", "/\t/evil.example": "/", "///evil.example": "/", "/%zz": "/",
	} {
		if got := local(in); got != want {
			t.Errorf("local(%q) is %q, want %q", in, got, want)
		}
	}
}

// What does not print, or turns text, is told and not shown.
func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"checkout": "checkout", "ümlaut 漢字": "ümlaut 漢字", "a\u202Eb": `a\u202eb`, "\x1b[31m": `\u001b[31m`, "x\u200by": `x\u200by`, "<b>&": "<b>&", "a\xffb": `a\xffb`, "\uFFFD": "\uFFFD",
		"\u2066\U000E0041": `\u2066\U000e0041`,
	} {
		if got := plain(in); got != want {
			t.Errorf("plain(%q) is %q, want %q", in, got, want)
		}
	}
}

// What holds for all ports of a host is only said where somebody wants it, and over TLS.
func TestHSTS(t *testing.T) {
	f := func(secured bool, hsts time.Duration, want string) {
		t.Helper()
		s, err := New(Config{Key: make([]byte, 32), Secured: secured, HSTS: hsts, Gate: nobody{}, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", "/login", nil))
		if got := w.Header().Get("Strict-Transport-Security"); got != want || w.Code != http.StatusOK {
			t.Errorf("TLS %t, %s: %d and %q, want %q", secured, hsts, w.Code, got, want)
		}
	}
	f(true, 0, "")
	f(true, 365*24*time.Hour, "max-age=31536000")
	f(false, time.Hour, "")
}

// FuzzOpen has what a browser shows opened: nothing that was not sealed opens, and nothing breaks.
func FuzzOpen(f *testing.F) {
	s := testSealer(f, 1)
	good, err := s.close(sessionCookie, session{"ambit_token", "id", 0}, noon.Add(time.Hour))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", "AAAA", good, good[:40], strings.Repeat("A", 8000)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var out session
		if err := s.open(sessionCookie, text, noon, &out); err == nil {
			raw, _ := base64.RawURLEncoding.DecodeString(text)
			want, _ := base64.RawURLEncoding.DecodeString(good)
			if !bytes.Equal(raw, want) {
				t.Errorf("%q opens as %q", text, out.Token)
			}
		}
	})
}
