package feed

import (
	"cmp"
	"encoding/json"
	"path"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// ecsVersion is the version of the Elastic Common Schema whose fields are used. What it has no field for stands in labels, as keywords.
const ecsVersion = "9.4.0"

func encodeECS(m *making, r *Record) ([]byte, error) {
	doc := ecsBase(m, r)
	switch {
	case r.Finding != nil:
		ecsFinding(doc, m, r)
	case r.Observation != nil:
		ecsNetwork(doc, r)
	default:
		ecsDecision(doc, r)
	}
	return json.Marshal(doc)
}

func rfc3339(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func ecsBase(m *making, r *Record) object {
	labels := object{}
	for k, v := range m.Labels {
		labels.set(k, v)
	}
	labels.set("owner", r.Owner)
	if r.Test {
		labels["test"] = "true"
	}
	doc := object{
		"@timestamp": rfc3339(r.at()),
		"ecs":        object{"version": ecsVersion},
		"message":    clip(r.title()),
		"observer":   object{"vendor": "Ambit", "product": "Ambit", "type": "nhi-monitor", "version": m.Version},
		"labels":     labels,
	}
	doc["tags"] = tagsOf(m, r)
	return doc
}

func ecsFinding(doc object, m *making, r *Record) {
	f := r.Finding
	labels := doc["labels"].(object)
	labels.set("status", string(f.Status))
	labels.set("activity", string(r.Life))
	labels.set("verdict", string(f.Verdict))
	labels.set("decided_by", f.By)
	labels.set("coverage", f.Coverage)
	labels.set("evidence", string(f.Workload.Evidence))
	labels.set("advice", joinSentences(f.Advice))
	labels.set("baseline", joinSentences(f.Baseline))
	kind := "event" // what is over is no alert
	if r.Life != Close && !r.Test {
		kind = "alert"
	}
	e := object{
		"kind": kind, "category": []string{"intrusion_detection", "network"}, "type": []string{"info"}, "outcome": "unknown",
		"module": "ambit", "dataset": "ambit.finding", "provider": "ambit", "id": r.UID, "code": f.Rule,
		"severity": words(f.Severity).ECS, "risk_score": between(f.Score) * 100, "action": r.rule() + "-" + string(r.Life),
	}
	if unusedRules[f.Rule] {
		e["category"] = []string{"iam"}
		e["type"] = []string{"user", "info"}
	}
	e.set("reason", joinSentences(f.Explanation))
	e.set("start", rfc3339(f.FirstTime))
	e.set("end", rfc3339(f.LastTime))
	e.set("created", rfc3339(r.Time))
	e.set("url", m.link(r))
	doc["event"] = e
	doc["rule"] = object{"id": f.Rule, "name": clip(cmp.Or(f.Title, f.Rule)), "ruleset": "ambit", "category": "non-human identity"}
	if threat := ecsThreat(f.Attack); threat != nil {
		doc["threat"] = threat
	}
	ecsWorkload(doc, f.Identity, &f.Workload, f.Node, r.Owner)
	if !f.Resource.IsZero() {
		doc["destination"] = ecsEndpoint(doc, f.Resource)
		doc["network"] = object{"transport": string(f.Resource.Protocol()), "direction": "egress"}
		labels.set("resource", f.Resource.String())
	}
}

// ecsWorkload tells who it is about.
func ecsWorkload(doc object, id event.Identity, w *event.Workload, node, owner string) {
	related := relatedOf(doc)
	if !id.IsZero() {
		user := object{"id": clip(id.String())}
		user.set("name", cmp.Or(w.ServiceAccount, path.Base(id.String())))
		user.set("domain", w.Namespace)
		doc["user"] = user
		doc["entity"] = object{"id": clip(id.String()), "type": []string{"service"}, "name": clip(id.String())}
		related.add("user", id.String())
	}
	if w.Owner != "" || w.ServiceAccount != "" {
		_, name, _ := strings.Cut(w.Owner, "/")
		service := object{}
		service.set("name", cmp.Or(name, w.ServiceAccount))
		doc.set("service", service)
	}
	if w.Pod != "" || w.Namespace != "" {
		o := object{"type": "kubernetes"}
		o.set("namespace", w.Namespace)
		if w.Pod != "" {
			resource := object{"type": "pod", "name": clip(w.Pod)}
			if kind, name, ok := strings.Cut(w.Owner, "/"); ok && kind != "" {
				resource["parent"] = object{"type": clip(kind)}
				resource["annotation"] = []string{"controller:" + clip(name)}
			}
			o["resource"] = resource
		}
		doc["orchestrator"] = o
	}
	if w.Container != "" || w.Image != "" {
		c := object{}
		c.set("name", w.Container)
		if w.Image != "" {
			image := object{}
			name, digest, _ := strings.Cut(w.Image, "@")
			image.set("name", name)
			if digest != "" {
				image["hash"] = object{"all": []string{clip(digest)}}
			}
			c.set("image", image)
		}
		doc.set("container", c)
	}
	if w.Executable != "" {
		doc["process"] = object{"executable": clip(w.Executable), "name": clip(path.Base(w.Executable))}
	}
	if node != "" {
		doc["host"] = object{"name": clip(node), "hostname": clip(node)}
		related.add("hosts", node)
	}
	doc.set("related", object(related))
}

// related are the names and addresses that ECS wants in one place.
type related object

func relatedOf(doc object) related {
	if r, ok := doc["related"].(object); ok {
		return related(r)
	}
	return related{}
}

func (r related) add(key, value string) {
	list, _ := r[key].([]string)
	r[key] = append(list, clip(value))
}

// ecsEndpoint is what a resource names, as destination.
func ecsEndpoint(doc object, res event.Resource) object {
	related := relatedOf(doc)
	e := object{}
	switch res.Kind() {
	case event.ResourceNet:
		e["address"] = res.Prefix().String()
		if p := res.Prefix(); p.IsSingleIP() {
			e["ip"], e["address"] = p.Addr().String(), p.Addr().String()
			related.add("ip", p.Addr().String())
		}
	case event.ResourceDNS, event.ResourceNode, event.ResourceService:
		e["address"], e["domain"] = clip(res.Name()), clip(res.Name())
		related.add("hosts", res.Name())
	default:
		e["address"] = clip(res.Name())
		e["user"] = object{"id": clip(res.Name())}
		related.add("user", res.Name())
	}
	if res.Port() != 0 {
		e["port"] = res.Port()
	}
	doc.set("related", object(related))
	return e
}

func ecsThreat(ids []string) object {
	var tactics, tacticNames, tech, techNames, sub, subNames []string
	seen := map[string]bool{}
	add := func(list *[]string, s string) {
		if s != "" {
			*list = append(*list, s)
		}
	}
	once := func(s string) bool {
		if seen[s] {
			return false
		}
		seen[s] = true
		return true
	}
	for _, id := range clipAll(ids) {
		parent, _, isSub := cutLast(id, '.')
		if isSub && once(id) {
			add(&sub, id)
			add(&subNames, techniques[id].Name)
		}
		if once(parent) {
			add(&tech, parent)
			add(&techNames, techniques[parent].Name)
		}
		if t := techniques[id].Tactic; t.ID != "" && once(t.ID) {
			add(&tactics, t.ID)
			add(&tacticNames, t.Name)
		}
	}
	if len(tech) == 0 {
		return nil
	}
	t := object{}
	t.set("id", tech)
	t.set("name", techNames)
	if len(sub) > 0 {
		s := object{"id": sub}
		s.set("name", subNames)
		t["subtechnique"] = s
	}
	threat := object{"framework": "MITRE ATT&CK", "technique": t}
	if len(tactics) > 0 {
		threat["tactic"] = object{"id": tactics, "name": tacticNames}
	}
	return threat
}

func ecsNetwork(doc object, r *Record) {
	o := r.Observation
	labels := doc["labels"].(object)
	labels.set("resource", event.ResourceOf(o).String())
	labels.set("evidence", string(o.Workload.Evidence))
	outcome, types := "success", []string{"connection"}
	if o.Counts.Failed > 0 && o.Counts.Failed+o.Counts.Denied >= o.Counts.Connections {
		outcome = "failure"
	}
	if o.Counts.Denied > 0 {
		types = append(types, "denied")
	} else {
		types = append(types, "allowed")
	}
	e := object{
		"kind": "event", "category": []string{"network"}, "type": types, "outcome": outcome, "module": "ambit", "dataset": "ambit.observation",
		"provider": "ambit", "id": r.UID, "severity": words(event.Info).ECS, "action": "connection",
	}
	e.set("start", rfc3339(o.First()))
	e.set("end", rfc3339(o.Time))
	doc["event"] = e
	ecsWorkload(doc, o.Workload.Identity, &o.Workload, o.Node, r.Owner)
	related := relatedOf(doc)
	peer, own := object{}, object{"address": clip(o.Workload.Identity.String())}
	if o.Peer.Address.IsValid() {
		a := o.Peer.Address.Unmap().WithZone("").String()
		peer["ip"], peer["address"] = a, a
		related.add("ip", a)
	}
	if o.Peer.Name != "" {
		peer["address"], peer["domain"] = clip(o.Peer.Name), clip(o.Peer.Name)
		related.add("hosts", o.Peer.Name)
	}
	if !o.Peer.Identity.IsZero() {
		peer["user"] = object{"id": clip(o.Peer.Identity.String())}
		if peer["address"] == nil {
			peer["address"] = clip(o.Peer.Identity.String())
		}
		related.add("user", o.Peer.Identity.String())
	}
	own["bytes"], peer["bytes"] = whole(o.Counts.BytesSent), whole(o.Counts.BytesReceived)
	network := object{"transport": string(o.Protocol), "bytes": whole(o.Counts.BytesSent + o.Counts.BytesReceived)}
	if v := ipVersion(o.Peer.Address); v != 0 {
		network["type"] = map[int]string{4: "ipv4", 6: "ipv6"}[v]
	}
	if o.Direction == event.Inbound {
		own["port"], network["direction"] = o.Peer.Port, "ingress"
		doc["source"], doc["destination"] = peer, own
	} else {
		peer["port"], network["direction"] = o.Peer.Port, "egress"
		doc["source"], doc["destination"] = own, peer
	}
	doc["network"] = network
	if t := o.TLS; t != nil && t.Version != "" {
		tls := object{"version": strings.TrimPrefix(t.Version, "TLS "), "version_protocol": "tls", "established": t.Provenance == "full" || t.Provenance == "resumed"}
		if t.SNI != "" {
			tls["client"] = object{"server_name": clip(t.SNI)}
		}
		doc["tls"] = tls
	}
	doc.set("related", object(related))
}

func ecsDecision(doc object, r *Record) {
	d := r.Decision
	labels := doc["labels"].(object)
	labels.set("decision", d.ID)
	labels.set("to", d.To)
	labels.set("direction", string(d.Direction))
	labels.set("mode", string(d.Mode))
	labels.set("activity", string(r.Life))
	labels.set("finding", d.Finding)
	types := []string{"user", "change"}
	e := object{
		"kind": "event", "category": []string{"iam"}, "type": types, "outcome": "success", "module": "ambit", "dataset": "ambit.decision",
		"provider": "ambit", "id": r.UID, "severity": words(r.severity()).ECS, "action": "deny-" + string(r.Life),
	}
	e.set("reason", d.Reason)
	e.set("code", d.Code)
	e.set("start", rfc3339(d.Issued))
	e.set("end", rfc3339(d.Expires))
	doc["event"] = e
	user := object{"target": object{"id": clip(d.Identity)}}
	user.set("name", d.Requester)
	doc["user"] = user
	doc["related"] = object{"user": []string{clip(d.Identity)}}
}
