package cli

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Shells complete identities, findings and decisions from the API, and nothing that would steer the terminal.
func TestComplete(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/v1/identities":
			fmt.Fprint(w, `{"items":[{"identity":"spiffe://a.example/ns/shop/sa/cart","kind":"service-account"},{"identity":"spiffe://a.example/ns/shop/sa/checkout","kind":"x\u001b[2Jy"}]}`)
		case "/api/v1/findings":
			fmt.Fprint(w, `{"items":[{"id":"f-1a","identity":"spiffe://a.example/x","title":"New","severity":"high"},{"id":"f-2\u001b[2J","identity":"spiffe://a.example/x"},{"id":"g","identity":"spiffe://a.example/x"}]}`)
		case "/api/v1/decisions":
			fmt.Fprint(w, `{"items":[{"id":"d-1","identity":"spiffe://a.example/x","mode":"enforce"}]}`)
		default:
			t.Errorf("asked for %s", r.URL)
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("AMBIT_SERVER", server.URL)
	f := func(want string, args ...string) {
		t.Helper()
		code, out, _ := ambit(t, append([]string{"__complete"}, args...)...)
		lines, _, _ := strings.Cut(out, ":4\n") // the shell is to offer no files
		if code != exitGood || !strings.Contains(out, ":4\n") || strings.TrimSpace(lines) != strings.TrimSpace(want) || strings.Contains(out, "\x1b") {
			t.Errorf("%q completes to %q, want %q", args, out, want)
		}
	}
	cart, both := "spiffe://a.example/ns/shop/sa/cart\tservice-account", "spiffe://a.example/ns/shop/sa/cart\tservice-account\nspiffe://a.example/ns/shop/sa/checkout\tx\uFFFD[2Jy"
	for _, command := range []string{"identities", "reach", "deny", "top", "report blast-radius", "report exempt", "report review", "scope show"} {
		f(both, append(strings.Fields(command), "spiffe://a.example/ns/shop/sa/c")...)
		f(cart, append(strings.Fields(command), "spiffe://a.example/ns/shop/sa/ca")...)
	}
	f("", "reach", "spiffe://a.example/ns/shop/sa/cart", "s")
	f("f-1a\thigh, New", "explain", "f")
	f("f-1a\thigh, New", "findings", "ack", "f-")
	f("d-1\tenforce spiffe://a.example/x", "revoke", "")
	f("d-1\tenforce spiffe://a.example/x", "decisions", "approve", "d")
	f(cart, "findings", "--identity", "spiffe://a.example/ns/shop/sa/ca")
}

// Who waits at a prompt does not wait for long where nobody answers.
func TestCompleteGivesUp(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	began := time.Now()
	if code, out, _ := ambit(t, "__complete", "reach", "--server", server.URL, "x"); code != exitGood || !strings.HasPrefix(out, ":4") || time.Since(began) > 30*time.Second {
		t.Errorf("after %s: %d %q", time.Since(began), code, out)
	}
}

// A report is read page by page, up to the limit.
func TestPages(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		asked = append(asked, q.Get("limit")+" "+q.Get("cursor"))
		switch q.Get("cursor") {
		case "":
			fmt.Fprint(w, `{"items":[{"node":"a","spans":[],"gaps":[]},{"node":"b","spans":[],"gaps":[]}],"next_cursor":"two","total":3,"coverage":{"statement":"NOT COMPLETE"}}`)
		default:
			fmt.Fprint(w, `{"items":[{"node":"c","spans":[],"gaps":[]}],"total":3,"coverage":{"statement":"later"}}`)
		}
	}))
	t.Cleanup(server.Close)
	code, out, _ := ambit(t, "report", "coverage", "--server", server.URL)
	if code != exitGood || strings.Count(out, "\n") < 5 || !strings.Contains(out, "\nc ") || !strings.Contains(out, "NOT COMPLETE") || strings.Join(asked, "|") != "10000 |10000 two" {
		t.Errorf("%d %q, asked %q", code, out, asked)
	}
	asked = nil
	code, out, _ = ambit(t, "report", "coverage", "--limit", "2", "--server", server.URL)
	if code != exitGood || strings.Contains(out, "\nc ") || !strings.Contains(out, "2 of 3 are shown") || strings.Join(asked, "|") != "2 " {
		t.Errorf("%d %q, asked %q", code, out, asked)
	}
}
