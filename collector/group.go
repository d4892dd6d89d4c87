package collector

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/journal"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// group is what is inserted together: of each partition a run of messages, without a gap but for those that left the stream.
type group struct {
	shares    map[*worker]*share
	batches   []stamped
	rows      int // of the batches
	bytes     int // of the messages
	sightings map[sighted]store.Sighting
	coverage  map[coverageKey]store.Coverage
	skipped   []uint64          // messages that have rows, which are not to be inserted
	settled   []chan<- struct{} // to close when all is settled
}

// share is what a group holds of one partition.
type share struct {
	first, last uint64
	messages    int
	rows        int
	stored      time.Time // when the last one came
	acknowledge message   // the last one
}

// stamped is a batch with where it stands in the stream.
type stamped struct {
	*event.Batch
	sequence  uint64
	partition int
	worker    *worker // nil where an insert is repeated
}

type sighted struct {
	identity event.Identity
	node     string
}

type coverageKey struct{ node, boot string }

func newGroup() *group {
	return &group{shares: map[*worker]*share{}, sightings: map[sighted]store.Sighting{}, coverage: map[coverageKey]store.Coverage{}}
}

// empty says that there is nothing to do for the group.
func (g *group) empty() bool { return len(g.shares) == 0 }

// Bounds of a group. A group that waits for the one before it grows; together with the largest batch it stays one block of the store.
const (
	groupRows  = 90_000
	groupBytes = 16 << 20
)

// full says that the group must not grow.
func (g *group) full() bool { return g.rows >= groupRows || g.bytes >= groupBytes }

func (g *group) share(w *worker) *share {
	s := g.shares[w]
	if s == nil {
		s = &share{}
		g.shares[w] = s
	}
	return s
}

// take notes that a message belongs to the group, whatever became of it.
func (s *share) take(m message) {
	if s.first == 0 {
		s.first = m.sequence
	}
	s.last, s.stored, s.acknowledge = m.sequence, m.stored, m
	s.messages++
}

// addBatch adds the rows of a batch. They depend on nothing but the message, so that a repeated insert has the same ones.
func (g *group) addBatch(b *event.Batch, sequence uint64, partition int, w *worker) {
	if b.Len() > 0 {
		g.batches = append(g.batches, stamped{b, sequence, partition, w})
		g.rows += b.Len()
	}
	if b.Len() == 0 && len(b.Workloads) == 0 { // nothing of it is believed
		return
	}
	g.cover(store.Coverage{Node: b.Node, Boot: b.Boot, From: b.Started, Until: b.Time})
}

// plan is how the rows of the group are inserted.
func (g *group) plan() (journal.Plan, []*journal.Claim) {
	spans := map[int]journal.Span{}
	var claims []*journal.Claim
	for w, s := range g.shares {
		if s.rows > 0 {
			spans[w.partition] = journal.Span{First: s.first, Last: s.last, Messages: s.messages}
			claims = append(claims, w.claim)
		}
	}
	slices.Sort(g.skipped)
	return journal.NewPlan(spans, g.skipped), claims
}

// without drops the share of a worker.
func (g *group) without(w *worker) {
	if g.shares[w] == nil {
		return
	}
	delete(g.shares, w)
	g.batches = slices.DeleteFunc(g.batches, func(b stamped) bool { return b.worker == w })
	g.rows = 0
	for _, b := range g.batches {
		g.rows += b.Len()
	}
}

// arrange gives the messages of the group that have rows, in their order, but for those that are skipped.
func (g *group) arrange(skip []uint64) []store.Message {
	messages := make([]store.Message, 0, len(g.batches))
	slices.SortFunc(g.batches, func(a, b stamped) int { return cmp.Compare(a.sequence, b.sequence) })
	for _, b := range g.batches {
		if slices.Contains(skip, b.sequence) {
			continue
		}
		messages = append(messages, store.Message{Batch: b.Batch, Sequence: b.sequence})
	}
	return messages
}

// from says of a message with rows who sent it, and where.
func (g *group) from(sequence uint64) (partition int, k coverageKey) {
	i := slices.IndexFunc(g.batches, func(b stamped) bool { return b.sequence == sequence })
	return g.batches[i].partition, coverageKey{g.batches[i].Node, g.batches[i].Boot}
}

// sight notes that a workload was running at the end of the batch.
func (g *group) sight(w *event.Workload, b *event.Batch) {
	key := sighted{w.Identity, b.Node}
	if old, ok := g.sightings[key]; !ok || old.Time.Before(b.Time) {
		g.sightings[key] = store.Sighting{Workload: *w, Node: b.Node, Time: b.Time}
	}
}

// addHeartbeat adds what a heartbeat says, but for what only the collector knows.
func (g *group) addHeartbeat(h *event.Heartbeat) {
	c := store.CoverageOf(h)
	own := func(cause string) bool { return strings.Contains(cause, "#") || slices.Contains(ownCauses, cause) }
	c.Lost = maps.Clone(c.Lost)
	maps.DeleteFunc(c.Lost, func(cause string, _ uint64) bool { return own(cause) })
	c.Gaps = slices.DeleteFunc(slices.Clone(c.Gaps), func(gap event.Gap) bool { return own(gap.Cause) })
	g.cover(c)
}

// ownCauses are those of losses that only the collector knows of. What a clock costs, agents know, too.
var ownCauses = []string{causeGap, causeStore, causeQuota, causeForeign, causePartition}

// lose adds, last of all, what agents have lost in a partition, which is told with their coverage. The store keeps the most of each cause: so that what was
// lost in each partition is added up, the cause names it.
func (g *group) lose(partition int, losses map[coverageKey]loss) {
	for k, l := range losses {
		g.cover(store.Coverage{Node: k.node, Boot: k.boot, From: l.from, Until: l.until})
		c := g.coverage[k]
		lost := maps.Clone(c.Lost)
		if lost == nil {
			lost = map[string]uint64{}
		}
		for cause, n := range l.lost {
			lost[cause+"#"+strconv.Itoa(partition)] = n
		}
		c.Lost = lost
		g.coverage[k] = c
	}
}

// cover joins rows of the same start of an agent; what only heartbeats know is kept.
func (g *group) cover(c store.Coverage) {
	key := coverageKey{c.Node, c.Boot}
	old, ok := g.coverage[key]
	if !ok {
		g.coverage[key] = c
		return
	}
	if old.Version == "" && c.Version != "" {
		old, c = c, old
	}
	if c.Version != "" && !c.Until.Before(old.Until) { // counts since the start: the later ones hold the former
		old.Lost, old.TLS, old.Missing, old.Version, old.Kernel = c.Lost, c.TLS, c.Missing, c.Version, c.Kernel
	}
	old.Gaps = append(old.Gaps, c.Gaps...)
	if c.From.Before(old.From) {
		old.From = c.From
	}
	if c.Until.After(old.Until) {
		old.Until = c.Until
	}
	g.coverage[key] = old
}
