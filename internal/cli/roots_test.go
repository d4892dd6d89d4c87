package cli

import (
	"crypto/x509"
	"os"
	"os/exec"
	"testing"
)

// TestRoots runs this program as where there are no certificate files: it knows public authorities all the same.
func TestRoots(t *testing.T) {
	if os.Getenv("SSL_CERT_FILE") == "/nonexistent" {
		pool, err := x509.SystemCertPool()
		if err != nil || pool.Equal(x509.NewCertPool()) {
			t.Errorf("no authority is known: %v", err)
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestRoots$")
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE=/nonexistent", "SSL_CERT_DIR=/nonexistent")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
