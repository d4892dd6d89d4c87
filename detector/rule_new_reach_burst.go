package detector

import (
	"fmt"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// A stable identity reaches more new resources within a minute than are told one by one; this one finding counts the rest. Its count is the
// number of resources, its last time when the last of them was first used.
const ruleNewReachBurst = "new-reach-burst"

// fold adds a new edge to its identity's summary.
func (d *Detector) fold(k edgeKey, o *event.Observation, w watch, out []event.Finding) []event.Finding {
	id := &d.identities[k.identity]
	if t := d.findings.open[k]; t != nil {
		folded := t.finding.Count + 1
		if t.recount {
			folded, _ = d.folded(k, t)
		}
		return d.update(k, folded, o.First().UnixMicro(), out)
	}
	n := d.normal(id)
	limit := d.config.FindingsPerMinute
	f := d.finding(ruleNewReachBurst, id, event.Resource{}, o, n, w, 90)
	f.Title = fmt.Sprintf("%s reached more than %d new resources within a minute", shortName(&o.Workload), limit)
	f.LastTime = f.FirstTime
	f.Count = 1
	f.Explanation = []string{
		fmt.Sprintf("%s reached more than %d resources for the first time in the minute of %s.", nameOf(o), limit, clock(o.First().Truncate(time.Minute))),
		fmt.Sprintf("The first %d have a finding each; the rest of that minute, and of later minutes like it, are counted here.", limit),
		whatWasNormal(n, w, d.config.Learn),
		"Many new resources at once can be a scan, or a new version of a program.",
	}
	d.newFinding(k, f, &out)
	return append(out, f)
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
