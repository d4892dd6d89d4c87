package store

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Bounds of members.
const (
	maxPopulation = 1_000_000 // that a question about all identities gives
	maxNodes      = 8         // that a member names
	maxOwners     = 4
)

// grace is how long workloads may take to end after the last of their declarations: what acts for longer is retired but active.
const grace = time.Hour

// claim is what all sources together declare of an identity. Times are in microseconds, 0 is never.
type claim struct {
	live            uint64
	ended, declared int64
}

// sight is an identity on a node.
type sight struct {
	identity, node     string
	first, last, used  int64
	strength           uint8
	evidence           string
	latest             int64 // when it was as the rest says
	namespace, account string
	owner, unit        string
}

// join takes the greatest of two rows of an identity on a node, as the engine does when it merges them.
func (x *sight) join(y *sight) {
	x.first, x.last, x.used = min(x.first, y.first), max(x.last, y.last), max(x.used, y.used)
	if cmp.Or(cmp.Compare(x.strength, y.strength), cmp.Compare(x.evidence, y.evidence)) < 0 {
		x.strength, x.evidence = y.strength, y.evidence
	}
	if x.compareLatest(y) < 0 {
		x.latest, x.namespace, x.account, x.owner, x.unit = y.latest, y.namespace, y.account, y.owner, y.unit
	}
}

func (x *sight) compareLatest(y *sight) int {
	return cmp.Or(cmp.Compare(x.latest, y.latest), cmp.Compare(x.namespace, y.namespace), cmp.Compare(x.account, y.account),
		cmp.Compare(x.owner, y.owner), cmp.Compare(x.unit, y.unit))
}

// gathering makes members of sights, which come in the order of identities and nodes, and of claims.
type gathering struct {
	since, now int64
	unusedOnly bool
	claims     map[string]claim
	names      map[string]string // nodes and namespaces, each text once: an estate has few of them
	sights     []sight           // of one identity, a node each
	chunks     [][]Member
	count      int
	corrupt    func()
}

func (s *Store) population(ctx context.Context, id string, since, now time.Time, unusedOnly bool) ([]Member, error) {
	g := &gathering{since: since.UnixMicro(), now: now.UnixMicro(), unusedOnly: unusedOnly, claims: map[string]claim{}, names: map[string]string{},
		corrupt: func() { s.corrupt["identities"].Add(1) }}
	var identity string
	var c claim
	err := s.scan(ctx, "read what is declared", claimedSQL, named("identity", id, "now", g.now), []any{&identity, &c.live, &c.ended, &c.declared}, func() error {
		g.claims[identity] = c
		return nil
	})
	if err != nil {
		return nil, err
	}
	var x sight
	into := []any{&x.identity, &x.node, &x.first, &x.last, &x.used, &x.strength, &x.evidence, &x.latest, &x.namespace, &x.account, &x.owner, &x.unit}
	if err := s.scan(ctx, "read all identities", seenSQL, named("identity", id), into, func() error { g.see(&x); return nil }); err != nil {
		return nil, err
	}
	g.end()
	return g.members(), nil
}

// see takes the next row.
func (g *gathering) see(x *sight) {
	if len(g.sights) > 0 {
		switch last := &g.sights[len(g.sights)-1]; {
		case last.identity != x.identity:
			g.end()
		case last.node == x.node:
			last.join(x)
			return
		}
	}
	x.node, x.namespace, x.evidence = g.name(x.node), g.name(x.namespace), g.name(x.evidence)
	g.sights = append(g.sights, *x)
}

func (g *gathering) name(text string) string {
	if known, ok := g.names[text]; ok {
		return known
	}
	g.names[text] = text
	return text
}

