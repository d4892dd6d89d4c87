package lease

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestShareIsEven and the same for all, and few partitions move when a member comes.
func TestShareIsEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z0-9-]{1,12}`), 1, 20, rapid.ID).Draw(t, "members")
		slices.Sort(members)
		n := rapid.IntRange(1, 200).Draw(t, "partitions")
		count := map[string]int{}
		for _, m := range share(members, n) {
			count[m]++
		}
		for _, m := range members {
			if c := count[m]; c < n/len(members) || c > n/len(members)+1 {
				t.Fatalf("%s has %d of %d partitions, there are %d members", m, c, n, len(members))
			}
		}
	})
	var moved, least int
	for n := range 200 {
		var members []string
		for i := range 4 {
			members = append(members, fmt.Sprintf("host-%d-%d", n, i))
		}
		before, after := share(members[:3], 64), share(members, 64)
		least += 16
		for p := range before {
			if before[p] != after[p] {
				moved++
			}
		}
	}
	t.Logf("when a fourth member comes, %.1f of 64 partitions move; it needs 16", float64(moved)/200)
	if moved > 2*least {
		t.Error("that is more than twice as many as needed")
	}
}

// model is a server and members whose time, delays, losses and pauses are drawn.
type model struct {
	t        *rapid.T
	rand     *rand.Rand
	now      time.Time
	ttl      time.Duration
	sequence uint64
	keys     map[string]entry
	news     []entry // all changes, in their order
	pending  []answer
	members  []*modelMember
	taken    int // leases, in all
}

type entry struct {
	key, value string
	gone       bool
	revision   uint64
	ends       time.Time // zero: never
}

// answer is a request on its way: it reaches the server at one time, its answer comes back at another.
type answer struct {
	at time.Time
	do func()
}

type modelMember struct {
	name    string
	number  int
	session string // empty while it has none
	life    life
	table   *table
	read    int // of the news
	renew   time.Time
	paused  time.Time    // until when
	asked   map[int]bool // claims that are not answered yet
}

const modelStep = 50 * time.Millisecond

// write does a compare-and-swap after a delay, and tells its result after another, unless it took too long or is lost.
func (m *model) write(key, value string, revision uint64, ttl time.Duration, told func(sent time.Time, revision uint64)) {
	delay := func() time.Duration {
		return time.Duration([]int{0, 0, 0, 0, 1, 1, 2, 10, 30, 70, 120}[m.rand.IntN(11)]) * modelStep
	}
	sent, there, back := m.now, delay(), delay()
	lost := m.rand.IntN(20)
	m.pending = append(m.pending, answer{at: sent.Add(there), do: func() {
		if lost == 0 || m.keys[key].revision != revision {
			return
		}
		m.sequence++
		e := entry{key: key, value: value, revision: m.sequence}
		if ttl > 0 {
			e.ends = m.now.Add(ttl)
		}
		m.keys[key] = e
		m.news = append(m.news, e)
		if lost != 1 && there+back < m.ttl/4 {
			m.pending = append(m.pending, answer{at: m.now.Add(back), do: func() { told(sent, e.revision) }})
		}
	}})
}

// step lets a little time pass.
func (m *model) step() {
	m.now = m.now.Add(modelStep)
	for _, key := range slices.Sorted(maps.Keys(m.keys)) {
		if e := m.keys[key]; !e.ends.IsZero() && !m.now.Before(e.ends) {
			m.sequence++
			e = entry{key: key, gone: true, revision: m.sequence}
			m.keys[key] = e
			m.news = append(m.news, e)
		}
	}
	due := m.pending
	m.pending = nil
	for _, a := range due {
		if m.now.Before(a.at) {
			m.pending = append(m.pending, a)
			continue
		}
		a.do()
	}
	for _, member := range m.members {
		m.act(member)
	}
	m.check()
}

// act is what term does, without its goroutines.
func (m *model) act(x *modelMember) {
	if m.now.Before(x.paused) {
		return
	}
	if m.rand.IntN(200) == 0 {
		x.paused = m.now.Add(time.Duration(1+m.rand.IntN(200)) * modelStep)
		return
	}
	if x.session != "" && x.life.over(m.now) {
		x.session = ""
	}
	if x.session == "" {
		if m.now.Before(x.renew) {
			return
		}
		x.number++
		session := x.name + "." + strconv.Itoa(x.number)
		x.renew = m.now.Add(m.ttl / 2)
		m.write(sessionPrefix+session, "", 0, m.ttl, func(sent time.Time, revision uint64) {
			if x.session != "" || session != x.name+"."+strconv.Itoa(x.number) {
				return
			}
			x.life = life{ttl: m.ttl}
			x.life.renewed(sent, revision)
			x.session, x.read, x.asked = session, 0, map[int]bool{}
			x.table = newTable(x.name, session, modelPartitions, m.now, 2*m.ttl/5)
		})
		return
	}
	if len(x.asked) > 0 { // it waits for answers
		return
	}
	session := x.session
	for lag := m.rand.IntN(4); x.read < len(m.news)-lag; x.read++ { // all that was there is read first, as the latest of each key would be
		e := m.news[x.read]
		x.table.see(e.key, e.value, e.gone, e.revision, m.now)
		x.table.complete = true
	}
	if !m.now.Before(x.renew) {
		x.renew = m.now.Add(m.ttl / 5)
		m.write(sessionPrefix+session, "", x.life.revision, m.ttl, func(sent time.Time, revision uint64) {
			if x.session == session && !x.life.over(m.now) {
				x.life.renewed(sent, revision)
			}
		})
		if e := m.keys[sessionPrefix+session]; !e.gone && e.revision > x.life.revision && m.rand.IntN(2) == 0 {
			x.life.revision = e.revision
		}
	}
	take, back := x.table.due(m.now)
	for _, p := range back {
		x.table.given(p)
		m.write(partitionPrefix+strconv.Itoa(p), "", x.table.owners[p].revision, 0, func(time.Time, uint64) {})
	}
	for _, p := range take {
		x.asked[p] = true
		m.write(partitionPrefix+strconv.Itoa(p), session, x.table.owners[p].revision, 0, func(_ time.Time, revision uint64) {
			if x.session == session && !x.life.over(m.now) {
				x.table.taken(p, revision)
				m.taken++
				delete(x.asked, p)
			}
		})
		m.pending = append(m.pending, answer{at: m.now.Add(m.ttl / 4), do: func() {
			if x.session == session {
				delete(x.asked, p)
			}
		}})
	}
}

// check fails when two members believe in the same lease. A paused one believes until its time is over.
func (m *model) check() {
	var holder [modelPartitions]string
	for _, x := range m.members {
		if x.session == "" || x.life.over(m.now) {
			continue
		}
		for p := range x.table.held {
			if holder[p] != "" {
				m.t.Fatalf("%s and %s believe to have partition %d", holder[p], x.session, p)
			}
			holder[p] = x.session
		}
	}
}

const modelPartitions = 5

// TestNeverTwoHolders draws schedules of delays, losses and pauses: no two members believe in the same lease at once.
func TestNeverTwoHolders(t *testing.T) {
	taken := 0
	rapid.Check(t, func(t *rapid.T) {
		m := &model{t: t, rand: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)), now: time.Unix(1_800_000_000, 0), ttl: 5 * time.Second, keys: map[string]entry{}}
		for i := range 3 {
			m.members = append(m.members, &modelMember{name: string(rune('a' + i))})
		}
		for range 400 { // 20 s
			m.step()
		}
		taken += m.taken
	})
	if taken < 300 {
		t.Errorf("only %d leases were taken in all schedules", taken)
	}
	t.Logf("%d leases were taken", taken)
}
