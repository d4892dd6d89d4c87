package deploy

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// far is an address that can be denied, with a server on its port.
const (
	far     = "192.0.2.1"
	farPort = "192.0.2.1:1000"
)

// stage is what an agent in a container has to do with: a NATS server with the rights of deploy/nats and a collector's streams, a key whose decisions count,
// a server to connect to, and actors that do.
type stage struct {
	t      *testing.T
	nats   *testenv.NATSUsers
	nc     *nats.Conn // a collector's
	js     jetstream.JetStream
	kv     jetstream.KeyValue
	key    nkeys.KeyPair
	public string
	serial uint64
	acks   chan *nats.Msg
	told   []event.Ack
	domain event.TrustDomain
}

// newStage wants a network of the test's own. The NATS server listens on address.
func newStage(t *testing.T, address string) *stage {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(far), Mask: net.CIDRMask(32, 32)}})
	}
	check(t, err)
	listener, err := net.Listen("tcp", farPort)
	check(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for c, err := listener.Accept(); err == nil; c, err = listener.Accept() {
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c) // until the other end closes
			}()
		}
	}()

	s := &stage{t: t, nats: testenv.StartNATSUsersAt(t, address, "n1"), serial: 1, acks: make(chan *nats.Msg, 65536)}
	s.domain, err = event.ParseTrustDomain("shop.example")
	check(t, err)
	s.key, err = nkeys.CreateAccount()
	check(t, err)
	s.public, err = s.key.PublicKey()
	check(t, err)
	cfg := collector.DefaultBusConfig()
	cfg.URLs, cfg.TLS = []string{s.nats.URL}, s.nats.TLS(testenv.CollectorID)
	bus, err := collector.OpenBus(t.Context(), cfg)
	check(t, err)
	t.Cleanup(bus.Close)
	s.nc, err = bus.Connect("test")
	check(t, err)
	t.Cleanup(s.nc.Close)
	s.js, err = jetstream.New(s.nc)
	check(t, err)
	s.kv, err = s.js.KeyValue(t.Context(), event.BucketDecisions)
	check(t, err)
	_, err = s.nc.ChanSubscribe("ambit.v1.ack.*", s.acks)
	check(t, err)
	return s
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// deny has an identity refused at the far address, and waits until the node says that this is in force.
func (s *stage) deny(identity event.Identity) *event.Decision {
	s.t.Helper()
	s.serial++
	now := time.Now().UTC()
	d := &event.Decision{
		ID: "d" + strconv.FormatUint(s.serial, 10), Serial: s.serial, Identity: identity.String(), To: "net:" + far + "/32", Direction: event.Outbound, Mode: event.Enforce,
		Reason: "test", Requester: "tester", Issued: now, Expires: now.Add(time.Hour),
	}
	s.issue(d, event.AckInForce)
	return d
}

func (s *stage) revoke(d *event.Decision) {
	s.t.Helper()
	s.serial++
	r := d.Clone()
	r.Serial, r.Revoked, r.RevokedBy, r.RevokedWhy = s.serial, time.Now().UTC(), "tester", "over"
	s.issue(r, event.AckEnded)
}

func (s *stage) issue(d *event.Decision, state event.AckState) {
	s.t.Helper()
	check(s.t, d.Sign(s.key))
	data, err := json.Marshal(d)
	check(s.t, err)
	_, err = s.kv.Put(s.t.Context(), d.ID, data)
	check(s.t, err)
	for late := time.After(time.Minute); ; {
		select {
		case m := <-s.acks:
			a, err := event.DecodeAck(m.Data)
			check(s.t, err)
			if s.told = append(s.told, *a); a.Decision == d.ID && a.Serial == d.Serial && a.State == state {
				return
			}
		case <-late:
			s.t.Fatalf("%s %d is not told to be %s: %+v", d.ID, d.Serial, state, s.told)
		}
	}
}

// sees waits until the stream has a connection of an identity to the far address.
func (s *stage) sees(identity event.Identity) *event.Observation {
	s.t.Helper()
	c, err := s.js.OrderedConsumer(s.t.Context(), event.StreamObservations, jetstream.OrderedConsumerConfig{})
	check(s.t, err)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		m, err := c.Next(jetstream.FetchMaxWait(time.Second))
		if errors.Is(err, nats.ErrTimeout) {
			continue
		}
		check(s.t, err)
		if !strings.HasPrefix(m.Subject(), "ambit.v1.obs.") {
			continue
		}
		batch, err := event.DecodeBatch(m.Data())
		check(s.t, err)
		for o := range batch.Observations() {
			if o.Workload.Identity == identity && o.Peer.Address.String() == far && o.Direction == event.Outbound {
				return o
			}
		}
	}
	s.t.Fatalf("no connection of %s to %s is seen", identity, far)
	return nil
}

// beat waits for a heartbeat of a version of the agent that denies.
func (s *stage) beat(version string) {
	s.t.Helper()
	sub, err := s.js.OrderedConsumer(s.t.Context(), event.StreamObservations, jetstream.OrderedConsumerConfig{FilterSubjects: []string{event.AgentSubject("n1")}})
	check(s.t, err)
	said := "nothing"
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		m, err := sub.Next(jetstream.FetchMaxWait(time.Second))
		if errors.Is(err, nats.ErrTimeout) {
			continue
		}
		check(s.t, err)
		h, err := event.DecodeHeartbeat(m.Data())
		check(s.t, err)
		if said = h.Version + ", deny " + h.Deny; h.Version == version && h.Deny == "on" {
			return
		}
	}
	s.t.Fatalf("no agent of version %s that denies: %s", version, said)
}

