package feed

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// silencedBy begins the name of who suppressed a finding, where that was a silence of Alertmanager.
const silencedBy = "alertmanager:"

// encodeAlert makes one alert of Alertmanager's API v2. The labels are its identity, so they hold only what never changes for a finding; of
// one whose severity changes, the former alert is over by itself after the hold time.
func encodeAlert(m *making, r *Record) ([]byte, error) {
	f := r.Finding
	labels := map[string]string{}
	for k, v := range m.Labels {
		labels[k] = clip(v)
	}
	put := func(to map[string]string, key, value string) {
		if value != "" {
			to[key] = clip(value)
		}
	}
	put(labels, "alertname", alertName(f.Rule))
	put(labels, "source", "ambit")
	put(labels, "finding", r.UID)
	put(labels, "rule", f.Rule)
	put(labels, "severity", words(f.Severity).Alertmanager)
	put(labels, "identity", f.Identity.String())
	put(labels, "resource", f.Resource.String())
	put(labels, "namespace", f.Workload.Namespace)
	put(labels, "owner", r.Owner)
	put(labels, "test", truth(r.Test))
	notes := map[string]string{}
	put(notes, "summary", f.Title)
	put(notes, "description", joinSentences(f.Explanation))
	put(notes, "baseline", joinSentences(f.Baseline))
	put(notes, "advice", joinSentences(f.Advice))
	put(notes, "ambit_severity", string(f.Severity))
	put(notes, "status", string(f.Status))
	put(notes, "owasp", strings.Join(clipAll(f.OWASP), ", "))
	put(notes, "attack", strings.Join(clipAll(f.Attack), ", "))
	put(notes, "node", f.Node)
	begin := f.FirstTime
	if begin.IsZero() {
		begin = r.at()
	}
	end := r.Time.Add(time.Duration(m.Hold) * time.Second)
	silenced := f.Status == event.StatusSuppressed && strings.HasPrefix(f.By, silencedBy) // Alertmanager keeps quiet about it by itself
	if r.Life == Close && !silenced {
		end = r.at()
		if r.Time.Before(end) { // an end that is still to come would not count
			end = r.Time
		}
		if !end.After(begin) {
			end = begin.Add(time.Second)
		}
	}
	return json.Marshal(struct {
		Labels       map[string]string `json:"labels"`
		Annotations  map[string]string `json:"annotations"`
		StartsAt     time.Time         `json:"startsAt"`
		EndsAt       time.Time         `json:"endsAt"`
		GeneratorURL string            `json:"generatorURL,omitempty"`
	}{labels, notes, begin.UTC(), end.UTC(), m.link(r)})
}

// alertName makes AmbitNewReach of new-reach.
func alertName(rule string) string {
	var b strings.Builder
	b.WriteString("Ambit")
	for part := range strings.SplitSeq(rule, "-") {
		if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return b.String()
}
