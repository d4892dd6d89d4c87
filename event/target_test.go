package event

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseTarget(t *testing.T) {
	f := func(s, want string) {
		t.Helper()
		target, err := ParseTarget(s)
		if err != nil {
			t.Errorf("%v", err)
			return
		}
		if got := target.String(); got != want {
			t.Errorf("%s: %s, want %s", s, got, want)
		}
		if again, err := ParseTarget(target.String()); err != nil || again != target {
			t.Errorf("%s is read as %v, %v", target, again, err)
		}
	}
	f("*", "*")
	f("*:443/tcp", "*:443/tcp")
	f("*:*/udp", "*:*/udp")
	f("spiffe://shop.example/ns/shop/sa/db", "spiffe://shop.example/ns/shop/sa/db")
	f("spiffe://shop.example/ns/shop/sa/tcp", "spiffe://shop.example/ns/shop/sa/tcp") // the end is no protocol
	f("spiffe://shop.example/ns/shop/sa/db:5432/tcp", "spiffe://shop.example/ns/shop/sa/db:5432/tcp")
	f("x509://00ff/CN=a:443:5/udp", "x509://00ff/CN=a:443:5/udp")
	f("x509://00ff/CN=a:443:*", "x509://00ff/CN=a:443:*")
	f("dns:API.Example.com.", "dns:api.example.com")
	f("dns:api.example.com:443", "dns:api.example.com:443")
	f("dns:api.example.com:*/udp", "dns:api.example.com:*/udp")
	f("dns:api.example.com:*", "dns:api.example.com")
	f("svc:db.shop", "svc:db.shop")
	f("service:db.shop.svc:5432/tcp", "svc:db.shop:5432/tcp")
	f("svc:db.shop.svc.cluster.local", "svc:db.shop")
	f("net:10.1.2.3", "net:10.1.2.3/32")
	f("net:10.1.2.3:22/tcp", "net:10.1.2.3/32:22/tcp")
	f("net:10.1.2.3/8:22", "net:10.0.0.0/8:22")
	f("net:::/0", "net:::/0")
	f("net:fd00::1/128:443/tcp", "net:fd00::1/128:443/tcp")
	f("net:::ffff:10.1.2.3/104", "net:10.0.0.0/8")
	f("port:22", "port:22")
	f("port:53/udp", "port:53/udp")
}

func TestParseTargetRefuses(t *testing.T) {
	f := func(s string) {
		t.Helper()
		if target, err := ParseTarget(s); err == nil {
			t.Errorf("%q is read as %s", s, target)
		} else if strings.ContainsAny(err.Error(), "\n\x00") || len(err.Error()) > 400 {
			t.Errorf("%q: the error is not one short line: %v", s, err)
		}
	}
	for _, s := range []string{
		"", "**", "*:", "*:0", "*:65536", "*:1/icmp", "*:01", "*:+1", "port:", "port:*", "port:*/tcp", "port:22/", "dns:", "dns:.", "dns:a..b", "dns:a b", "dns:*.example.com",
		"dns:" + strings.Repeat("a", 64), "dns:" + strings.Repeat("a.", 130) + "b", "dns:a\nb", "dns:a:b", "svc:db", "svc:", "svc:a.b.c", "net:", "net:10.0.0.0/33",
		"net:fd00::1", "net:fd00::1:443/tcp", "net:fe80::1%eth0/128", "net:::ffff:10.1.2.3/90", "net:10.1.2.3/8/tcp", "spiffe://", "spiffe://a.example/x:0", "spiffe://a.example/x:", "x509://00ff/CN=a",
		"node:n1:22/tcp", "http://example.com", "10.1.2.3", strings.Repeat("x", 5000),
	} {
		f(s)
	}
}

func TestTargetCovers(t *testing.T) {
	f := func(target, resource string, want bool) {
		t.Helper()
		parsed, err := ParseTarget(target)
		if err != nil {
			t.Fatal(err)
		}
		r, err := ParseResource(resource)
		if err != nil {
			t.Fatal(err)
		}
		if parsed.Covers(r) != want {
			t.Errorf("%s covers %s: %v", target, resource, !want)
		}
	}
	f("*", "net:10.0.0.1/32:1/tcp", true)
	f("*:2", "net:10.0.0.1/32:1/tcp", false)
	f("*:*/udp", "net:10.0.0.1/32:1/tcp", false)
	f("port:1/tcp", "dns:a.b:1/tcp", true)
	f("dns:a.b", "dns:a.b:1/tcp", true)
	f("dns:a.b", "dns:A.b:1/tcp", true)
	f("dns:a.b", "dns:c.a.b:1/tcp", false)
	f("svc:db.shop", "service:db.shop.svc:1/tcp", true)
	f("svc:db.shop", "service:db.ship.svc:1/tcp", false)
	f("net:10.0.0.0/8", "net:10.1.0.0/16:1/tcp", true)
	f("net:10.1.0.0/16", "net:10.0.0.0/8:1/tcp", false)
	f("net:::/0", "net:10.1.0.0/16:1/tcp", false)
	f("net:0.0.0.0/0", "net:10.1.0.0/16:1/tcp", true)
	f("spiffe://a.example/x", "spiffe://a.example/x:1/tcp", true)
	f("spiffe://a.example/x", "spiffe://a.example/y:1/tcp", false)
	f("x509://00ff/CN=a:*", "x509://00ff/CN=a:1/tcp", true)
	if (Target{Kind: TargetAny}).Covers(Resource{}) {
		t.Error("no resource is covered")
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"*", "dns:a.b:1/tcp", "net:fd00::/8:*/udp", "net:10.1.2.3:1", "svc:a.b", "x509://00/CN=a:1", "spiffe://a.b/c:1/tcp", "port:1/udp"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target, err := ParseTarget(s)
		if err != nil {
			return
		}
		if again, err := ParseTarget(target.String()); err != nil || again != target {
			t.Fatalf("%q is %s, which is read as %v, %v", s, target, again, err)
		}
		if p := target.Prefix; target.Kind == TargetNet && (p != p.Masked() || p.Addr().Is4In6() || p == netip.Prefix{}) {
			t.Fatalf("%q: range %s", s, p)
		}
	})
}

func TestTargetOf(t *testing.T) {
	for text, want := range map[string]string{
		"dns:new.example:443/tcp":                      "dns:new.example:443/tcp",
		"service:db.shop.svc:5432/tcp":                 "svc:db.shop:5432/tcp",
		"net:10.0.0.7/32:22/tcp":                       "net:10.0.0.7/32:22/tcp",
		"spiffe://shop.example/ns/shop/sa/db:5432/tcp": "spiffe://shop.example/ns/shop/sa/db:5432/tcp",
		"node:n1:10250/tcp":                            "",
	} {
		r, err := ParseResource(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := TargetOf(r); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	if got := TargetOf(Resource{}); got != "" {
		t.Errorf("no resource is %q", got)
	}
}
