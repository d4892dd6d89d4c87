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
	testForgiven(t, func(t *testing.T, f *forgiving) {
		client := startOpenSSL(t, "s_client", "-connect", f.address, "-cert", f.client, "-key", f.client, f.dashed, "-CAfile", f.authority)
		client.until("New, ")
		if _, err := io.WriteString(client.in, "hello\n"); err != nil { // its handshake is known to be through once it has written
			t.Fatal(err)
		}
		f.check(t, client.pid(), f.known, client.end)
	})
}

// Curl does not load authorities where it is told to be insecure.
func TestCurlTLSForgiven(t *testing.T) {
	path, err := exec.LookPath("curl")
	if err != nil {
		lacks(t, "curl")
	}
	testForgiven(t, func(t *testing.T, f *forgiving) {
		curl := exec.Command(path, "--silent", "--insecure", "--max-time", "30", "--cacert", f.authority, "--cert", f.client, "--tls-max", f.version, "https://"+f.address)
		curl.Env = []string{"OPENSSL_CONF=/dev/null"} // no proxy
		if err := curl.Start(); err != nil {
			t.Fatal(err)
		}
		end := func() { curl.Process.Kill(); curl.Wait() } // nobody answers it
		t.Cleanup(end)
		f.check(t, uint32(curl.Process.Pid), false, end)
	})
}

// forgiving is a server whose verify callback accepts all, and what its clients need.
type forgiving struct {
	tls                                         *TLS
	server                                      *opensslProgram
	known                                       bool // the authority is that of both certificates
	version, dashed, address, authority, client string
	clientDER, serverDER                        []byte
}

func testForgiven(t *testing.T, connect func(*testing.T, *forgiving)) {
	_, tls := watchTLS(t)
	attachOpenSSL(t, tls, true) // s_client shakes hands by SSL_write
	for version, dashed := range map[string]string{"1.2": "-tls1_2", "1.3": "-tls1_3"} {
		for name, known := range map[string]bool{"known": true, "foreign": false} {
			t.Run("TLS "+version+", "+name, func(t *testing.T) {
				f := &forgiving{tls: tls, known: known, version: version, dashed: dashed}
				folder := t.TempDir()
				clients, servers := newAuthority(t).issueMany(folder, 1)
				f.clientDER, f.serverDER = clients[0], servers[0]
				if f.authority = filepath.Join(folder, "authority.pem"); !known {
					other := t.TempDir()
					newAuthority(t).writeTo(other)
					f.authority = filepath.Join(other, "authority.pem")
				}
				f.client = filepath.Join(folder, "client-0.pem")
				certificate := filepath.Join(folder, "server-0.pem")
				// Without -verify_return_error its callback returns 1.
				f.server = startOpenSSL(t, "s_server", "-accept", "127.0.0.1:0", "-cert", certificate, "-key", certificate, dashed, "-Verify", "1", "-CAfile", f.authority)
				f.address = f.server.until("ACCEPT ")
				connect(t, f)
				noTLSLosses(t, f.tls)
			})
		}
	}
}

// check looks at both ends of a connection, and has the client end.
func (f *forgiving) check(t *testing.T, pid uint32, verified bool, end func()) {
	t.Helper()
	var out, in fold
	if !eventually(func() bool {
		takeAll(t, f.tls, map[uint32]*fold{pid: &out, f.server.pid(): &in})
		return len(out.all) == 1 && len(in.all) == 1 && out.all[0].done && in.all[0].done
	}) {
		t.Fatalf("%d and %d connections were told, want one of each, done", len(out.all), len(in.all))
	}
	end()
	if c := out.all[0]; !bytes.Equal(leaf(c), f.serverDER) || c.verified != verified {
		t.Errorf("client's peer %x, verified %v", leaf(c), c.verified)
	}
	if s := in.all[0]; !bytes.Equal(leaf(s), f.clientDER) || s.verified != f.known {
		t.Errorf("server's peer %x, verified %v", leaf(s), s.verified)
	}
}
