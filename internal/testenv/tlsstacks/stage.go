package tlsstacks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// Stage has the other ends of all connections that a stack under test makes: a server and a client of the reference stack.
type Stage struct {
	Material *Material
	Server   *Server
	Client   *Client

	ends   map[string]End // of Server, by what they ask of a client
	serial int            // of connections: each has a server name of its own
}

// Started is called when a stack's program runs, before it is played with. once has it make a connection that is not told of. The process is 0 where
// each connection has one.
type Started func(pid int, once func())

// Connection is one that a stack under test made, or tried to make.
type Connection struct {
	Stack  string
	Client bool   // the stack's role
	Case   string // what it shows
	Burst  bool   // one of many at once
	Own    Identity
	Peer   Identity // what the other end presented; nothing: it presented nothing
	Offers string   // ALPN that the client offered

	Truth  // from the stack's point of view, by what the reference knows
	Failed bool
}

// Burst is the number of connections that a stack makes at once, each with a certificate of its own.
const Burst = 200

const offered, served = "h2,http/1.1", "http/1.1"

// NewStage makes certificates and starts the reference.
func NewStage(t testing.TB) *Stage {
	t.Helper()
	reference := Reference()
	reference.Require(t)
	m := NewMaterial(t)
	s := &Stage{Material: m, ends: map[string]End{}}
	cert, key := m.ByName()
	var ends []End
	for _, version := range both {
		for asks, e := range map[string]End{"mutual": {CA: m.Roots}, "plain": {}, "any": {CA: m.Roots, Insecure: true}} {
			e.ID, e.Version, e.ALPN, e.Cert, e.Key = asks+version, version, served, cert, key
			ends = append(ends, e)
		}
	}
	s.Server, s.Client = reference.Listen(t, ends), reference.Start(t, nil)
	for i, e := range ends {
		e.Address = s.Server.Addresses[i].String()
		s.ends[e.ID] = e
	}
	for i := range Burst {
		m.SPIFFE(fmt.Sprintf("server-%d", i))
		m.SPIFFE(fmt.Sprintf("client-%d", i))
	}
	for kind, make := range m.kinds() {
		make("server-" + kind)
		make("client-" + kind)
	}
	return s
}

func (m *Material) kinds() map[string]func(string) Identity {
	return map[string]func(string) Identity{
		"spiffe": m.SPIFFE, "named": m.Named, "long": m.Long, "expired": m.Expired, "foreign": m.Foreign, "other": m.OtherDomain, "two": m.TwoIDs,
	}
}

func name(label string) string { return label + "." + Domain }

// session is how often a connection is made to resume a session: the first and the others.
const session = 3

