package agent

import (
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/agent/enforce"
	"github.com/ambit-nhi/ambit/event"
)

const hour = time.Hour

// From the bucket to EPERM, and back.
func TestKernelDenyFollowsDecisions(t *testing.T) {
	onDenyStage(t, func(s *denyStage) {
		s.start()
		a, other := s.actor(), s.actor()
		var took []time.Duration
		rounds := 20
		if os.Getenv("AMBIT_GUEST") != "" {
			rounds = 5 // an emulated processor is slow
		}
		for i := range rounds {
			a.expect("ok", "tcp", to("10.77.0.1"))
			d := s.decision("d"+strconv.Itoa(i), a.identity, "net:10.77.0.0/24", hour)
			start := time.Now()
			s.issue(d)
			for a.do("tcp", to("10.77.0.1")) != "EPERM" {
				if time.Since(start) > time.Minute {
					t.Fatal("it is not denied")
				}
			}
			took = append(took, time.Since(start))
			in := s.told(d, event.AckInForce)
			if in.Entries == 0 || in.Why != "" {
				t.Errorf("in force: %+v", in)
			}
			s.told(d, event.AckReceived)
			a.expect("EPERM", "udp", to("10.77.0.2"))
			a.expect("ok", "tcp", to("10.78.0.1"))
			other.expect("ok", "tcp", to("10.77.0.1"))
			s.revoke(d)
			a.expect("ok", "tcp", to("10.77.0.1"))
		}
		slices.Sort(took)
		t.Logf("from the signature to EPERM: median %s, longest of %d %s", took[len(took)/2], len(took), took[len(took)-1])
		// A key that is deleted lifts nothing; one that comes again is none; counts are told.
		d := s.issue(s.decision("counted", a.identity, "net:10.77.0.1/32:1000/tcp", hour))
		s.told(d, event.AckInForce)
		check(t, s.kv.Delete(t.Context(), d.ID))
		check(t, s.kv.Purge(t.Context(), d.ID))
		for range 7 {
			a.expect("EPERM", "tcp", to("10.77.0.1"))
		}
		told := s.tells("7 denied", func(a *event.Ack) bool { return a.Decision == d.ID && a.Denied == 7 })
		if told.FirstDenied.IsZero() || told.LastDenied.Before(told.FirstDenied) || told.State != event.AckInForce {
			t.Errorf("told is %+v", told)
		}
		// A dry run refuses nothing, and counts.
		s.revoke(d)
		dry := s.decision("dry", a.identity, "*", hour)
		dry.Mode = event.DryRun
		s.told(s.issue(dry), event.AckInForce)
		for range 5 {
			a.expect("ok", "tcp", to("10.77.0.1"))
		}
		s.tells("5 would have been denied", func(a *event.Ack) bool { return a.Decision == dry.ID && a.WouldDeny >= 5 && a.Denied == 0 })
	})
}

// Established transfers are cut in the network namespace that they are in, at once; others go on.
func TestKernelDenyCuts(t *testing.T) {
	onDenyStage(t, func(s *denyStage) {
		s.start()
		a, other, apart := s.actor(), s.actor(), s.actor(syscall.CLONE_NEWNET)
		for _, c := range []*denyChild{a, other, apart} {
			c.expect("ok", "hold", to("10.77.0.1"))
		}
		elsewhere := s.actor()
		elsewhere.expect("ok", "hold", to("10.78.0.1"))
		soonest := time.Duration(0)
		if os.Getenv("AMBIT_GUEST") == "" {
			soonest = time.Hour
		}
		for _, c := range []*denyChild{a, apart, elsewhere} {
			d := s.decision("cut-"+strconv.Itoa(c.cmd.Process.Pid), c.identity, "net:10.77.0.0/16", hour)
			start := time.Now()
			s.issue(d)
			if c == elsewhere {
				s.told(d, event.AckInForce)
				continue
			}
			if os.Getenv("AMBIT_GUEST") != "" { // without the module that tells of connections: their packets are dropped
				c.expect("ok", "stalled")
				continue
			}
			at, err := strconv.ParseInt(c.do("held"), 10, 64)
			check(t, err)
			took := time.Unix(0, at).Sub(start)
			t.Logf("cut %s after the decision was signed", took)
			soonest = min(soonest, took)
			told := s.tells("the cut", func(a *event.Ack) bool { return a.Decision == d.ID && a.Cut > 0 })
			if told.Cut != 1 || told.LastAllowed.IsZero() {
				t.Errorf("told is %+v", told)
			}
		}
		const limit = 100 * time.Millisecond
		for i := 0; i < 10 && soonest > limit && os.Getenv("AMBIT_GUEST") == ""; i++ { // the machine may be busy with others
			c := s.actor()
			c.expect("ok", "hold", to("10.77.0.1"))
			start := time.Now()
			s.issue(s.decision("again-"+strconv.Itoa(i), c.identity, "net:10.77.0.0/16", hour))
			at, err := strconv.ParseInt(c.do("held"), 10, 64)
			check(t, err)
			soonest = min(soonest, time.Unix(0, at).Sub(start))
		}
		if soonest > limit {
			t.Errorf("cut after %s at best, more than %s", soonest, limit)
		}
		other.expect("ok", "goes-on")
		elsewhere.expect("ok", "goes-on")
		// Over IPv6, and a quarantine.
		six := s.actor()
		six.expect("ok", "hold", to("fd77::1"))
		s.issue(s.decision("six", six.identity, "*", hour))
		six.expect("ok", "stalled")
	})
}

