package detector

import (
	"cmp"
	"slices"
	"time"
)

// Bounds of what is kept of watching. A node has a span for each start of its agent; an identity's learning needs only the nodes that it was
// seen on first.
const (
	maxSpans = 128
	maxSeen  = 8
)

// Span is a period in which a node was watched without a break. Spans with the same Boot are parts of one: the same start of an agent
// proves that the time between them was watched too.
type Span struct {
	Boot        string
	From, Until time.Time
}

type node struct {
	name  string
	spans []span
}

// span is a [Span] in µs since 1970.
type span struct {
	boot        string
	from, until int64
}

// sighting says when an identity was first seen on a node.
type sighting struct {
	node  uint32
	first int64 // µs since 1970
}

// period is a stretch of time, in µs since 1970.
type period struct{ from, until int64 }

// Cover notes that a node was watched without a break from the start of its agent until a time. Repeating it, or calling it in any order,
// changes nothing.
func (d *Detector) Cover(node, boot string, started, until time.Time) {
	from, to := started.UnixMicro(), until.UnixMicro()
	if to < from {
		d.refused[causeInvalidSpan]++
		return
	}
	i, ok := d.node(node)
	if !ok {
		return
	}
	if to > d.clock.now && !d.clock.pass(i, to, len(d.nodes) == 1) {
		d.refused[causeAhead]++
	}
	n := &d.nodes[i]
	for j := len(n.spans) - 1; j >= 0; j-- { // the newest is the one nearly always
		if s := &n.spans[j]; s.boot == boot {
			s.from = min(s.from, from)
			s.until = max(s.until, to)
			return
		}
	}
	n.spans = append(n.spans, span{boot, from, to})
	if len(n.spans) > maxSpans {
		n.forgetShortest()
		d.refused[causeSpans]++
	}
}

// forgetShortest drops what matters least to observed time. The newest span stays: it grows.
func (n *node) forgetShortest() {
	shortest := 0
	for i, s := range n.spans[:len(n.spans)-1] {
		if s.until-s.from < n.spans[shortest].until-n.spans[shortest].from {
			shortest = i
		}
	}
	n.spans = slices.Delete(n.spans, shortest, shortest+1)
}

// node finds or adds one.
func (d *Detector) node(name string) (uint32, bool) {
	if i, known := d.nodeIndex[name]; known {
		return i, true
	}
	if len(d.nodes) >= d.config.MaxNodes {
		d.refused[causeNodes]++
		return 0, false
	}
	i := uint32(len(d.nodes))
	d.nodes = append(d.nodes, node{name: name})
	d.nodeIndex[name] = i
	return i, true
}

// see notes that an identity was on a node at a time. Of many nodes the earliest are kept, so that the order of calls does not matter.
func (d *Detector) see(who uint32, node string, at int64) {
	n, ok := d.node(node)
	if !ok {
		return
	}
	id := &d.identities[who]
	latest := 0
	for i := range id.seen {
		s := &id.seen[i]
		if s.node == n {
			s.first = min(s.first, at)
			return
		}
		if d.later(*s, id.seen[latest]) {
			latest = i
		}
	}
	s := sighting{n, at}
	switch {
	case len(id.seen) < maxSeen:
		id.seen = append(id.seen, s)
	case d.later(id.seen[latest], s):
		id.seen[latest] = s
	}
}

func (d *Detector) later(a, b sighting) bool {
	return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(d.nodes[a.node].name, d.nodes[b.node].name)) > 0
}

// watch is how long an identity was watched, and when that reached the two marks of learning.
type watch struct {
	first  int64         // when the identity was first seen, µs since 1970
	total  time.Duration // observed time
	warm   int64         // when a tenth of the learning time was observed, 0 if it was not
	stable int64         // when the learning time was observed, 0 if it was not
}

// watched measures an identity's observed time up to a time (µs): the time in which at least one node was watched that the identity had been
// seen on. Time in which several were watched counts once.
func (d *Detector) watched(id *identity, asOf int64) watch {
	var w watch
	periods := d.periods[:0]
	for i, s := range id.seen {
		if i == 0 || s.first < w.first {
			w.first = s.first
		}
		for _, span := range d.nodes[s.node].spans {
			if p := (period{max(span.from, s.first), min(span.until, asOf)}); p.from < p.until {
				periods = append(periods, p)
			}
		}
	}
	d.periods = periods
	slices.SortFunc(periods, func(a, b period) int { return cmp.Compare(a.from, b.from) })
	learn := d.config.Learn.Microseconds()
	var total, end int64
	for _, p := range periods {
		from := max(p.from, end)
		if p.until <= from {
			continue
		}
		before := total
		total += p.until - from
		if before < learn/10 && total >= learn/10 {
			w.warm = from + learn/10 - before
		}
		if before < learn && total >= learn {
			w.stable = from + learn - before
		}
		end = p.until
	}
	w.total = time.Duration(total) * time.Microsecond
	return w
}

// watchedBetween is how much of a stretch of time the identity's nodes were watched, in µs.
func (d *Detector) watchedBetween(id *identity, from, until int64) int64 {
	periods := d.periods[:0]
	for _, s := range id.seen {
		for _, span := range d.nodes[s.node].spans {
			if p := (period{max(span.from, from), min(span.until, until)}); p.from < p.until {
				periods = append(periods, p)
			}
		}
	}
	d.periods = periods
	slices.SortFunc(periods, func(a, b period) int { return cmp.Compare(a.from, b.from) })
	var total, end int64
	for _, p := range periods {
		if begin := max(p.from, end); p.until > begin {
			total += p.until - begin
			end = p.until
		}
	}
	return total
}

// firstWatched is when the first node was watched first, µs; 0: none was.
func (d *Detector) firstWatched() int64 {
	first := int64(0)
	for i := range d.nodes {
		for _, s := range d.nodes[i].spans {
			if first == 0 || s.from < first {
				first = s.from
			}
		}
	}
	return first
}

// watchedAnywhere gives the times in which at least one node was watched, in order and without overlaps. It is never nil.
func (d *Detector) watchedAnywhere() []period {
	periods := d.periods[:0]
	for i := range d.nodes {
		for _, s := range d.nodes[i].spans {
			periods = append(periods, period{s.from, s.until})
		}
	}
	d.periods = periods
	slices.SortFunc(periods, func(a, b period) int { return cmp.Compare(a.from, b.from) })
	out := make([]period, 0, 8)
	for _, p := range periods {
		if n := len(out); n > 0 && p.from <= out[n-1].until {
			out[n-1].until = max(out[n-1].until, p.until)
			continue
		}
		out = append(out, p)
	}
	return out
}

// overlap is how much of a stretch of time lies in periods without overlaps, µs.
func overlap(periods []period, from, until int64) (total int64) {
	for _, p := range periods {
		if a, b := max(p.from, from), min(p.until, until); a < b {
			total += b - a
		}
	}
	return total
}
