package collector

import (
	"maps"
	"slices"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// group is what a run of messages puts into the store together.
type group struct {
	first, last uint64 // the messages, without a gap but for those that left the stream
	bytes       int    // of the messages
	rows        []store.ObservationRow
	sightings   map[sighted]store.Sighting
	coverage    map[coverageKey]store.Coverage
	messages    []message              // to acknowledge
	origins     map[uint64]coverageKey // of the messages that have rows
	skipped     []uint64               // messages that have rows, which are not to be inserted
	losing      map[coverageKey]*window
	checkpoint  *checkpoint // to write when the group is settled
}

type sighted struct {
	identity event.Identity
	node     string
}

type coverageKey struct{ node, boot string }

func newGroup() *group {
	return &group{sightings: map[sighted]store.Sighting{}, coverage: map[coverageKey]store.Coverage{}, origins: map[uint64]coverageKey{}, losing: map[coverageKey]*window{}}
}

// empty says that there is nothing to do for the group.
func (g *group) empty() bool { return g.last == 0 && len(g.coverage) == 0 && g.checkpoint == nil }

// Two groups are under way at most: one is gathered while the other is inserted. Together they must stay below what the server hands out
// without acknowledgement, or gathering would stand still until its time is up; and messages may be large.
const (
	groupMessages = maxAckPending / 2
	groupBytes    = 16 << 20
)

// full says that the group should wait no longer.
func (g *group) full(rows int) bool {
	return len(g.rows) >= rows || len(g.messages) >= groupMessages || g.bytes >= groupBytes
}

// take notes that a message belongs to the group, whatever became of it.
func (g *group) take(sequence uint64) {
	if g.first == 0 {
		g.first = sequence
	}
	g.last = sequence
}

// addBatch adds the rows of a batch. They depend on nothing but the message, so that a repeated insert has the same ones.
func (g *group) addBatch(b *event.Batch, sequence uint64) {
	for o := range b.Observations() {
		g.rows = append(g.rows, store.RowOf(o, b.Time, sequence))
	}
	g.origins[sequence] = coverageKey{b.Node, b.Boot}
	g.cover(store.Coverage{Node: b.Node, Boot: b.Boot, From: b.Started, Until: b.Time})
}

// skip leaves out the rows of messages.
func (g *group) skip(sequences []uint64) {
	if len(sequences) > 0 {
		g.rows = slices.DeleteFunc(g.rows, func(r store.ObservationRow) bool { return slices.Contains(sequences, r.Sequence) })
	}
}

// sight notes that a workload was running at the end of the batch.
func (g *group) sight(w *event.Workload, b *event.Batch) {
	key := sighted{w.Identity, b.Node}
	if old, ok := g.sightings[key]; !ok || old.Time.Before(b.Time) {
		g.sightings[key] = store.Sighting{Workload: *w, Node: b.Node, Time: b.Time}
	}
}

func (g *group) addHeartbeat(h *event.Heartbeat) {
	c := store.CoverageOf(h)
	if slices.ContainsFunc(ownCauses, func(cause string) bool { _, told := h.Lost[cause]; return told }) {
		c.Lost = maps.Clone(c.Lost)
		for _, cause := range ownCauses {
			delete(c.Lost, cause)
		}
	}
	g.cover(c)
}

// ownCauses are those of losses that only the collector knows of.
var ownCauses = []string{causeGap, causeStore, causeQuota, causeForeign, causeClock}

// lose notes what the window of an agent's start has lost, if anything, to be told with its coverage.
func (g *group) lose(k coverageKey, w *window) {
	if len(w.lost) > 0 {
		g.losing[k] = w
		g.cover(store.Coverage{Node: k.node, Boot: k.boot, From: w.started, Until: w.until})
	}
}

// close makes the group independent of the windows.
func (g *group) close() {
	for k, w := range g.losing {
		c := g.coverage[k]
		c.Lost = maps.Clone(c.Lost)
		if c.Lost == nil {
			c.Lost = map[string]uint64{}
		}
		maps.Copy(c.Lost, w.lost)
		g.coverage[k] = c
	}
	clear(g.losing)
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
	if c.From.Before(old.From) {
		old.From = c.From
	}
	if c.Until.After(old.Until) {
		old.Until = c.Until
	}
	g.coverage[key] = old
}
