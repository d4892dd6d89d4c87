package agent

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/agent/spool"
	"github.com/ambit-nhi/ambit/event"
)

// A child process runs TestSpoolChild alone, with these in its environment.
const (
	childFolder = "AMBIT_TEST_SPOOL"
	childServer = "AMBIT_TEST_NATS"
	childFirst  = "AMBIT_TEST_FIRST"
)

func portOf(s *server.Server) int {
	return int(s.Addr().(interface{ AddrPort() netip.AddrPort }).AddrPort().Port())
}

// What the stream takes at once never goes to the disk.
func TestSpoolIsNotUsedWhileTheStreamTakes(t *testing.T) {
	leaks(t)
	dir := t.TempDir()
	p := newPublishing(t, natsServer(t, t.TempDir(), 0), PublisherConfig{Spool: spool.Config{Dir: dir}})
	p.createStream(nil)
	stop := p.start()
	for range 30 {
		p.observe(200)
		waitFor(t, "delivery", p.settled)
	}
	if g := p.Gauges(); g["spool-written"] != 0 || g["spool-messages"] != 0 {
		t.Errorf("gauges %v: something was spooled", g)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	p.check(0)
	if left, _ := filepath.Glob(filepath.Join(dir, "*.seg")); len(left) > 0 {
		t.Errorf("segments %v", left)
	}
}

// The server goes away in the middle of traffic. What it did not take goes to the disk, comes back from there, in order, and once.
func TestSpoolAcrossServerRestart(t *testing.T) {
	leaks(t)
	dir := t.TempDir()
	s := natsServer(t, dir, 0)
	port := portOf(s)
	p := newPublishing(t, s, PublisherConfig{Spool: spool.Config{Dir: t.TempDir()}, Window: 7})
	p.createStream(nil)
	stop := p.start()
	for round := range 3 {
		p.observe(200)
		waitFor(t, "acknowledgement", func() bool { return p.acknowledged.Load() > 0 })
		p.observe(200)
		stopServer(s)
		before := p.Gauges()["spool-written"]
		for range 40 {
			p.observe(50)
			p.Heartbeat(&event.Heartbeat{Time: time.Now()})
		}
		waitFor(t, "the disk", func() bool { return p.Gauges()["publish-waiting-bytes"] == 0 })
		if g := p.Gauges(); g["spool-written"] <= before+40 || g["spool-observations"] < 2000 {
			t.Errorf("round %d: gauges %v", round, g)
		}
		s = natsServer(t, dir, port)
		p.observe(100)
		waitFor(t, "delivery after the restart", p.settled)
	}
	p.check(0)
	if g := p.Gauges(); g["spool-messages"] != 0 {
		t.Errorf("gauges %v", g)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// A planned end without a server keeps everything for the next start, whose own messages come later.
func TestSpoolAcrossPublishers(t *testing.T) {
	leaks(t)
	dir, folder := t.TempDir(), t.TempDir()
	s := natsServer(t, dir, 0)
	port := portOf(s)
	p := newPublishing(t, s, PublisherConfig{Spool: spool.Config{Dir: folder}, Drain: 50 * time.Millisecond})
	p.createStream(nil)
	stopServer(s)
	stop := p.start()
	p.observe(1000)
	p.Heartbeat(&event.Heartbeat{Time: time.Now()})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := NewPublisher(p.cfg, p.js); err == nil || !strings.Contains(err.Error(), "in use by pid") {
		t.Errorf("a second one on the folder: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	s = natsServer(t, dir, port)
	next := newPublishing(t, s, PublisherConfig{Spool: spool.Config{Dir: folder}})
	next.Restart("b2", time.Now())
	next.observe(500)
	stop = next.start()
	waitFor(t, "delivery", next.settled)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got, order := next.boots(); got["b1"] != 1000 || got["b2"] != 500 || order != "b1 b2" {
		t.Errorf("connections by boot %v, in the order %s", got, order)
	}
}

// boots gives the connections in the stream by boot, and the boots in the order in which they begin there.
func (p *publishing) boots() (connections map[string]uint64, order string) {
	connections = map[string]uint64{}
	p.each(func(subject, id string, data []byte) {
		if strings.HasPrefix(subject, "ambit.v1.agent.") {
			return
		}
		b, err := event.DecodeBatch(data)
		if err != nil {
			p.t.Fatal(err)
		}
		if id != event.MessageID("n1", b.Boot, b.Sequence) {
			p.t.Errorf("id %s of number %d of %s", id, b.Sequence, b.Boot)
		}
		if !strings.HasSuffix(order, b.Boot) {
			order = strings.TrimSpace(order + " " + b.Boot)
		}
		for o := range b.Observations() {
			connections[b.Boot] += o.Counts.Connections
		}
	})
	return connections, order
}

// each calls visit with every message of the stream.
func (p *publishing) each(visit func(subject, id string, data []byte)) {
	p.t.Helper()
	stream, err := p.js.Stream(p.t.Context(), event.StreamObservations)
	if err != nil {
		p.t.Fatal(err)
	}
	info, err := stream.Info(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	for n := info.State.FirstSeq; n > 0 && n <= info.State.LastSeq; n++ {
		m, err := stream.GetMsg(p.t.Context(), n)
		if err != nil {
			p.t.Fatal(err)
		}
		visit(m.Subject, m.Header.Get(jetstream.MsgIDHeader), m.Data)
	}
}

// More than the spool holds: the oldest go, and heartbeats tell when that was, and how much.
func TestSpoolFullIsAGap(t *testing.T) {
	leaks(t)
	dir := t.TempDir()
	s := natsServer(t, dir, 0)
	port := portOf(s)
	p := newPublishing(t, s, PublisherConfig{Spool: spool.Config{Dir: t.TempDir(), MaxBytes: 1 << 20}})
	p.createStream(nil)
	stopServer(s)
	begin := time.Now()
	stop := p.start()
	for p.Counters()[spool.Full] == 0 {
		for range 10 {
			p.observe(5000)
		}
		p.Heartbeat(&event.Heartbeat{Time: time.Now()})
		waitFor(t, "the disk", func() bool { return p.Gauges()["publish-waiting-bytes"] == 0 })
	}
	natsServer(t, dir, port)
	waitFor(t, "delivery", p.settled)
	lost := p.Counters()[spool.Full]
	p.Heartbeat(&event.Heartbeat{Time: time.Now()})
	waitFor(t, "the last heartbeat", p.settled)
	_, heartbeats := p.check(lost)
	told := map[time.Time]event.Gap{}
	for _, h := range heartbeats {
		for _, g := range h.Gaps {
			if g.Cause != spool.Full || g.From.Before(begin.Add(-time.Second)) || g.Until.After(time.Now()) || g.Until.Before(g.From) || g.Lost < told[g.From].Lost {
				t.Errorf("gap %+v", g)
			}
			told[g.From] = g
		}
	}
	var sum uint64
	for _, g := range told {
		sum += g.Lost
	}
	if sum != lost {
		t.Errorf("gaps %v tell of %d lost, want %d", told, sum, lost)
	}
	waitFor(t, "gaps that are told", func() bool { return len(p.gaps.tell()) == 0 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// What was dropped is told by the next process, unless a heartbeat that tells of it waits for the stream.
func TestSpoolLossesOutliveTheProcess(t *testing.T) {
	leaks(t)
	s := natsServer(t, t.TempDir(), 0)
	cfg := PublisherConfig{Spool: spool.Config{Dir: t.TempDir(), MaxBytes: 1 << 20}, Drain: time.Millisecond}
	p := newPublishing(t, s, cfg)
	stopServer(s)
	lose := func() (lost uint64) {
		t.Helper()
		stop := p.start()
		before := p.Counters()[spool.Full]
		for p.Counters()[spool.Full] == before {
			p.observe(20_000)
			waitFor(t, "the disk", func() bool { return p.Gauges()["publish-waiting-bytes"] == 0 })
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		return p.Counters()[spool.Full] - before
	}
	again := func() {
		t.Helper()
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		p = &publishing{t: t, js: p.js}
		cfg.Node, cfg.Boot, cfg.Started, cfg.Partitions = "n1", "b2", time.Now(), 4
		var err error
		if p.Publisher, err = NewPublisher(cfg, p.js); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
	}
	lost := lose()
	again()
	if got := p.Counters()[spool.Full]; got != lost {
		t.Errorf("%d are told as lost, want %d", got, lost)
	}
	lost += lose()
	again()
	var sum uint64
	for _, g := range p.gaps.tell() {
		sum += g.Lost
	}
	if got := p.Counters()[spool.Full]; got != lost || sum != lost {
		t.Errorf("%d are told as lost, and %d in gaps, want %d", got, sum, lost)
	}
	p.Heartbeat(&event.Heartbeat{Time: time.Now()})
	stop := p.start()
	if err := stop(); err != nil { // spools it
		t.Fatal(err)
	}
	again()
	if got := p.Counters()[spool.Full]; got != 0 || len(p.gaps.tell()) > 0 {
		t.Errorf("%d are told again, and %v", got, p.gaps.tell())
	}
}

// The disk under the spool is full: what waits stays in memory within its bound, what goes is counted, and the disk is used again when there is room.
func TestSpoolOnAFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		missing(t, "mounting a small file system needs root")
	}
	mount := t.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=2m"); err != nil {
		missing(t, "mount a small file system: "+err.Error())
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	leaks(t)
	dir := t.TempDir()
	s := natsServer(t, dir, 0)
	port := portOf(s)
	p := newPublishing(t, s, PublisherConfig{Spool: spool.Config{Dir: filepath.Join(mount, "spool")}, QueueBytes: 1 << 20})
	p.createStream(nil)
	stopServer(s)
	stop := p.start()
	ballast := filepath.Join(mount, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for p.Counters()[causeDisk] == 0 {
		p.observe(5000)
		if g := p.Gauges(); g["publish-waiting-bytes"] > 1<<20 {
			t.Fatalf("%d bytes wait in memory", g["publish-waiting-bytes"])
		}
	}
	if g := p.Gauges(); g["spool-messages"] == 0 {
		t.Errorf("gauges %v", g)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the disk", func() bool { return p.Gauges()["publish-waiting-bytes"] == 0 })
	lost := p.Counters()
	p.observe(5000)
	natsServer(t, dir, port)
	waitFor(t, "delivery", p.settled)
	p.check(lost[causeDisk])
	for cause, n := range p.Counters() {
		if cause != causeDisk && n > 0 || n != lost[cause] {
			t.Errorf("%d lost as %s", n, cause)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// The child of the next test: it observes until it is killed, and says what it handed over.
func TestSpoolChild(t *testing.T) {
	folder := os.Getenv(childFolder)
	if folder == "" {
		return // of no use by itself
	}
	nc, err := nats.Connect(os.Getenv(childServer), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc, PublishOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	first, err := strconv.Atoi(os.Getenv(childFirst))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	p, err := NewPublisher(PublisherConfig{Node: "n1", Boot: newBoot(now), Started: now, Partitions: 4, Spool: spool.Config{Dir: folder}}, js)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.Run(context.Background()) }()
	td, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		t.Fatal(err)
	}
	for n := first; ; n++ {
		p.Observe(&event.Observation{
			Time: time.Now(), Node: "n1", Direction: event.Outbound, Protocol: event.TCP,
			Workload: event.Workload{Identity: event.UnitIdentity(td, "n1", fmt.Sprintf("s%d.service", n%10))},
			Peer:     event.Peer{Address: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), Port: 443},
			Counts:   event.Counts{Connections: 1},
		})
		if n%50 == 49 {
			p.Flush(time.Now())
			fmt.Printf("handed %d %d\n", n, time.Now().UnixMicro())
			time.Sleep(10 * time.Millisecond) // it is a load, and nothing waits for it
		}
	}
}

// A process is killed again and again while the server is away, and while it is there. What was handed over more than a second before is in the
// stream, all of what is there is there once, and in order.
func TestSpoolOutlivesKill(t *testing.T) {
	leaks(t)
	dir, folder := t.TempDir(), t.TempDir()
	s := natsServer(t, dir, 0)
	port := portOf(s)
	p := newPublishing(t, s, PublisherConfig{})
	p.createStream(nil)
	stopServer(s)

	rounds := 6
	if testing.Short() {
		rounds = 3
	}
	var must, may int         // observations
	sure := map[uint32]bool{} // by address
	for round := range rounds {
		if round == rounds/2 {
			s = natsServer(t, dir, port)
		}
		first := round << 18
		handed, killed := killedChild(t, folder, port, first)
		from := first
		for _, h := range handed {
			for ; from <= h.last; from++ {
				sure[uint32(from)] = h.at.Before(killed.Add(-time.Second))
				if sure[uint32(from)] {
					must++
				} else {
					may++
				}
			}
		}
	}
	last := newPublishing(t, s, PublisherConfig{Spool: spool.Config{Dir: folder}})
	stop := last.start()
	waitFor(t, "delivery of what was left", last.settled)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	seen, sequences := map[uint32]int{}, map[string]uint64{}
	last.each(func(_, _ string, data []byte) {
		b, err := event.DecodeBatch(data)
		if err != nil {
			t.Fatal(err)
		}
		if b.Sequence <= sequences[b.Boot] {
			t.Errorf("number %d of %s stands behind %d", b.Sequence, b.Boot, sequences[b.Boot])
		}
		sequences[b.Boot] = b.Sequence
		for o := range b.Observations() {
			a := o.Peer.Address.As4()
			seen[uint32(a[1])<<16|uint32(a[2])<<8|uint32(a[3])]++
		}
	})
	arrived := 0
	for n, must := range sure {
		switch {
		case seen[n] > 1:
			t.Fatalf("observation %d is there %d times", n, seen[n])
		case seen[n] == 0 && must:
			t.Fatalf("observation %d is not there", n)
		case seen[n] == 1 && !must:
			arrived++
		}
	}
	t.Logf("%d observations older than a second are all there; of %d younger ones, %d are; counters %v", must, may, arrived, last.Counters())
	if must == 0 || may == 0 {
		t.Error("nothing was tried")
	}
}

type handedOver struct {
	last int // observation
	at   time.Time
}

// killedChild starts a child that observes from first on, and kills it after a while.
func killedChild(t *testing.T, folder string, port, first int) (handed []handedOver, killed time.Time) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestSpoolChild$", "-test.count=1")
	child.Env = append(os.Environ(), childFolder+"="+folder, childServer+"=nats://127.0.0.1:"+strconv.Itoa(port), childFirst+"="+strconv.Itoa(first))
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill() }()
	after := 1500*time.Millisecond + rand.N(time.Second)
	var said []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var last int
		var at int64
		if _, err := fmt.Sscanf(lines.Text(), "handed %d %d", &last, &at); err != nil {
			said = append(said, lines.Text())
			continue
		}
		handed = append(handed, handedOver{last, time.UnixMicro(at)})
		if killed.IsZero() && handed[len(handed)-1].at.Sub(handed[0].at) > after {
			killed = time.Now()
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = child.Wait() // it was killed
	if killed.IsZero() {
		t.Fatalf("the child ended by itself: %q", said)
	}
	return handed, killed
}
