package detector

import "github.com/ambit-nhi/ambit/event"

// edgeKey names an edge by its places in the tables.
type edgeKey struct{ identity, resource uint32 }

// wholeIdentity stands for the resource in the key of a finding that is about an identity as such.
const wholeIdentity = ^uint32(0)

// edge is what is known of one identity's use of one resource. There are millions.
type edge struct {
	connections uint64
	first, last int64    // µs since 1970
	volumes     *volumes // nil while it sent next to nothing
	resource    uint32   // index
	before      uint32   // index plus 1 of the identity's edge before
	sent        uint32   // bytes, while volumes is nil
	days        uint8    // distinct days of use, up to 255
	hours       uint8    // distinct hours of use, up to 255
	state       edgeState
	rule        uint8 // index in reachRules, of the finding it has
}

type edgeState uint8

const (
	edgeLearned   edgeState = iota // first used while its identity was learned: a candidate, until it is confirmed
	edgeTold                       // has a finding of its own
	edgeFolded                     // first used after learning, in a minute that had its fill of findings
	edgeApproved                   // normal by a person's word
	edgeSilent                     // first used after learning; the policy silences its finding
	edgeConfirmed                  // learned, and used again since in a way that raises no doubt
)

// normal says whether the edge counts as normal when others are compared with it.
func (e *edge) normal() bool {
	return e.state == edgeLearned || e.state == edgeApproved || e.state == edgeConfirmed
}

// recurred says that the edge was used on several occasions: what happened once, while its identity was learned, may be what must not become normal.
func (e *edge) recurred() bool { return e.days >= 2 || e.hours >= 3 }

func (e *edge) use(first, last int64, connections uint64) {
	switch {
	case e.hours == 0:
		e.days, e.hours = 1, 1
	case first/hourMicros != e.last/hourMicros:
		e.hours = min(e.hours, 254) + 1
		if dayOf(first) != dayOf(e.last) {
			e.days = min(e.days, 254) + 1
		}
	}
	e.connections += connections
	e.first = min(e.first, first)
	e.last = max(e.last, last)
}

// edgeTable holds edges in chunks: growing one slice of millions would copy it and hold it twice.
type edgeTable struct {
	chunks [][]edge
	len    int
	index  map[edgeKey]uint32
}

const chunkEdges = 1024

func (t *edgeTable) at(i uint32) *edge { return &t.chunks[i/chunkEdges][i%chunkEdges] }

func (t *edgeTable) find(k edgeKey) *edge {
	if i, known := t.index[k]; known {
		return t.at(i)
	}
	return nil
}

func (t *edgeTable) add(k edgeKey, e edge) (uint32, *edge) {
	if t.len%chunkEdges == 0 {
		t.chunks = append(t.chunks, make([]edge, 0, chunkEdges))
	}
	c := &t.chunks[len(t.chunks)-1]
	*c = append(*c, e)
	i := uint32(t.len)
	t.index[k] = i
	t.len++
	return i, t.at(i)
}

// add adds an edge that is not known, or gives nil where there is no room.
func (d *Detector) add(who uint32, r event.Resource, first, last int64) (edgeKey, *edge) {
	id := &d.identities[who]
	if int(id.edges) >= d.config.MaxResources {
		d.refused[causeResources]++
		return edgeKey{}, nil
	}
	if d.edges.len >= d.config.MaxEdges {
		d.refused[causeEdges]++
		return edgeKey{}, nil
	}
	what, ok := d.intern(r)
	if !ok {
		return edgeKey{}, nil
	}
	key := edgeKey{who, what}
	i, e := d.edges.add(key, edge{first: first, last: last, resource: what, before: id.lastEdge, days: 1, hours: 1})
	id.edges++
	id.lastEdge = i + 1
	d.users[what].all++
	d.count(countAll, "", r, d.users[what].all)
	if ns := namespaceOf(r); ns != "" && ns != namespaceOfIdentity(id.id) {
		d.users[what].outside++
		d.count(countOutside, "", r, d.users[what].outside)
	}
	d.share(id, what)
	return key, e
}

// intern gives a resource its place in the table, or says that there is none left.
func (d *Detector) intern(r event.Resource) (uint32, bool) {
	what, known := d.resIndex[r]
	if known {
		return what, true
	}
	if len(d.resources) >= 2*d.config.MaxEdges { // most are of edges
		d.refused[causeResources]++
		return 0, false
	}
	what = uint32(len(d.resources))
	d.resources = append(d.resources, r)
	d.users = append(d.users, users{})
	d.resIndex[r] = what
	return what, true
}

// eachEdge calls f with each edge of an identity, newest first.
func (d *Detector) eachEdge(id *identity, f func(*edge)) {
	for i := id.lastEdge; i > 0; {
		e := d.edges.at(i - 1)
		f(e)
		i = e.before
	}
}
