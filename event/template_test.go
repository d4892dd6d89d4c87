package event

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestIdentityTemplate(t *testing.T) {
	td, err := ParseTrustDomain("shop.example")
	if err != nil {
		t.Fatal(err)
	}
	f := func(template, want string) {
		t.Helper()
		parsed, err := ParseIdentityTemplate(template)
		if err != nil {
			t.Fatal(err)
		}
		if got := parsed.Identity(td, "shop", "db", "db-0").String(); got != want {
			t.Errorf("%s: %s, want %s", template, got, want)
		}
	}
	f(DefaultIdentityTemplate, "spiffe://shop.example/ns/shop/sa/db")
	f("spiffe://corp.example/k8s/{namespace}/{service_account}/{pod}", "spiffe://corp.example/k8s/shop/db/db-0")
	f("spiffe://{trust_domain}/cluster-1/ns-{namespace}/sa-{service_account}", "spiffe://shop.example/cluster-1/ns-shop/sa-db")
	if got := (IdentityTemplate{}).Identity(td, "shop", "db", ""); got != KubernetesIdentity(td, "shop", "db") {
		t.Errorf("the zero template gives %s", got)
	}

	bad := func(template, why string) {
		t.Helper()
		_, err := ParseIdentityTemplate(template)
		if err == nil || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", template, err, why)
		}
	}
	bad("", "does not begin with spiffe://")
	bad("spiffe://{trust_domain}", "no path")
	bad("spiffe://{trust_domain}/ns/{namespace}", "{service_account} is missing")
	bad("spiffe://{trust_domain}/{namespace}-{service_account}", "two placeholders")
	bad("spiffe://{trust_domain}/{namespace}/{service_account}/{node}", "unknown")
	bad("spiffe://{trust_domain}/{trust_domain}/{namespace}/{service_account}", "may not hold")
	bad("spiffe://Bad Domain/{namespace}/{service_account}", "trust domain")
	bad("spiffe://a/{namespace}//{service_account}", "empty")
}

// No two service accounts share an identity, whatever the template.
func TestTemplatesKeepAccountsApart(t *testing.T) {
	td, _ := ParseTrustDomain("shop.example")
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom([]string{DefaultIdentityTemplate, "spiffe://a/{namespace}/{service_account}", "spiffe://a/x-{service_account}/{namespace}.y"}).Draw(t, "template")
		template, err := ParseIdentityTemplate(text)
		if err != nil {
			t.Fatal(err)
		}
		one, other := [2]string{drawName(t, "namespace"), drawName(t, "account")}, [2]string{drawName(t, "other namespace"), drawName(t, "other account")}
		a, b := template.Identity(td, one[0], one[1], "p"), template.Identity(td, other[0], other[1], "p")
		if (a == b) != (one == other) {
			t.Fatalf("%q and %q: %s and %s", one, other, a, b)
		}
		if _, err := ParseIdentity(a.String()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTemplateMakes(t *testing.T) {
	td := domain(t, "shop.example")
	f := func(template, identity string, want bool) {
		t.Helper()
		var x IdentityTemplate
		if template != "" {
			var err error
			if x, err = ParseIdentityTemplate(template); err != nil {
				t.Fatal(err)
			}
		}
		id, err := ParseIdentity(identity)
		if err != nil {
			t.Fatal(err)
		}
		if got := x.Makes(td, id); got != want {
			t.Errorf("%q makes %s: %t, want %t", template, identity, got, want)
		}
	}
	for _, template := range []string{"", DefaultIdentityTemplate} {
		f(template, "spiffe://shop.example/ns/shop/sa/web", true)
		f(template, "spiffe://other.example/ns/shop/sa/web", false)
		f(template, "spiffe://shop.example/ns/shop/sb/web", false)
		f(template, "spiffe://shop.example/ns/shop/sa/web/x", false)
		f(template, "spiffe://shop.example/web", false)
		f(template, "x509://0123456789abcdef0123456789abcdef/CN=web", false)
	}
	const own = "spiffe://prod.example/k8s/c1-{namespace}-x/{service_account}"
	f(own, "spiffe://prod.example/k8s/c1-shop-x/web", true)
	f(own, "spiffe://prod.example/k8s/c1--x/web", false)
	f(own, "spiffe://prod.example/k8s/c2-shop-x/web", false)
	f(own, "spiffe://prod.example/k8s/c1-shop/web", false)
	f(own, "spiffe://shop.example/k8s/c1-shop-x/web", false)
}
