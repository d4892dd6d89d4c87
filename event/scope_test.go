package event

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestScopeAllows(t *testing.T) {
	f := func(entry, resource string, want bool) {
		t.Helper()
		r, err := ParseResource(resource)
		if err != nil {
			t.Fatal(err)
		}
		s := Scope{Entries: []ScopeEntry{{Resource: "dns:other.example:1/tcp"}, {Resource: entry, Flags: ScopeFlags}}}
		if got := s.Allows(r); got != want {
			t.Errorf("%s allows %s: %v", entry, resource, got)
		}
	}
	f("dns:a.example:443/tcp", "dns:a.example:443/tcp", true)
	f("dns:a.example:443/tcp", "dns:a.example:443/udp", false)
	f("dns:a.example:443/tcp", "dns:a.example:444/tcp", false)
	f("dns:a.example:443/tcp", "service:a.example:443/tcp", false)
	f("dns:*.example.com:443/tcp", "dns:a.example.com:443/tcp", true)
	f("dns:*.example.com:443/tcp", "dns:a.b.example.com:443/tcp", false)
	f("dns:*.example.com:443/tcp", "dns:.example.com:443/tcp", false)
	f("dns:*.example.com:443/tcp", "dns:a.example.com.evil.example:443/tcp", false)
	f("dns:a*b*.example.com:443/tcp", "dns:axbbc.example.com:443/tcp", true)
	f("dns:a*b*.example.com:443/tcp", "dns:axb.example.com:443/tcp", false)
	f("dns:db-*.*.example.com:443/tcp", "dns:db-1.eu.example.com:443/tcp", true)
	f("spiffe://a.example/ns/*/sa/web:443/tcp", "spiffe://a.example/ns/shop.x/sa/web:443/tcp", true)
	f("spiffe://a.example/ns/*/sa/web:443/tcp", "spiffe://a.example/ns/a/b/sa/web:443/tcp", false)
	f("net:10.0.0.0/8:22/tcp", "net:10.1.2.0/24:22/tcp", true)
	f("net:10.0.0.0/8:22/tcp", "net:10.1.2.3/32:22/tcp", true)
	f("net:10.0.0.0/16:22/tcp", "net:10.0.0.0/8:22/tcp", false)
	f("net:10.1.2.3/32:22/tcp", "net:10.1.2.3/32:22/tcp", true)
	f("net:::/0:22/tcp", "net:10.1.2.3/32:22/tcp", false)
}

func TestScopeDirections(t *testing.T) {
	r, err := ParseResource("dns:a.example:443/tcp")
	if err != nil {
		t.Fatal(err)
	}
	none := Scope{}
	if m := none.Matcher(); m.Allows(Outbound, r) || !m.Allows(Inbound, r) {
		t.Error("an empty scope should allow nothing to be reached, and say nothing of inbound connections")
	}
	in := Scope{Entries: []ScopeEntry{{Resource: "dns:b.example:443/tcp", Direction: Inbound}}}
	if m := in.Matcher(); m.Allows(Inbound, r) || m.Allows(Outbound, r) {
		t.Error("an inbound entry restricts inbound connections")
	}
}

func TestScopeRefused(t *testing.T) {
	id, err := ParseIdentity("spiffe://a.example/x")
	if err != nil {
		t.Fatal(err)
	}
	f := func(want string, entries ...ScopeEntry) {
		t.Helper()
		s := Scope{Identity: id, Entries: entries}
		err := s.Validate()
		if err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want) || strings.ContainsRune(err.Error(), '\n')) {
			t.Errorf("%v: %v, want %q", entries, err, want)
		}
	}
	e := func(resource string, flags ...string) ScopeEntry { return ScopeEntry{Resource: resource, Flags: flags} }
	f("")
	f("", e("dns:a.example:443/tcp"), e("net:10.0.0.0/8:443/tcp"), e("spiffe://a.example/y:8443/tcp"))
	f("twice", e("dns:a.example:443/tcp"), ScopeEntry{Resource: "dns:a.example:443/tcp", Direction: Outbound})
	f("flags: [wildcard]", e("dns:*.a.example:443/tcp"))
	f("", e("dns:*.a.example:443/tcp", FlagWildcard))
	f("flags: [internet]", e("net:0.0.0.0/0:443/tcp"))
	f("flags: [internet]", e("net:8.8.8.8/32:53/udp"))
	f("flags: [privileged-port]", e("dns:a.example:22/tcp"))
	f("nearly every", e("dns:*:443/tcp", FlagWildcard))
	f("nearly every", e("dns:*.*:443/tcp", FlagWildcard))
	f("trust domain", e("spiffe://*/x:443/tcp", FlagWildcard))
	f("port must be a number", e("dns:a.example:*/tcp", FlagWildcard))
	f("it is no resource", e("net:10.*:443/tcp", FlagWildcard))
	f("control character", e("dns:a\x1b[31m:443/tcp"))
	f("is not one of", e("dns:a.example:443/tcp", "harmless"))
	f("direction", ScopeEntry{Resource: "dns:a.example:443/tcp", Direction: "up"})
	if err := (&Scope{}).Validate(); err == nil {
		t.Error("a scope without an identity is taken")
	}
}

// Patterns match as the slow way says: star by star, with all that each may stand for.
func TestGlob(t *testing.T) {
	var slow func(p, s string) bool
	slow = func(p, s string) bool {
		switch {
		case p == "":
			return s == ""
		case p[0] == '*':
			for n := 1; n <= len(s) && s[n-1] != '.'; n++ {
				if slow(p[1:], s[n:]) {
					return true
				}
			}
			return false
		}
		return s != "" && p[0] == s[0] && slow(p[1:], s[1:])
	}
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.StringOfN(rapid.RuneFrom([]rune("ab.*")), 0, 8, -1).Draw(t, "pattern")
		s := rapid.StringOfN(rapid.RuneFrom([]rune("ab.")), 0, 10, -1).Draw(t, "text")
		if got := glob(p, s, "."); got != slow(p, s) {
			t.Fatalf("glob(%q, %q) is %v", p, s, got)
		}
	})
}

func FuzzScopeEntry(f *testing.F) {
	for _, s := range []string{"dns:*.a.example:443/tcp", "net:::/0:1/udp", "spiffe://a/*:1/tcp", "x509://a/*:1/tcp", "*:*/*", fmt.Sprint("dns:", strings.Repeat("*", 9), ".a:1/tcp")} {
		f.Add(s)
	}
	r, err := ParseResource("dns:a.b.example:443/tcp")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := Scope{Entries: []ScopeEntry{{Resource: text, Flags: ScopeFlags}}}
		s.Allows(r)
		Dangers(text)
	})
}
