package tlsprobe

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// goPrograms are what the live tests watch: the test binary itself, which every machine of the kernel tests has, and programs of the oldest and the
// newest Go, stripped and as PIE.
func goPrograms(t *testing.T, f func(t *testing.T, path string)) {
	testenv.RequireKernel(t)
	t.Run("itself", func(t *testing.T) {
		path, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		f(t, path)
	})
	if _, err := os.Stat(gotlsSource); os.IsNotExist(err) {
		return // a virtual machine of the kernel tests has test binaries alone
	}
	stripped := goLink{name: "stripped-pie", flags: []string{"-buildmode=pie", "-ldflags=-s -w"}}
	for _, release := range []string{goReleases[0], goReleases[3], runtime.Version()} {
		t.Run(release, func(t *testing.T) { f(t, buildGo(t, release, stripped)) })
	}
}

// gotls is the running program.
type gotls struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startGotls(t *testing.T, path string) *gotls {
	t.Helper()
	g := &gotls{t: t, cmd: exec.Command(path)}
	g.cmd.Env = append(os.Environ(), gotlsEnv+"=1")
	g.cmd.Stderr = os.Stderr
	out, err := g.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if g.in, err = g.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.in.Close()
		if err := g.cmd.Wait(); err != nil {
			t.Errorf("the program ended: %v", err)
		}
	})
	g.out = bufio.NewReader(out)
	if line, err := g.out.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the program says %q, %v", line, err)
	}
	return g
}

// do gives an order and waits until it is carried out.
func (g *gotls) do(order gotlsOrder) []gotlsTruth {
	g.t.Helper()
	if err := json.NewEncoder(g.in).Encode(order); err != nil {
		g.t.Fatal(err)
	}
	line, err := g.out.ReadBytes('\n')
	if err != nil {
		g.t.Fatal(err)
	}
	var truths []gotlsTruth
	if err := json.Unmarshal(line, &truths); err != nil {
		g.t.Fatal(err)
	}
	return truths
}

// goWatch is the kernel side, attached to a program.
type goWatch struct {
	t        *testing.T
	kernel   *bpf.Kernel
	tls      *bpf.TLS
	open     map[uint64]*goSeen
	edgeless uint64 // sides of connections so far
}

// goSeen is what the kernel told of one side of a connection.
type goSeen struct {
	gotlsTruth
	peers  []string
	bound  bool // to a socket and its edge
	cookie uint64
}

const goTargetNumber = 7

func watchGo(t *testing.T, path string) *goWatch {
	t.Helper()
	k, err := bpf.Load(bpf.Config{CgroupRoot: cgroupRoot(t), Hellos: true}) // before 6.3 cookies come of them alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	tls, err := k.LoadTLS()
	if err != nil {
		t.Fatalf("%+v", err)
	}
	for _, m := range tls.Missing() {
		t.Errorf("%s (%s): %v", m.Name, m.Purpose, m.Err)
	}
	got, err := readFile(path)
	if err != nil {
		t.Fatal(err)
	}
	closer, err := tls.Attach(path, bpf.Target{Number: goTargetNumber, Functions: got.functions, Go: got.layout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { logSkipped(t) })
	return &goWatch{t: t, kernel: k, tls: tls, open: make(map[uint64]*goSeen)}
}

// logSkipped tells how many runs of each program the kernel skipped.
func logSkipped(t *testing.T) {
	for id, err := ebpf.ProgramGetNextID(0); err == nil; id, err = ebpf.ProgramGetNextID(id) {
		p, err := ebpf.NewProgramFromID(id)
		if err != nil { // it may be gone
			continue
		}
		info, infoErr := p.Info()
		stats, statsErr := p.Stats()
		if infoErr == nil && statsErr == nil && stats.RecursionMisses != 0 {
			t.Logf("%d runs of %s were skipped", stats.RecursionMisses, info.Name)
		}
		p.Close()
	}
}

func cgroupRoot(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); f[2] == "cgroup2" {
			return f[1]
		}
	}
	t.Fatal("no cgroup2 is mounted")
	return ""
}

