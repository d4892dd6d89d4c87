package detector

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// model keeps what the store keeps, at its precision, so that a detector can be rebuilt from it.
type model struct {
	spans      map[string][]Span
	identities map[modelSighting]time.Time
	reach      map[modelEdge]modelUse
	findings   map[string]event.Finding
}

type modelSighting struct {
	id   event.Identity
	node string
}

type modelEdge struct {
	id       event.Identity
	resource event.Resource
}

type modelUse struct {
	first, last time.Time
	connections uint64
}

func newModel() *model {
	return &model{map[string][]Span{}, map[modelSighting]time.Time{}, map[modelEdge]modelUse{}, map[string]event.Finding{}}
}

func (m *model) cover(node, boot string, from, until time.Time) {
	m.spans[node] = append(m.spans[node], Span{boot, from.Truncate(time.Microsecond), until.Truncate(time.Microsecond)})
}

func (m *model) sight(id event.Identity, node string, at time.Time) {
	at = at.Truncate(time.Microsecond)
	k := modelSighting{id, node}
	if t, known := m.identities[k]; !known || at.Before(t) {
		m.identities[k] = at
	}
}

func (m *model) observe(o *event.Observation) {
	m.sight(o.Workload.Identity, o.Node, o.First())
	if o.Direction != event.Outbound {
		return
	}
	k := modelEdge{o.Workload.Identity, event.ResourceOf(o)}
	u, known := m.reach[k]
	first, last := o.First().Truncate(time.Microsecond), o.Time.Truncate(time.Microsecond)
	if !known || first.Before(u.first) {
		u.first = first
	}
	if last.After(u.last) {
		u.last = last
	}
	u.connections += o.Counts.Connections
	m.reach[k] = u
}

func (m *model) tell(findings []event.Finding) {
	for _, f := range findings {
		m.findings[f.ID] = f
	}
}

func (m *model) rebuild(c Config) *Detector {
	d := New(c)
	for _, node := range slices.Sorted(maps.Keys(m.spans)) {
		d.RestoreNode(node, m.spans[node])
	}
	for k, first := range m.identities { // any order
		d.RestoreIdentity(k.id, k.node, first)
	}
	for k, u := range m.reach {
		d.RestoreReach(k.id, k.resource, u.first, u.last, u.connections)
	}
	for _, f := range m.findings {
		d.RestoreFinding(&f)
	}
	return d
}

// told is the last word on each finding, by ID.
func (m *model) told() []event.Finding {
	return slices.SortedFunc(maps.Values(m.findings), func(a, b event.Finding) int { return cmp.Compare(a.ID, b.ID) })
}
