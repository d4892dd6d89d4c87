package bpf

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An opensslProgram is openssl s_server or s_client, at work on one connection at a time.
type opensslProgram struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

func startOpenSSL(t testing.TB, arguments ...string) *opensslProgram {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		lacks(t, "openssl")
	}
	p := &opensslProgram{t: t, cmd: exec.Command(path, arguments...)}
	p.cmd.Env = append(os.Environ(), "OPENSSL_CONF=/dev/null")
	var errs bytes.Buffer
	p.cmd.Stderr = &errs
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(out)
	stop := time.AfterFunc(time.Minute, func() { p.cmd.Process.Kill() })
	t.Cleanup(func() {
		stop.Stop()
		if p.cmd.ProcessState == nil {
			p.cmd.Process.Kill()
			p.cmd.Wait()
		}
		if t.Failed() {
			t.Logf("openssl %s: %s", arguments[0], errs.String())
		}
	})
	return p
}

// until reads what it says until a line that begins so, and gives the rest of that.
func (p *opensslProgram) until(begin string) string {
	p.t.Helper()
	for p.lines.Scan() {
		if rest, ok := strings.CutPrefix(p.lines.Text(), begin); ok {
			return rest
		}
	}
	p.t.Fatalf("openssl ended before it said %q", begin)
	return ""
}

// end has a client go.
func (p *opensslProgram) end() {
	p.t.Helper()
	if _, err := io.WriteString(p.in, "Q\n"); err != nil {
		p.t.Fatal(err)
	}
	for p.lines.Scan() {
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("openssl: %v", err)
	}
}

func (p *opensslProgram) pid() uint32 { return uint32(p.cmd.Process.Pid) }

// TestKernelOpenSSL connects two programs: once fully, and once more with the session of before. What watches is loaded once for all cases, which takes
// an emulated machine longer than the rest; and not again as kernels without attach cookies need it, where this kernel is one.
func TestKernelOpenSSL(t *testing.T) {
	watch := func(load func(*testing.T) (*Kernel, *TLS)) (*TLS, func(version string, mutual bool, name string)) {
		k, tls := load(t)
		attachOpenSSL(t, tls, true) // s_client handshakes by SSL_write
		return tls, func(version string, mutual bool, name string) {
			t.Run(name, func(t *testing.T) { testOpenSSL(t, k, tls, version, mutual) })
		}
	}
	tls, f := watch(watchTLS)
	f("1_2", true, "TLS 1.2, mutual")
	f("1_3", true, "TLS 1.3, mutual")
	f("1_3", false, "TLS 1.3")
	if tls.cookies {
		_, f = watch(watchOldTLS)
		f("1_3", true, "TLS 1.3, mutual, programs of its own for each target")
	}
}

func testOpenSSL(t *testing.T, k *Kernel, tls *TLS, version string, mutual bool) {
	folder := t.TempDir()
	clients, servers := newAuthority(t).issueMany(folder, 1)
	file := func(name string) string { return filepath.Join(folder, name) }
	common := []string{"-tls" + version, "-CAfile", file("authority.pem"), "-verify_return_error", "-alpn", "one"}
	serve := append([]string{"s_server", "-accept", "127.0.0.1:0", "-cert", file("server-0.pem"), "-key", file("server-0.pem")}, common...)
	if mutual {
		serve = append(serve, "-Verify", "2")
	}
	server := startOpenSSL(t, serve...)
	address := server.until("ACCEPT ")
	connect := append([]string{"s_client", "-connect", address, "-servername", "server-0.test"}, common...)
	if mutual {
		connect = append(connect, "-cert", file("client-0.pem"), "-key", file("client-0.pem"))
	}
	for _, resumed := range []bool{false, true} {
		session := "-sess_out"
		if resumed {
			session = "-sess_in"
		}
		client := startOpenSSL(t, append(connect, session, file("session"))...)
		said := "New, "
		if resumed {
			said = "Reused, "
		}
		client.until(said)
		if _, err := io.WriteString(client.in, "hello\n"); err != nil { // its handshake is known to be through once it has written
			t.Fatal(err)
		}
		var ours, theirs fold
		come := func(what string, yes func(c, s *seen) bool) {
			t.Helper()
			if !eventually(func() bool {
				takeAll(t, tls, map[uint32]*fold{client.pid(): &ours, server.pid(): &theirs})
				return len(ours.all) == 1 && len(theirs.all) == 1 && yes(ours.all[0], theirs.all[0])
			}) {
				t.Errorf("they are not %s: %d of %d connections", what, len(ours.all), len(theirs.all))
			}
		}
		come("done", func(c, s *seen) bool {
			session, err := os.ReadFile(file("session"))
			return c.done && s.done && err == nil && bytes.HasSuffix(session, []byte("-----END SSL SESSION PARAMETERS-----\n"))
		})
		client.end()
		come("freed", func(c, s *seen) bool { return c.freed && s.freed })
		if len(ours.all) != 1 || len(theirs.all) != 1 {
			t.Fatalf("%d and %d connections were told, want one of each", len(ours.all), len(theirs.all))
		}
		c, s := ours.all[0], theirs.all[0]
		if c.bound.Remote.String() != address || s.bound.Local.String() != address || c.bound.Local != s.bound.Remote || c.bound.Local.Addr().String() != "127.0.0.1" {
			t.Errorf("bound are %v -> %v and %v -> %v", c.bound.Local, c.bound.Remote, s.bound.Local, s.bound.Remote)
		}
		e := end{Role: "client", Local: c.bound.Local.Port(), Remote: c.bound.Remote.Port()}
		ours.checkEdge(t, k, "client", e, c)
		e = end{Role: "server", Local: s.bound.Local.Port(), Remote: s.bound.Remote.Port()}
		theirs.checkEdge(t, k, "server", e, s)
		var clientsPeers, clientsOwn, serversPeers, serversOwn, serversSession []byte
		switch {
		case resumed && mutual:
			serversSession = clients[0]
		case !resumed:
			clientsPeers, serversOwn = servers[0], servers[0]
			if mutual {
				serversPeers, clientsOwn = clients[0], clients[0]
			}
		}
		for name, is := range map[string][2][]byte{
			"client's peer": {leaf(c), clientsPeers}, "client's own": {c.own, clientsOwn}, "server's peer": {leaf(s), serversPeers}, "server's own": {s.own, serversOwn},
			"server's session": {s.session, serversSession},
		} {
			if !bytes.Equal(is[0], is[1]) {
				t.Errorf("%s, resumed %v: %x, want %x", name, resumed, is[0], is[1])
			}
		}
		if !c.done || !s.done || c.alpn != "one" || s.resumed != resumed || c.verified == resumed || s.verified != (mutual && !resumed) || !c.freed || !s.freed {
			t.Errorf("resumed %v: client done %v, freed %v, verified %v, ALPN %q; server done %v, freed %v, verified %v, resumed %v", resumed,
				c.done, c.freed, c.verified, c.alpn, s.done, s.freed, s.verified, s.resumed)
		}
	}
	noTLSLosses(t, tls)
}

func leaf(s *seen) []byte {
	if len(s.peers) == 0 {
		return nil
	}
	return s.peers[0]
}
