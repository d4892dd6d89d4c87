package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/agent/workload"
	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

const (
	denyPins  = "AMBIT_TEST_PINS"
	denyActor = "AMBIT_TEST_DENY_ACTOR"
)

// denyStage is a machine's network, a NATS server with the decisions' bucket, a key, and a server on port 1000 of all addresses.
type denyStage struct {
	t      *testing.T
	server *server.Server
	nc     *nats.Conn
	js     jetstream.JetStream
	kv     jetstream.KeyValue
	key    nkeys.KeyPair
	cfg    Config
	serial uint64
	acks   chan *nats.Msg
	seen   []event.Ack
	stop   func()
	denier *denier
}

var denyAddresses = []string{"10.77.0.1", "10.77.0.2", "10.77.0.3", "10.78.0.1", "fd77::1"}

// onDenyStage runs a test in a network of its own, with a BPF file system that goes whatever happens to the test.
func onDenyStage(t *testing.T, test func(s *denyStage)) {
	t.Helper()
	testenv.RequireKernel(t)
	if os.Getenv(denyPins) == "" {
		dir := t.TempDir()
		if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
			t.Fatalf("mount a BPF file system: %v", err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		t.Setenv(denyPins, dir)
	}
	testenv.OwnNetwork(t, func(t *testing.T) {
		check(t, addAddresses())
		s := &denyStage{t: t, server: natsServer(t, t.TempDir(), 0), serial: 1}
		s.connect()
		s.makeStreams()
		var err error
		s.key, err = nkeys.CreateAccount()
		check(t, err)
		public, err := s.key.PublicKey()
		check(t, err)
		td, err := event.ParseTrustDomain("shop.example")
		check(t, err)
		s.cfg = Config{Node: "n1", TrustDomain: td, StateDir: t.TempDir(), Deny: DefaultDeny()}
		s.cfg.Deny.Keys, s.cfg.Deny.Pins = []string{public}, filepath.Join(os.Getenv(denyPins), "deny")
		s.cfg.Deny.BreakGlass = filepath.Join(t.TempDir(), "break-glass")
		listener, err := net.Listen("tcp", "[::]:1000")
		check(t, err)
		t.Cleanup(func() { listener.Close() })
		go serveEcho(listener)
		test(s)
	})
}

// addAddresses gives loopback more of them, which are not this machine's word for itself.
func addAddresses() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	for _, a := range denyAddresses {
		ip := net.ParseIP(a)
		bits := 128
		if ip.To4() != nil {
			bits = 32
		}
		address := &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(bits, bits)}, Flags: unix.IFA_F_NODAD}
		if err := netlink.AddrAdd(lo, address); err != nil {
			return fmt.Errorf("add %s: %w", a, err)
		}
	}
	return nil
}

func serveEcho(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c) // until it is cut
		}()
	}
}

func (s *denyStage) connect() {
	var err error
	s.nc, err = nats.Connect(s.server.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	check(s.t, err)
	s.t.Cleanup(s.nc.Close)
	s.js, err = jetstream.New(s.nc)
	check(s.t, err)
	s.acks = make(chan *nats.Msg, 65536)
	_, err = s.nc.ChanSubscribe("ambit.v1.ack.>", s.acks)
	check(s.t, err)
}

func (s *denyStage) makeStreams() {
	ctx := s.t.Context()
	var err error
	s.kv, err = s.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: event.BucketDecisions, History: 5,
		RePublish: &jetstream.RePublish{Source: "$KV." + event.BucketDecisions + ".>", Destination: event.SubjectDecisions},
	})
	check(s.t, err)
	_, err = s.js.CreateStream(ctx, jetstream.StreamConfig{Name: event.StreamAcks, Subjects: []string{"ambit.v1.ack.*"}})
	check(s.t, err)
}

