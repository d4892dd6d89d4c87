package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

const denyAgent = "AMBIT_TEST_DENY_AGENT"

type denyAgentConfig struct {
	Server, Folder string
	Deny           DenyConfig
}

// TestDenyAgentChild is a real agent, until it is told to end, or killed.
func TestDenyAgentChild(t *testing.T) {
	text := os.Getenv(denyAgent)
	if text == "" {
		return // of no use by itself
	}
	var c denyAgentConfig
	check(t, json.Unmarshal([]byte(text), &c))
	nc, err := nats.Connect(c.Server, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectBufSize(-1))
	check(t, err)
	defer nc.Close()
	td, err := event.ParseTrustDomain("shop.example")
	check(t, err)
	a, err := New(Config{Node: "n1", TrustDomain: td, Interval: 500 * time.Millisecond, StateDir: c.Folder, Deny: c.Deny}, nc)
	check(t, err)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	check(t, a.Run(ctx, func() { fmt.Println("watching") }))
}

func (s *denyStage) agent() *exec.Cmd {
	s.t.Helper()
	text, err := json.Marshal(denyAgentConfig{s.server.ClientURL(), s.cfg.StateDir, s.cfg.Deny})
	check(s.t, err)
	child := exec.Command("/proc/self/exe", "-test.run=^TestDenyAgentChild$", "-test.count=1")
	child.Env = append(os.Environ(), denyAgent+"="+string(text))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	check(s.t, err)
	check(s.t, child.Start())
	s.t.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait() // has ended, most often
		if _, err := bpf.RemoveDeny(s.cfg.Deny.Pins); err != nil {
			s.t.Error(err)
		}
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == "watching" {
			go func() { _, _ = io.Copy(io.Discard, out) }() // it ends with the child
			return child
		}
	}
	s.t.Fatal("the agent does not watch")
	return nil
}

func kill(child *exec.Cmd) {
	_ = child.Process.Kill()
	_ = child.Wait() // it was killed
}

// What is in force holds while the agent is away, ends by itself, and is the same after it comes back, with the stream and without.
func TestKernelDenyOutlivesAgent(t *testing.T) {
	onDenyStage(t, func(s *denyStage) {
		child := s.agent()
		a, other := s.actor(), s.actor()
		long := s.issue(s.decision("long", a.identity, "net:10.77.0.1/32", hour))
		revoked := s.issue(s.decision("revoked", a.identity, "net:10.77.0.2/32", hour))
		s.told(long, event.AckInForce)
		s.told(revoked, event.AckInForce)
		life := 4 * time.Second
		if os.Getenv("AMBIT_GUEST") != "" {
			life = 20 * time.Second // an emulated processor is slow
		}
		short := s.issue(s.decision("short", a.identity, "net:10.78.0.1/32", life))
		s.told(short, event.AckInForce)
		kill(child)

		a.expect("EPERM", "tcp", to("10.77.0.1"))
		for begun := time.Now(); a.do("tcp", to("10.78.0.1")) == "EPERM"; begun = time.Now() {
			if late := begun.Sub(short.Expires); late > time.Second {
				t.Fatalf("it denies %s after its end, without an agent", late)
			}
			if time.Until(short.Expires) > 2*time.Second {
				time.Sleep(50 * time.Millisecond) // others run beside this
			}
		}
		if early := time.Until(short.Expires); early > 50*time.Millisecond {
			t.Errorf("it ended %s early", early)
		}
		other.expect("0", "many", to("10.77.0.1"), 50)

		// Without the stream, what was known goes on; nothing lets anybody through in between.
		url := s.server.ClientURL()
		dir, port := s.server.StoreDir(), portOf(s.server)
		stopServer(s.server)
		flap := make(chan string, 1)
		started := filepath.Join(t.TempDir(), "started")
		go func() { flap <- a.do("all-refused", to("10.77.0.1"), started) }()
		child = s.agent()
		time.Sleep(500 * time.Millisecond) // it would change its mind within that
		check(t, os.WriteFile(started, nil, 0o600))
		if got := <-flap; got != "ok" {
			t.Errorf("while the agent started: %s", got)
		}
		a.expect("EPERM", "tcp", to("10.77.0.2"))
		kill(child)

		// A revocation that the agent missed. The counts go on.
		s.server = natsServer(t, dir, port)
		if s.server.ClientURL() != url {
			t.Fatalf("the server is at %s, and was at %s", s.server.ClientURL(), url)
		}
		waitFor(t, "the connection to the server", s.nc.IsConnected)
		s.serial++
		gone := revoked.Clone()
		gone.Serial, gone.Revoked, gone.RevokedBy, gone.RevokedWhy = s.serial, time.Now().UTC(), "tester", "over"
		s.issue(gone)
		child = s.agent()
		s.told(gone, event.AckEnded)
		a.expect("ok", "tcp", to("10.77.0.2"))
		a.expect("EPERM", "tcp", to("10.77.0.1"))
		s.tells("the counts of all runs", func(a *event.Ack) bool { return a.Decision == long.ID && a.Denied > 10 })
		check(t, child.Process.Signal(syscall.SIGTERM))
		check(t, child.Wait())
		a.expect("EPERM", "tcp", to("10.77.0.1"))
	})
}

