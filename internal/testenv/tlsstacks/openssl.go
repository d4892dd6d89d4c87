package tlsstacks

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// opensslStack is `openssl s_client` and `s_server`: a process for each connection, and one for each end that listens.
func opensslStack() *Stack {
	return &Stack{
		Name: "openssl", Probed: "libssl", Thorough: true, Resumes: both, ClientInsecure: true, TakesAnything: true, OffersALPN: true, OneByOne: true, needs: []string{"openssl"},
		Listen: func(t testing.TB, ends []End) *Server {
			t.Helper()
			server := &Server{name: "openssl s_server"}
			for _, end := range ends {
				p := run(t, server.name, exec.Command("openssl", serverArgs(end)...))
				at, err := accepts(p.line(t))
				for err != nil {
					at, err = accepts(p.line(t))
				}
				go func() {
					for range p.lines { // it says what it wants
					}
				}()
				server.PID = p.cmd.Process.Pid
				server.Addresses = append(server.Addresses, at)
			}
			return server
		},
		Start: func(t testing.TB, _ []End) *Client {
			dir := t.TempDir()
			return &Client{dial: func(t testing.TB, ends []End) []Truth {
				return each(ends, 32, func(end End) (Truth, error) { return Truth{}, clientOnce(end, dir) })
			}}
		},
	}
}

// accepts reads where the server listens, which it says after other things.
func accepts(line []byte) (netip.AddrPort, error) {
	return netip.ParseAddrPort(strings.TrimPrefix(strings.TrimSpace(string(line)), "ACCEPT "))
}

func serverArgs(end End) []string {
	args := []string{"s_server", "-accept", "127.0.0.1:0", "-cert", end.Cert, "-cert_chain", end.Cert, "-key", end.Key, "-www"}
	args = append(args, openSSLVersion(end))
	if end.ALPN != "" {
		args = append(args, "-alpn", end.ALPN)
	}
	if end.CA != "" {
		args = append(args, "-CAfile", end.CA, "-Verify", "3")
		if !end.Insecure {
			args = append(args, "-verify_return_error")
		}
	}
	return args
}

func openSSLVersion(end End) string { return "-tls" + strings.Replace(end.Version, ".", "_", 1) }

func clientOnce(end End, dir string) error {
	args := []string{"s_client", "-connect", end.Address, "-servername", end.SNI, openSSLVersion(end), "-ign_eof", "-CAfile", end.CA}
	if !end.Insecure {
		args = append(args, "-verify_return_error", "-verify_hostname", end.SNI)
	}
	if end.ALPN != "" {
		args = append(args, "-alpn", end.ALPN)
	}
	if end.Cert != "" {
		args = append(args, "-cert", end.Cert, "-cert_chain", end.Cert, "-key", end.Key)
	}
	if end.Session != "" {
		file := filepath.Join(dir, end.Session)
		if _, err := os.Stat(file); err == nil {
			args = append(args, "-sess_in", file)
		}
		args = append(args, "-sess_out", file)
	}
	cmd := exec.Command("openssl", args...)
	cmd.Stdin = strings.NewReader("GET / HTTP/1.1\r\nHost: " + end.SNI + "\r\nConnection: close\r\n\r\n")
	out, err := output(cmd)
	if err == nil && !bytes.Contains(out, []byte("HTTP/1.1 200")) {
		err = errors.New("no answer")
	}
	return err
}
