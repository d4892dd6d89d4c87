package event

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestFindingID(t *testing.T) {
	td := domain(t, "shop.example")
	a, b := KubernetesIdentity(td, "shop", "a"), KubernetesIdentity(td, "shop", "b")
	r, err := ParseResource("dns:a:1/tcp")
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{FindingID(a, "new-reach", r): true, FindingID(b, "new-reach", r): true, FindingID(a, "other", r): true, FindingID(a, "new-reach", Resource{}): true}
	if len(ids) != 4 {
		t.Errorf("IDs meet: %v", ids)
	}
	// Stored findings have it: it never changes.
	if got := FindingID(a, "new-reach", r); got != "new-reach-ad82b8b6343c957e5f361181" {
		t.Errorf("got %s", got)
	}
}

func TestFindingJSON(t *testing.T) {
	text, err := json.Marshal(Finding{Explanation: []string{}, Baseline: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"id":"","rule":"","title":"","severity":"","score":0,"confidence":0,"identity":"","workload":{"identity":""},` +
		`"first_time":"0001-01-01T00:00:00Z","last_time":"0001-01-01T00:00:00Z","count":0,"explanation":[],"baseline":[],"status":""}`
	if string(text) != want {
		t.Errorf(" got %s\nwant %s", text, want)
	}
	var back Finding
	if err := json.Unmarshal(text, &back); err != nil || !back.Resource.IsZero() || !back.Identity.IsZero() {
		t.Errorf("got %+v, %v", back, err)
	}
}

func TestStatus(t *testing.T) {
	for _, s := range []Status{StatusNew, StatusAcknowledged, StatusSuppressed, StatusResolved} {
		if !s.Valid() {
			t.Errorf("%s is not valid", s)
		}
	}
	if Status("").Valid() || Status("NEW").Valid() {
		t.Error("what is no status is valid")
	}
}

func TestSubjects(t *testing.T) {
	for got, want := range map[string]string{
		ObservationSubject(3, "n1"): "ambit.v1.obs.3.n1",
		AgentSubject("n1"):          "ambit.v1.agent.n1",
		FindingSubject(&Finding{Severity: High, Rule: "new-reach"}): "ambit.v1.finding.high.new-reach",
		HeartbeatID("n1", "b", 7):                                   "n1/b/heartbeat/7",
		MessageID("n1", "b", 7):                                     "n1/b/7",
		strings.SplitN(AgentSubject("n1.example"), "-", 3)[0]:       "ambit.v1.agent.n1",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := len(strings.Split(ObservationSubject(0, "a.b.*.>"), ".")); got != 5 {
		t.Errorf("%d tokens in %s", got, ObservationSubject(0, "a.b.*.>"))
	}
	// Which collector learns an identity never changes.
	td := domain(t, "shop.example")
	for name, want := range map[string]int{"checkout": 5, "cart": 3, "mail": 10} {
		if got := Partition(KubernetesIdentity(td, "shop", name), DefaultPartitions); got != want {
			t.Errorf("%s is in %d, want %d", name, got, want)
		}
	}
}
