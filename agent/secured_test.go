package agent

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

// underWay are the edges on which a handshake has begun.
type underWay map[bpf.Number]bool

func (u underWay) UnderWay(n bpf.Number) bool { return u[n] }

func mustIdentity(t *testing.T, text string) event.Identity {
	t.Helper()
	id, err := event.ParseIdentity(text)
	check(t, err)
	return id
}

// A new edge is told with its handshake, once, as soon as that is over.
func TestLedgerTellsNewEdgesWithTheirHandshakes(t *testing.T) {
	l, m, told := newTestLedger(unix.IPPROTO_TCP)
	busy := underWay{}
	l.handshakes = busy
	db := &shaken{tls: event.TLS{Version: "1.3", Verified: true, Provenance: "full"}, peer: mustIdentity(t, "spiffe://shop.example/db")}
	begin := start.monotonic
	m.edges[edge] = bpf.Edge{Number: edge, Cgroup: 42, Protocol: unix.IPPROTO_TCP, Port: 443, Address: m.edges[edge].Address, FirstMonotonic: begin}
	m.counters[edge] = bpf.Counters{Opened: 1}
	_, err := l.announced(after(20*time.Millisecond), []bpf.Number{edge})
	check(t, err)
	busy[edge] = true
	for d := 40 * time.Millisecond; d < 900*time.Millisecond; d += 20 * time.Millisecond {
		check(t, l.retry(after(d)))
	}
	if len(*told) != 0 {
		t.Fatalf("told while a handshake is under way: %+v", *told)
	}
	delete(busy, edge)
	l.handshook(edge, db)
	check(t, l.retry(after(920*time.Millisecond)))
	check(t, l.drain(after(10*time.Second)))
	if len(*told) != 1 || (*told)[0].TLS == nil || (*told)[0].Peer.Identity != db.peer || (*told)[0].Peer.Evidence != event.EvidenceSVID || (*told)[0].Counts.Connections != 1 {
		t.Fatalf("told %+v, want one connection with its handshake", *told)
	}
}

// What says nothing, and what never ends to speak, is told without.
func TestLedgerDoesNotWaitLongForHandshakes(t *testing.T) {
	f := func(busy bool, failed uint64, want time.Duration) {
		t.Helper()
		l, m, told := newTestLedger(unix.IPPROTO_TCP)
		l.handshakes = underWay{edge: busy}
		m.edges[edge] = bpf.Edge{Number: edge, Cgroup: 42, Protocol: unix.IPPROTO_TCP, Port: 443, Address: m.edges[edge].Address, FirstMonotonic: start.monotonic}
		m.counters[edge] = bpf.Counters{Opened: 1, Failed: failed}
		_, err := l.announced(start, []bpf.Number{edge})
		check(t, err)
		d := time.Duration(0)
		for ; len(*told) == 0 && d < 20*time.Second; d += 10 * time.Millisecond {
			check(t, l.retry(after(d)))
		}
		if d < want || d > want+20*time.Millisecond {
			t.Errorf("told after %s, want %s", d, want)
		}
		if (*told)[0].TLS != nil {
			t.Error("told with a handshake that nobody saw")
		}
	}
	f(false, 0, helloWait)
	f(true, 0, handshakeWait)
	f(false, 1, 0)
}

