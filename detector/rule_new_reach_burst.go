package detector

import (
	"fmt"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Its count is the number of findings that are not told one by one, its last time when the last of them was.
var ruleNewReachBurst = rule{
	name:     "new-reach-burst",
	about:    "An identity does more that is new within a minute than is told one by one; this one finding counts the rest.",
	advice:   "Look at the first findings of that minute; if it is no new version, stop the workload.",
	severity: event.High,
	owasp:    []string{"NHI5:2025"},
	attack:   []string{"T1046"}, // network service discovery
}

// fold adds a new edge to its identity's summary.
func (s *sight) fold() {
	d, k := s.d, findingKey{edgeKey{s.who, wholeIdentity}, &ruleNewReachBurst}
	if t := d.findings.open[k]; t != nil {
		folded := t.finding.Count + 1
		if t.recount {
			folded, _ = d.folded(k.edgeKey, t)
		}
		s.out = d.update(k, folded, s.first, s.first, s.out)
		return
	}
	limit := d.config.FindingsPerMinute
	a := alarm{
		rule: &ruleNewReachBurst, score: 0.9, severity: ruleNewReachBurst.severity, count: 1,
		title: fmt.Sprintf("%s reached more than %d new resources within a minute", shortName(&s.o.Workload), limit),
		explanation: []string{
			fmt.Sprintf("%s reached more than %d resources for the first time in the minute of %s.", nameOf(s.o), limit, clock(s.o.First().Truncate(time.Minute))),
			fmt.Sprintf("The first %d have a finding each; the rest of that minute, and of later minutes like it, are counted here.", limit),
			"Many new resources at once can be a scan, or a new version of a program.",
		},
	}
	if !s.allow(&a) {
		return
	}
	f := s.finding(a)
	f.LastTime = f.FirstTime
	d.newFinding(k, f, &s.out)
	s.out = append(s.out, f)
}

// folded counts the edges of a summary that comes from the store, and says when the last of them was first used (µs).
func (d *Detector) folded(k edgeKey, t *openFinding) (n uint64, last int64) {
	t.recount = false
	since := t.finding.FirstTime.UnixMicro()
	d.eachEdge(&d.identities[k.identity], func(e *edge) {
		if e.state == edgeFolded && e.first >= since {
			n++
			last = max(last, e.first)
		}
	})
	return n, last
}
