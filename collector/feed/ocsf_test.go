package feed

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/event"
)

// ocsfSchemas are the classes of OCSF, closed: an attribute that is not known is an error.
var ocsfSchemas = sync.OnceValues(func() (map[int]*jsonschema.Schema, error) {
	out := map[int]*jsonschema.Schema{}
	for class, name := range map[int]string{classDetection: "detection_finding", classIAM: "iam_analysis_finding", classNetwork: "network_activity", classEntity: "entity_management"} {
		file, err := os.Open("testdata/ocsf/" + name + ".schema.json.gz")
		if err != nil {
			return nil, err
		}
		defer file.Close()
		z, err := gzip.NewReader(file)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(z)
		if err != nil {
			return nil, err
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		c := jsonschema.NewCompiler()
		if err := c.AddResource(name, doc); err != nil {
			return nil, err
		}
		if out[class], err = c.Compile(name); err != nil {
			return nil, err
		}
	}
	return out, nil
})

// checkOCSF validates a document against the schema of its class, and what the schema does not say: names beside numbers, and the time's unit.
func checkOCSF(body []byte) (map[string]any, error) {
	schemas, err := ocsfSchemas()
	if err != nil {
		return nil, err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	doc, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("it is no object: %s", body)
	}
	var class int
	if _, err := fmt.Sscan(fmt.Sprint(doc["class_uid"]), &class); err != nil || schemas[class] == nil {
		return nil, fmt.Errorf("class_uid is %v", doc["class_uid"])
	}
	if err := schemas[class].Validate(doc); err != nil {
		return nil, fmt.Errorf("%w in %s", err, body)
	}
	var at int64
	if _, err := fmt.Sscan(fmt.Sprint(doc["time"]), &at); err != nil || time.UnixMilli(at).Year() < 2020 || time.UnixMilli(at).Year() > 2200 {
		return nil, fmt.Errorf("time %v is not in milliseconds", doc["time"])
	}
	names := map[string]map[string]string{
		"severity": {"1": "Informational", "2": "Low", "3": "Medium", "4": "High", "5": "Critical"},
	}
	if class == classDetection || class == classIAM {
		names["status"] = map[string]string{"1": "New", "2": "In Progress", "3": "Suppressed", "4": "Resolved"}
		names["confidence"] = map[string]string{"1": "Low", "2": "Medium", "3": "High"}
	}
	for key, list := range names {
		if want := list[fmt.Sprint(doc[key+"_id"])]; want != doc[key] || want == "" {
			return nil, fmt.Errorf("%s is %v beside %s_id %v", key, doc[key], key, doc[key+"_id"])
		}
	}
	if v := doc["metadata"].(map[string]any)["version"]; v != ocsfVersion {
		return nil, fmt.Errorf("metadata.version is %v", v)
	}
	return doc, nil
}

func encodeFor(t *testing.T, format string, r *Record) []byte {
	t.Helper()
	body, err := formats[format].encode(plainMaking, r)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// at gives a member of a document by its path.
func at(doc any, path string) any {
	for part := range strings.SplitSeq(path, ".") {
		switch v := doc.(type) {
		case map[string]any:
			doc = v[part]
		case []any:
			var i int
			if _, err := fmt.Sscan(part, &i); err != nil || i >= len(v) {
				return nil
			}
			doc = v[i]
		default:
			return nil
		}
	}
	return doc
}

func TestOCSF(t *testing.T) {
	f := func(r *Record, want map[string]string) {
		t.Helper()
		doc, err := checkOCSF(encodeFor(t, "ocsf", r))
		if err != nil {
			t.Fatal(err)
		}
		for path, value := range want {
			if got := fmt.Sprint(at(doc, path)); got != value {
				t.Errorf("%s is %s, want %s", path, got, value)
			}
		}
	}
	r := findingRecord(t)
	f(r, map[string]string{
		"class_uid": "2004", "type_uid": "200401", "activity_name": "Create", "severity_id": "4", "status_id": "1", "finding_info.uid": r.UID, "risk_score": "83", "confidence_id": "3",
		"finding_info.attacks.0.sub_technique.uid": "T1552.005", "finding_info.attacks.0.technique.uid": "T1552", "finding_info.attacks.0.tactic.uid": "TA0006", "finding_info.attacks.1.technique.name": "Network Service Discovery",
		"finding_info.tags.0.values.0": "NHI5:2025", "finding_info.tags.2.value": "team-payments", "unmapped.owasp_nhi.1": "NHI8:2025",
		"anomaly_analyses.0.analysis_targets.0.name": "spiffe://shop.example/ns/shop/sa/checkout", "anomaly_analyses.0.baselines.0.observations.0.value": "dns:db.shop.svc:5432/tcp",
		"anomaly_analyses.0.anomalies.0.observations.0.count": "12", "evidences.0.user.type_id": "4", "evidences.0.dst_endpoint.hostname": "api.example.com", "is_alert": "true", "count": "12",
		"finding_info.src_url": "https://ambit.example.com/api/v1/findings/" + r.UID,
	})
	// Of the same finding, later.
	r.Life, r.Finding.Status, r.Finding.Verdict, r.Finding.By, r.Finding.Reason, r.Finding.Decided = Close, event.StatusResolved, event.VerdictFalsePositive, "alice", "it is the new API", noon.Add(time.Hour)
	f(r, map[string]string{"type_uid": "200403", "status_id": "4", "finding_info.uid": r.UID, "evidences.0.verdict_id": "1", "status_detail": "it is the new API", "is_alert": "false", "comment": "false-positive by alice"})
	r.Finding.Rule, r.Life = "unused-identity", Update // of the scheduled report
	f(r, map[string]string{"class_uid": "2008", "type_uid": "200802", "user.uid": "spiffe://shop.example/ns/shop/sa/checkout", "identity_activity_metrics.last_seen_time": fmt.Sprint(noon.UnixMilli()), "user.org.name": "team-payments"})

	o := observationRecord(t)
	f(o, map[string]string{"class_uid": "4001", "activity_id": "6", "dst_endpoint.ip": "10.1.2.3", "dst_endpoint.port": "5432", "connection_info.direction_id": "2", "traffic.bytes_out": "48211", "tls.sni": "db.shop.svc", "observation_point_id": "1"})
	o.Observation.Direction, o.Observation.Counts.Denied = event.Inbound, 12
	f(o, map[string]string{"activity_id": "5", "src_endpoint.ip": "10.1.2.3", "dst_endpoint.port": "5432", "connection_info.direction_id": "1", "action_id": "2", "status_id": "2"})
	o.Observation.Counts.Denied, o.Observation.Counts.Failed = 0, 12
	f(o, map[string]string{"activity_id": "4"})

	d := decisionRecord(t)
	f(d, map[string]string{"class_uid": "3004", "activity_id": "12", "entity.uid": "spiffe://shop.example/ns/shop/sa/checkout", "action_id": "2", "disposition_id": "24", "actor.user.name": "alice", "policy.is_applied": "true"})
	d.Life, d.Decision.Revoked, d.Decision.RevokedBy, d.Decision.RevokedWhy = Close, noon.Add(time.Minute), "carol", "cleared"
	f(d, map[string]string{"activity_id": "13", "actor.user.name": "carol", "comment": "cleared", "disposition_id": "9"})
	d.Life, d.Decision.Mode = Create, event.DryRun
	f(d, map[string]string{"activity_id": "3", "action_id": "3"})
}

func TestOCSFOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body, err := encodeOCSF(plainMaking, drawFinding(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := checkOCSF(body); err != nil {
			t.Fatal(err)
		}
	})
}
