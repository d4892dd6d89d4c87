package bpf

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

//go:embed testdata/handshakes.py
var handshakes []byte

// An end is what one end of a connection knew of it, or what was told of one.
type end struct {
	Role          string
	Local, Remote uint16
	Peer          string // SHA-256
	Own           int    // which client
	ALPN          *string
	Resumed       bool
}

// again says whether an address was given to more than one connection.
func (f *fold) again() bool {
	known := map[uint64]bool{}
	for _, s := range f.all {
		if known[s.address] {
			return true
		}
		known[s.address] = true
	}
	return false
}

// runHandshakes runs Python's ssl and gives what its ends knew.
func runHandshakes(t testing.TB, tls *TLS, f *fold, how, folder string, count int, version string) (ends []end) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		lacks(t, "python3")
	}
	script := filepath.Join(folder, "handshakes.py")
	if err := os.WriteFile(script, handshakes, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, script, how, folder, strconv.Itoa(count), version)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer stop.Stop()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var e end
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Errorf("%s: %v", lines.Text(), err)
		}
		ends = append(ends, e)
		f.take(t, tls, uint32(cmd.Process.Pid))
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s: %v", how, err)
	}
	f.take(t, tls, uint32(cmd.Process.Pid))
	return ends
}

// check holds what was told against what the ends knew.
func (f *fold) check(t *testing.T, k *Kernel, ends []end, clients, servers [][]byte) {
	t.Helper()
	of := map[[2]uint16]*seen{}
	for _, s := range f.all {
		if s.bound.Remote.IsValid() {
			of[[2]uint16{s.bound.Local.Port(), s.bound.Remote.Port()}] = s
		}
	}
	owns := map[uint16]int{} // by the client's port
	for _, e := range ends {
		if e.Role == "client" {
			owns[e.Local] = e.Own
		}
	}
	for _, e := range ends {
		name := fmt.Sprintf("%s %d->%d", e.Role, e.Local, e.Remote)
		s := of[[2]uint16{e.Local, e.Remote}]
		if s == nil {
			t.Errorf("%s was not told", name)
			continue
		}
		peer, own := e.Peer, fingerprint(servers[owns[e.Remote]%len(servers)])
		if e.Role == "client" {
			own = fingerprint(clients[e.Own])
		}
		switch {
		case !e.Resumed:
			if len(s.peers) == 0 || fingerprint(s.peers[0]) != peer || fingerprint(s.own) != own || !s.verified {
				t.Errorf("%s: %d peer certificates of %v, own of %v, verified %v", name, len(s.peers), s.peers, s.own, s.verified)
			}
		case e.Role == "server":
			if !s.resumed || fingerprint(s.session) != peer || s.peers != nil {
				t.Errorf("%s: session is of %d bytes, resumed %v, %d peers", name, len(s.session), s.resumed, len(s.peers))
			}
		default:
			if s.resumed || s.peers != nil {
				t.Errorf("%s: resumed %v, %d peers", name, s.resumed, len(s.peers))
			}
		}
		if !s.done || e.ALPN != nil && s.alpn != *e.ALPN {
			t.Errorf("%s: done %v, ALPN %q", name, s.done, s.alpn)
		}
		f.checkEdge(t, k, name, e, s)
	}
}

func (f *fold) checkEdge(t *testing.T, k *Kernel, name string, e end, s *seen) {
	t.Helper()
	edge, ok, err := k.Edge(s.bound.Edge)
	if err != nil {
		t.Fatal(err)
	}
	service := e.Remote
	if e.Role == "server" {
		service = e.Local
	}
	if !ok || edge.Port != service || edge.Inbound != (e.Role == "server") || edge.Cgroup != s.bound.Cgroup || s.bound.Cookie == 0 {
		t.Errorf("%s: bound to edge %+v, cookie %d", name, edge, s.bound.Cookie)
	}
}

func TestPythonTLS(t *testing.T) {
	f := func(how string, count int, version string) {
		t.Run(fmt.Sprintf("%s/%s", how, version), func(t *testing.T) {
			k, tls := watchTLS(t)
			attachOpenSSL(t, tls, false)
			folder := t.TempDir()
			clients, servers := newAuthority(t).issueMany(folder, count)
			var told fold
			ends := runHandshakes(t, tls, &told, how, folder, count, version)
			want := 2 * count
			if how == "resumed" {
				want *= 2
			}
			if len(ends) != want {
				t.Fatalf("%d ends were told by the program, want %d", len(ends), want)
			}
			if how == "resumed" { // all calls are of one name
				servers = servers[:1]
			}
			told.check(t, k, ends, clients, servers)
			if how == "again" && !told.again() {
				t.Error("no address was given again: it proves nothing")
			}
			noTLSLosses(t, tls)
		})
	}
	for _, version := range []string{"1.2", "1.3"} {
		f("blocking", 3, version)
		f("nonblocking", 3, version)
		f("resumed", 2, version)
		f("again", 40, version)
	}
	f("blocking", 200, "1.3")
	f("nonblocking", 200, "1.2")
}