// start starts a denier in this process, and stops it with the test, or with s.stop.
func (s *denyStage) start() {
	s.t.Helper()
	a, err := New(s.cfg, s.nc)
	check(s.t, err)
	check(s.t, a.resolve.Scan())
	mount, err := workload.FindMount()
	check(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	s.denier = a.deny
	go func() { done <- a.deny.Run(ctx, mount.Path) }()
	stopped := false
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		check(s.t, <-done)
	}
	s.t.Cleanup(func() {
		s.stop()
		if _, err := bpf.RemoveDeny(s.cfg.Deny.Pins); err != nil {
			s.t.Error(err)
		}
	})
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(time.Millisecond) { // emulated processors verify programs slowly
		if status, _, _ := a.deny.Status(); !strings.Contains(status, "not started yet") {
			break
		}
		if time.Now().After(deadline) {
			s.t.Fatal("the denier does not start")
		}
	}
}

// decision is one that is signed when it is sent.
func (s *denyStage) decision(id, identity, to string, life time.Duration) *event.Decision {
	s.serial++
	now := time.Now().UTC()
	return &event.Decision{
		ID: id, Serial: s.serial, Identity: identity, To: to, Direction: event.Outbound, Mode: event.Enforce, Reason: "test", Requester: "tester",
		Issued: now, Expires: now.Add(life),
	}
}

func (s *denyStage) sign(d *event.Decision) *event.Decision {
	s.t.Helper()
	check(s.t, d.Sign(s.key))
	return d
}

// issue signs a decision and puts it into the bucket.
func (s *denyStage) issue(d *event.Decision) *event.Decision {
	s.t.Helper()
	s.put(s.sign(d))
	return d
}

func (s *denyStage) put(d *event.Decision) {
	s.t.Helper()
	data, err := json.Marshal(d)
	check(s.t, err)
	_, err = s.kv.Put(s.t.Context(), d.ID, data)
	check(s.t, err)
}

func (s *denyStage) revoke(d *event.Decision) {
	s.t.Helper()
	s.serial++
	r := d.Clone()
	r.Serial, r.Revoked, r.RevokedBy, r.RevokedWhy = s.serial, time.Now().UTC(), "tester", "over"
	s.issue(r)
	s.told(r, event.AckEnded)
}

// told waits until the node tells a state of a form of a decision.
func (s *denyStage) told(d *event.Decision, state event.AckState) event.Ack {
	s.t.Helper()
	return s.tells(fmt.Sprintf("%s %d %s", d.ID, d.Serial, state), func(a *event.Ack) bool {
		return a.Decision == d.ID && a.Serial == d.Serial && a.State == state
	})
}

func (s *denyStage) tells(what string, match func(*event.Ack) bool) event.Ack {
	s.t.Helper()
	for i := range s.seen {
		if match(&s.seen[i]) {
			return s.seen[i]
		}
	}
	late := time.After(time.Minute)
	for {
		select {
		case m := <-s.acks:
			a, err := event.DecodeAck(m.Data)
			check(s.t, err)
			s.seen = append(s.seen, *a)
			if match(a) {
				return *a
			}
		case <-late:
			for _, a := range s.seen[max(0, len(s.seen)-10):] {
				s.t.Logf("told: %+v", a)
			}
			s.t.Fatalf("%s is not told", what)
		}
	}
}

// denyChild is an actor in a cgroup of its own.
type denyChild struct {
	t        *testing.T
	cgroup   *testenv.TestCgroup
	identity string
	cmd      *exec.Cmd
	in       io.Writer
	out      *bufio.Scanner
}

func (s *denyStage) actor(flags ...uintptr) *denyChild {
	s.t.Helper()
	c := &denyChild{t: s.t, cgroup: testenv.Cgroup(s.t, "/ambit-deny-*"), cmd: exec.Command("/proc/self/exe", "-test.run=^TestDenyActorChild$", "-test.count=1")}
	c.identity = event.CgroupIdentity(s.cfg.TrustDomain, s.cfg.Node, c.cgroup.Path()).String()
	c.cmd.Env = append(os.Environ(), denyActor+"=1")
	c.cmd.Stderr = os.Stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{}
	for _, f := range flags {
		c.cmd.SysProcAttr.Cloneflags |= f
		c.cmd.Env = append(c.cmd.Env, denyActor+"=own network")
	}
	in, err := c.cmd.StdinPipe()
	check(s.t, err)
	out, err := c.cmd.StdoutPipe()
	check(s.t, err)
	c.in, c.out = in, bufio.NewScanner(out)
	c.cgroup.Start(c.cmd)
	if got := c.do("ready"); got != "ok" {
		s.t.Fatalf("the actor says %q", got)
	}
	return c
}

