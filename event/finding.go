package event

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Severity of a finding, in words of OCSF and ECS.
type Severity string

// The severities, lowest first.
const (
	Info     Severity = "info"
	Low      Severity = "low"
	Medium   Severity = "medium"
	High     Severity = "high"
	Critical Severity = "critical"
)

// Status of a finding.
type Status string

// The states of a finding's life.
const (
	StatusNew          Status = "new"
	StatusAcknowledged Status = "acknowledged"
	StatusSuppressed   Status = "suppressed"
	StatusResolved     Status = "resolved"
)

// Valid says whether s is one of the four.
func (s Status) Valid() bool {
	return s == StatusNew || s == StatusAcknowledged || s == StatusSuppressed || s == StatusResolved
}

// Finding is something that a human should see. Its ID is the same for the same identity, rule and resource, so a finding that is told
// again replaces itself.
type Finding struct {
	ID          string    `json:"id"`
	Rule        string    `json:"rule"`
	Title       string    `json:"title"`
	Severity    Severity  `json:"severity"`
	Score       float64   `json:"score"`      // 0 to 1: how unusual
	Confidence  float64   `json:"confidence"` // 0 to 1: how well the baseline was known
	Identity    Identity  `json:"identity"`
	Resource    Resource  `json:"resource,omitzero"`
	Workload    Workload  `json:"workload"`
	Node        string    `json:"node,omitempty"`
	FirstTime   time.Time `json:"first_time"`
	LastTime    time.Time `json:"last_time"`
	Count       uint64    `json:"count"` // connections since
	Explanation []string  `json:"explanation"`
	Baseline    []string  `json:"baseline"` // what was normal
	OWASP       []string  `json:"owasp,omitempty"`
	Attack      []string  `json:"attack,omitempty"`
	Status      Status    `json:"status"`
	Coverage    string    `json:"coverage,omitempty"` // what was not seen while the baseline was learned
}

// FindingID makes the stable ID of a finding.
func FindingID(identity Identity, rule string, resource Resource) string {
	h := sha256.New()
	for _, s := range []string{identity.uri, rule, resource.String()} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return rule + "-" + hex.EncodeToString(h.Sum(nil)[:12])
}