// end makes a member of the sights of one identity.
func (g *gathering) end() {
	if len(g.sights) == 0 {
		return
	}
	first := &g.sights[0]
	id := first.identity
	m := Member{NodeCount: uint64(len(g.sights))}
	lastNode, all := first, *first
	lived := 0
	for i := range g.sights {
		x := &g.sights[i]
		if i > 0 {
			all.join(x)
		}
		if x.last >= lastNode.last { // of two at the same time the greater name, and they are in order
			lastNode = x
		}
		if x.last < g.since {
			continue
		}
		lived++
		if x.owner != "" && len(m.Owners) < maxOwners && !slices.Contains(m.Owners, x.owner) {
			m.Owners = append(m.Owners, x.owner)
		}
	}
	c := g.claims[id]
	delete(g.claims, id)
	m.Class = g.class(&all, c)
	if !g.unusedOnly || m.Class != "" {
		m.Evidence, m.Namespace, m.ServiceAccount, m.Unit = event.Evidence(all.evidence), all.namespace, all.account, all.unit
		m.FirstSeen, m.LastSeen, m.LastUsed = micros(all.first), micros(all.last), micros(all.used)
		m.Lived = make([]string, 0, max(lived, 1))
		for i := range g.sights {
			x := &g.sights[i]
			if x.last >= g.since {
				m.Lived = append(m.Lived, x.node)
			}
		}
		if lived == 0 {
			m.Lived = append(m.Lived, lastNode.node)
		}
		m.Nodes = m.Lived
		if lived != len(g.sights) {
			m.Nodes = make([]string, 0, min(len(g.sights), maxNodes))
			for i := range g.sights[:min(len(g.sights), maxNodes)] {
				m.Nodes = append(m.Nodes, g.sights[i].node)
			}
		}
		m.Nodes = slices.Clip(m.Nodes[:min(len(m.Nodes), maxNodes)])
		g.add(id, &m, c)
	}
	g.sights = g.sights[:0]
}

// add keeps a member.
func (g *gathering) add(id string, m *Member, c claim) {
	var err error
	if m.Identity, err = event.ParseIdentity(id); err != nil {
		g.corrupt()
		return
	}
	m.Declarations, m.Declared = c.live, micros(c.declared)
	if c.live == 0 {
		m.Ended = micros(c.ended)
	}
	if n := len(g.chunks); n == 0 || len(g.chunks[n-1]) == cap(g.chunks[n-1]) {
		size := 64
		if n > 0 {
			size = 4096
		}
		g.chunks = append(g.chunks, make([]Member, 0, size))
	}
	at := &g.chunks[len(g.chunks)-1]
	*at = append(*at, *m)
	if g.count++; g.count >= 2*maxPopulation { // what would be cut off at the end need not be held until then
		g.chunks, g.count = [][]Member{g.sorted()}, maxPopulation
	}
}

// class is that of an identity which was seen.
func (g *gathering) class(x *sight, c claim) string {
	switch {
	case c.declared != 0 && c.live == 0 && x.last > c.ended+grace.Microseconds() && x.last >= g.since:
		return ClassRetired
	case x.first >= g.since || x.used >= g.since:
		return ""
	case c.declared != 0 && c.live == 0:
		return ClassOrphaned
	case x.used == 0:
		return ClassNever
	}
	return ClassDormant
}

// members are all of them, with those that are declared and were never seen.
func (g *gathering) members() []Member {
	for id, c := range g.claims {
		m := Member{}
		if c.live > 0 && c.declared < g.since {
			m.Class = ClassDeclared
		}
		if !g.unusedOnly || m.Class != "" {
			g.add(id, &m, c)
		}
	}
	return g.sorted()
}

// sorted puts all members in order, as many as are given.
func (g *gathering) sorted() []Member {
	type place struct {
		class int
		since int64
		id    string
		m     *Member
	}
	order := make([]place, 0, g.count)
	for _, chunk := range g.chunks {
		for i := range chunk {
			m := &chunk[i]
			p := place{id: m.Identity.String(), m: m}
			if g.unusedOnly {
				p.class, p.since = slices.Index(Classes, m.Class), m.Since().UnixMicro()
			}
			order = append(order, p)
		}
	}
	compare := func(a, b place) int {
		return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(a.since, b.since), strings.Compare(a.id, b.id))
	}
	if g.unusedOnly {
		slices.SortFunc(order, compare)
	} else {
		order = sortTail(order, compare)
	}
	order = order[:min(len(order), maxPopulation)]
	out := make([]Member, len(order))
	for i := range order {
		out[i] = *order[i].m
	}
	return out
}

// sortTail sorts what is in order already but for its end: most identities come in their order, and those that were never seen behind them.
func sortTail[T any](list []T, compare func(a, b T) int) []T {
	n := 1
	for n < len(list) && compare(list[n-1], list[n]) <= 0 {
		n++
	}
	if n >= len(list) {
		return list
	}
	head, tail := list[:n], list[n:]
	slices.SortFunc(tail, compare)
	out := make([]T, 0, len(list))
	for len(head) > 0 && len(tail) > 0 {
		if compare(tail[0], head[0]) < 0 {
			out, tail = append(out, tail[0]), tail[1:]
		} else {
			out, head = append(out, head[0]), head[1:]
		}
	}
	return append(append(out, head...), tail...)
}