// What must not be followed is not, and that is told with the reason.
func TestDenyRefuses(t *testing.T) {
	onDenyStage(t, func(s *denyStage) {
		s.cfg.Deny.Protected = []string{"spiffe://shop.example/node/n1/cgroup/ambit-deny-protected*"}
		s.cfg.Deny.Floor = append(s.cfg.Deny.Floor, "net:10.77.0.3/32", "net:fd77::/64:1000/tcp")
		s.cfg.Deny.AutomaticPerMinute, s.cfg.Deny.AutomaticMax = 5, 1000
		s.start()
		a := s.actor()
		fresh := func(id string) *event.Decision { return s.decision(id, a.identity, "net:10.77.0.1/32", hour) }
		refused := func(what string, d *event.Decision, why string) {
			t.Helper()
			got := s.told(d, event.AckRefused)
			if !strings.Contains(got.Why, why) {
				t.Errorf("%s is refused for %q, want %q", what, got.Why, why)
			}
			a.expect("ok", "tcp", to("10.77.0.1"))
		}
		stranger, err := nkeys.CreateAccount()
		check(t, err)

		d := fresh("unsigned")
		s.put(d)
		refused("an unsigned decision", d, "not signed")
		d = fresh("strange")
		check(t, d.Sign(stranger))
		s.put(d)
		refused("a decision of another key", d, "not trusted")
		d = s.sign(fresh("forged"))
		other := fresh("other")
		s.sign(other)
		d.Signature = other.Signature
		s.put(d)
		refused("a forged signature", d, "altered")
		d = s.sign(fresh("altered"))
		d.To = "*"
		s.put(d)
		refused("an altered decision", d, "altered")
		d = fresh("expired")
		d.Issued, d.Expires = d.Issued.Add(-2*hour), d.Issued.Add(-hour)
		s.issue(d)
		refused("an expired decision", d, "expired")
		d = fresh("future")
		d.Issued, d.Expires = d.Issued.Add(hour), d.Expires.Add(hour)
		s.issue(d)
		refused("a decision of the future", d, "future")
		d = s.decision("long", a.identity, "*", 48*hour)
		s.issue(d)
		refused("a decision that holds too long", d, "longer")
		// An older form, after the revocation.
		d = s.issue(fresh("replayed"))
		s.told(d, event.AckInForce)
		a.expect("EPERM", "tcp", to("10.77.0.1"))
		s.revoke(d)
		s.put(d)
		refused("a replay", d, "replay")
		// Under another's key.
		d = s.sign(fresh("honest"))
		s.put(d)
		s.told(d, event.AckInForce)
		s.revoke(d)

		// Rails.
		d = s.issue(s.decision("loopback", a.identity, "net:127.0.0.0/8", hour))
		refused("loopback", d, "floor")
		d = s.issue(s.decision("floor", a.identity, "net:10.77.0.3/32:1000/tcp", hour))
		refused("the floor", d, "floor")
		d = s.issue(s.decision("api-server", a.identity, "svc:kubernetes.default:443/tcp", hour))
		refused("the API server", d, "floor")
		d = s.issue(s.decision("dns", a.identity, "svc:kube-dns.kube-system:53/udp", hour))
		refused("the cluster's DNS", d, "floor")
		d = s.issue(s.decision("protected", "spiffe://shop.example/node/n1/cgroup/ambit-deny-protected-1", "*", hour))
		refused("a protected identity", d, "protected")
		// A quarantine leaves the floor and Ambit's own paths.
		d = s.issue(s.decision("quarantine", a.identity, "*", hour))
		s.told(d, event.AckInForce)
		a.expect("EPERM", "tcp", to("10.77.0.1"))
		a.expect("EPERM", "tcp", to("10.78.0.1"))
		a.expect("ok", "tcp", to("10.77.0.3"))
		a.expect("ok", "udp", to("10.77.0.3"))
		a.expect("ok", "tcp", to("fd77::1"))
		a.expect("EPERM", "udp", to("fd77::1"))
		a.expect("ok", "tcp", to("127.0.0.1"))
		a.expect("ok", "tcp", strings.TrimPrefix(s.server.ClientURL(), "nats://"))
		s.revoke(d)
		// Everybody but the protected and Ambit itself, which this test runs as.
		d = s.decision("everybody", "spiffe://shop.example/*", "*", hour)
		d.Glob = true
		s.issue(d)
		in := s.told(d, event.AckInForce)
		if !strings.Contains(in.Why, "Ambit itself") {
			t.Errorf("everybody is in force, but %q", in.Why)
		}
		a.expect("EPERM", "tcp", to("10.77.0.1"))
		if got := dialOnce("tcp", to("10.77.0.1")); got != "ok" {
			t.Errorf("Ambit itself is denied: %s", got)
		}
		s.revoke(d)
		// Ambit itself, by its name.
		d = s.issue(s.decision("self", event.CgroupIdentity(s.cfg.TrustDomain, s.cfg.Node, s.denier.own).String(), "*", hour))
		if got := s.told(d, event.AckFailed); !strings.Contains(got.Why, "Ambit itself") {
			t.Errorf("Ambit itself fails for %q", got.Why)
		}
		s.revoke(d)
		// Whose cgroup is others' too.
		shared := "spiffe://shop.example/node/n1/user/1000/exe/usr/bin/curl"
		id, err := event.ParseIdentity(shared)
		check(t, err)
		s.denier.saw([]event.Workload{{Identity: id, Evidence: event.EvidenceProcess, Cgroup: "/user.slice/session-1.scope"}})
		d = s.issue(s.decision("shared", shared, "*", hour))
		if got := s.told(d, event.AckFailed); !strings.Contains(got.Why, "shared") {
			t.Errorf("a shared cgroup fails for %q", got.Why)
		}
		s.revoke(d)
		// A thousand automatic decisions in a minute: as many as are allowed.
		last, issued := "", time.Now().UTC()
		for i := range 1000 {
			d := s.decision("automatic-"+strconv.Itoa(i), a.identity, "net:10.99."+strconv.Itoa(i/250)+"."+strconv.Itoa(i%250)+"/32", hour)
			d.Automatic, d.Issued = true, issued
			s.issue(d)
			last = d.ID
		}
		s.tells("the last", func(a *event.Ack) bool { return a.Decision == last && a.State == event.AckRefused })
		for i := range s.cfg.Deny.AutomaticPerMinute {
			s.tells("the first", func(a *event.Ack) bool {
				return a.Decision == "automatic-"+strconv.Itoa(i) && a.State == event.AckInForce
			})
		}
		inForce := map[string]bool{}
		for _, a := range s.seen {
			if strings.HasPrefix(a.Decision, "automatic-") && a.State == event.AckInForce {
				inForce[a.Decision] = true
			}
		}
		if len(inForce) != s.cfg.Deny.AutomaticPerMinute {
			t.Errorf("%d automatic decisions are in force, %d are allowed", len(inForce), s.cfg.Deny.AutomaticPerMinute)
		}
		// Break the glass, and mend it.
		d = s.issue(fresh("glass"))
		s.told(d, event.AckInForce)
		a.expect("EPERM", "tcp", to("10.77.0.1"))
		check(t, os.WriteFile(s.cfg.Deny.BreakGlass, nil, 0o600))
		if got := s.told(d, event.AckNotCovered); !strings.Contains(got.Why, "break-glass") {
			t.Errorf("not covered for %q", got.Why)
		}
		a.expect("ok", "tcp", to("10.77.0.1"))
		s.seen = nil
		check(t, os.Remove(s.cfg.Deny.BreakGlass))
		s.told(d, event.AckInForce)
		a.expect("EPERM", "tcp", to("10.77.0.1"))
		// The global switch.
		s.stop()
		a.expect("EPERM", "tcp", to("10.77.0.1"))
		s.cfg.Deny.Mode = DenyOff
		s.start()
		a.expect("ok", "tcp", to("10.77.0.1"))
		if status, _, _ := s.denier.Status(); !strings.Contains(status, "off: deny.mode is off") {
			t.Errorf("status is %q", status)
		}
		if _, err := os.Stat(s.cfg.Deny.Pins); !os.IsNotExist(err) {
			t.Errorf("pins are left: %v", err)
		}
	})
}

