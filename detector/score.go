package detector

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/ambit-nhi/ambit/event"
)

// surprise is how unusual the first use of a resource is, in points of log-odds, with the reasons that a person can check. It is a sum of evidence:
// each reason says how much likelier it is in an attack than in daily work.
type surprise struct {
	points   float64
	reasons  []string
	place    place
	crossing bool // into another environment
}

func (s *surprise) add(points float64, format string, args ...any) {
	s.points += points
	if format != "" {
		s.reasons = append(s.reasons, fmt.Sprintf(format, args...))
	}
}

// probability of the points.
func (s *surprise) probability() float64 { return 1 / (1 + math.Exp(-s.points)) }

// surpriseBase is the log-odds of an attack for a first use of which nothing else is known.
const surpriseBase = -2.2

// tools are programs that services do not reach new things with by themselves, but people and attackers do.
var tools = []string{"curl", "wget", "nc", "ncat", "netcat", "socat", "nmap", "masscan", "ssh", "scp", "sftp", "telnet", "kubectl", "sh", "bash", "dash", "ash", "zsh",
	"busybox", "perl", "psql", "mysql", "redis-cli", "mongosh", "aws", "gcloud", "az", "dig", "nslookup", "ping", "openssl", "tcpdump", "chisel", "xmrig"}

func isTool(path string) bool {
	return slices.Contains(tools, path[strings.LastIndexByte(path, '/')+1:])
}

// surpriseOf weighs the first use of a resource. known is the identity's own edge to it, where that is a candidate only; it is no support for itself.
func (d *Detector) surpriseOf(id *identity, known *edge, r event.Resource, o *event.Observation, st news) surprise {
	first := o.First().UnixMicro()
	s := surprise{points: surpriseBase, place: placeOf(o)}
	where := &places[s.place]
	s.points += where.weight

	// (a) the identity's own habit
	expected := id.profile.novelty.expected(first)
	habit := clamp(-0.9*math.Log(expected/0.25), -4, 2.2)
	switch {
	case expected >= 0.5:
		s.add(habit, "It reaches about %s new resources a day, so one more says little.", decimal(expected))
	case expected < 0.1:
		s.add(habit, "It reaches something new about once in %s days.", decimal(1/expected))
	default:
		s.points += habit
	}

	// (b) the others
	weight := 1.0 // of what others do: it excuses less where more is at stake
	if s.place.sensitive() {
		weight = 0.6
	}
	var with support
	if what, ok := d.resIndex[r]; ok {
		with = d.supportOf(id, what)
	} else if id.group != 0 {
		with.groupSize = int(d.groups[id.group-1].identities) - 1
	}
	with = with.and(d.supportElsewhere(id, r))
	if known != nil {
		with = with.but(id, r)
	}
	switch {
	case with.group > 0 && with.group >= with.groupSize:
		s.add(-3*weight, "All others of its group (%s), %d in number, reach it, too.", d.groups[id.group-1].name, with.group)
	case with.group > 0 && with.group*10 >= with.groupSize*3:
		s.add(-3*weight, "Of the %d others of its group (%s), %d reach it, too.", with.groupSize, d.groups[id.group-1].name, with.group)
	case with.group > 0:
		s.add(-1.5*weight, "Of the %d others of its group (%s), %d reach it, too.", with.groupSize, d.groups[id.group-1].name, with.group)
	}
	owner := namespaceOf(r)
	switch n := d.everybody(); {
	case with.all == 0 && s.place == placePublic:
		s.add(1.6, "Nobody ever reached it.")
	case with.all == 0:
		s.add(0.6, "Nobody ever reached it.")
	case owner != "" && owner != o.Workload.Namespace && with.outside == 0:
		s.add(1.2, "Until now only %s reached it, of its own namespace %s.", plural(uint64(with.all), "identity"), owner)
	case with.all >= 10 || with.all >= 3 && with.all*3 >= n:
		s.add(-2*weight, "%d identities reach it.", with.all)
	case with.all >= 3:
		s.points -= weight
	}
	if kin := d.kin(id, known, r); kin != "" {
		s.add(-1.8, "It is a relative of %s, which is normal.", kin)
	}
	if r.Kind() == event.ResourceNet && s.place == placePublic {
		if d.freshAgent(o.Node, first) {
			s.add(-1.5, "The agent of the node had just been started, so that a name may not be known.")
		} else {
			s.add(0.8, "It was reached by its bare address, without a name.")
		}
	}

	// (c) where it is
	if from, to := environmentOf(o.Workload.Namespace), environmentOf(namespaceOf(r)); from != "" && to != "" && from != to {
		s.crossing = true
		s.add(2.5, "It is in another environment: %s reaches %s.", from, to)
	}

	// (d) how
	if exe := o.Workload.Executable; exe != "" {
		switch {
		case o.Workload.Interactive && casual(o.Workload.Namespace):
		case st.newExecutable && isTool(exe):
			s.add(3, "%s never ran in it before, and is a tool of people.", exe)
		case st.newExecutable && !d.graced(id, first):
			s.add(1.6, "%s never connected to anything before.", exe)
		case isTool(exe):
			s.add(0.7, "")
		}
	}
	if o.Workload.Interactive {
		if casual(o.Workload.Namespace) {
			s.add(-0.5, "A person is at a terminal, which is usual in such an environment.")
		} else {
			s.add(2, "A person is at a terminal.")
		}
	}
	switch o.Workload.Evidence {
	case event.EvidenceProcess, event.EvidenceCgroup:
		s.points -= 0.7 // people's own programs, mostly
	}
	if d.graced(id, first) && !s.place.sensitive() {
		s.add(-2.5, "A new image came %s ago: a new version may need it.", spell(span64(id.profile.image[0].first, first)))
	}
	return s
}

