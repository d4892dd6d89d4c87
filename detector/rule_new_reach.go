package detector

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// A stable identity reaches, or tries to reach, a resource that it never reached while it was learned.
const ruleNewReach = "new-reach"

// newReach makes the finding of an edge's first use.
func (d *Detector) newReach(id *identity, r event.Resource, o *event.Observation, w watch) event.Finding {
	n := d.normal(id)
	where := placeOf(o)
	f := d.finding(ruleNewReach, id, r, o, n, w, newReachScore(where, n, o, w, d.config.Learn))
	verb := "reached"
	if allFailed(o) {
		verb = "tried to reach"
	}
	f.Title = fmt.Sprintf("%s %s %s for the first time", shortName(&o.Workload), verb, r)
	f.Count = o.Counts.Connections
	f.OWASP = append(f.OWASP, places[where].owasp...)
	f.Attack = append(f.Attack, places[where].attack...)
	f.Explanation = []string{whoReached(r, o), outcome(o)}
	if why := places[where].why; why != "" {
		f.Explanation = append(f.Explanation, fmt.Sprintf(why, cmp.Or(addressText(o), o.Peer.Name)))
	}
	f.Explanation = append(f.Explanation, whatWasNormal(n, w, d.config.Learn))
	if f.Coverage != "" {
		f.Explanation = append(f.Explanation, f.Coverage)
	}
	return f
}

// place is where on the network a peer is.
type place int

const (
	placeElsewhere place = iota // a private address, or none is known
	placeLoopback
	placePublic
	placeMetadata
)

var places = [...]struct {
	why           string // with the address
	owasp, attack []string
}{
	placeElsewhere: {attack: []string{"T1021"}}, // remote services
	placeLoopback:  {why: "%s is on the same machine."},
	placePublic:    {why: "%s is a public address.", owasp: []string{"NHI3:2025"}, attack: []string{"T1071"}},                                          // third-party; application layer protocol
	placeMetadata:  {why: "%s is a cloud metadata service, which hands out credentials.", owasp: []string{"NHI6:2025"}, attack: []string{"T1552.005"}}, // cloud instance metadata API
}

// metadataServices hand out a machine's or a workload's cloud credentials to whoever asks.
var metadataServices = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"), // AWS, Azure, Google, OpenStack and others
	netip.MustParseAddr("fd00:ec2::254"),   // AWS
	netip.MustParseAddr("fd20:ce::254"),    // Google
	netip.MustParseAddr("169.254.170.2"),   // AWS ECS tasks
	netip.MustParseAddr("169.254.170.23"),  // AWS EKS pods
	netip.MustParseAddr("fd00:ec2::23"),    // AWS EKS pods
	netip.MustParseAddr("100.100.100.200"), // Alibaba
}

func placeOf(o *event.Observation) place {
	address, dialled := o.Peer.Address.Unmap().WithZone(""), o.Peer.Dialled.Addr().Unmap().WithZone("")
	switch {
	case slices.Contains(metadataServices, address), slices.Contains(metadataServices, dialled), o.Peer.Name == "metadata.google.internal":
		return placeMetadata
	case !address.IsValid():
		return placeElsewhere
	case address.IsLoopback():
		return placeLoopback
	case address.IsGlobalUnicast() && !address.IsPrivate() && !sharedAddresses.Contains(address):
		return placePublic
	}
	return placeElsewhere
}

// sharedAddresses are carrier-grade NAT's (RFC 6598), which clusters use inside.
var sharedAddresses = netip.MustParsePrefix("100.64.0.0/10")

// newReachScore says in percent how unusual a new edge is, by simple reasons. It begins in the middle.
func newReachScore(p place, n normal, o *event.Observation, w watch, learn time.Duration) int {
	if p == placeMetadata {
		return 95
	}
	score := 50
	switch p {
	case placePublic:
		score += 15 // data can leave, and commands can come
	case placeLoopback:
		score -= 30 // stays on the machine
	}
	switch {
	case n.resources <= 5:
		score += 10 // a narrow identity: a new resource stands out
	case n.resources > 100:
		score -= 20 // a wide one: it reaches something new now and then
	}
	if w.total >= 7*learn {
		score += 10 // known for long
	}
	if o.Workload.Interactive {
		score += 10 // a person is at it
	}
	return min(score, 100)
}

func severityOf(score int) event.Severity {
	switch {
	case score >= 80:
		return event.High
	case score >= 45:
		return event.Medium
	}
	return event.Low
}

// confidence says how well the baseline was known when it was left: by the share of time that was watched, and by how far past the learning
// time that is. It is 0.5 at its end without gaps, and nears 1.
func confidence(w watch, learn time.Duration, at int64) float64 {
	lived := time.Duration(at-w.first) * time.Microsecond
	if lived <= 0 {
		return 0
	}
	share := min(float64(w.total)/float64(lived), 1)
	return math.Round(100*share*float64(w.total)/float64(w.total+learn)) / 100
}

// normal sums up what was learned of an identity.
type normal struct {
	resources int
	newest    int64  // when the last of them was first reached, µs
	top       []edge // the most used
}

// topResources is how many resources a finding names as normal.
const topResources = 5

func (d *Detector) normal(id *identity) normal {
	var n normal
	order := func(a, b edge) int {
		if c := cmp.Compare(b.connections, a.connections); c != 0 {
			return c
		}
		return cmp.Compare(d.resources[a.resource].String(), d.resources[b.resource].String())
	}
	d.eachEdge(id, func(e *edge) {
		if e.state != edgeLearned {
			return
		}
		n.resources++
		n.newest = max(n.newest, e.first)
		i, _ := slices.BinarySearchFunc(n.top, *e, order)
		if i < topResources {
			n.top = slices.Insert(n.top, i, *e)
			n.top = n.top[:min(len(n.top), topResources)]
		}
	})
	return n
}