// Each sort of handshake is told for as many connections as it was seen on, the rest without.
func TestLedgerSplitsConnectionsByHandshake(t *testing.T) {
	l, m, told := newTestLedger(unix.IPPROTO_TCP)
	m.counters[edge] = bpf.Counters{Opened: 1}
	_, err := l.announced(start, []bpf.Number{edge})
	check(t, err)
	*told = nil
	sorts := map[string]uint64{"spiffe://shop.example/a": 3, "spiffe://shop.example/b": 2}
	for name, n := range sorts {
		for range n {
			l.handshook(edge, &shaken{
				tls: event.TLS{Version: "1.2", PeerCertificate: &event.Certificate{SHA256: name}}, peer: mustIdentity(t, name),
			})
		}
	}
	m.counters[edge] = bpf.Counters{Opened: 8, Failed: 1, Sent: 10, Error: unix.ECONNRESET}
	check(t, l.drain(after(10*time.Second)))
	var sum event.Counts
	for _, o := range *told {
		add(&sum, o.Counts)
		want := uint64(2) // one failed, one without handshake
		if o.TLS != nil {
			want = sorts[o.Peer.Identity.String()]
		} else if o.Counts.Failed != 1 || o.Error != "reset" {
			t.Errorf("the rest is %+v %q", o.Counts, o.Error)
		}
		if o.Counts.Connections != want {
			t.Errorf("%s: %d connections, want %d", o.Peer.Identity, o.Counts.Connections, want)
		}
	}
	if want := (event.Counts{Connections: 7, Failed: 1, BytesSent: 10}); sum != want || len(*told) != 3 {
		t.Errorf("told %+v in %d observations, want %+v in 3", sum, len(*told), want)
	}

	// What ends later goes with the latest.
	*told = nil
	m.counters[edge] = bpf.Counters{Opened: 8, Failed: 1, Sent: 30, Closed: 1}
	check(t, l.drain(after(20*time.Second)))
	if len(*told) != 1 || (*told)[0].TLS == nil || (*told)[0].Counts.BytesSent != 20 {
		t.Errorf("bytes without connections are told as %+v", *told)
	}

	// A handshake that comes after its connection was told is told by itself.
	*told = nil
	l.handshook(edge, &shaken{tls: event.TLS{SNI: "late.example"}})
	check(t, l.drain(after(30*time.Second)))
	if len(*told) != 1 || (*told)[0].TLS == nil || (*told)[0].TLS.SNI != "late.example" || (*told)[0].Counts != (event.Counts{}) {
		t.Errorf("a late handshake is told as %+v", *told)
	}

	// There is a bound, and what is above is counted.
	for i := range maxSorts + 5 {
		l.handshook(edge, &shaken{tls: event.TLS{SNI: string(rune('a' + i))}})
	}
	l.handshook(edge+1, &shaken{}) // no such edge
	if l.homeless != 6 {
		t.Errorf("%d handshakes were not taken, want 6", l.homeless)
	}
}

// A workload goes by the one SVID that it shows, but nobody's who cannot be it.
func TestProvenIdentities(t *testing.T) {
	td, err := event.ParseTrustDomain("shop.example")
	check(t, err)
	pod := &event.Workload{Identity: event.KubernetesIdentity(td, "shop", "web"), Evidence: event.EvidenceKubernetes, Cgroup: "/kubepods/pod1"}
	f := func(shown []string, want string) {
		t.Helper()
		p := newProven(td, event.IdentityTemplate{})
		for _, id := range shown {
			p.show(pod, mustIdentity(t, id), start.wall, start.wall)
		}
		if got := p.workload(pod); got.Identity.String() != want || (got.Evidence == event.EvidenceSVID) != (got != pod) {
			t.Errorf("%v: %s by %s, want %s", shown, got.Identity, got.Evidence, want)
		}
	}
	own := pod.Identity.String()
	f(nil, own)
	f([]string{own}, own)
	f([]string{"spiffe://shop.example/web"}, "spiffe://shop.example/web")
	f([]string{"spiffe://shop.example/web", "spiffe://shop.example/web"}, "spiffe://shop.example/web")
	f([]string{"spiffe://shop.example/web", "spiffe://shop.example/api"}, own)
	f([]string{"spiffe://shop.example/ns/shop/sa/db"}, own)
	f([]string{"spiffe://shop.example/node/n1/unit/x.service"}, own)
	f([]string{"spiffe://other.example/ns/shop/sa/db"}, "spiffe://other.example/ns/shop/sa/db")

	// Whatever form the identities of pods have here.
	template, err := event.ParseIdentityTemplate("spiffe://{trust_domain}/{namespace}/{service_account}")
	check(t, err)
	named := &event.Workload{Identity: template.Identity(td, "shop", "web", "web-0"), Evidence: event.EvidenceKubernetes, Cgroup: "/kubepods/pod1"}
	for id, want := range map[string]bool{"spiffe://shop.example/shop/web": true, "spiffe://shop.example/shop/db": false, "spiffe://shop.example/ns/shop/sa/db": false, "spiffe://shop.example/web": true} {
		p := newProven(td, template)
		p.show(named, mustIdentity(t, id), start.wall, start.wall)
		if got := p.workload(named).Identity; (got.String() == id) != want {
			t.Errorf("by showing %s, %s goes by %s", id, named.Identity, got)
		}
	}

	p := newProven(td, event.IdentityTemplate{})
	person := &event.Workload{Identity: mustIdentity(t, "spiffe://shop.example/node/n1/uid/0/exe/curl"), Evidence: event.EvidenceProcess, Cgroup: "/user.slice"}
	p.show(person, mustIdentity(t, "spiffe://shop.example/web"), start.wall, start.wall)
	if p.workload(person) != person {
		t.Error("all of a login goes by the certificate of one program")
	}
	if got := p.workload(pod); got != pod {
		t.Errorf("a pod that showed nothing is %s", got.Identity)
	}
}