// podNetwork makes a network namespace as a pod has it, reached over 10.66.0.0/24, and gives its path.
func podNetwork(t *testing.T, group *testenv.TestCgroup) (path string) {
	t.Helper()
	holder := newActor(t, group, syscall.CLONE_NEWNET)
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "pod0"}, PeerName: "eth0", PeerNamespace: netlink.NsPid(holder.pid)}
	check(t, netlink.LinkAdd(veth))
	check(t, linkUp("pod0", "10.66.0.1"))
	for _, link := range []string{"lo 127.0.0.1", "eth0 10.66.0.2"} {
		if said := holder.do("up", link); said != "ok" {
			t.Fatalf("%s: %s", link, said)
		}
	}
	return fmt.Sprintf("/proc/%d/ns/net", holder.pid)
}

func linkUp(name, address string) error {
	link, err := netlink.LinkByName(name)
	if err == nil && name != "lo" { // which has its own
		err = netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(address), Mask: net.CIDRMask(24, 32)}})
	}
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	return err
}

// secret is a folder with files.
func secret(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		check(t, os.WriteFile(filepath.Join(dir, name), data, 0o400))
	}
	return dir
}

// actor is a process in a cgroup of its own.
type actor struct {
	t        *testing.T
	pid      int
	identity event.Identity
	in       io.Writer
	out      *bufio.Scanner
}

const actorMode = "AMBIT_DEPLOY_ACTOR"

func (s *stage) actor() *actor {
	s.t.Helper()
	group := testenv.Cgroup(s.t, "/ambit-deploy-actor-*")
	a := newActor(s.t, group, 0)
	a.identity = event.CgroupIdentity(s.domain, "n1", group.Path())
	return a
}

func newActor(t *testing.T, group *testenv.TestCgroup, namespaces uintptr) *actor {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestActorChild$", "-test.count=1")
	cmd.Env, cmd.Stderr = append(os.Environ(), actorMode+"=1"), os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	group.Start(cmd)
	return &actor{t: t, pid: cmd.Process.Pid, in: in, out: bufio.NewScanner(out)}
}

// do has it connect: to an address, or again and again until a file is there, and say whether each attempt was refused.
func (a *actor) do(order ...string) string {
	a.t.Helper()
	if _, err := fmt.Fprintln(a.in, strings.Join(order, " ")); err != nil {
		a.t.Fatal(err)
	}
	for a.out.Scan() {
		if said, ok := strings.CutPrefix(a.out.Text(), "> "); ok {
			return said
		}
	}
	a.t.Fatalf("the actor ended at %q", order)
	return ""
}

func (a *actor) expect(want string) {
	a.t.Helper()
	if got := a.do(farPort); got != want {
		a.t.Errorf("the connection of %s: %s, want %s", a.identity, got, want)
	}
}

// TestActorChild is the actor.
func TestActorChild(t *testing.T) {
	if os.Getenv(actorMode) == "" {
		return // of no use by itself
	}
	var echoed atomic.Int64
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
		words := strings.Fields(orders.Text())
		switch words[0] {
		case "up": // a link of its network
			said := "ok"
			if err := linkUp(words[1], words[2]); err != nil {
				said = err.Error()
			}
			fmt.Println("> " + said)
			continue
		case "hold": // a transfer that goes on
			c, err := net.Dial("tcp", words[1])
			check(t, err)
			go func() {
				b := make([]byte, 1)
				for err := error(nil); err == nil; time.Sleep(time.Millisecond) { // its pace
					if _, err = c.Write(b); err == nil {
						_, err = io.ReadFull(c, b)
					}
					echoed.Add(1)
				}
			}()
			for echoed.Load() == 0 {
				time.Sleep(time.Millisecond)
			}
			fmt.Println("> ok")
			continue
		case "held": // does it still go on, or not, for a second
			said := "it goes on"
			for end, last := time.Now().Add(20*time.Second), int64(-1); time.Now().Before(end) && said != "cut"; time.Sleep(time.Second) {
				if now := echoed.Load(); now == last {
					said = "cut"
				} else {
					last = now
				}
			}
			fmt.Println("> " + said)
			continue
		}
		said := dial(words[0])
		for n := 1; len(words) > 1 && said == "EPERM"; n++ {
			if _, err := os.Stat(words[1]); err == nil {
				said = fmt.Sprintf("refused %d times", n)
				break
			}
			said = dial(words[0])
		}
		fmt.Println("> " + said)
	}
}

func dial(to string) string {
	c, err := net.DialTimeout("tcp", to, 10*time.Second)
	if err == nil {
		_ = c.(*net.TCPConn).SetLinger(0) // no port waits
		c.Close()
		return "ok"
	}
	var e syscall.Errno
	if errors.As(err, &e) {
		return unix.ErrnoName(e)
	}
	return err.Error()
}
