package event

import (
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"pgregory.net/rapid"
)

func domain(t testing.TB, name string) TrustDomain {
	t.Helper()
	td, err := ParseTrustDomain(name)
	if err != nil {
		t.Fatal(err)
	}
	return td
}

func TestDerivedIdentities(t *testing.T) {
	td := domain(t, "shop.example")
	for _, tc := range []struct {
		got  Identity
		want string
	}{
		{KubernetesIdentity(td, "shop", "checkout"), "spiffe://shop.example/ns/shop/sa/checkout"},
		{UnitIdentity(td, "n1", "nginx.service"), "spiffe://shop.example/node/n1/unit/nginx.service"},
		{UnitIdentity(td, "n1.example", "user@1000.service"), "spiffe://shop.example/node/n1.example/unit/user-1000.service-3b1e1096eaa8654b"},
		{CgroupIdentity(td, "n1", "/a//b/"), "spiffe://shop.example/node/n1/cgroup/a/b"},
		{CgroupIdentity(td, "n1", "/"), "spiffe://shop.example/node/n1/cgroup"},
		{ProcessIdentity(td, "n1", 1000, "/usr/bin/curl"), "spiffe://shop.example/node/n1/uid/1000/exe/curl"},
		{ProcessIdentity(td, "n1", 0, ""), "spiffe://shop.example/node/n1/uid/0/exe/unknown"},
		{ProcessIdentity(td, "n1", 0, "/bin/.."), "spiffe://shop.example/node/n1/uid/0/exe/-5ec1f7e700f37c3d"},
	} {
		if tc.got.String() != tc.want {
			t.Errorf("got %s, want %s", tc.got, tc.want)
		}
		if _, err := ParseIdentity(tc.got.String()); err != nil {
			t.Error(err)
		}
	}
	if id := KubernetesIdentity(TrustDomain{}, "a", "b"); !id.IsZero() {
		t.Errorf("without a trust domain: %s", id)
	}
}

func TestForeign(t *testing.T) {
	td := domain(t, "shop.example")
	f := func(uri, node string, want bool) {
		t.Helper()
		id, err := ParseIdentity(uri)
		if err != nil {
			t.Fatal(err)
		}
		if got := id.Foreign(node); got != want {
			t.Errorf("%s on %s: foreign is %t", uri, node, got)
		}
	}
	f("spiffe://shop.example/node/n1/unit/nginx.service", "n1", false)
	f("spiffe://shop.example/node/n1/unit/nginx.service", "n2", true)
	f("spiffe://other.example/node/n1/unit/nginx.service", "n2", true)
	f("spiffe://shop.example/node/n1", "n1", false)
	f("spiffe://shop.example/node/n10/unit/a", "n1", true)
	f("spiffe://shop.example/node", "n1", true)
	f("spiffe://shop.example/ns/node/sa/n1", "n2", false)
	f("spiffe://shop.example/nodes/n1", "n2", false)
	f("spiffe://shop.example", "n2", false)
	f("x509://0123/node/n1", "n2", false)
	for _, node := range []string{"n1", "n1.example", "..", "a b", "a-0123456789abcdef", strings.Repeat("n", maxNode)} {
		for _, id := range []Identity{
			UnitIdentity(td, node, "a b"), CgroupIdentity(td, node, "/"), CgroupIdentity(td, node, strings.Repeat("/abc", 1000)),
			ProcessIdentity(td, node, 0, "/x"),
		} {
			if id.Foreign(node) || !id.Foreign(node+"x") {
				t.Errorf("%s of node %q: foreign is %t, on another %t", id, node, id.Foreign(node), id.Foreign(node+"x"))
			}
		}
	}
}

func TestParseIdentity(t *testing.T) {
	for uri, want := range map[string]string{
		"spiffe://shop.example/ns/a/sa/b":             "",
		"spiffe://shop.example":                       "",
		"x509://0123/CN=db,O=Shop":                    "",
		"":                                            "scheme is not spiffe or x509",
		"https://shop.example/":                       "scheme is not spiffe or x509",
		"SPIFFE://shop.example/a":                     "scheme is not spiffe or x509",
		"spiffe://shop.example/":                      "trailing slash",
		"spiffe://shop.example/a/../b":                "path cannot contain",
		"spiffe://Shop.example/a":                     "trust domain characters",
		"spiffe://":                                   "trust domain is missing",
		"spiffe://shop.example/a b":                   "path segment characters",
		"x509://0123":                                 "want x509://<issuer hash>/<subject>",
		"x509:///CN=a":                                "want x509://<issuer hash>/<subject>",
		"x509://u:p@0123/CN=a":                        "want x509://<issuer hash>/<subject>",
		"x509://0123/CN=a?":                           "want x509://<issuer hash>/<subject>",
		"x509://0123/CN=a#":                           "want x509://<issuer hash>/<subject>",
		"x509://0123/\xff":                            "want x509://<issuer hash>/<subject>",
		"spiffe://a/" + strings.Repeat("b", 2048):     "longer than 2048 bytes",
		"x509://0123/CN=" + strings.Repeat("b", 2048): "longer than 2048 bytes",
	} {
		id, err := ParseIdentity(uri)
		switch {
		case want == "" && (err != nil || id.String() != uri):
			t.Errorf("%.40q: got %s, %v", uri, id, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !id.IsZero()):
			t.Errorf("%.40q: got %v, want %s", uri, err, want)
		}
	}
}