func (c *denyChild) do(command ...any) string {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, command...); err != nil {
		c.t.Fatal(err)
	}
	for c.out.Scan() {
		if text, ok := strings.CutPrefix(c.out.Text(), "> "); ok {
			return text
		}
	}
	c.t.Fatalf("the actor ended at %v", command)
	return ""
}

func (c *denyChild) expect(want string, command ...any) {
	c.t.Helper()
	if got := c.do(command...); got != want {
		c.t.Errorf("%v: %s, want %s", command, got, want)
	}
}

// TestDenyActorChild is the actor: it connects as it is told.
func TestDenyActorChild(t *testing.T) {
	mode := os.Getenv(denyActor)
	if mode == "" {
		return // of no use by itself
	}
	if mode == "own network" {
		check(t, addAddresses())
		listener, err := net.Listen("tcp", "[::]:1000")
		check(t, err)
		go serveEcho(listener)
	}
	ended := make(chan int64, 1)
	var echoed atomic.Int64
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		w := strings.Fields(lines.Text())
		answer := ""
		switch w[0] {
		case "ready":
			answer = "ok"
		case "tcp", "udp":
			answer = dialOnce(w[0], w[1])
		case "all-refused": // until a file is there
			answer = "ok"
			for answer == "ok" {
				if _, err := os.Stat(w[2]); err == nil {
					break
				}
				if got := dialOnce("tcp", w[1]); got != "EPERM" {
					answer = "one attempt was " + got
				}
			}
		case "many":
			n, err := strconv.Atoi(w[2])
			check(t, err)
			refused := 0
			for range n {
				if dialOnce("tcp", w[1]) != "ok" {
					refused++
				}
			}
			answer = strconv.Itoa(refused)
		case "hold": // a transfer that goes on
			c, err := net.Dial("tcp", w[1])
			if answer = errnoOf(err); err == nil {
				echo := make([]byte, 1)
				_, err := c.Write(echo)
				check(t, err)
				_, err = io.ReadFull(c, echo)
				check(t, err)
				go func() {
					defer c.Close()
					go func() {
						b := make([]byte, 64<<10)
						for n, err := c.Read(b); err == nil; n, err = c.Read(b) {
							echoed.Add(int64(n))
						}
					}()
					data := make([]byte, 1024)
					for {
						if _, err := c.Write(data); err != nil {
							ended <- time.Now().UnixNano()
							return
						}
						time.Sleep(time.Millisecond) // the pace of a transfer
					}
				}()
			}
		case "held": // until it is cut
			select {
			case at := <-ended:
				answer = strconv.FormatInt(at, 10)
			case <-time.After(30 * time.Second):
				answer = "still there"
			}
		case "stalled": // nothing comes any more
			answer = "still there"
			for end, quiet := time.Now().Add(time.Minute), 0; time.Now().Before(end) && answer != "ok"; {
				before := echoed.Load()
				time.Sleep(500 * time.Millisecond)
				if quiet++; echoed.Load() != before {
					quiet = 0
				}
				if quiet == 4 {
					answer = "ok"
				}
			}
		case "goes-on":
			select {
			case <-ended:
				answer = "cut"
			default:
				answer = "ok"
			}
		}
		fmt.Println("> " + answer)
	}
}

func dialOnce(network, to string) string {
	c, err := net.DialTimeout(network, to, 10*time.Second)
	if err == nil {
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // no port waits
		}
		_, err = c.Write([]byte("x"))
		c.Close()
		if !errors.Is(err, syscall.EPERM) { // what it asked for was let through
			err = nil
		}
	}
	return errnoOf(err)
}

func errnoOf(err error) string {
	var e syscall.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &e):
		return unix.ErrnoName(e)
	}
	return strings.ReplaceAll(err.Error(), " ", "-")
}

func to(address string) string {
	return netip.AddrPortFrom(netip.MustParseAddr(address), 1000).String()
}
