package detector

import "github.com/ambit-nhi/ambit/event"

// edgeKey names an edge by its places in the tables.
type edgeKey struct{ identity, resource uint32 }

// wholeIdentity stands for the resource in the key of a finding that is about an identity as such.
const wholeIdentity = ^uint32(0)

// edge is what is known of one identity's use of one resource. There are millions.
type edge struct {
	connections uint64
	first, last int64  // µs since 1970
	resource    uint32 // index
	before      uint32 // index plus 1 of the identity's edge before
	state       edgeState
}

type edgeState uint8

const (
	edgeLearned edgeState = iota // normal: first used while its identity was learned
	edgeTold                     // has a finding of its own
	edgeFolded                   // first used after learning, in a minute that had its fill of findings
)

func (e *edge) use(first, last int64, connections uint64) {
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
	what, known := d.resIndex[r]
	if !known {
		what = uint32(len(d.resources))
		d.resources = append(d.resources, r)
		d.resIndex[r] = what
	}
	key := edgeKey{who, what}
	i, e := d.edges.add(key, edge{first: first, last: last, resource: what, before: id.lastEdge})
	id.edges++
	id.lastEdge = i + 1
	return key, e
}

// eachEdge calls f with each edge of an identity, newest first.
func (d *Detector) eachEdge(id *identity, f func(*edge)) {
	for i := id.lastEdge; i > 0; {
		e := d.edges.at(i - 1)
		f(e)
		i = e.before
	}
}
