package detector

import (
	"fmt"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// watched is an observation that is being judged, with what the rules need to know of it.
type sight struct {
	d           *Detector
	o           *event.Observation
	who         uint32
	id          *identity
	first, last int64 // µs
	news        news
	learned     bool // the identity is stable
	watch       watch
	reached     event.Severity // of the finding about what was reached, if there is one
	out         []event.Finding
}

// alarm is what a rule has to say.
type alarm struct {
	rule        *rule
	what        uint32 // index of the resource; wholeIdentity where the finding is about the identity as such
	resource    event.Resource
	score       float64 // 0 to 1
	severity    event.Severity
	title       string
	count       uint64
	explanation []string
	attack      []string // besides the rule's own
	owasp       []string
}

// told says that there is nothing more to tell by the rule: a finding of it is held already, which is brought up to date, or the policy turns it off.
// It is asked before a rule finds its words.
func (s *sight) told(r *rule, what uint32) bool {
	t := s.d.findings.open[findingKey{edgeKey{s.who, what}, r}]
	if t == nil {
		if s.silent(r) {
			s.d.refused[causePolicy]++
			return true
		}
		return false
	}
	now := t.again(s.first)
	t.raise(t.finding.Count+s.o.Counts.Connections, s.last)
	if now || t.changed && s.last-t.given >= minuteMicros {
		s.out = append(s.out, t.give())
	}
	return true
}

// said says that a finding about what was reached tells of the observation already, with who and by what as reasons: nobody needs a second one.
func (s *sight) said() bool {
	return s.reached != "" && s.reached != event.Low && s.reached != event.Info
}

// tell makes a finding of an alarm, or folds it into the identity's summary.
func (s *sight) tell(a alarm) {
	if !s.allow(&a) {
		return
	}
	if !s.spend(a.severity) {
		return
	}
	f := s.finding(a)
	s.d.newFinding(findingKey{edgeKey{s.who, a.what}, a.rule}, f, &s.out)
	s.out = append(s.out, f)
}

// measured is the time that the identity was watched up to this observation.
func (s *sight) measured() watch {
	if s.watch.first == 0 {
		s.watch = s.d.watched(s.id, s.first)
	}
	return s.watch
}

func (s *sight) finding(a alarm) event.Finding {
	d, o := s.d, s.o
	w, n := s.measured(), d.normal(s.id)
	f := event.Finding{
		ID:         event.FindingID(s.id.id, a.rule.name, a.resource),
		Rule:       a.rule.name,
		Title:      a.title,
		Severity:   a.severity,
		Score:      float64(int(100*a.score+0.5)) / 100,
		Confidence: confidence(w, d.config.Learn, s.first),
		Identity:   s.id.id, Resource: a.resource, Workload: o.Workload, Node: o.Node,
		FirstTime: time.UnixMicro(s.first).UTC(), LastTime: time.UnixMicro(s.last).UTC(),
		Count:       max(a.count, 1),
		Explanation: a.explanation,
		Baseline:    n.sentences(d.resources),
		Advice:      []string{a.rule.advice},
		OWASP:       union(a.rule.owasp, a.owasp),
		Attack:      union(a.rule.attack, a.attack),
		Status:      event.StatusNew,
		Coverage:    unwatched(w, s.first),
	}
	if owner := s.ownerOf(); owner != "" {
		f.Advice = append(f.Advice, "Its owner is "+owner+".")
	}
	f.Explanation = append(f.Explanation, whatWasNormal(n, w, d.config.Learn))
	if f.Coverage != "" {
		f.Explanation = append(f.Explanation, f.Coverage)
	}
	return f
}

func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func bytesText(n float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= unit.size {
			return fmt.Sprintf("%.1f %s", n/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%.0f bytes", n)
}
