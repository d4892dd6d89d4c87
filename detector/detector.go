package detector

import (
	"maps"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Detector holds what is known of all identities. It is not safe for concurrent use.
type Detector struct {
	config Config

	nodes      []node
	nodeIndex  map[string]uint32
	identities []identity
	idIndex    map[event.Identity]uint32
	resources  []event.Resource
	resIndex   map[event.Resource]uint32
	edges      edgeTable
	findings   findingTable

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
	causeFindings    = "finding_table_full"  // a use of a resource whose finding is too long ago to be kept up to date
)

// identity is what is known of one, besides its edges.
type identity struct {
	id       event.Identity
	seen     []sighting
	edges    uint32 // how many
	lastEdge uint32 // index of the newest edge plus 1; each names the one before
	minute   int64  // the latest minute in which a finding was told
	told     int    // how many in that minute
}

// New makes an empty detector. c is valid.
func New(c Config) *Detector {
	return &Detector{
		config:    c,
		nodeIndex: map[string]uint32{},
		idIndex:   map[event.Identity]uint32{},
		resIndex:  map[event.Resource]uint32{},
		edges:     edgeTable{index: map[edgeKey]uint32{}},
		findings:  findingTable{open: map[edgeKey]*openFinding{}, limit: maxFindings},
		refused:   map[string]uint64{},
	}
}

// Sight notes that a workload was running on a node at a time.
func (d *Detector) Sight(w *event.Workload, node string, at time.Time) {
	if who, ok := d.identity(w.Identity); ok {
		d.see(who, node, at.UnixMicro())
	}
}

// Observe takes one valid observation and appends the findings that are new, or that were told before and have changed, the latter at most
// once a minute of event time each. The caller has called [Detector.Cover] with the node's watched time up to the observation before.
//
// Nothing is kept of o but its strings. It does not allocate where the edge is known.
func (d *Detector) Observe(o *event.Observation, out []event.Finding) []event.Finding {
	who, ok := d.identity(o.Workload.Identity)
	if !ok {
		return out
	}
	first, last := o.First().UnixMicro(), o.Time.UnixMicro()
	d.see(who, o.Node, first)
	if o.Direction != event.Outbound {
		return out
	}
	r := event.ResourceOf(o)
	if what, known := d.resIndex[r]; known {
		if e := d.edges.find(edgeKey{who, what}); e != nil {
			e.use(first, last, o.Counts.Connections)
			if e.state == edgeTold {
				return d.update(edgeKey{who, what}, e.connections, last, out)
			}
			return out
		}
	}
	return d.meet(who, r, o, out)
}

// meet handles an edge that was not known.
func (d *Detector) meet(who uint32, r event.Resource, o *event.Observation, out []event.Finding) []event.Finding {
	first, last := o.First().UnixMicro(), o.Time.UnixMicro()
	watched := d.watched(&d.identities[who], first)
	stable := watched.total >= d.config.Learn
	if stable && o.Counts.Connections == 0 {
		return out // not reached yet, as far as we know: neither told nor learned
	}
	key, e := d.add(who, r, first, last)
	if e == nil {
		return out
	}
	e.connections = o.Counts.Connections
	if !stable {
		return out
	}
	id := &d.identities[who]
	if !id.spend(first, d.config.FindingsPerMinute) {
		e.state = edgeFolded
		return d.fold(edgeKey{who, wholeIdentity}, o, watched, out)
	}
	e.state = edgeTold
	f := d.newReach(id, r, o, watched)
	d.newFinding(key, f, &out)
	return append(out, f)
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
	return i, true
}

// Knows says whether an identity is in the table.
func (d *Detector) Knows(id event.Identity) bool {
	_, known := d.idIndex[id]
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
