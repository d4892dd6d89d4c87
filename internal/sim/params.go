package sim

import (
	"errors"
	"fmt"
	"time"
)

// Params are all that a simulation depends on. Shares are of 1, rates are means of what is drawn.
type Params struct {
	Seed       uint64
	Identities int       // alive at the beginning, those that are only declared among them
	Days       int       //
	Start      time.Time // a Monday, at midnight
	Calm       bool      // without attacks
	Repeat     int       // attacks of each scenario

	// The cluster.
	IdentitiesPerNode int           // of all identities; sets how many nodes there are
	ProdNodes         float64       // share of the nodes that run production
	NodeLife          time.Duration // between two replacements of a node
	AgentRestarts     float64       // of one node's agent in 30 days
	RestartGap        time.Duration // not watched while an agent restarts
	LongGaps          float64       // share of restarts that take up to 6 h
	Forgotten         float64       // share of names that are not known in the hour after a restart: an address is told

	// Identities.
	BornLate   float64 // share of services that come later than the beginning
	Deleted    float64 // share of services that are removed, with their account
	Dormant    float64 // share of identities that fall silent within the first weeks and keep their account
	Paused     float64 // share of services that rest for 8 to 25 days, and come back with a deploy
	Canaries   float64 // share of services in production, two deployments of which go by one account
	Crossing   float64 // share of services of other environments that reach a gateway of production all along
	NeverUsed  float64 // share of identities that are declared and never act
	Wide       float64 // share of identities that reach new names all the time: webhooks, crawlers
	Runners    float64 // share of identities that are runners of pipelines
	Mesh       float64 // share of services whose connections carry SVIDs of an hour
	Registered float64 // share of these whose SVID is named by a registration entry, not by namespace and account
	Scaling    float64 // share of services that have more replicas by day

	// What they do.
	MedianRate     float64    // connections an hour of the median edge, at the mean of its week
	RateSpread     float64    // sigma of the logarithm of edges' rates
	Dispersion     [2]float64 // variance/mean of counts, drawn per edge; 4.4 and 8.2 were measured in Online Boutique
	RareEdges      float64    // of a service, beside those in daily use
	RareEvery      [2]time.Duration
	NewNamesPerDay float64 // of a wide identity
	Failures       float64 // share of connections that fail in quiet times
	BytesSpread    float64 // sigma of the logarithm of an hour's bytes of a connection
	Bulk           float64 // share of edges that move 10 to 40 times as much now and then, once in 12 days each
	OffHours       float64 // share of the hours out of working time in which one that acts in it alone does something
	Unseen         float64 // share of an edge's hours in which the handshake of a connection is missed
	WireOnly       float64 // share of programs whose certificates cannot be seen
	Unverified     float64 // share of edges to the internet on which nobody verifies
	Partners       float64 // of a gateway in production: clients outside with certificates of 90 days

	// Change.
	DeploysPerWeek float64 // of a service in production; half as many again elsewhere
	EdgesPerDeploy float64 // new edges that a deploy brings
	NewPrograms    float64 // share of deploys that bring a program of another path
	DNSChanges     float64 // share of external edges whose name changes once
	SaaSNames      int     // names of other people's services
	SaaSAddresses  int     // that each of them answers with in turn, some hours each
	Outages        float64 // of a dependency in 30 days
	OutageMinutes  float64 // how long it is away
	DebugPerDay    float64 // sessions of people in pods, per 1,000 identities
}

// Default is the simulation that is published: 1,000 identities, 60 days.
func Default() Params {
	return Params{
		Seed: 1, Identities: 1000, Days: 60, Start: time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC), Repeat: 2,

		IdentitiesPerNode: 25, ProdNodes: .6, NodeLife: 35 * 24 * time.Hour, AgentRestarts: 1.5, RestartGap: 90 * time.Second, LongGaps: .05, Forgotten: .02,

		BornLate: .10, Deleted: .02, Dormant: .02, Paused: .01, Canaries: .04, Crossing: .03, NeverUsed: .015, Wide: .008, Runners: .012, Mesh: .6, Registered: .4, Scaling: .3,

		MedianRate: 12, RateSpread: 1.8, Dispersion: [2]float64{4, 8}, RareEdges: 1, RareEvery: [2]time.Duration{3 * day, 60 * day}, NewNamesPerDay: 4, Failures: .002,
		BytesSpread: .5, Bulk: .05, OffHours: .0005, Unseen: .005, WireOnly: .1, Unverified: .03, Partners: .6,

		DeploysPerWeek: 1, EdgesPerDeploy: .12, NewPrograms: .025, DNSChanges: .05, SaaSNames: 80, SaaSAddresses: 12, Outages: .25, OutageMinutes: 25, DebugPerDay: 1.5,
	}
}