// seen gives the handshakes that are over. What a program did before it answered has been told by then.
func (w *goWatch) seen(g *gotls) []*goSeen {
	w.t.Helper()
	var done []*goSeen
	for r, err := range w.tls.Records() {
		if err != nil {
			w.t.Fatal(err)
		}
		if r.TGID != uint32(g.cmd.Process.Pid) {
			continue
		}
		if r.Target != goTargetNumber {
			w.t.Errorf("a record of target %d", r.Target)
		}
		s := w.open[r.Connection]
		if s == nil {
			s = new(goSeen)
			w.open[r.Connection] = s
		}
		if r.Length != len(r.Payload) {
			w.t.Errorf("%d of %d bytes came", len(r.Payload), r.Length)
		}
		switch r.Kind {
		case bpf.RecordPeerCertificate:
			if int(r.Index) != len(s.peers) {
				w.t.Errorf("certificate %d comes after %d", r.Index, len(s.peers))
			}
			s.peers = append(s.peers, gotlsHash(r.Payload))
			s.Peer, s.Chain = s.peers[0], len(s.peers)
		case bpf.RecordOwnCertificate:
			s.Own = gotlsHash(r.Payload)
		case bpf.RecordGoDone:
			protocol, server, ok := strings.Cut(string(r.Payload), "\x00")
			if !ok {
				w.t.Errorf("the end tells %q", r.Payload)
			}
			s.Client, s.Local, s.Remote, s.OK, s.Version = r.Client, r.Local.String(), r.Remote.String(), r.OK, r.Version
			s.ALPN, s.SNI, s.Resumed, s.Verified = protocol, server, r.Resumed, r.Verified
			s.bound, s.cookie = r.Edge != 0, r.Cookie
			done = append(done, s)
			delete(w.open, r.Connection)
		case bpf.RecordFreed:
			delete(w.open, r.Connection)
		}
	}
	losses, err := w.tls.Losses()
	if err != nil {
		w.t.Fatal(err)
	}
	for cause, n := range losses {
		// Some of the traffic may pass unseen while a thread is preempted in the very hook that watches it; that handshakes are bound all the same is
		// what counts.
		if n != 0 && cause != "tls-recursion" {
			w.t.Errorf("%s: %d", cause, n)
		}
	}
	return done
}

// expect compares what was seen of each side with what it knows itself; of a handshake that failed it knows little.
func (w *goWatch) expect(g *gotls, truths []gotlsTruth) []*goSeen {
	w.t.Helper()
	all := w.seen(g)
	seen := slices.Clone(all)
	for _, want := range truths {
		i := slices.IndexFunc(seen, func(s *goSeen) bool { return s.Local == want.Local && s.Remote == want.Remote })
		if i < 0 {
			w.t.Errorf("not seen: %+v", want)
			continue
		}
		got := seen[i].gotlsTruth
		if !seen[i].bound {
			w.edgeless++
			w.t.Logf("without an edge: %+v", got)
		}
		seen = slices.Delete(seen, i, i+1)
		if !want.OK {
			other := truths[slices.IndexFunc(truths, func(o gotlsTruth) bool { return o.Local == want.Remote && o.Remote == want.Local })]
			if got.OK || got.Verified || got.Client != want.Client || got.Own != want.Own || got.Peer != "" && got.Peer != other.Own {
				w.t.Errorf("saw %+v, want %+v; the other side is %+v", got, want, other)
			}
			continue
		}
		if got != want {
			w.t.Errorf("saw  %+v\nwant %+v", got, want)
		}
	}
	for _, s := range seen {
		w.t.Errorf("nobody knows of %+v", s.gotlsTruth)
	}
	losses, err := w.kernel.Losses()
	if err != nil {
		w.t.Fatal(err)
	}
	// The kernel may skip the very program that sees a connection begin, for one side of one connection each time that it counts.
	if w.edgeless > losses["recursion"] {
		w.t.Errorf("%d sides are without an edge, and the kernel skipped %d runs", w.edgeless, losses["recursion"])
	}
	return all
}

