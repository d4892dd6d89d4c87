package feed

import (
	"encoding/json"
	"strings"
	"time"
)

// encodeFalco makes the payload that falcosidekick takes.
func encodeFalco(m *making, r *Record) ([]byte, error) {
	f := r.Finding
	w := &f.Workload
	fields := object{"ambit.uid": r.UID, "ambit.activity": string(r.Life), "ambit.score": between(f.Score), "ambit.confidence": between(f.Confidence), "ambit.count": whole(f.Count)}
	fields.set("ambit.status", string(f.Status))
	fields.set("ambit.identity", f.Identity.String())
	fields.set("ambit.resource", f.Resource.String())
	fields.set("ambit.owner", r.Owner)
	fields.set("ambit.explanation", joinSentences(f.Explanation))
	fields.set("ambit.link", m.link(r))
	fields.set("k8s.ns.name", w.Namespace)
	fields.set("k8s.pod.name", w.Pod)
	fields.set("k8s.sa.name", w.ServiceAccount)
	fields.set("container.name", w.Container)
	fields.set("container.image.repository", strings.SplitN(w.Image, "@", 2)[0])
	fields.set("proc.exepath", w.Executable)
	if r.Test {
		fields["ambit.test"] = true
	}
	tags := []string{"ambit", "nhi"}
	tags = append(tags, clipAll(f.OWASP)...)
	for _, id := range clipAll(f.Attack) {
		tags = append(tags, id)
		if t := techniques[id].Tactic.Name; t != "" {
			tags = append(tags, "mitre_"+strings.ReplaceAll(strings.ToLower(t), " ", "_"))
		}
	}
	host := f.Node
	if host == "" {
		host = m.Host
	}
	return json.Marshal(struct {
		UUID         string    `json:"uuid"`
		Output       string    `json:"output"`
		Priority     string    `json:"priority"`
		Rule         string    `json:"rule"`
		Time         time.Time `json:"time"`
		Source       string    `json:"source"`
		Tags         []string  `json:"tags"`
		Hostname     string    `json:"hostname"`
		OutputFields object    `json:"output_fields"`
	}{r.UID, clip(f.Title), words(f.Severity).Falco, f.Rule, r.at(), "ambit", tags, clip(host), fields})
}
