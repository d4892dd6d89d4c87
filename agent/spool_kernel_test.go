package agent

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/ambit-nhi/ambit/agent/spool"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// The child of the next test: a real agent, until it is told to end, or killed.
func TestSpoolAgentChild(t *testing.T) {
	folder := os.Getenv(childFolder)
	if folder == "" {
		return // of no use by itself
	}
	nc, err := nats.Connect(os.Getenv(childServer), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectBufSize(-1))
	check(t, err)
	defer nc.Close()
	td, err := event.ParseTrustDomain("shop.example")
	check(t, err)
	a, err := New(Config{Node: "n1", TrustDomain: td, Interval: 500 * time.Millisecond, StateDir: folder}, nc)
	check(t, err)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	check(t, a.Run(ctx, func() { fmt.Println("watching") }))
}

// agentChild starts one and waits until it watches.
func agentChild(t *testing.T, folder string, port int) *exec.Cmd {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestSpoolAgentChild$", "-test.count=1")
	child.Env = append(os.Environ(), childFolder+"="+folder, childServer+"=nats://127.0.0.1:"+strconv.Itoa(port))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	check(t, err)
	check(t, child.Start())
	t.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait() // has ended, most often
	})
	var said []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == "watching" {
			go func() { _, _ = io.Copy(io.Discard, out) }() // it ends with the child
			return child
		}
		said = append(said, lines.Text())
	}
	t.Fatalf("the agent does not watch: %q", said)
	return nil
}

// The real agent is killed while the stream is away, and starts again while it is. Every connection is in the stream once, but those of the last second
// before it was killed, which are there once at most.
func TestKernelAgentSpoolOutlivesKill(t *testing.T) {
	testenv.RequireKernel(t)
	dir, folder := t.TempDir(), t.TempDir()
	s := natsServer(t, dir, 0)
	natsPort := portOf(s)
	p := newPublishing(t, s, PublisherConfig{})
	p.createStream(nil)
	stopServer(s)

	listener, err := net.Listen("tcp4", "0.0.0.0:0")
	check(t, err)
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	port := listener.Addr().(*net.TCPAddr).AddrPort().Port()
	address := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{127, 77, byte(n >> 8), byte(n)}) }
	connect := func(from, to int) {
		t.Helper()
		for n := from; n < to; n++ {
			c, err := net.Dial("tcp4", netip.AddrPortFrom(address(n), port).String())
			check(t, err)
			_, _ = io.Copy(io.Discard, c) // until the other side has closed
			c.Close()
		}
	}

	const before, young, after = 200, 300, 500
	child := agentChild(t, folder, natsPort)
	connect(0, before)
	time.Sleep(time.Second + spoolAfter + restEvery + time.Second/2) // an age is what is tested
	connect(before, young)
	check(t, child.Process.Kill())
	_ = child.Wait() // it was killed

	child = agentChild(t, folder, natsPort)
	connect(young, after)
	natsServer(t, dir, natsPort)
	seen := map[netip.Addr]uint64{}
	var boots map[string]bool
	var lost map[string]uint64
	look := func() {
		clear(seen)
		boots, lost = map[string]bool{}, map[string]uint64{}
		p.each(func(subject, _ string, data []byte) {
			if subject == event.AgentSubject("n1") {
				h, err := event.DecodeHeartbeat(data)
				check(t, err)
				boots[h.Boot], lost = true, h.Lost
				return
			}
			b, err := event.DecodeBatch(data)
			check(t, err)
			for o := range b.Observations() {
				if o.Direction == event.Outbound && o.Peer.Port == port {
					seen[o.Peer.Address] += o.Counts.Connections
				}
			}
		})
	}
	waitFor(t, "the last connection", func() bool {
		if !p.js.Conn().IsConnected() {
			return false
		}
		look()
		return seen[address(after-1)] > 0
	})
	check(t, child.Process.Signal(syscall.SIGTERM))
	if err := child.Wait(); err != nil {
		t.Errorf("the agent: %v", err)
	}
	look()
	arrived := 0
	for n := range after {
		sure := n < before || n >= young
		switch got := seen[address(n)]; {
		case got > 1 || got == 0 && sure:
			t.Errorf("connection %d is there %d times", n, got)
		case got == 1 && !sure:
			arrived++
		}
	}
	t.Logf("%d of %d connections of the last second are there; lost %v", arrived, young-before, lost)
	if len(boots) < 2 {
		t.Errorf("heartbeats of boots %v", boots)
	}
	for _, cause := range []string{spool.Full, spool.Age, causeDisk, causeQueue} {
		if lost[cause] > 0 {
			t.Errorf("%d are lost as %s", lost[cause], cause)
		}
	}
}