// A name is denied at the addresses that this very workload was told for it.
func TestDenyNames(t *testing.T) {
	onDenyStage(t, func(s *denyStage) {
		s.start()
		a, other := s.actor(), s.actor()
		s.denier.names.Answer(a.cgroup.ID(), dnsAnswer("db.partner.example", [4]byte{10, 77, 0, 1}), time.Now())
		s.denier.names.Answer(other.cgroup.ID(), dnsAnswer("db.partner.example", [4]byte{10, 77, 0, 2}), time.Now())
		d := s.issue(s.decision("name", a.identity, "dns:db.partner.example", hour))
		s.told(d, event.AckInForce)
		a.expect("EPERM", "tcp", to("10.77.0.1"))
		a.expect("ok", "tcp", to("10.77.0.2")) // another workload knows it there
		other.expect("ok", "tcp", to("10.77.0.1"))
		s.denier.names.Answer(a.cgroup.ID(), dnsAnswer("db.partner.example", [4]byte{10, 77, 0, 2}), time.Now())
		s.denier.poke()
		waitFor(t, "the new address", func() bool { return a.do("tcp", to("10.77.0.2")) == "EPERM" })
	})
}

// A handshake has shown a denied peer behind an address that nobody knew: the connection is cut, and others of the workload go on.
func TestDenyCutsPeer(t *testing.T) {
	onDenyStage(t, func(s *denyStage) {
		s.start()
		a, same := s.actor(), s.actor()
		partner, err := event.ParseIdentity("spiffe://partner.example/api")
		check(t, err)
		own, err := event.ParseIdentity(a.identity)
		check(t, err)
		d := s.issue(s.decision("partner", a.identity, partner.String()+":1000/tcp", hour))
		s.told(d, event.AckInForce)
		a.expect("ok", "hold", to("10.77.0.1")) // nobody knows whose address it is
		same.expect("ok", "hold", to("10.77.0.1"))
		met := meeting{own, partner, enforce.Connection{Cgroup: a.cgroup.ID(), Peer: netip.MustParseAddr("10.77.0.2"), Port: 1000, Protocol: unix.IPPROTO_TCP}}
		s.denier.shook(met) // elsewhere
		a.expect("ok", "goes-on")
		met.connection.Peer = netip.MustParseAddr("10.77.0.1")
		s.denier.shook(met)
		a.expect("ok", "stalled")
		s.tells("the cut", func(x *event.Ack) bool { return x.Decision == d.ID && x.Cut == 1 })
		same.expect("ok", "goes-on")
		a.expect("ok", "tcp", to("10.77.0.1")) // it may be somebody else next time
	})
}

// dnsAnswer is an answer with one address.
func dnsAnswer(name string, address [4]byte) []byte {
	m := []byte{0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0}
	for label := range strings.SplitSeq(name, ".") {
		m = append(append(m, byte(len(label))), label...)
	}
	m = append(m, 0, 0, 1, 0, 1)
	m = append(m, 0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4)
	return append(m, address[:]...)
}

// A process that comes later, in a new cgroup of the same identity, is denied too.
func TestDenyNewCgroups(t *testing.T) {
	onDenyStage(t, func(s *denyStage) {
		s.start()
		d := s.decision("later", "spiffe://shop.example/node/n1/cgroup/ambit-deny-*", "net:10.77.0.0/16", hour)
		d.Glob = true
		s.issue(d)
		s.told(d, event.AckInForce)
		a := s.actor()
		waitFor(t, "the new cgroup", func() bool { return a.do("tcp", to("10.77.0.1")) == "EPERM" })
	})
}