func TestKernelGo(t *testing.T) {
	const tls12, tls13 = 0x0303, 0x0304
	goPrograms(t, func(t *testing.T, path string) {
		w := watchGo(t, path)
		g := startGotls(t, path)
		f := func(name string, order gotlsOrder) []gotlsTruth {
			t.Helper()
			if order.SNI == "" {
				order.SNI = "server-%d.example"
			}
			truths := g.do(order)
			if len(truths) < 2*order.Pairs {
				t.Fatalf("%s: %d sides", name, len(truths))
			}
			for _, s := range w.expect(g, truths) {
				if s.cookie == 0 {
					t.Errorf("without a cookie: %+v", s.gotlsTruth)
				}
			}
			if t.Failed() {
				t.Fatal(name)
			}
			return truths
		}
		for _, v := range []uint16{tls12, tls13} {
			name := fmt.Sprintf("%#x: ", v)
			f(name+"mutual", gotlsOrder{Pairs: 1, Version: v})
			f(name+"h2", gotlsOrder{Pairs: 1, Version: v, ALPN: "h2"})
			f(name+"server alone", gotlsOrder{Pairs: 1, Version: v, Plain: true})
			resumed := 0
			for _, s := range f(name+"resumed", gotlsOrder{Pairs: 2, Version: v, Resume: true}) {
				if s.Resumed {
					resumed++
				}
			}
			if resumed != 4 {
				t.Errorf("%d sides took up a session, want 4", resumed)
			}
			f(name+"wrapped", gotlsOrder{Pairs: 1, Version: v, Wrapped: true})
			f(name+"moving", gotlsOrder{Pairs: 8, Version: v, Hop: true})
			f(name+"long name", gotlsOrder{Pairs: 1, Version: v, SNI: strings.Repeat("abcdefghi.", 24) + "x%d"})
			for _, s := range f(name+"server not trusted", gotlsOrder{Pairs: 1, Version: v, Wrong: true}) {
				if s.Client && s.OK {
					t.Error("the client trusts")
				}
			}
			for _, s := range f(name+"client not trusted", gotlsOrder{Pairs: 1, Version: v, Refused: true}) {
				if !s.Client && s.OK {
					t.Error("the server trusts")
				}
			}
			w.refusals(g, v)
			f(name+"many", gotlsOrder{Pairs: 200, Version: v})
			f(name+"many that move", gotlsOrder{Pairs: 200, Version: v, Hop: true})
		}
	})
}

// refusals has one side refuse the other's certificate, which is told all the same, as that of a handshake that failed.
func (w *goWatch) refusals(g *gotls, version uint16) {
	w.t.Helper()
	for _, order := range []gotlsOrder{{Wrong: true}, {Refused: true}} {
		order.Pairs, order.Version, order.SNI = 1, version, "server-%d"
		truths := g.do(order)
		found := false
		for _, s := range w.seen(g) {
			for _, o := range truths {
				if s.Client == order.Wrong && o.Client != s.Client {
					found = true
					if s.OK || s.Verified || !s.bound || s.Peer != o.Own || len(s.peers) != 2 {
						w.t.Errorf("saw %+v of %+v", s, o)
					}
				}
			}
		}
		if !found {
			w.t.Errorf("nothing was seen of %+v", order)
		}
	}
}

// Connections that are older than the agent are told when they are written to, once. Of a wrapped one the structures are not those that are known: no
// other socket is taken for its own.
func TestKernelGoOlder(t *testing.T) {
	goPrograms(t, func(t *testing.T, path string) {
		g := startGotls(t, path)
		plain := g.do(gotlsOrder{Pairs: 3, Version: 0x0304, SNI: "old-%d", ALPN: "h2", Keep: true})
		wrapped := g.do(gotlsOrder{Pairs: 3, Version: 0x0304, SNI: "wrapped-%d", Wrapped: true, Keep: true})
		w := watchGo(t, path)
		if seen := w.seen(g); len(seen) != 0 {
			t.Errorf("%d handshakes before anything is written", len(seen))
		}
		g.do(gotlsOrder{Write: true})
		seen := w.seen(g)
		for _, want := range slices.Concat(plain, wrapped) {
			want.Own = "" // long past
			bound := !strings.HasPrefix(want.SNI, "wrapped")
			i := slices.IndexFunc(seen, func(s *goSeen) bool { return s.Client == want.Client && s.SNI == want.SNI })
			if i < 0 {
				t.Errorf("not seen: %+v", want)
				continue
			}
			if !bound {
				want.Local, want.Remote = seen[i].Local, seen[i].Remote
			}
			if seen[i].gotlsTruth != want || seen[i].bound != bound {
				t.Errorf("saw  %+v, bound %v\nwant %+v", seen[i].gotlsTruth, seen[i].bound, want)
			}
			seen = slices.Delete(seen, i, i+1)
		}
		g.do(gotlsOrder{Write: true})
		if more := len(w.seen(g)) + len(seen); more != 0 {
			t.Errorf("%d connections were told that nobody knows, or again", more)
		}
	})
}