// A connection is refused if and only if a decision in force names it, whatever comes and goes: decisions, revocations, restarts, the clock.
func TestKernelDenyProperty(t *testing.T) {
	onDenyStage(t, func(s *denyStage) {
		s.cfg.Deny.Floor = []string{"net:10.77.0.3/32"}
		s.start()
		actors := []*denyChild{s.actor(), s.actor()}
		all := s.decision("", "spiffe://shop.example/node/n1/cgroup/ambit-deny-*", "", hour).Identity
		targets := []string{
			"*", "net:10.77.0.1/32", "net:10.77.0.0/16", "net:10.77.0.0/16:1000/udp", "net:0.0.0.0/0:1000/tcp", "net:fd77::/16", "port:1000/udp", "*:*/tcp", "net:10.78.0.1/32:1001",
		}
		run, checks := 0, "15"
		if os.Getenv("AMBIT_GUEST") != "" {
			checks = "2" // an emulated processor is slow
		}
		check(t, flag.Set("rapid.checks", checks)) // in this process there is no other test
		rapid.Check(t, func(rt *rapid.T) {
			run++
			held := map[string]*event.Decision{}
			inForce := func(a *denyChild, network, address string) bool {
				if address == "10.77.0.3" || address == "127.0.0.1" {
					return false
				}
				for _, d := range held {
					id, err := event.ParseIdentity(a.identity)
					check(t, err)
					if d.Mode == event.Enforce && d.Names(id) && time.Now().Before(d.Expires) && names(t, d.To, network, address) {
						return true
					}
				}
				return false
			}
			steps := rapid.IntRange(3, 8).Draw(rt, "steps")
			for step := range steps {
				switch op := rapid.IntRange(0, 9).Draw(rt, "what"); {
				case op < 5:
					who := rapid.SampledFrom([]string{actors[0].identity, actors[1].identity, all}).Draw(rt, "who")
					d := s.decision(fmt.Sprintf("p%d-%d", run, step), who, rapid.SampledFrom(targets).Draw(rt, "to"), hour)
					d.Glob = who == all
					d.Mode = rapid.SampledFrom([]event.Mode{event.Enforce, event.Enforce, event.DryRun}).Draw(rt, "mode")
					s.told(s.issue(d), event.AckInForce)
					held[d.ID] = d
				case op < 8 && len(held) > 0:
					ids := make([]string, 0, len(held))
					for id := range held {
						ids = append(ids, id)
					}
					slices.Sort(ids)
					id := rapid.SampledFrom(ids).Draw(rt, "which")
					s.revoke(held[id])
					delete(held, id)
				case op == 8: // the clock of the wall is set, by hours either way, and the agent starts again or not
					by := time.Duration(rapid.IntRange(-30, 30).Draw(rt, "hours")) * hour
					s.wall(by)
					if rapid.Bool().Draw(rt, "restart") {
						s.stop()
						s.start()
						s.wall(by)
					}
				default:
					s.stop()
					s.start()
				}
				s.wall(0)
				for i, a := range actors {
					for _, x := range [][2]string{{"tcp", "10.77.0.1"}, {"udp", "10.77.0.2"}, {"tcp", "10.77.0.3"}, {"tcp", "10.78.0.1"}, {"tcp", "fd77::1"}, {"udp", "fd77::1"}, {"tcp", "127.0.0.1"}} {
						want := "ok"
						if inForce(a, x[0], x[1]) {
							want = "EPERM"
						}
						if got := a.do(x[0], to(x[1])); got != want {
							rt.Fatalf("actor %d, %v: %s, want %s; %d decisions", i, x, got, want, len(held))
						}
					}
				}
			}
			for _, d := range held {
				s.revoke(d)
			}
		})
	})
}

// names says whether a target is about a connection to port 1000 of an address.
func names(t *testing.T, text, network, address string) bool {
	t.Helper()
	target, err := event.ParseTarget(text)
	check(t, err)
	a := netip.MustParseAddr(address)
	if target.Port != 0 && target.Port != 1000 || target.Protocol != "" && string(target.Protocol) != network {
		return false
	}
	return target.Kind != event.TargetNet || target.Prefix.Contains(a)
}

// wall sets the wall clock of the denier off by some time.
func (s *denyStage) wall(by time.Duration) { s.denier.skew.Store(int64(by)) }
