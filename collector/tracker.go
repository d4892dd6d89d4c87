package collector

import (
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/internal/lru"
)

// Bounds of the tracker. A node that restarts its agent all the time pushes out its own starts only; how many nodes there are is up to who gives
// them their credentials.
const (
	maxTracked = 20_000 // nodes
	maxBoots   = 8      // starts of a node's agent: one speaks, others wait in spools
)

// tracker has a window for each start of an agent that was heard of lately, of one partition. What it holds follows from the messages and
// their times in the stream, in their order. It is not safe for concurrent use.
type tracker struct {
	partition int
	nodes     *lru.Cache[string, trackedNode]
	unknown   time.Time // of starts up to here, the first messages may have come unseen
}

type trackedNode struct {
	boots   []*window // the one that was heard of last is the last
	unknown time.Time // likewise
}

func newTracker(partition int) *tracker {
	return &tracker{partition: partition, nodes: lru.New[string, trackedNode](maxTracked)}
}

// window finds or adds one.
func (t *tracker) window(k coverageKey, started, until time.Time) (w *window, partial bool) {
	n := t.nodes.Get(k.node)
	if n == nil {
		if t.nodes.Len() >= maxTracked {
			_, oldest := t.nodes.Oldest()
			for _, w := range oldest.boots {
				t.unknown = later(t.unknown, w.started)
			}
			t.unknown = later(t.unknown, oldest.unknown)
		}
		t.nodes.Put(k.node, trackedNode{})
		n = t.nodes.Get(k.node)
	}
	i := slices.IndexFunc(n.boots, func(w *window) bool { return w.boot == k.boot })
	if i < 0 {
		if len(n.boots) >= maxBoots {
			n.unknown = later(n.unknown, n.boots[0].started)
			n.boots = slices.Delete(n.boots, 0, 1)
		}
		w = &window{boot: k.boot, started: started, until: until}
		n.boots = append(n.boots, w)
	} else {
		w = n.boots[i]
		n.boots = append(slices.Delete(n.boots, i, i+1), w)
		w.until = later(w.until, until)
	}
	return w, w.high == 0 && !started.After(later(t.unknown, n.unknown))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// note takes in what a message says of its number, and what was left out of it. It gives the window, and false where the message came before.
// There is no window where a heartbeat says that nothing was sent.
func (t *tracker) note(c *content, stored time.Time) (w *window, fresh bool) {
	if h := c.heartbeat; h != nil { // it numbers no message, but says how many batches were sent before it
		var number uint64
		if t.partition < len(h.Numbers) {
			number = h.Numbers[t.partition]
		}
		if number == 0 || number > maxNumber {
			return t.find(coverageKey{h.Node, h.Boot}), true
		}
		w, partial := t.window(coverageKey{h.Node, h.Boot}, h.Started, h.Time)
		if partial {
			w.high, w.unknown = number, number
		} else {
			w.expect(number, stored)
		}
		return w, true
	}
	b := c.batch
	k, started, until := coverageKey{b.Node, b.Boot}, b.Started, b.Time
	if known := t.find(k); known != nil && c.untimely {
		started, until = known.started, known.until
	}
	w, partial := t.window(k, started, until)
	switch {
	case b.Number == 0 || b.Number > maxNumber: // no agent numbers like that, or an old one not at all: each is taken
	case partial:
		w.high, w.unknown = b.Number-1, b.Number-1
		w.take(b.Number, stored)
	case !w.take(b.Number, stored):
		return w, false
	}
	for cause, n := range c.left {
		w.lose(cause, int64(n))
	}
	return w, true
}

// find gives the window of a start of an agent, or nil.
func (t *tracker) find(k coverageKey) *window {
	n := t.nodes.Get(k.node)
	if n == nil {
		return nil
	}
	for _, w := range n.boots {
		if w.boot == k.boot {
			return w
		}
	}
	return nil
}

// age counts what is missing for long, of nodes that are silent too, and gives the windows where that was anything.
func (t *tracker) age(now time.Time) map[coverageKey]*window {
	changed := map[coverageKey]*window{}
	for node, n := range t.nodes.All() {
		for _, w := range n.boots {
			if w.age(now) {
				changed[coverageKey{node, w.boot}] = w
			}
		}
	}
	return changed
}