func TestIdentityDomain(t *testing.T) {
	for uri, want := range map[string]string{"": "", "spiffe://shop.example/ns/a/sa/b": "shop.example", "spiffe://shop.example": "shop.example", "x509://0123/CN=a": "0123"} {
		var id Identity
		if err := id.UnmarshalText([]byte(uri)); err != nil {
			t.Fatal(err)
		}
		if got := id.Domain(); got != want {
			t.Errorf("%q is of %q, want %q", uri, got, want)
		}
	}
}

func TestEvidenceOrder(t *testing.T) {
	want := []Evidence{EvidenceSVID, EvidenceWorkloadAPI, EvidenceKubernetes, EvidenceSystemd, EvidenceCgroup, EvidenceProcess}
	for i, e := range want {
		if got := e.Strength(); int(got) != len(want)-i {
			t.Errorf("%s is %d", e, got)
		}
	}
	if Evidence("").Strength() != 0 || Evidence("guess").Strength() != 0 {
		t.Error("what is no evidence has strength")
	}
}

// Whatever a name is, its path segment is valid, and no two names share one.
func TestPathSegmentNeverLetsTwoNamesMeet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawName(t, "a")
		// Names that are near each other: by one more character, or by being the segment of the other.
		b := rapid.OneOf(
			rapid.Custom(func(t *rapid.T) string { return drawName(t, "other") }),
			rapid.Just(pathSegment(a)),
			rapid.Just(strings.ReplaceAll(a, "/", "-")),
			rapid.Just("."+a),
			rapid.Just(a+"."),
			rapid.Just(a+"-"+shortHash(a)),
			rapid.StringN(0, 3, 6),
		).Draw(t, "b")
		for _, s := range []string{a, b} {
			if err := spiffeid.ValidatePathSegment(pathSegment(s)); err != nil {
				t.Fatalf("%q becomes %q: %v", s, pathSegment(s), err)
			}
		}
		if a != b && pathSegment(a) == pathSegment(b) {
			t.Fatalf("%q and %q meet in %q", a, b, pathSegment(a))
		}
		if a != b && NodeToken(a) == NodeToken(b) {
			t.Fatalf("%q and %q meet in %q", a, b, NodeToken(a))
		}
		if strings.ContainsAny(NodeToken(a), ".*> ") || NodeToken(a) == "" {
			t.Fatalf("%q makes no subject token: %q", a, NodeToken(a))
		}
	})
}

func TestDerivedIdentitiesAreValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := drawIdentity(t, "any")
		back, err := ParseIdentity(id.String())
		if err != nil || back != id {
			t.Fatalf("%s: %v", id, err)
		}
	})
}

// Paths that are too long are cut, and kept apart by a hash.
func TestLongPathsStayApart(t *testing.T) {
	td := domain(t, "shop.example")
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom([]string{"a/", ".../", "x.", "//", "b-", "ü"}).Draw(t, "part")
		long := strings.Repeat(part, 1500)
		a, b := CgroupIdentity(td, "n1", long+"1"), CgroupIdentity(td, "n1", long+"2")
		if a == b {
			t.Fatalf("%q meet", part)
		}
		for _, id := range []Identity{a, b} {
			if _, err := ParseIdentity(id.String()); err != nil || len(id.String()) > maxIdentity {
				t.Fatalf("%d bytes: %v", len(id.String()), err)
			}
		}
	})
}

func FuzzParseIdentity(f *testing.F) {
	for _, s := range []string{"", "spiffe://shop.example/ns/a/sa/b", "x509://0123/CN=a", "x509://[::1]/a", "x509://0123/%2f", "spiffe://a", "x509://h:1/a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseIdentity(s)
		if err != nil {
			if !id.IsZero() {
				t.Errorf("%q: an identity with the error %v", s, err)
			}
			return
		}
		text, err := id.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back Identity
		if err := back.UnmarshalText(text); err != nil || back != id || id.String() != s {
			t.Errorf("%q came back as %q: %v", s, back, err)
		}
	})
}