// graceMicros is how long after a new image a new resource is excused in part.
const graceMicros = 6 * hourMicros

// graced says whether the identity runs an image that is new, while it had another before.
func (d *Detector) graced(id *identity, at int64) bool {
	images := id.profile.image
	return len(images) > 1 && at-images[0].first < graceMicros
}

// kin names a normal resource of the identity that differs from r in what changes from day to day: another name of the same domain, another address
// of the same network, another port of the same peer.
func (d *Detector) kin(id *identity, but *edge, r event.Resource) string {
	domain := domainOf(r)
	var found string
	d.eachEdge(id, func(e *edge) {
		if found != "" || e == but || !e.normal() {
			return
		}
		k := d.resources[e.resource]
		switch {
		case k.Kind() != r.Kind():
		case r.Kind() == event.ResourceNet:
			if k.Port() == r.Port() && public(k.Prefix().Addr()) && nearby(k.Prefix(), r.Prefix()) {
				found = k.String()
			}
		case r.Kind() == event.ResourceDNS && domain != "" && k.Port() == r.Port() && domainOf(k) == domain:
			found = k.String()
		}
	})
	return found
}

// domainOf is the domain that somebody registered, of a DNS name.
func domainOf(r event.Resource) string {
	if r.Kind() != event.ResourceDNS {
		return ""
	}
	domain, err := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(r.Name()))
	if err != nil {
		return ""
	}
	return domain
}

// decimal writes a number as people say it.
func decimal(x float64) string {
	if x >= 10 {
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.1f", x)
}

// nearby says whether two ranges are of the same network, of 256 addresses in IPv4 and 2^64 in IPv6.
func nearby(a, b netip.Prefix) bool {
	bits := 24
	if a.Addr().Is6() {
		bits = 64
	}
	if a.Addr().Is4() != b.Addr().Is4() || a.Bits() < bits || b.Bits() < bits {
		return false
	}
	return netip.PrefixFrom(a.Addr(), bits).Contains(b.Addr())
}

// casual says that people look for faults in an environment every day.
func casual(namespace string) bool {
	switch environmentOf(namespace) {
	case "development", "test", "staging":
		return true
	}
	return false
}

// freshAgent says whether a node's agent began to watch within the last hour: what names it saw before, it does not know.
func (d *Detector) freshAgent(node string, at int64) bool {
	i, known := d.nodeIndex[node]
	if !known || len(d.nodes[i].spans) == 0 {
		return true
	}
	from := d.nodes[i].spans[len(d.nodes[i].spans)-1].from
	return at-from < hourMicros
}
