package svid

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

func writePEM(t *testing.T, path string, certs ...*x509.Certificate) {
	t.Helper()
	var data []byte
	for _, c := range certs {
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Authorities come from files and from the Workload API, which also tells those of federated trust domains, and follow both. What was known stays when an
// origin goes away.
func TestAuthorities(t *testing.T) {
	shop, next, far, own := testenv.NewCA(t, "shop"), testenv.NewCA(t, "next"), testenv.NewCA(t, "far"), testenv.NewCA(t, "own")
	file := filepath.Join(t.TempDir(), "shop.pem")
	writePEM(t, file, shop.Certificate)
	json := filepath.Join(t.TempDir(), "json.json")
	data, err := spiffebundle.FromX509Authorities(spiffeid.RequireTrustDomainFromString("json.example"), []*x509.Certificate{far.Certificate}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(json, data, 0o600); err != nil {
		t.Fatal(err)
	}
	api := testenv.NewWorkloadAPI(t)
	var files []BundleFile
	for _, text := range []string{"shop.example=" + file, "json.example=" + json} {
		f, err := ParseBundleFile(text)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	a, err := NewAuthorities(AuthoritiesConfig{Socket: api.Socket, Files: files, Poll: 10 * time.Millisecond, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	judged := func(ca *testenv.CA, id string) bool {
		return a.JudgeDER([][]byte{ca.SVID(id).Certificate.Raw}, time.Now()).Verified
	}
	state := func() string { return strings.Join(append(a.TrustDomains(), a.Missing()...), ", ") }
	if !judged(shop, "spiffe://shop.example/a") || !judged(far, "spiffe://json.example/a") || judged(own, "spiffe://own.example/a") {
		t.Errorf("at first it knows %s", state())
	}
	await(t, "a word on the Workload API", func() bool { return len(a.Missing()) == 1 }, state)
	api.Start()
	api.Give(own.SVID("spiffe://own.example/agent"), []*x509.Certificate{own.Certificate}, map[string][]*x509.Certificate{"spiffe://far.example": {far.Certificate}})
	await(t, "the Workload API's", func() bool {
		return judged(own, "spiffe://own.example/a") && judged(far, "spiffe://far.example/a") && a.Missing() == nil
	}, state)
	if got := a.TrustDomains(); !slices.Equal(got, []string{"far.example", "json.example", "own.example", "shop.example"}) {
		t.Errorf("it knows %v", got)
	}
	if judged(own, "spiffe://shop.example/a") {
		t.Error("one trust domain's authority stands for another's")
	}

	writePEM(t, file+".new", shop.Certificate, next.Certificate)
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	await(t, "the next authority", func() bool { return judged(next, "spiffe://shop.example/a") && judged(shop, "spiffe://shop.example/a") }, state)
	if err := os.WriteFile(file, []byte("-----BEGIN CERT"), 0o600); err != nil {
		t.Fatal(err)
	}
	api.Stop()
	await(t, "both to be missed", func() bool { return len(a.Missing()) == 2 }, state)
	if !judged(next, "spiffe://shop.example/a") || !judged(own, "spiffe://own.example/a") {
		t.Error("what was known is forgotten")
	}
	writePEM(t, file, next.Certificate)
	await(t, "the mended file", func() bool { return len(a.Missing()) == 1 && !judged(shop, "spiffe://shop.example/a") }, state)
}

func TestBundleFilesThatAreRefused(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		b, err := ParseBundleFile(text)
		if err == nil {
			_, err = NewAuthorities(AuthoritiesConfig{Files: []BundleFile{b}})
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.ContainsRune(err.Error(), '\n') {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	jwt := filepath.Join(t.TempDir(), "jwt.json")
	if err := os.WriteFile(jwt, []byte(`{"keys":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	f("/etc/shop.pem", "such as shop.example=")
	f("Shop Example=/etc/shop.pem", "such as shop.example=")
	f("shop.example=", "such as shop.example=")
	f("shop.example=/no/such/file", "authorities of shop.example")
	f("shop.example="+empty, "no PEM certificate")
	f("shop.example="+jwt, "no X.509 authority")
	if _, err := NewAuthorities(AuthoritiesConfig{Socket: "http://x"}); err == nil {
		t.Error("a web address is taken for a Workload API")
	}
}