// PlayServer has the reference dial to a server of the stack in all ways, and tells of each connection. started may be nil.
func (s *Stage) PlayServer(t testing.TB, stack *Stack, started Started) []Connection {
	t.Helper()
	m := s.Material
	own := map[string]Identity{} // by end
	var ends []End
	listen := func(id, version, kind string, e End) {
		identity := m.made["server-"+kind]
		e.ID, e.Version, e.ALPN, e.Cert, e.Key = id+version, version, served, identity.Cert, identity.Key
		ends = append(ends, e)
		own[e.ID] = identity
	}
	for _, version := range both {
		listen("mutual", version, "spiffe", End{CA: m.Roots})
		listen("plain", version, "named", End{})
		listen("long", version, "long", End{CA: m.Roots, Wrapped: true})
		if stack.TakesAnything {
			listen("any", version, "spiffe", End{CA: m.Roots, Insecure: true})
		}
	}
	server := stack.Listen(t, ends)
	at := map[string]netip.AddrPort{}
	for i, e := range ends {
		at[e.ID] = server.Addresses[i]
	}
	var all []Connection
	var expected int
	dial := func(what, end, version string, clients []string, n int) {
		var dials []End
		for _, client := range clients {
			identity := m.made[client]
			dials = append(dials, End{
				ID: fmt.Sprintf("d%d", s.serial), Address: at[end+version].String(), SNI: name(fmt.Sprintf("s%d", s.serial)), Version: version, ALPN: offered, CA: m.Roots,
				Cert: identity.Cert, Key: identity.Key, Wrapped: s.serial%2 == 1,
			})
			s.serial++
		}
		truths := make([]Truth, 0, len(dials))
		switch {
		case n > 1:
			truths = s.Client.Repeat(t, dials[0], n)
		case stack.OneByOne:
			for len(dials) > len(truths) {
				truths = append(truths, s.Client.Dial(t, dials[len(truths):min(len(dials), len(truths)+16)]...)...)
			}
		default:
			truths = s.Client.Dial(t, dials...)
		}
		for i, truth := range truths {
			client := clients[min(i, len(clients)-1)]
			c := Connection{Stack: stack.Name, Case: what, Burst: len(clients) > 1, Own: own[end+version], Peer: m.made[client], Offers: offered, Truth: truth.mirrored(), Failed: truth.Error != ""}
			if end == "plain" {
				c.Peer, c.Truth.Peer = Identity{}, ""
			}
			if !c.Failed {
				expected++
			}
			c.Version = version
			all = append(all, c)
		}
	}
	if started != nil {
		started(server.PID, func() { dial("once", "mutual", "1.3", []string{"client-spiffe"}, 1) })
		all = nil
	}
	for _, version := range both {
		dial("mutual", "mutual", version, []string{"client-spiffe"}, 1)
		dial("resumed", "mutual", version, []string{"client-spiffe"}, session)
		dial("plain", "plain", version, []string{""}, 1)
		dial("long", "long", version, []string{"client-long"}, 1)
		dial("named", "mutual", version, []string{"client-named"}, 1)
		dial("refused", "mutual", version, []string{"client-foreign"}, 1)
		dial("expired", "mutual", version, []string{"client-expired"}, 1)
		if stack.TakesAnything {
			for _, kind := range []string{"expired", "foreign", "other", "two"} {
				dial("any "+kind, "any", version, []string{"client-" + kind}, 1)
			}
		}
		dial("burst", "mutual", version, s.half(version)[:stack.burst()/2], 1)
	}
	if stack.Tells != Nothing {
		s.compare(t, stack, stack.Tells, all, server.Successes(t, expected))
	}
	return all
}

func (s *Stack) burst() int {
	if s.Slow {
		return Burst / 5
	}
	return Burst
}

// half of the burst's clients are for each version.
func (s *Stage) half(version string) (clients []string) {
	for i := range Burst {
		if (i%2 == 0) == (version == "1.2") {
			clients = append(clients, fmt.Sprintf("client-%d", i))
		}
	}
	return clients
}

