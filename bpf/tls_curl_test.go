package bpf

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// curl reads its authorities while it shakes hands: those are nobody's certificates.
func TestCurlTLS(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		lacks(t, "curl")
	}
	_, tls := watchTLS(t)
	attachOpenSSL(t, tls, false)
	folder := t.TempDir()
	_, servers := newAuthority(t).issueMany(folder, 1)
	bundle := filepath.Join(folder, "authority.pem")
	authorities, err := os.ReadFile(bundle)
	if err != nil {
		t.Fatal(err)
	}
	for range 40 {
		other := t.TempDir()
		newAuthority(t).writeTo(other)
		b, err := os.ReadFile(filepath.Join(other, "authority.pem"))
		if err != nil {
			t.Fatal(err)
		}
		authorities = append(b, authorities...)
	}
	if err := os.WriteFile(bundle, authorities, 0o600); err != nil {
		t.Fatal(err)
	}
	certificate := filepath.Join(folder, "server-0.pem")
	server := startOpenSSL(t, "s_server", "-accept", "127.0.0.1:0", "-cert", certificate, "-key", certificate, "-www")
	address := server.until("ACCEPT ")
	cmd := exec.Command(curl, "--silent", "--show-error", "--fail", "--max-time", "30", "--cacert", bundle, "--connect-to", "::"+address, "https://server-0.test/")
	cmd.Env = []string{"OPENSSL_CONF=/dev/null"} // no proxy
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("curl: %v: %s", err, out)
	}
	var told fold
	told.take(t, tls, uint32(cmd.Process.Pid))
	if len(told.all) != 1 {
		t.Fatalf("%d connections were told, want one", len(told.all))
	}
	s := told.all[0]
	if len(s.peers) != 1 || !bytes.Equal(s.peers[0], servers[0]) || s.own != nil || !s.verified || !s.done || s.bound.Remote.String() != address {
		t.Errorf("%d peer certificates, own %x, verified %v, done %v, bound to %v", len(s.peers), s.own, s.verified, s.done, s.bound.Remote)
	}
	noTLSLosses(t, tls)
}
