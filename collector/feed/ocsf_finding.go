package feed

import (
	"cmp"
	"fmt"
	"math"
	"strconv"

	"github.com/ambit-nhi/ambit/event"
)

// ocsfFinding is a Detection Finding, or an IAM Analysis Finding where it is about an identity that nobody used.
func ocsfFinding(m *making, r *Record) object {
	f := r.Finding
	class := classDetection
	if unusedRules[f.Rule] && !f.Identity.IsZero() {
		class = classIAM
	}
	life := activities[r.Life]
	doc := ocsfBase(m, r, class, life.ID, life.Name)
	status := statuses[f.Status]
	doc["status_id"], doc["status"] = status.OCSF, cmp.Or(status.OCSFName, "Unknown")
	doc.set("status_detail", f.Reason)
	confidence(doc, f.Confidence)
	risk := int(math.Round(between(f.Score) * 100))
	if class == classDetection { // the other one has these in profiles only
		doc["is_alert"], doc["risk_score"] = !r.Test && r.Life != Close, risk
	}
	doc.set("start_time", millis(f.FirstTime))
	doc.set("end_time", millis(f.LastTime))
	if f.Count > 0 && f.Count <= math.MaxInt64 {
		doc["count"] = f.Count
	}
	if f.Verdict != "" {
		doc.set("comment", fmt.Sprintf("%s by %s", f.Verdict, f.By))
	}
	doc["finding_info"] = findingInfo(m, r)
	if f.Node != "" {
		doc["device"] = ocsfDevice(f.Node)
	}
	if len(f.Advice) > 0 {
		doc["remediation"] = object{"desc": clip(joinSentences(f.Advice))}
	}
	if !f.Resource.IsZero() {
		resource := object{"uid": clip(f.Resource.String()), "name": clip(f.Resource.String()), "type": string(f.Resource.Kind())}
		doc["resources"] = []object{resource}
	}
	var observables []object
	user := "evidences[].user.uid"
	if class == classIAM {
		user = "user.uid"
	}
	if !f.Identity.IsZero() {
		observables = append(observables, observable(user, "User", f.Identity.String()))
	}
	if !f.Resource.IsZero() {
		observables = append(observables, observable("resources[].uid", "Resource UID", f.Resource.String()))
	}
	if f.Node != "" {
		observables = append(observables, observable("device.hostname", "Hostname", f.Node))
	}
	doc.set("observables", observables)
	unmapped := object{}
	unmapped.set("rule", f.Rule)
	unmapped.set("score", risk)
	unmapped.set("owasp_nhi", clipAll(f.OWASP))
	unmapped.set("coverage", f.Coverage)
	unmapped.set("evidence", string(f.Workload.Evidence))
	unmapped.set("namespace", f.Workload.Namespace)
	unmapped.set("pod", f.Workload.Pod)
	unmapped.set("container", f.Workload.Container)
	unmapped.set("image", f.Workload.Image)
	unmapped.set("controller", f.Workload.Owner)
	unmapped.set("executable", f.Workload.Executable)
	unmapped.set("unit", f.Workload.Unit)
	unmapped.set("explanation", clipAll(f.Explanation))
	unmapped.set("decided_by", f.By)
	unmapped.set("decided_time", millis(f.Decided))
	unmapped.set("until_time", millis(f.Until))
	doc.set("unmapped", unmapped)
	if class == classIAM {
		doc["user"] = ocsfUser(f.Identity.String(), &f.Workload, r.Owner)
		metrics := object{}
		metrics.set("first_seen_time", millis(f.FirstTime))
		metrics.set("last_seen_time", millis(f.LastTime))
		doc["identity_activity_metrics"] = metrics
		if !f.Resource.IsZero() {
			doc["applications"] = []object{{"uid": clip(f.Resource.String()), "name": clip(f.Resource.String())}}
		}
		return doc
	}
	doc["anomaly_analyses"] = []object{anomalyAnalysis(f)}
	evidence := object{}
	if !f.Identity.IsZero() {
		evidence["user"] = ocsfUser(f.Identity.String(), &f.Workload, r.Owner)
	}
	if !f.Resource.IsZero() {
		evidence["dst_endpoint"] = ocsfEndpoint(f.Resource)
		evidence["connection_info"] = object{
			"direction_id": 2, "direction": "Outbound",
			"protocol_name": string(f.Resource.Protocol()), "protocol_num": protocolNumber(f.Resource.Protocol()),
		}
	}
	if v, ok := verdictIDs[f.Verdict]; ok {
		evidence["verdict_id"], evidence["verdict"] = v.ID, v.Name
	}
	if r.Test {
		evidence["verdict_id"], evidence["verdict"] = 6, "Test"
	}
	if evidence["user"] != nil || evidence["dst_endpoint"] != nil {
		doc["evidences"] = []object{evidence}
	}
	return doc
}

