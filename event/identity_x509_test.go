package event

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCertificateIdentity(t *testing.T) {
	issuer := []byte("\x30\x0d\x31\x0b")
	f := func(issuer []byte, subject, want string) {
		t.Helper()
		if got := CertificateIdentity(issuer, subject).String(); got != want {
			t.Errorf("%q by %x: %s, want %s", subject, issuer, got, want)
		}
	}
	const by = "x509://9afe9f2a564a55c34f43d29cdfe575d7/"
	f(nil, "CN=web", "")
	f(issuer, "", "")
	f(issuer, "CN=web,O=Shop", by+"CN=web%2CO=Shop")
	f(issuer, "CN=a/b?c#d e%", by+"CN=a%2Fb%3Fc%23d%20e%25")
	f(issuer, "CN=é", by+"CN=%C3%A9")
	f(issuer, ".", by+".-cdb4ee2aea69cc6a")
	f(issuer, "CN=\xff", by+"CN=%FF")
	f(issuer, "CN=x-0123456789abcdef", by+"CN=x-0123456789abcdef-"+shortHash("CN=x-0123456789abcdef"))

	long := CertificateIdentity(issuer, "CN="+strings.Repeat("ß", 2000))
	if other := CertificateIdentity(issuer, "CN="+strings.Repeat("ß", 2001)); long == other {
		t.Error("two long subjects are one identity")
	}
	if a, b := CertificateIdentity(issuer, "CN=web"), CertificateIdentity(issuer[:3], "CN=web"); a == b || a.Domain() == b.Domain() {
		t.Error("two issuers' certificates are one identity")
	}
}

// Whatever a certificate says, its identity is valid, bounded, and its own.
func TestCertificateIdentityIsValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 1500), func(b []byte) string { return string(b) }),
			rapid.StringMatching(`[.%-]{0,3}[a-f0-9]{0,20}`))
		issuer := rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "issuer")
		a, b := texts.Draw(t, "subject"), texts.Draw(t, "other subject")
		id := CertificateIdentity(issuer, a)
		if a == "" {
			if !id.IsZero() {
				t.Fatalf("an empty subject is %s", id)
			}
			return
		}
		if parsed, err := ParseIdentity(id.String()); err != nil || parsed != id {
			t.Fatalf("%q is %q, which is parsed as %q: %v", a, id, parsed, err)
		}
		if a != b && id == CertificateIdentity(issuer, b) {
			t.Fatalf("%q and %q are both %s", a, b, id)
		}
	})
}