// Certificates end, and a unit that becomes another keeps its cgroup.
func TestProvenIdentitiesChange(t *testing.T) {
	td, err := event.ParseTrustDomain("shop.example")
	check(t, err)
	unit := &event.Workload{Identity: event.UnitIdentity(td, "n1", "web.service"), Evidence: event.EvidenceSystemd, Cgroup: "/system.slice/web.service"}
	a, b := mustIdentity(t, "spiffe://shop.example/a"), mustIdentity(t, "spiffe://shop.example/b")
	p := newProven(td, event.IdentityTemplate{})
	f := func(shown event.Identity, at, valid time.Duration, want event.Identity) {
		t.Helper()
		p.show(unit, shown, start.wall.Add(at+valid), start.wall.Add(at))
		if got := p.workload(unit).Identity; got != want {
			t.Errorf("after %s it is %s, want %s", at, got, want)
		}
	}
	const hour = time.Hour
	f(a, 0, hour, a)
	f(a, hour/2, hour, a)
	f(b, hour, 2*hour, unit.Identity) // both may be there
	f(b, 2*hour, 2*hour, unit.Identity)
	f(b, 5*hour, hour, b) // nobody has shown the other since
	f(a, 7*hour, hour, a)
}

// What was proven is known again after a restart, until the certificate ends that proved it.
func TestProvenIdentitiesOutliveTheAgent(t *testing.T) {
	td, err := event.ParseTrustDomain("shop.example")
	check(t, err)
	workload := func(cgroup string) *event.Workload {
		return &event.Workload{Identity: event.CgroupIdentity(td, "n1", cgroup), Evidence: event.EvidenceCgroup, Cgroup: cgroup}
	}
	long, short, both := workload("/long"), workload("/short"), workload("/both")
	p := newProven(td, event.IdentityTemplate{})
	hour := start.wall.Add(time.Hour)
	p.show(long, mustIdentity(t, "spiffe://shop.example/long"), start.wall.Add(time.Minute), start.wall)
	p.show(long, mustIdentity(t, "spiffe://shop.example/long"), hour, start.wall) // renewed
	p.show(short, mustIdentity(t, "spiffe://shop.example/short"), start.wall.Add(time.Minute), start.wall)
	p.show(both, mustIdentity(t, "spiffe://shop.example/a"), hour, start.wall)
	p.show(both, mustIdentity(t, "spiffe://shop.example/b"), hour, start.wall)

	file := filepath.Join(t.TempDir(), provenName)
	snapshots, ctx := make(chan []byte, 1), t.Context()
	ended, stop := context.WithCancel(ctx)
	data, ok, err := p.snapshot("n1")
	check(t, err)
	if !ok {
		t.Fatal("nothing has changed")
	}
	snapshots <- data
	stop() // what was given is still written
	check(t, keep(ended, file, snapshots))
	if _, ok, _ := p.snapshot("n1"); ok {
		t.Error("it changed since")
	}

	again := newProven(td, event.IdentityTemplate{})
	check(t, again.restoreFile(file, "n1", start.wall.Add(10*time.Minute)))
	for w, want := range map[*event.Workload]string{long: "spiffe://shop.example/long", short: short.Identity.String(), both: both.Identity.String()} {
		if got := again.workload(w).Identity.String(); got != want {
			t.Errorf("%s goes by %s, want %s", w.Cgroup, got, want)
		}
	}
	check(t, newProven(td, event.IdentityTemplate{}).restoreFile(file+".none", "n1", start.wall))
	for name, text := range map[string]string{"other node": string(data), "cut": string(data[:len(data)/2]), "version": `{"version":2,"node":"n1"}`, "identity": `{"version":1,"node":"n1","claims":[{"cgroup":"/a","identity":"x"}]}`} {
		node := "n1"
		if name == "other node" {
			node = "n2"
		}
		if err := newProven(td, event.IdentityTemplate{}).restore(strings.NewReader(text), node, start.wall); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func FuzzProvenFile(f *testing.F) {
	td, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"version":1,"node":"n1","claims":[{"cgroup":"/a","identity":"spiffe://shop.example/a","until":"2026-11-01T13:00:00Z"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := newProven(td, event.IdentityTemplate{})
		if p.restore(bytes.NewReader(data), "n1", start.wall) != nil && p.cgroups.Len() > 0 {
			t.Error("part of what is refused is taken")
		}
	})
}
