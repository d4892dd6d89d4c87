package tlsstacks

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"
)

// nginxStack is nginx as a server, and as a proxy that presents a certificate to whom it passes requests on to.
func nginxStack() *Stack {
	return &Stack{
		Name: "nginx", Probed: "libssl", Tells: All, Resumes: both, ClientInsecure: true, TakesAnything: true, needs: []string{nginx},
		Listen: nginxServer, Start: nginxProxy,
	}
}

const nginx = "/usr/sbin/nginx"

var (
	//go:embed programs/nginx-server.conf
	nginxServerConf string
	//go:embed programs/nginx-proxy.conf
	nginxProxyConf string
)

// runNginx runs nginx with its files in dir.
func runNginx(t testing.TB, dir, conf string, data any) *program {
	t.Helper()
	var text strings.Builder
	functions := template.FuncMap{"protocol": func(version string) string { return "TLSv" + version }}
	if err := template.Must(template.New("").Funcs(functions).Parse(conf)).Execute(&text, data); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return run(t, "nginx", exec.Command(nginx, "-p", dir, "-c", file, "-e", "stderr"))
}

type nginxListen struct {
	End
	At netip.AddrPort
}

// freePorts are ports that nobody has on an address of this process's own: nginx takes no port 0.
func freePorts(t testing.TB, n int) (ports []netip.AddrPort) {
	t.Helper()
	pid := os.Getpid()
	for range n {
		l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, byte(64+pid>>16), byte(pid>>8), byte(pid))})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // all of them at once, so that none comes twice
		ports = append(ports, l.Addr().(*net.TCPAddr).AddrPort())
	}
	return ports
}

func nginxServer(t testing.TB, ends []End) *Server {
	t.Helper()
	server := &Server{name: "nginx", Addresses: freePorts(t, len(ends))}
	var listens []nginxListen
	own := map[string]string{}
	for i, end := range ends {
		listens = append(listens, nginxListen{end, server.Addresses[i]})
		own[end.ID] = leafOf(t, end.Cert)
	}
	p := runNginx(t, t.TempDir(), nginxServerConf, listens)
	server.PID = p.cmd.Process.Pid
	await(t, p, func() error { return connects("tcp", server.Addresses[len(ends)-1].String()) })
	server.truth = func(t testing.TB) Truth {
		t.Helper()
		var said struct {
			Truth
			Protocol, Reused, Certificate, Status string
		}
		p.read(t, &said)
		truth := said.Truth
		truth.Version, truth.Resumed, truth.Own = strings.TrimPrefix(said.Protocol, "TLSv"), said.Reused == "r", own[said.ID]
		if said.Status != "200" {
			truth.Error = "status " + said.Status
		}
		if text, err := url.PathUnescape(said.Certificate); err != nil {
			t.Fatalf("nginx says %q: %v", said.Certificate, err)
		} else if text != "" {
			truth.Peer = leafOfPEM(t, []byte(text))
		}
		return truth
	}
	return server
}

// nginxProxy keeps an upstream for each address, since nginx keeps sessions by upstream.
func nginxProxy(t testing.TB, ends []End) *Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "ambit-nginx-") // a unix socket's path is short; the test's own folder may not be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ports := map[string]string{}
	for _, end := range ends {
		ports[port(end.Address)] = end.Address
	}
	p := runNginx(t, dir, nginxProxyConf, map[string]any{
		"Dir": dir, "Upstreams": ports, "CA": ends[0].CA, "Versions": []string{"1.2", "1.3"},
		"Verify": map[string]string{"verify": "on", "any": "off"}, "Reuse": map[string]string{"once": "off", "again": "on"},
	})
	ask := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, strings.TrimSuffix(address, ":80")))
	}}}
	await(t, p, func() error { return connects("unix", filepath.Join(dir, "1.3-verify-once")) }) // the last one
	return &Client{PID: p.cmd.Process.Pid, dial: func(t testing.TB, ends []End) []Truth {
		return each(ends, len(ends), func(end End) (Truth, error) {
			socket := end.Version
			if end.Insecure {
				socket += "-any"
			} else {
				socket += "-verify"
			}
			if end.Session == "" {
				socket += "-once"
			} else {
				socket += "-again"
			}
			arguments := url.Values{"port": {port(end.Address)}}
			// nginx takes arguments as they stand, and in paths no character needs an escape.
			target := "http://" + socket + "/?" + arguments.Encode() + "&sni=" + end.SNI + "&cert=" + end.Cert + "&key=" + end.Key
			answer, err := ask.Get(target)
			if err != nil {
				return Truth{}, err
			}
			defer answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				return Truth{}, fmt.Errorf("nginx answers %s: %s", answer.Status, p.errors)
			}
			return Truth{}, nil
		})
	}}
}

// await asks until the program has come so far.
func await(t testing.TB, p *program, ask func() error) {
	t.Helper()
	late := time.After(patience)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for err := ask(); err != nil; err = ask() {
		select {
		case <-late:
			t.Fatalf("%s is not ready: %v: %s", p.name, err, p.errors)
		case _, ok := <-p.lines:
			if !ok {
				t.Fatalf("%s ended: %s", p.name, p.errors)
			}
		case <-again.C:
		}
	}
}

func connects(network, address string) error {
	c, err := net.Dial(network, address)
	if err != nil {
		return err
	}
	return c.Close()
}

func port(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}
