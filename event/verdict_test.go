package event

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func testVerdict(t *testing.T) Verdict {
	td := domain(t, "shop.example")
	r, err := ParseResource("dns:a:1/tcp")
	if err != nil {
		t.Fatal(err)
	}
	v := Verdict{Rule: "new-reach", Identity: KubernetesIdentity(td, "shop", "a"), Resource: r, Kind: VerdictAcknowledge, By: "kim",
		At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	v.Finding = FindingID(v.Identity, v.Rule, v.Resource)
	return v
}

func TestVerdictValidate(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Verdict)
		want   string // "" is valid
	}{
		"as it is":                {func(*Verdict) {}, ""},
		"suppress":                {func(v *Verdict) { v.Kind, v.Reason, v.Until = VerdictSuppress, "a test", v.At.Add(time.Hour) }, ""},
		"approve without an end":  {func(v *Verdict) { v.Kind, v.Reason = VerdictApprove, "it is new" }, ""},
		"of another identity":     {func(v *Verdict) { v.Identity = KubernetesIdentity(domain(t, "shop.example"), "shop", "b") }, "is not one of the rule"},
		"without a finding":       {func(v *Verdict) { v.Finding = "" }, "needs a finding"},
		"without a time":          {func(v *Verdict) { v.At = time.Time{} }, "needs a time"},
		"of no kind":              {func(v *Verdict) { v.Kind = "forgive" }, `"forgive" is not a verdict`},
		"suppress without reason": {func(v *Verdict) { v.Kind, v.Until = VerdictSuppress, v.At.Add(time.Hour) }, "takes a reason and a time"},
		"suppress without an end": {func(v *Verdict) { v.Kind, v.Reason = VerdictSuppress, "a test" }, "takes a reason and a time"},
		"approve without reason":  {func(v *Verdict) { v.Kind = VerdictApprove }, "takes a reason"},
		"ends before it begins":   {func(v *Verdict) { v.Kind, v.Reason, v.Until = VerdictSuppress, "a test", v.At }, "must be after it"},
		"resolve until":           {func(v *Verdict) { v.Kind, v.Until = VerdictResolve, v.At.Add(time.Hour) }, "resolve has none"},
		"a long reason":           {func(v *Verdict) { v.Reason = strings.Repeat("x", maxReason+1) }, "longer than"},
	} {
		v := testVerdict(t)
		c.change(&v)
		err := v.Validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// The latest verdict holds, in whatever order they come, and however often.
func TestVerdictApply(t *testing.T) {
	first, second := testVerdict(t), testVerdict(t)
	second.Kind, second.Reason, second.At, second.Until = VerdictSuppress, "a test", first.At.Add(time.Minute), first.At.Add(time.Hour)
	for _, order := range [][]Verdict{{first, second}, {second, first}, {second, second, first, second}} {
		f := Finding{ID: first.Finding, Status: StatusNew}
		for i := range order {
			order[i].Apply(&f)
		}
		if f.Status != StatusSuppressed || f.Verdict != VerdictSuppress || f.Reason != "a test" || f.By != "kim" || !f.Until.Equal(second.Until) || !f.Decided.Equal(second.At) {
			t.Errorf("got %+v", f)
		}
	}
}

func TestVerdictStatus(t *testing.T) {
	for _, k := range VerdictKinds() {
		if !k.Valid() || !k.Status().Valid() || k.Teaches() && k.Status() != StatusResolved {
			t.Errorf("%s makes %q", k, k.Status())
		}
	}
}

func TestVerdictNames(t *testing.T) {
	v := testVerdict(t)
	if got := v.Subject(DefaultPartitions); !strings.HasPrefix(got, strings.TrimSuffix(SubjectVerdicts, ">")) || len(strings.Split(got, ".")) != 4 {
		t.Errorf("got %s", got)
	}
	again := v
	again.At = v.At.Add(time.Microsecond)
	if v.MessageID() == again.MessageID() {
		t.Error("two verdicts have one ID")
	}
	f := Finding{ID: v.Finding, LastTime: v.At}
	before := f.MessageID()
	v.Apply(&f)
	if f.MessageID() == before {
		t.Error("a verdict does not change the message of its finding")
	}
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var back Verdict
	if err := json.Unmarshal(data, &back); err != nil || back != v {
		t.Errorf("got %+v of %s, %v", back, data, err)
	}
}
