package detector

import (
	"maps"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Detector holds what is known of all identities. It is not safe for concurrent use.
type Detector struct {
	config Config
	policy Policy // the configured one, and the default

	nodes      []node
	nodeIndex  map[string]uint32
	identities []identity
	idIndex    map[event.Identity]uint32
	resources  []event.Resource
	users      []users // of each resource
	resIndex   map[event.Resource]uint32
	edges      edgeTable
	groups     []group
	groupIndex map[string]uint32 // plus 1
	groupUses  map[groupUse]uint32
	trust      map[trustKey]trust
	threshold  threshold
	stable     int   // identities that are
	settled    int64 // when most identities had become so, µs; 0: not yet
	occasions  int   // see Config.Occasions
	holders    certificates
	declared   map[event.Identity]declared
	elsewhere  elsewhere
	notes      notes
	loading    bool // from a saved state, of which the others were told
	findings   findingTable
	scopes     map[uint32]*scoped // by identity
	clock      eventTime
	minute     minuteBudget
	flooded    uint32 // the identity of the latest summary of all

	refused map[string]uint64
	periods []period // scratch of watched
}

// The causes of refusals.
const (
	causeIdentities  = "identity_table_full" // an observation or sighting of an identity that is not known and cannot be
	causeResources   = "resource_table_full" // a use of a resource beyond those that are known of its identity
	causeEdges       = "edge_table_full"     // a use of a resource beyond those that are known of all identities
	causeNodes       = "node_table_full"     // something seen on a node that is not known and cannot be
	causeSpans       = "span_forgotten"      // a period of watching of a node that has had very many
	causeInvalidSpan = "span_invalid"        // a period of watching that ends before it begins
	causePolicy      = "policy"              // something that would have been told, or counted in a finding, if the policy did not silence it
	causeVerdict     = "verdict_unknown"     // a verdict about what is not known here, or is not any more
	causeAhead       = "time_far_ahead"      // something seen a day or more ahead of all others: judged as of a day ahead of them
	causeBehind      = "time_far_behind"     // something seen a week or more behind: judged as of its own time
	causeFindings    = "finding_table_full"  // a use of a resource whose finding is too long ago to be kept up to date
)

// identity is what is known of one, besides its edges.
type identity struct {
	id         event.Identity
	seen       []sighting
	edges      uint32 // how many
	lastEdge   uint32 // index of the newest edge plus 1; each names the one before
	group      uint32 // index plus 1
	minute     int64  // the latest minute in which a finding was told
	told       int    // how many in that minute
	stable     bool   // once learned, it stays so
	since      int64  // it was learned then, µs, if not before
	tls        bool   // some way of it was protected
	dormant    bool   // it was told so
	scoped     bool   // it has a scope
	downgraded bool   // it has a finding of that rule, which may be over
	profile    profile
}

// New makes an empty detector. c is valid.
func New(c Config) *Detector {
	return &Detector{
		config:     c,
		policy:     slices.Concat(c.Policy, DefaultPolicy()),
		nodeIndex:  map[string]uint32{},
		idIndex:    map[event.Identity]uint32{},
		resIndex:   map[event.Resource]uint32{},
		edges:      edgeTable{index: map[edgeKey]uint32{}},
		groupIndex: map[string]uint32{},
		groupUses:  map[groupUse]uint32{},
		trust:      map[trustKey]trust{},
		scopes:     map[uint32]*scoped{},
		holders:    newCertificates(),
		declared:   map[event.Identity]declared{},
		elsewhere:  newElsewhere(),
		findings:   findingTable{open: map[findingKey]*openFinding{}, limit: maxFindings},
		refused:    map[string]uint64{},
		occasions:  min(max(int(c.Learn/occasion), 1), c.Occasions),
	}
}

// occasion is the learning time that each occasion takes at least: who learns within minutes cannot wait for hours.
const occasion = 8 * time.Hour

// Sight notes that a workload was running on a node at a time.
func (d *Detector) Sight(w *event.Workload, node string, at time.Time) {
	if who, ok := d.identity(w.Identity); ok {
		d.see(who, node, at.UnixMicro())
		d.join(&d.identities[who], w)
	}
}

// Observe takes one valid observation and appends the findings that are new, or that were told before and have changed, the latter at most
// once a minute of event time each. The caller has called [Detector.Cover] with the node's watched time up to the observation before.
//
// Nothing is kept of o but its strings. It does not allocate where nothing about the observation is new.
func (d *Detector) Observe(o *event.Observation, out []event.Finding) []event.Finding {
	if d.clock.now/hourMicros > d.clock.hour {
		out = d.sweep(out)
	}
	who, ok := d.identity(o.Workload.Identity)
	if !ok {
		return out
	}
	s := sight{d: d, o: o, who: who, id: &d.identities[who], out: out}
	s.first, s.last = d.timesOf(o)
	d.see(who, o.Node, s.first)
	d.join(s.id, &o.Workload)
	s.news = s.id.profile.note(o, s.first, s.last)
	s.learned = d.learned(s.id, s.first)
	s.awake()
	if o.Direction == event.Outbound {
		s.reach(event.ResourceOf(o))
	} else {
		s.callers()
	}
	s.behaviour()
	return s.out
}

// learned says whether an identity's baseline is complete: it was watched for the learning time, and was active often enough in it to show its habits.
// What comes late is judged as of its own time.
func (d *Detector) learned(id *identity, at int64) bool {
	switch {
	case id.stable && at >= id.since:
		return true
	case !id.stable && id.profile.hours < d.occasions:
		return false
	case d.watched(id, at).total < d.config.Learn:
		return false
	case id.stable:
		id.since = at
		return true
	}
	id.stable, id.since = true, at
	d.stable++
	if d.settled == 0 && d.stable >= enoughStable && d.stable*2 >= len(d.identities) {
		d.settled = at
	}
	return true
}

// reach judges what the observation reached.
func (s *sight) reach(r event.Resource) {
	d, c := s.d, &s.o.Counts
	if what, known := d.resIndex[r]; known {
		key := edgeKey{s.who, what}
		if e := d.edges.find(key); e != nil {
			candidate, once := s.learned && e.state == edgeLearned && c.Connections > 0, !e.recurred()
			e.use(s.first, s.last, c.Connections)
			outside := s.scope(key, e, r, false)
			switch {
			case e.state == edgeTold:
				s.out = d.update(findingKey{key, reachRules[e.rule]}, e.connections, s.first, s.last, s.out)
			case e.state == edgeApproved:
				s.approved(key, e)
			case candidate && !outside:
				s.confirm(key, e, r, once)
			}
			s.amount(key, e, r)
			s.protection(what, r)
			return
		}
	}
	s.meet(r)
	s.protection(wholeIdentity, r)
}

// meet handles an edge that was not known.
func (s *sight) meet(r event.Resource) {
	d := s.d
	if s.learned && s.o.Counts.Connections == 0 {
		return // not reached yet, as far as we know: neither told nor learned
	}
	var novel surprise
	judged := s.learned || placeOf(s.o).sensitive()
	if judged { // before it is known to be reached
		novel = d.surpriseOf(s.id, nil, r, s.o, s.news)
	}
	key, e := d.add(s.who, r, s.first, s.last)
	if e == nil {
		return
	}
	e.connections = s.o.Counts.Connections
	s.amount(key, e, r)
	outside := s.scope(key, e, r, true)
	if !s.learned {
		if judged && !outside {
			s.early(key, e, r, novel)
		}
		return
	}
	s.id.profile.novelty.note(s.first)
	s.id.profile.fan.note(s.first, allFailed(s.o))
	if outside {
		return
	}
	if s.fanOut() { // it is counted there
		e.state = edgeFolded
		return
	}
	if !s.id.spend(s.first, d.config.FindingsPerMinute) {
		e.state = edgeFolded
		s.fold()
		return
	}
	s.newReach(key, e, r, novel)
}

// behaviour judges how the identity acts, whatever it reached.
func (s *sight) behaviour() {
	s.undeclared()
	s.neverUsed()
	s.wakeup()
	s.human()
	s.executable()
	s.holder()
	s.mismatch()
	s.hours()
	if s.o.TLS != nil {
		s.certificate()
	}
}

// timesOf are the times of an observation, µs. What is far ahead of all nodes must not spoil what is counted for all; what is behind is judged as of its
// own time.
func (d *Detector) timesOf(o *event.Observation) (first, last int64) {
	first, last = o.First().UnixMicro(), o.Time.UnixMicro()
	switch now := d.clock.now; {
	case now == 0:
	case last > now+farAhead && len(d.nodes) > 1:
		d.refused[causeAhead]++
		last = now + farAhead
		first = min(first, last)
	case last < now-farBehind:
		d.refused[causeBehind]++
	}
	return first, last
}

// spend takes one of the findings that an identity has in the minute of a time (µs). Time that goes back is the latest minute still.
func (id *identity) spend(at int64, limit int) bool {
	if minute := at / minuteMicros; minute > id.minute {
		id.minute, id.told = minute, 0
	}
	if id.told >= limit {
		return false
	}
	id.told++
	return true
}

// identity finds or adds one.
func (d *Detector) identity(id event.Identity) (uint32, bool) {
	if i, known := d.idIndex[id]; known {
		return i, true
	}
	if id.IsZero() || len(d.identities) >= d.config.MaxIdentities {
		d.refused[causeIdentities]++
		return 0, false
	}
	i := uint32(len(d.identities))
	d.identities = append(d.identities, identity{id: id})
	d.idIndex[id] = i
	d.profess(i)
	d.count(countIdentities, "", event.Resource{}, i+1)
	return i, true
}

// Knows says whether an identity was seen, or is declared.
func (d *Detector) Knows(id event.Identity) bool {
	if _, known := d.idIndex[id]; known {
		return true
	}
	_, known := d.declared[id]
	return known
}

// Counters gives what was refused since the start, by cause.
func (d *Detector) Counters() map[string]uint64 { return maps.Clone(d.refused) }

// Gauges gives how full the tables are.
func (d *Detector) Gauges() map[string]uint64 {
	return map[string]uint64{
		"nodes":      uint64(len(d.nodes)),
		"identities": uint64(len(d.identities)),
		"resources":  uint64(len(d.resources)),
		"edges":      uint64(d.edges.len),
		"findings":   uint64(len(d.findings.open)),
	}
}
