package detector

import (
	"cmp"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// maxFindings bounds the findings that are kept up to date. Beyond, the oldest stays as it was told last.
const maxFindings = 50_000

// findingKey names a finding: one rule's, about one edge, or an identity as such.
type findingKey struct {
	edgeKey
	rule *rule
}

// findingTable holds findings that were told, since they are told again when their edge is used again.
type findingTable struct {
	open  map[findingKey]*openFinding
	order []findingKey // by age, oldest first
	limit int
}

type openFinding struct {
	finding event.Finding
	given   int64 // its last time when it was told last, µs
	changed bool  // since then
	recount bool  // it is a summary from the store, and may be behind the edges
}

// hold keeps a finding, and gives the last change of the one that makes room for it.
func (t *findingTable) hold(k findingKey, f event.Finding) (*openFinding, *event.Finding) {
	if held := t.open[k]; held != nil { // the store may give several versions
		if f.LastTime.After(held.finding.LastTime) || f.Decided.After(held.finding.Decided) {
			*held = openFinding{finding: f, given: f.LastTime.UnixMicro()}
		}
		return held, nil
	}
	var gone *event.Finding
	if len(t.open) >= t.limit {
		oldest := t.order[0]
		t.order = t.order[1:]
		if o := t.open[oldest]; o.changed {
			gone = &o.finding
		}
		delete(t.open, oldest)
	}
	held := &openFinding{finding: f, given: f.LastTime.UnixMicro()}
	t.open[k] = held
	t.order = append(t.order, k)
	return held, gone
}

// newFinding keeps what was told just now.
func (d *Detector) newFinding(k findingKey, f event.Finding, out *[]event.Finding) {
	if _, gone := d.findings.hold(k, f); gone != nil {
		*out = append(*out, *gone)
	}
}

// update notes that the edge of a finding was used again from first until last (µs), in all connections times.
func (d *Detector) update(k findingKey, connections uint64, first, last int64, out []event.Finding) []event.Finding {
	t := d.findings.open[k]
	if t == nil {
		d.refused[causeFindings]++
		return out
	}
	now := t.again(first)
	t.raise(connections, last)
	if !now && (!t.changed || last-t.given < minuteMicros) {
		return out
	}
	return append(out, t.give())
}

// raise brings the count and the last time up to what is known now.
func (t *openFinding) raise(count uint64, last int64) {
	f := &t.finding
	if count > f.Count {
		f.Count, t.changed = count, true
	}
	if last > f.LastTime.UnixMicro() {
		f.LastTime, t.changed = time.UnixMicro(last).UTC(), true
	}
}

func (t *openFinding) give() event.Finding {
	t.given, t.changed = t.finding.LastTime.UnixMicro(), false
	return t.finding
}

// Pending appends the findings that have changed since they were told last, sorted by ID, and counts them as told. Called now and then, and
// at the end, it makes final what [Detector.Observe] holds back for up to a minute.
func (d *Detector) Pending(out []event.Finding) []event.Finding {
	out = d.sweep(out)
	begin := len(out)
	for k, t := range d.findings.open {
		if t.recount {
			t.raise(d.folded(k.edgeKey, t))
		}
		if t.changed {
			out = append(out, t.give())
		}
	}
	slices.SortFunc(out[begin:], func(a, b event.Finding) int { return cmp.Compare(a.ID, b.ID) })
	return out
}
