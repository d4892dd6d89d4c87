package bpf

import (
	"bytes"
	"io"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestKernelTLSForgiven connects programs that go on whatever is wrong with their peer's certificate. What they found of it is told all the same.
func TestKernelTLSForgiven(t *testing.T) {
	for _, version := range []string{"1.2", "1.3"} {
		for name, known := range map[string]bool{"known": true, "foreign": false} {
			t.Run("TLS "+version+", "+name, func(t *testing.T) { testForgiven(t, version, known) })
		}
	}
}

func testForgiven(t *testing.T, version string, known bool) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		lacks(t, "curl")
	}
	_, tls := watchTLS(t)
	attachOpenSSL(t, tls, true) // s_client handshakes by SSL_write
	folder := t.TempDir()
	ours := newAuthority(t)
	clients, servers := ours.issueMany(folder, 1)
	authority, dashed := filepath.Join(folder, "authority.pem"), map[string]string{"1.2": "-tls1_2", "1.3": "-tls1_3"}[version]
	if !known {
		other := t.TempDir()
		newAuthority(t).writeTo(other)
		authority = filepath.Join(other, "authority.pem")
	}
	file := func(name string) string { return filepath.Join(folder, name) }
	// Its callback accepts all where -verify_return_error is not said.
	server := startOpenSSL(t, "s_server", "-accept", "127.0.0.1:0", "-cert", file("server-0.pem"), "-key", file("server-0.pem"), dashed, "-Verify", "1", "-CAfile", authority)
	address := server.until("ACCEPT ")
	var in fold
	check := func(client string, pid uint32, verifies bool, end func()) {
		t.Helper()
		var out fold
		before := len(in.all)
		if !eventually(func() bool {
			takeAll(t, tls, map[uint32]*fold{pid: &out, server.pid(): &in})
			return len(out.all) == 1 && len(in.all) == before+1 && out.all[0].done && in.all[before].done
		}) {
			t.Fatalf("%s: of it %d, of the server %d connections were told, want one of each, done", client, len(out.all), len(in.all)-before)
		}
		if c := out.all[0]; !bytes.Equal(leaf(c), servers[0]) || c.verified != (known && verifies) {
			t.Errorf("%s: peer %x, verified %v", client, leaf(c), c.verified)
		}
		if s := in.all[before]; !bytes.Equal(leaf(s), clients[0]) || s.verified != known {
			t.Errorf("%s: server's peer %x, verified %v", client, leaf(s), s.verified)
		}
		end()
		if !eventually(func() bool { in.take(t, tls, server.pid()); return in.all[before].freed }) {
			t.Fatalf("%s: the server's connection is not freed", client)
		}
	}
	client := startOpenSSL(t, "s_client", "-connect", address, "-cert", file("client-0.pem"), "-key", file("client-0.pem"), dashed, "-CAfile", authority)
	client.until("New, ")
	if _, err := io.WriteString(client.in, "hello\n"); err != nil { // its handshake is known to be through once it has written
		t.Fatal(err)
	}
	check("s_client", client.pid(), true, client.end)

	insecure := exec.Command(curl, "--silent", "--insecure", "--max-time", "30", "--cacert", authority, "--cert", file("client-0.pem"), "--tls-max", version, "https://"+address)
	insecure.Env = []string{"OPENSSL_CONF=/dev/null"}
	if err := insecure.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() { insecure.Process.Kill(); insecure.Wait() } // nobody answers it
	t.Cleanup(end)
	check("curl --insecure", uint32(insecure.Process.Pid), false, end) // it does not load authorities, whatever it is told
	noTLSLosses(t, tls)
}
