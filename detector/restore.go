package detector

import (
	"math"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// The state is rebuilt from what the store keeps, in this order: nodes, identities, reach, findings. Then the detector goes on as if it had
// never stopped. A batch whose findings were stored and whose observations were not comes again: it counts once.
//
// Whether an edge was learned is not stored but found again. Where an identity became stable by the watching of several nodes and one of them
// told of it late, an edge of these moments may come out otherwise.

// RestoreNode gives the watched time of a node. The spans may be in any order and overlap.
func (d *Detector) RestoreNode(node string, spans []Span) {
	for _, s := range spans {
		d.clock.trust(s.Until.UnixMicro()) // it was believed before
		d.Cover(node, s.Boot, s.From, s.Until)
	}
}

// RestoreIdentity gives when an identity was first seen on a node.
func (d *Detector) RestoreIdentity(id event.Identity, node string, first time.Time) {
	if who, ok := d.identity(id); ok {
		d.see(who, node, first.UnixMicro())
		d.identities[who].profile.restore(first.UnixMicro(), first.UnixMicro())
	}
}

// RestoreReach gives an outbound edge of an identity: when it was first and last used, and its connections in all.
func (d *Detector) RestoreReach(id event.Identity, r event.Resource, first, last time.Time, connections uint64) {
	who, ok := d.identity(id)
	if !ok {
		return
	}
	if what, known := d.resIndex[r]; known {
		if e := d.edges.find(edgeKey{who, what}); e != nil {
			e.use(first.UnixMicro(), last.UnixMicro(), connections)
			return
		}
	}
	state := edgeLearned
	if d.watched(&d.identities[who], first.UnixMicro()).total >= d.config.Learn {
		if connections == 0 {
			return // as in Observe: not reached yet
		}
		state = edgeFolded // unless a finding says otherwise
	}
	_, e := d.add(who, r, first.UnixMicro(), last.UnixMicro())
	if e == nil {
		return
	}
	e.connections, e.state = connections, state
	p := &d.identities[who].profile
	p.restore(e.first, e.last)
	for _, at := range []int64{e.first, e.last} {
		p.occasion(at)
	}
	if dayOf(e.first) != dayOf(e.last) {
		e.days, e.hours = 2, 2
	}
}

// RestoreFinding gives a finding that was told: it is not told again, only kept up to date.
func (d *Detector) RestoreFinding(f *event.Finding) {
	who, ok := d.identity(f.Identity)
	if !ok {
		return
	}
	r := ruleNamed(f.Rule)
	what, known := d.resIndex[f.Resource]
	switch {
	case r == &ruleScopeViolation && (!known || d.edges.find(edgeKey{who, what}) == nil): // about who reached it, or its edge comes again
		if what, known = d.intern(f.Resource); known {
			d.findings.hold(findingKey{edgeKey{who, what}, r}, *f)
		}
		return
	case r == &ruleFindingFlood:
		if held := d.findings.open[findingKey{edgeKey{d.flooded, wholeIdentity}, r}]; held == nil || f.LastTime.After(held.finding.LastTime) {
			d.flooded = who
		}
	case r == &ruleTrustDowngrade:
		d.identities[who].downgraded = d.identities[who].downgraded || f.Status != event.StatusResolved
	case r == &ruleDormantIdentity:
		d.identities[who].dormant = f.Status != event.StatusResolved
	}
	switch r {
	case nil: // of a rule that is no more
	case &ruleNewReach, &ruleMetadataAccess, &ruleEnvironmentCrossing, &ruleScopeViolation:
		d.restoreNewReach(who, f)
	case &ruleNewReachBurst:
		held, _ := d.findings.hold(findingKey{edgeKey{who, wholeIdentity}, r}, *f)
		held.recount = true
	default:
		what := uint32(wholeIdentity)
		if i, known := d.resIndex[f.Resource]; known {
			what = i
		}
		d.findings.hold(findingKey{edgeKey{who, what}, r}, *f)
	}
}

func (d *Detector) restoreNewReach(who uint32, f *event.Finding) {
	first, last := f.FirstTime.UnixMicro(), f.LastTime.UnixMicro()
	var key edgeKey
	var e *edge
	if what, known := d.resIndex[f.Resource]; known {
		key = edgeKey{who, what}
		e = d.edges.find(key)
	}
	if e == nil { // its observation was lost between the two inserts, and comes again
		if key, e = d.add(who, f.Resource, first, last); e == nil {
			return
		}
	}
	e.state, e.rule = edgeTold, uint8(max(slices.Index(reachRules[:], ruleNamed(f.Rule)), 0))
	held, _ := d.findings.hold(findingKey{key, reachRules[e.rule]}, *f)
	if f.Verdict.Teaches() || f.Rule == ruleScopeViolation.name && f.Status == event.StatusResolved {
		e.state = edgeApproved
	} else {
		held.raise(e.connections, e.last)
	}
	id := &d.identities[who]
	if first/minuteMicros >= id.minute {
		id.spend(first, math.MaxInt)
	}
}

// restore takes in a use of which no more than the times are known. How long the pauses between the uses were is not: none is judged until the next two.
func (p *profile) restore(first, last int64) {
	if p.since == 0 || first < p.since {
		p.since = first
	}
	p.restored = max(p.restored, last)
}