// hearHellos gives the socket's cookie by the random of each hello that went out or in while f ran. It reads all the time: whoever else shakes hands on
// this machine is heard, too, and would fill the ring.
func hearHellos(t *testing.T, k *Kernel, f func()) map[string]uint64 {
	t.Helper()
	wire := map[string]uint64{}
	hear := func() {
		for h, err := range k.Hellos() {
			if err != nil {
				t.Error(err)
				return
			}
			if len(h.Payload) > 43 {
				wire[fmt.Sprint(h.Out, string(h.Payload[11:43]))] = h.Cookie
			}
		}
	}
	over, heard := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(heard)
		for poll := time.NewTicker(5 * time.Millisecond); ; {
			select {
			case <-poll.C:
				hear()
			case <-over:
				hear()
				return
			}
		}
	}()
	defer func() {
		close(over)
		<-heard
	}()
	f()
	return wire
}

// Who carries the bytes apart from the handshake has its sockets found by the hello: on the wire it has the same random.
func TestPythonTLSInMemory(t *testing.T) {
	for _, version := range []string{"1.2", "1.3"} {
		t.Run(version, func(t *testing.T) {
			const count = 26
			k, tls := watchTLS(t)
			attachOpenSSL(t, tls, true)
			folder := t.TempDir()
			clients, servers := newAuthority(t).issueMany(folder, count)
			var told fold
			wire := hearHellos(t, k, func() { runHandshakes(t, tls, &told, "memory", folder, count, version) })
			byCookie := map[uint64]*seen{}
			for _, s := range told.all {
				byCookie[wire[fmt.Sprint(true, string(s.random))]] = s
			}
			pairs := 0
			for _, c := range told.all {
				if c.bound.Cookie != 0 {
					t.Errorf("a connection in memory was bound to %v", c.bound.Remote)
				}
				if !c.client {
					continue
				}
				s := byCookie[wire[fmt.Sprint(false, string(c.random))]]
				if s == nil || s.client || len(c.peers) == 0 || len(s.peers) == 0 {
					t.Errorf("the other end of %x was not found", c.random)
					continue
				}
				pairs++
				if !bytes.Equal(s.peers[0], c.own) || !bytes.Equal(s.own, c.peers[0]) || !s.done || !c.done || !s.verified || !c.verified {
					t.Errorf("%x: the ends differ: %v %v", c.random, s, c)
				}
				i := slices.IndexFunc(clients, func(der []byte) bool { return bytes.Equal(der, c.own) })
				if i < 0 || !bytes.Equal(servers[i], c.peers[0]) {
					t.Errorf("%x: certificates of client %d are not those of its connection", c.random, i)
				}
			}
			if pairs != count {
				t.Errorf("%d pairs were told, want %d", pairs, count)
			}
			noTLSLosses(t, tls)
		})
	}
}

// What is too long is cut and counted, and does no harm to others.
func TestPythonTLSLongCertificate(t *testing.T) {
	k, tls := watchTLS(t)
	attachOpenSSL(t, tls, false)
	folder := t.TempDir()
	a := newAuthority(t)
	clients, servers := a.issueMany(folder, 2)
	servers[1] = a.issue(folder, "server-1", 5000)
	var told fold
	ends := runHandshakes(t, tls, &told, "blocking", folder, 2, "1.3")
	cut := 0
	for _, s := range told.all {
		for _, der := range append(slices.Clip(s.peers[:min(1, len(s.peers))]), s.own) {
			if len(der) == 4096 && bytes.HasPrefix(servers[1], der) {
				cut++
			}
		}
	}
	losses, err := tls.Losses()
	if err != nil {
		t.Fatal(err)
	}
	if cut != 2 || losses["tls-certificate-cut"] != 2 {
		t.Errorf("%d certificates are cut, %d were counted, want 2", cut, losses["tls-certificate-cut"])
	}
	servers[1] = servers[1][:4096]
	for i := range ends {
		if len(ends) == 4 && ends[i].Role == "client" && ends[i].Own == 1 {
			ends[i].Peer = fingerprint(servers[1])
		}
	}
	told.check(t, k, ends, clients, servers)
}

// A process that ends within a handshake leaves nothing that others could be taken for.
func TestPythonTLSDiesInHandshake(t *testing.T) {
	k, tls := watchTLS(t)
	attachOpenSSL(t, tls, false)
	folder := t.TempDir()
	clients, servers := newAuthority(t).issueMany(folder, 3)
	var told fold
	for range 3 {
		runHandshakes(t, tls, &told, "dies", folder, 1, "1.3")
	}
	for _, s := range told.all {
		if s.done {
			t.Errorf("a handshake that never ended is done: %+v", s)
		}
	}
	if len(told.all) == 0 {
		t.Error("nothing was told of those that died: it proves nothing")
	}
	told = fold{}
	told.check(t, k, runHandshakes(t, tls, &told, "blocking", folder, 3, "1.3"), clients, servers)
	noTLSLosses(t, tls)
}
