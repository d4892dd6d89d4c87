package bpf

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestKernelTLSAgain has a program use one SSL for many connections, with the session of the first: nothing but the SSL's being cleared tells them apart.
func TestKernelTLSAgain(t *testing.T) {
	path, err := exec.LookPath("openssl")
	if err != nil {
		lacks(t, "openssl")
	}
	_, kernelTLS := watchTLS(t)
	attachOpenSSL(t, kernelTLS, false)
	folder := t.TempDir()
	newAuthority(t).issueMany(folder, 1)
	file := filepath.Join(folder, "server-0.pem")
	certificate, err := tls.LoadX509KeyPair(file, file)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, MaxVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	const most = 40 // connections: the rest is refused
	resumed := map[string]bool{}
	served := make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() {
		defer close(served)
		defer l.Close()
		for len(resumed) < most {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s := c.(*tls.Conn)
			if err := s.HandshakeContext(ctx); err == nil {
				resumed[c.RemoteAddr().String()] = s.ConnectionState().DidResume
			} else if !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
			c.Close()
		}
	}()
	client := exec.CommandContext(ctx, path, "s_time", "-connect", l.Addr().String(), "-reuse", "-tls1_2", "-time", "30")
	client.Env = []string{"OPENSSL_CONF=/dev/null"}
	out, err := client.CombinedOutput() // it ends when it is refused
	l.Close()
	<-served
	n := 0
	for _, r := range resumed {
		if r {
			n++
		}
	}
	if n < most/2 {
		t.Fatalf("%d of %d connections were resumed; s_time: %v: %s", n, len(resumed), err, out)
	}
	var told fold
	told.take(t, kernelTLS, uint32(client.Process.Pid))
	done := map[string]int{}
	for _, s := range told.all {
		if s.done {
			done[s.bound.Local.String()]++
		}
		if full := !resumed[s.bound.Local.String()]; s.done && full != (len(s.peers) == 1) {
			t.Errorf("%v: full %v, %d peer certificates", s.bound.Local, full, len(s.peers))
		}
	}
	for address := range resumed {
		if done[address] != 1 {
			t.Errorf("%s is done %d times", address, done[address])
		}
	}
	noTLSLosses(t, kernelTLS)
}
