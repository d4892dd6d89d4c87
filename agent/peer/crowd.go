package peer

import (
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/internal/lru"
)

// crowds notices which groups of a workload have more distinct members than are told apart: names of a domain, addresses of a range. Such a group
// stands for its members from then on, until it was not used for as long as it is good; then it is forgotten and begins anew. What happens
// depends on what was given and when, on nothing else.
type crowds[K comparable] struct {
	bounds  crowdBounds
	tables  *lru.Cache[uint64, *crowdTable[K]] // by cgroup
	held    int                                // as weighed
	evicted uint64                             // groups that had to go for others while they were good
}

type crowdBounds struct {
	members   int // of a group that are told apart
	perCgroup int // in weight: members, or one for a group that stands for them
	total     int // in weight
	cgroups   int
}

type crowdTable[K comparable] struct {
	groups *lru.Cache[K, *crowd[K]]
	held   int
}

type crowd[K comparable] struct {
	key     K
	members []uint64 // none where it stands for them
	stands  bool
	gone    bool // forgotten, though somebody may still point at it
	good    time.Duration
	last    time.Time
}

func newCrowds[K comparable](b crowdBounds) *crowds[K] {
	// A group that is filled must always find room by what is older.
	b.perCgroup = max(b.perCgroup, b.members+1)
	b.total = max(b.total, b.perCgroup)
	return &crowds[K]{bounds: b, tables: lru.New[uint64, *crowdTable[K]](b.cgroups + 1)}
}

func (g *crowd[K]) weight() int { return max(1, len(g.members)) }

func (g *crowd[K]) has(member uint64) bool { return slices.Contains(g.members, member) }

func (g *crowd[K]) aged(at time.Time) bool { return at.Sub(g.last) > g.good }

// touch says that a group is used, and for how long that makes it good.
func (g *crowd[K]) touch(at time.Time, good time.Duration) {
	if at.After(g.last) {
		g.last = at
	}
	g.good = max(g.good, good)
}

// table gives the table of a cgroup, as the newest.
func (c *crowds[K]) table(cgroup uint64) *crowdTable[K] {
	if t := c.tables.Get(cgroup); t != nil {
		return *t
	}
	t := &crowdTable[K]{groups: lru.New[K, *crowd[K]](c.bounds.perCgroup + 1)} // its weight bounds it before that
	c.tables.Put(cgroup, t)
	for c.tables.Len() > c.bounds.cgroups {
		_, oldest := c.tables.Oldest()
		for (*oldest).groups.Len() > 0 {
			c.evictOldest(*oldest)
		}
		c.tables.RemoveOldest()
	}
	return t
}

// find gives a group that is good, as the newest of its table, or nil.
func (c *crowds[K]) find(t *crowdTable[K], key K, at time.Time) *crowd[K] {
	g := t.groups.Get(key)
	switch {
	case g == nil:
		return nil
	case (*g).aged(at):
		c.remove(t, *g)
		return nil
	}
	return *g
}

// room says whether a cgroup may hold one member more, at most at the cost of groups that are no longer good.
func (c *crowds[K]) room(t *crowdTable[K], at time.Time) bool {
	for t.held >= c.bounds.perCgroup {
		_, oldest := t.groups.Oldest()
		if oldest == nil || !(*oldest).aged(at) {
			return false
		}
		c.remove(t, *oldest)
	}
	return true
}

// add makes something a member of a group, which is made if need be. Room comes from what the cgroup did not use for longest, then from the cgroup
// that was quiet for longest.
func (c *crowds[K]) add(t *crowdTable[K], key K, member uint64, at time.Time, good time.Duration) *crowd[K] {
	g := c.find(t, key, at)
	if g == nil {
		g = &crowd[K]{key: key, last: at, good: good}
		t.groups.Put(key, g)
		t.held++
		c.held++
	}
	g.touch(at, good)
	if g.stands || g.has(member) {
		return g
	}
	before := g.weight()
	if len(g.members) < c.bounds.members {
		g.members = append(g.members, member)
	} else {
		g.members, g.stands = nil, true
	}
	t.held += g.weight() - before
	c.held += g.weight() - before
	for t.held > c.bounds.perCgroup {
		c.evictOldest(t)
	}
	for c.held > c.bounds.total {
		_, oldest := c.tables.Oldest()
		if (*oldest).groups.Len() > 0 {
			c.evictOldest(*oldest)
		}
		if (*oldest).groups.Len() == 0 {
			c.tables.RemoveOldest()
		}
	}
	return g
}

func (c *crowds[K]) evictOldest(t *crowdTable[K]) {
	_, oldest := t.groups.Oldest()
	c.evicted++
	c.remove(t, *oldest)
}

func (c *crowds[K]) remove(t *crowdTable[K], g *crowd[K]) {
	t.held -= g.weight()
	c.held -= g.weight()
	t.groups.Remove(g.key)
	g.members, g.gone = nil, true
}

// removeWhere forgets the groups of a cgroup that something else stands for now.
func (c *crowds[K]) removeWhere(t *crowdTable[K], what func(*crowd[K]) bool) {
	var gone []*crowd[K]
	for _, g := range t.groups.All() {
		if what(*g) {
			gone = append(gone, *g)
		}
	}
	for _, g := range gone {
		c.remove(t, g)
	}
}

// standing gives the number of groups that stand for their members, after forgetting what is no longer good.
func (c *crowds[K]) standing(at time.Time) int {
	n := 0
	for _, t := range c.tables.All() {
		c.removeWhere(*t, func(g *crowd[K]) bool { return g.aged(at) })
		for _, g := range (*t).groups.All() {
			if (*g).stands {
				n++
			}
		}
	}
	return n
}