const (
	day  = 24 * time.Hour
	tick = 10 * time.Second // the agent's interval

	hoursPerWeek = 168
)

// Validate says all that is wrong.
func (p Params) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(p.Identities >= 60 && p.Identities <= 100_000, "identities is %d; it must be between 60 and 100000", p.Identities)
	check(p.Days >= 2 && p.Days <= 1000, "days is %d; it must be between 2 and 1000", p.Days)
	check(p.Start.Equal(p.Start.Truncate(day)) && p.Start.Weekday() == time.Monday, "start is %s; it must be a Monday at midnight, UTC", p.Start)
	check(p.Repeat >= 0 && p.Repeat <= 100, "repeat is %d; it must be between 0 and 100", p.Repeat)
	check(p.IdentitiesPerNode >= 1, "identities per node is %d; it must be at least 1", p.IdentitiesPerNode)
	check(p.NodeLife >= day, "node life is %s; it must be at least a day", p.NodeLife)
	check(p.RestartGap > 0, "restart gap is %s; it must be positive", p.RestartGap)
	check(p.RareEvery[0] > 0 && p.RareEvery[1] >= p.RareEvery[0], "rare every is %s to %s; it must be positive, and in order", p.RareEvery[0], p.RareEvery[1])
	check(p.Dispersion[0] >= 1 && p.Dispersion[1] >= p.Dispersion[0], "dispersion is %v; it must be at least 1, and in order", p.Dispersion)
	check(p.SaaSNames >= 10 && p.SaaSAddresses >= 1, "%d SaaS names with %d addresses; there must be at least 10 with 1", p.SaaSNames, p.SaaSAddresses)
	for _, x := range []struct {
		name  string
		value float64
	}{
		{"prod nodes", p.ProdNodes}, {"long gaps", p.LongGaps}, {"forgotten", p.Forgotten}, {"born late", p.BornLate}, {"deleted", p.Deleted}, {"dormant", p.Dormant}, {"paused", p.Paused}, {"canaries", p.Canaries}, {"crossing", p.Crossing},
		{"never used", p.NeverUsed}, {"wide", p.Wide}, {"runners", p.Runners}, {"mesh", p.Mesh}, {"registered", p.Registered}, {"scaling", p.Scaling},
		{"failures", p.Failures}, {"dns changes", p.DNSChanges}, {"bulk", p.Bulk}, {"off hours", p.OffHours}, {"unseen", p.Unseen}, {"wire only", p.WireOnly},
		{"unverified", p.Unverified}, {"new programs", p.NewPrograms},
	} {
		check(x.value >= 0 && x.value <= 1, "%s is %g; it is a share, between 0 and 1", x.name, x.value)
	}
	for _, x := range []struct {
		name  string
		value float64
	}{
		{"agent restarts", p.AgentRestarts}, {"median rate", p.MedianRate}, {"rate spread", p.RateSpread}, {"rare edges", p.RareEdges}, {"new names per day", p.NewNamesPerDay},
		{"deploys per week", p.DeploysPerWeek}, {"edges per deploy", p.EdgesPerDeploy}, {"outages", p.Outages}, {"outage minutes", p.OutageMinutes}, {"debug per day", p.DebugPerDay},
		{"bytes spread", p.BytesSpread}, {"partners", p.Partners},
	} {
		check(x.value >= 0 && x.value <= 1000, "%s is %g; it must be between 0 and 1000", x.name, x.value)
	}
	return errors.Join(faults...)
}
