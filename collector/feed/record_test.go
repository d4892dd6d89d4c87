package feed

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/event"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 123456000, time.UTC)

func identity(t interface{ Fatal(...any) }, uri string) event.Identity {
	id, err := event.ParseIdentity(uri)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func resource(t interface{ Fatal(...any) }, text string) event.Resource {
	r, err := event.ParseResource(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// finding is one with everything in it.
func finding(t interface{ Fatal(...any) }) *event.Finding {
	id := identity(t, "spiffe://shop.example/ns/shop/sa/checkout")
	res := resource(t, "dns:api.example.com:443/tcp")
	return &event.Finding{
		ID: event.FindingID(id, "new-reach", res), Rule: "new-reach", Title: "checkout reaches api.example.com for the first time", Severity: event.High, Score: 0.83, Confidence: 0.71,
		Identity: id, Resource: res, Node: "n1", FirstTime: noon.Add(-time.Hour), LastTime: noon, Count: 12,
		Workload: event.Workload{Identity: id, Evidence: event.EvidenceKubernetes, Namespace: "shop", Pod: "checkout-7c9f", Container: "server",
			Image: "registry.example/checkout@sha256:0123", ServiceAccount: "checkout", Owner: "Deployment/checkout", Executable: "/app/checkout"},
		Explanation: []string{"It never reached api.example.com in 14 days.", "12 connections since 11:00."}, Baseline: []string{"dns:db.shop.svc:5432/tcp", "3 resources in all"},
		Advice: []string{"Ask the owner whether it should."}, OWASP: []string{"NHI5:2025", "NHI8:2025"}, Attack: []string{"T1552.005", "T1046"}, Status: event.StatusNew, Coverage: "n2 was not watched for 3h",
	}
}

func findingRecord(t interface{ Fatal(...any) }) *Record {
	f := finding(t)
	return &Record{Finding: f, Life: Create, Time: noon.Add(time.Second), UID: f.ID, Owner: "team-payments"}
}

func observationRecord(t interface{ Fatal(...any) }) *Record {
	f := finding(t)
	return &Record{Observation: &event.Observation{
		Time: noon, FirstTime: noon.Add(-10 * time.Second), Node: "n1", Workload: f.Workload, Direction: event.Outbound, Protocol: event.TCP,
		Peer: event.Peer{Address: netip.MustParseAddr("10.1.2.3"), Port: 5432, Name: "db.shop.svc", NameSource: event.NameService, Identity: identity(t, "spiffe://shop.example/ns/shop/sa/db"), Evidence: event.EvidenceSVID},
		TLS: &event.TLS{Version: "1.3", SNI: "db.shop.svc", Mutual: true, Verified: true, Provenance: "full",
			PeerCertificate: &event.Certificate{SHA256: "ab12", Serial: "7", Issuer: "CN=test", NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(time.Hour)}},
		Counts: event.Counts{Connections: 12, BytesSent: 48211, BytesReceived: 90322},
	}, Time: noon, UID: "observation-7-0"}
}

func decisionRecord(*testing.T) *Record {
	return &Record{Decision: &event.Decision{
		ID: "d1", Serial: 3, Identity: "spiffe://shop.example/ns/shop/sa/checkout", To: "*", Direction: event.Both, Mode: event.Enforce, Code: "compromised", Reason: "it was taken over",
		Requester: "alice", Approver: "bob", Finding: "new-reach-1", Issued: noon, Expires: noon.Add(time.Hour), Signature: []byte("secret?"),
	}, Life: Create, Time: noon, UID: "decision-d1"}
}

var plainMaking = &making{Version: "1.2.3", Host: "collector-1", Link: "https://ambit.example.com", Labels: map[string]string{"site": "eu1"}, Hold: 3600}

// drawText gives what a workload may have chosen.
func drawText(t *rapid.T, label string) string {
	return rapid.OneOf(
		rapid.StringN(0, 40, 200), rapid.SampledFrom([]string{"", "a|b", `back\slash`, "x=y", "line\nbreak\r", `quote"]`, "\u2028", "\x00\x1b[31m", "\xff\xfe", "CEF:0|a|b", "<!channel>", "]", "é…"}),
	).Draw(t, label)
}

func drawFinding(t *rapid.T) *Record {
	r := findingRecord(t)
	f := r.Finding
	f.Title, f.Coverage, f.Reason, f.By, f.Node = drawText(t, "title"), drawText(t, "coverage"), drawText(t, "reason"), drawText(t, "by"), drawText(t, "node")
	f.Explanation = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string { return drawText(t, "sentence") }), 0, 40).Draw(t, "explanation")
	f.Baseline = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string { return drawText(t, "normal") }), 0, 4).Draw(t, "baseline")
	f.Workload.Namespace, f.Workload.Pod, f.Workload.Executable, f.Workload.Image = drawText(t, "namespace"), drawText(t, "pod"), drawText(t, "executable"), drawText(t, "image")
	f.Workload.Owner, f.Workload.ServiceAccount = drawText(t, "controller"), drawText(t, "sa")
	f.Severity = rapid.SampledFrom(append([]event.Severity{"odd"}, severityOrder...)).Draw(t, "severity")
	f.Status = rapid.SampledFrom(statusOrder).Draw(t, "status")
	f.Rule = rapid.SampledFrom([]string{"new-reach", "never-used", "dormant-identity", "fan-out"}).Draw(t, "rule")
	f.Verdict = rapid.SampledFrom(append(event.VerdictKinds(), "")).Draw(t, "verdict")
	f.Score, f.Confidence = rapid.Float64().Draw(t, "score"), rapid.Float64().Draw(t, "confidence")
	f.Count = rapid.Uint64().Draw(t, "count")
	f.Attack = rapid.SliceOfN(rapid.SampledFrom([]string{"T1046", "T1552.005", "T9999", "T9999.001"}), 0, 4).Draw(t, "attack")
	f.OWASP = rapid.SliceOfN(rapid.SampledFrom([]string{"NHI5:2025", "NHI99:2031"}), 0, 3).Draw(t, "owasp")
	if rapid.Bool().Draw(t, "about nobody") {
		f.Identity, f.Workload.Identity, f.Resource = event.Identity{}, event.Identity{}, event.Resource{}
	} else {
		f.Resource = resource(t, rapid.SampledFrom([]string{"dns:a.example:443/tcp", "net:10.0.0.0/24:22/tcp", "net:fd00::1/128:53/udp", "service:db.shop.svc:5432/tcp", "spiffe://a.example/x:1/tcp", "node:n2:10250/tcp"}).Draw(t, "resource"))
	}
	r.Owner, r.Life = drawText(t, "owner"), rapid.SampledFrom([]Life{Create, Update, Close}).Draw(t, "life")
	r.Test = rapid.Bool().Draw(t, "test")
	return r
}