func findingInfo(m *making, r *Record) object {
	f := r.Finding
	info := object{
		"uid":      r.UID,
		"title":    clip(cmp.Or(f.Title, f.Rule)),
		"analytic": object{"uid": f.Rule, "name": f.Rule, "type_id": 2, "type": "Behavioral", "category": "non-human identity"},
		"types":    []string{f.Rule},
	}
	info.set("desc", joinSentences(f.Explanation))
	info.set("first_seen_time", millis(f.FirstTime))
	info.set("last_seen_time", millis(f.LastTime))
	info.set("created_time", millis(f.FirstTime))
	info.set("modified_time", millis(r.at()))
	info.set("src_url", m.link(r))
	info.set("data_sources", []string{"ambit.observations"})
	info.set("attacks", attacks(f.Attack))
	var tags []object
	for _, id := range clipAll(f.OWASP) {
		tag := object{"name": "owasp", "value": id}
		if name := owaspNames[id]; name != "" {
			tag = object{"name": "owasp", "values": []string{id, name}}
		}
		tags = append(tags, tag)
	}
	if r.Owner != "" {
		tags = append(tags, object{"name": "owner", "value": clip(r.Owner)})
	}
	info.set("tags", tags)
	return info
}

func attacks(ids []string) []object {
	var out []object
	for _, id := range clipAll(ids) {
		t := techniques[id]
		parent, _, sub := cutLast(id, '.')
		a := object{}
		if sub {
			s := object{"uid": id, "src_url": attackURL(id)}
			s.set("name", t.Name)
			a["sub_technique"] = s
			p := object{"uid": parent, "src_url": attackURL(parent)}
			p.set("name", techniques[parent].Name)
			a["technique"] = p
		} else {
			p := object{"uid": id, "src_url": attackURL(id)}
			p.set("name", t.Name)
			a["technique"] = p
		}
		if t.Tactic.ID != "" {
			a["tactic"] = object{"uid": t.Tactic.ID, "name": t.Tactic.Name}
		}
		out = append(out, a)
	}
	return out
}

// anomalyAnalysis tells what was seen beside what was normal.
func anomalyAnalysis(f *event.Finding) object {
	target := object{"name": "ambit", "type": "collector"}
	if !f.Identity.IsZero() {
		target = object{"name": clip(f.Identity.String()), "type": "identity"}
	}
	parameter := f.Rule
	seen := object{"value": clip(cmp.Or(f.Resource.String(), f.Title, f.Rule))}
	if f.Count > 0 && f.Count <= math.MaxInt64 {
		seen["count"] = f.Count
	}
	if f.LastTime.After(f.FirstTime) && !f.FirstTime.IsZero() {
		seen["timespan"] = object{"start_time": f.FirstTime.UnixMilli(), "end_time": f.LastTime.UnixMilli(), "type_id": 99, "type": "Interval", "duration": f.LastTime.Sub(f.FirstTime).Milliseconds()}
	}
	anomaly := object{"observation_parameter": parameter, "observation_type": "behaviour", "observations": []object{seen}}
	anomaly.set("observed_pattern", joinSentences(f.Explanation))
	analysis := object{"analysis_targets": []object{target}, "anomalies": []object{anomaly}}
	var normal []object
	for _, s := range clipAll(f.Baseline) {
		normal = append(normal, object{"value": s})
	}
	if len(normal) > 0 {
		analysis["baselines"] = []object{{"observation_parameter": parameter, "observation_type": "baseline", "observations": normal}}
	}
	return analysis
}

func confidence(doc object, c float64) {
	c = between(c)
	doc["confidence_score"] = int(math.Round(c * 100))
	switch {
	case c >= 0.7:
		doc["confidence_id"], doc["confidence"] = 3, "High"
	case c >= 0.4:
		doc["confidence_id"], doc["confidence"] = 2, "Medium"
	default:
		doc["confidence_id"], doc["confidence"] = 1, "Low"
	}
}

// between bounds a score to 0 to 1.
func between(f float64) float64 {
	if math.IsNaN(f) {
		return 0
	}
	return max(0, min(1, f))
}

// score is a number with at most four digits behind the point.
func score(f float64) string { return strconv.FormatFloat(math.Round(between(f)*1e4)/1e4, 'f', -1, 64) }