// PlayClient has a client of the stack dial to the reference in all ways, and tells of each connection.
func (s *Stage) PlayClient(t testing.TB, stack *Stack, started Started) []Connection {
	t.Helper()
	m := s.Material
	var known []End
	for _, e := range s.ends {
		e.CA = m.Roots
		known = append(known, e)
	}
	client := stack.Start(t, known)
	alpn := ""
	if stack.OffersALPN {
		alpn = offered
	}
	var all []Connection
	var said []Truth
	// dial dials to servers by the names of their identities.
	dial := func(what, end, version, identity string, insecure bool, servers []string, n int) {
		var dials []End
		for i, server := range servers {
			own := m.made[strings.Replace(identity, "*", strings.TrimPrefix(server, "server-"), 1)]
			dials = append(dials, End{
				ID: fmt.Sprintf("d%d", s.serial), Address: s.ends[end+version].Address, SNI: name(fmt.Sprintf("%s--%d", server, s.serial)), Version: version, ALPN: alpn, CA: m.Roots,
				Cert: own.Cert, Key: own.Key, Insecure: insecure, Wrapped: i%2 == 1 || what == "long",
			})
			s.serial++
		}
		var told []Truth
		if n > 1 {
			told = client.Repeat(t, dials[0], n)
		} else {
			told = client.Dial(t, dials...)
		}
		byName := map[string][]Truth{}
		for _, truth := range s.Server.Truths(t, len(told)) {
			byName[truth.SNI] = append(byName[truth.SNI], truth)
		}
		for i, truth := range told {
			j := min(i, len(dials)-1)
			other := byName[dials[j].SNI]
			if len(other) == 0 {
				t.Fatalf("%s client, %s by TLS %s: the server does not know of a connection to %s; the client says %q", stack.Name, what, version, dials[j].SNI, truth.Error)
			}
			byName[dials[j].SNI] = other[1:]
			c := Connection{
				Stack: stack.Name, Client: true, Case: what, Burst: len(servers) > 1, Own: m.made[strings.Replace(identity, "*", strings.TrimPrefix(servers[j], "server-"), 1)],
				Peer: m.made[servers[j]], Offers: alpn, Truth: other[0].mirrored(), Failed: truth.Error != "" || other[0].Error != "",
			}
			if c.Failed != (truth.Error != "") {
				t.Errorf("%s client, %s by TLS %s: the client says %q and the server %q", stack.Name, what, version, truth.Error, other[0].Error)
			}
			if c.Version = version; c.Failed {
				c.Error = truth.Error
			} else {
				truth.ID = ""
				said = append(said, truth)
			}
			all = append(all, c)
		}
	}
	if started != nil {
		started(client.PID, func() { dial("once", "mutual", "1.3", "client-spiffe", false, []string{"server-spiffe"}, 1) })
		all = nil
	}
	for _, version := range both {
		dial("mutual", "mutual", version, "client-spiffe", false, []string{"server-spiffe"}, 1)
		if slices.Contains(stack.Resumes, version) {
			dial("resumed", "mutual", version, "client-spiffe", false, []string{"server-spiffe"}, session)
		}
		dial("plain", "plain", version, "", false, []string{"server-named"}, 1)
		dial("long", "mutual", version, "client-long", false, []string{"server-long"}, 1)
		dial("named", "mutual", version, "client-named", false, []string{"server-named"}, 1)
		dial("refused", "mutual", version, "client-spiffe", false, []string{"server-foreign"}, 1)
		if stack.ClientInsecure {
			for _, kind := range []string{"expired", "foreign", "other", "two"} {
				dial("any "+kind, "any", version, "client-"+kind, true, []string{"server-" + kind}, 1)
			}
		}
		var servers []string
		for _, c := range s.half(version)[:stack.burst()/2] {
			servers = append(servers, "server-"+strings.TrimPrefix(c, "client-"))
		}
		dial("burst", "mutual", version, "client-*", false, servers, 1)
	}
	if stack.ClientTells != Nothing {
		s.compare(t, stack, stack.ClientTells, all, said)
	}
	return all
}

// compare holds what the stack says against what the reference says.
func (s *Stage) compare(t testing.TB, stack *Stack, tells Knowledge, all []Connection, said []Truth) {
	t.Helper()
	type tuple struct{ local, remote netip.AddrPort }
	byTuple := map[tuple][]Truth{} // the kernel may give a client's port again
	for _, truth := range said {
		at := tuple{truth.Local, truth.Remote}
		byTuple[at] = append(byTuple[at], truth)
	}
	for _, c := range all {
		if c.Failed {
			continue
		}
		want := c.Truth
		want.ID = ""
		if stack.Forgets && c.Resumed {
			want.SNI, want.Peer = "", ""
		}
		switch tells {
		case Tuple:
			want = Truth{Local: want.Local, Remote: want.Remote}
		case ButResumption:
			want.Resumed = false
		}
		at := tuple{c.Local, c.Remote}
		i := slices.IndexFunc(byTuple[at], func(truth Truth) bool {
			truth.ID = ""
			if stack.Forgets && c.Resumed {
				truth.SNI, truth.Peer = "", ""
			}
			return truth == want
		})
		if i < 0 {
			t.Errorf("%s, %s by TLS %s: the one end says %+v, and the other of connections from %s to %s %+v", stack.Name, c.Case, c.Version, want, c.Local, c.Remote, byTuple[at])
			continue
		}
		byTuple[at] = slices.Delete(byTuple[at], i, i+1) // each is one connection's
	}
}

// mirrored is the truth for the other end.
func (truth Truth) mirrored() Truth {
	truth.Local, truth.Remote = truth.Remote, truth.Local
	truth.Own, truth.Peer = truth.Peer, truth.Own
	return truth
}
