package event

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// VerdictKind is what a person decided about a finding.
type VerdictKind string

// The verdicts. The first two teach: what they are about becomes normal for its identity.
const (
	VerdictApprove       VerdictKind = "approve"        // it is new, and right
	VerdictFalsePositive VerdictKind = "false-positive" // it was normal all along
	VerdictTruePositive  VerdictKind = "true-positive"  // it was an attack, or a mistake
	VerdictSuppress      VerdictKind = "suppress"       // be quiet about it for a time
	VerdictUnsuppress    VerdictKind = "unsuppress"
	VerdictAcknowledge   VerdictKind = "acknowledge" // somebody looks at it
	VerdictResolve       VerdictKind = "resolve"     // it is over; if it occurs again, it is told again
	VerdictReopen        VerdictKind = "reopen"
)

// VerdictKinds gives all of them.
func VerdictKinds() []VerdictKind {
	return []VerdictKind{
		VerdictApprove, VerdictFalsePositive, VerdictTruePositive, VerdictSuppress, VerdictUnsuppress, VerdictAcknowledge, VerdictResolve, VerdictReopen,
	}
}

// Valid says whether k is one of them.
func (k VerdictKind) Valid() bool { return slices.Contains(VerdictKinds(), k) }

// Teaches says that what the finding is about is normal from now on.
func (k VerdictKind) Teaches() bool { return k == VerdictApprove || k == VerdictFalsePositive }

// Status is that of a finding after the verdict.
func (k VerdictKind) Status() Status {
	switch k {
	case VerdictApprove, VerdictFalsePositive, VerdictResolve:
		return StatusResolved
	case VerdictTruePositive, VerdictAcknowledge:
		return StatusAcknowledged
	case VerdictSuppress:
		return StatusSuppressed
	}
	return StatusNew
}

// maxReason bounds what a person writes, in bytes.
const maxReason = 2000

// Verdict is one decision of a person about a finding, in the words that the detector knows the finding by.
type Verdict struct {
	Finding  string      `json:"finding"`
	Rule     string      `json:"rule"`
	Identity Identity    `json:"identity"`
	Resource Resource    `json:"resource,omitzero"`
	Kind     VerdictKind `json:"verdict"`
	Reason   string      `json:"reason,omitempty"`
	By       string      `json:"by"`
	At       time.Time   `json:"at"`
	Until    time.Time   `json:"until,omitzero"` // zero: until somebody decides otherwise
}

// Validate says what is wrong with a verdict, if anything is.
func (v *Verdict) Validate() error {
	switch {
	case v.Finding == "" || v.Rule == "" || v.Identity.IsZero():
		return errors.New("a verdict needs a finding, its rule and its identity")
	case v.Finding != FindingID(v.Identity, v.Rule, v.Resource):
		return fmt.Errorf("the finding %s is not one of the rule %s about %s", v.Finding, v.Rule, v.Identity)
	case !v.Kind.Valid():
		return fmt.Errorf("%q is not a verdict", v.Kind)
	case v.At.IsZero():
		return errors.New("a verdict needs a time")
	case len(v.Reason) > maxReason:
		return fmt.Errorf("the reason is longer than %d bytes", maxReason)
	case v.Kind == VerdictSuppress && (v.Reason == "" || v.Until.IsZero()):
		return errors.New("to suppress a finding takes a reason and a time until which")
	case v.Kind.Teaches() && v.Reason == "":
		return fmt.Errorf("to %s a finding takes a reason", v.Kind.verb())
	case !v.Until.IsZero() && v.Kind != VerdictSuppress && v.Kind != VerdictApprove:
		return fmt.Errorf("only suppress and approve have an end, %s has none", v.Kind)
	case !v.Until.IsZero() && !v.Until.After(v.At):
		return errors.New("the end of a verdict must be after it")
	}
	return nil
}

func (k VerdictKind) verb() string {
	if k == VerdictFalsePositive {
		return "call false positive"
	}
	return string(k)
}

// Subject is where the verdict is published: detection reads it in order with the observations of the same identities.
func (v *Verdict) Subject(partitions int) string {
	return VerdictSubject(Partition(v.Identity, partitions))
}

// SubjectVerdicts are all of them.
const SubjectVerdicts = "ambit.v1.verdict.>" // ambit.v1.verdict.<partition>

// VerdictSubject is where the verdicts about the identities of a partition are published.
func VerdictSubject(partition int) string { return "ambit.v1.verdict." + strconv.Itoa(partition) }

// MessageID is the Nats-Msg-Id of a verdict.
func (v *Verdict) MessageID() string {
	return v.Finding + "/" + string(v.Kind) + "/" + strconv.FormatInt(v.At.UnixMicro(), 10)
}

// Apply gives a finding the status of the verdict, unless a later decision holds. Applying it twice is the same as once.
func (v *Verdict) Apply(f *Finding) bool {
	if v.At.Before(f.Decided) {
		return false
	}
	f.Status, f.Verdict, f.Reason, f.By, f.Until, f.Decided = v.Kind.Status(), v.Kind, v.Reason, v.By, v.Until, v.At.UTC()
	return true
}
