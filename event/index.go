package event

import "net/netip"

// Hints are what tells entries of a builder's table apart nearly always. To hash all that they are made of would take half of the time of encoding.
type (
	workloadHint struct {
		identity        Identity
		pod, executable string
	}
	templateHint struct {
		name string // or the identity, where there is none
		port uint16
	}
	peerHint struct {
		address netip.Addr
		port    uint16
	}
	tlsHint struct{ sni, peer, own string }
)

// index finds entries of a table by their hint. Those with the same hint are chained.
type index[H comparable] struct {
	last  map[H]uint32
	older []uint32 // by entry: the one before it with the same hint, plus 1
}

// find gives the entry that is the same as what is looked for.
func (x *index[H]) find(h H, same func(uint32) bool) (entry uint32, ok bool) {
	entry, ok = x.last[h]
	for ok && !same(entry) {
		before := x.older[entry]
		entry, ok = before-1, before > 0
	}
	return entry, ok
}

// add adds the next entry, and gives its place.
func (x *index[H]) add(h H) uint32 {
	entry := uint32(len(x.older))
	before, ok := x.last[h]
	if ok {
		before++
	}
	x.older = append(x.older, before)
	x.last[h] = entry
	return entry
}

// reset empties the index. Its memory is kept, unless it has grown large.
func (x *index[H]) reset() {
	if x.last == nil || len(x.last) > 1024 {
		*x = index[H]{last: map[H]uint32{}}
	}
	clear(x.last)
	x.older = x.older[:0]
}
