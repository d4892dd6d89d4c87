package detector

import (
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// rule is what is the same in all findings of one rule.
type rule struct {
	owasp  []string // OWASP Non-Human Identities Top 10, 2025
	attack []string // MITRE ATT&CK techniques, whatever the circumstances
}

// Each rule has a file of its own.
var rules = map[string]rule{
	ruleNewReach:      {owasp: []string{"NHI5:2025"}},                            // overprivileged: it can reach what it does not need
	ruleNewReachBurst: {owasp: []string{"NHI5:2025"}, attack: []string{"T1046"}}, // network service discovery
}

// finding fills what is alike in the findings of all rules. The score is in percent.
func (d *Detector) finding(name string, id *identity, r event.Resource, o *event.Observation, n normal, w watch, score int) event.Finding {
	return event.Finding{
		ID:         event.FindingID(id.id, name, r),
		Rule:       name,
		Severity:   severityOf(score),
		Score:      float64(score) / 100,
		Confidence: confidence(w, d.config.Learn, o.First().UnixMicro()),
		Identity:   id.id,
		Resource:   r,
		Workload:   o.Workload,
		Node:       o.Node,
		FirstTime:  time.UnixMicro(o.First().UnixMicro()).UTC(),
		LastTime:   time.UnixMicro(o.Time.UnixMicro()).UTC(),
		Baseline:   n.sentences(d.resources),
		OWASP:      slices.Clone(rules[name].owasp),
		Attack:     slices.Clone(rules[name].attack),
		Status:     event.StatusNew,
		Coverage:   unwatched(w, o.First().UnixMicro()),
	}
}
