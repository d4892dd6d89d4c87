package event

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
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
	Baseline    []string  `json:"baseline"`         // what was normal
	Advice      []string  `json:"advice,omitempty"` // what to do
	OWASP       []string  `json:"owasp,omitempty"`
	Attack      []string  `json:"attack,omitempty"`
	Status      Status    `json:"status"`

	// The latest decision about it, of a person or, By Ambit itself, because time has passed or it went on; all are zero before the first.
	Verdict VerdictKind `json:"verdict,omitempty"` // "" where a person has not decided
	Reason  string      `json:"reason,omitempty"`
	By      string      `json:"by,omitempty"`
	Decided time.Time   `json:"decided,omitzero"`
	Until   time.Time   `json:"until,omitzero"` // it holds so long; zero: until the next one

	Coverage string `json:"coverage,omitempty"` // what was not seen while the baseline was learned
}

// ByAmbit is who decides what no person did.
const ByAmbit = "ambit"

// MessageID is the Nats-Msg-Id of a finding as it is told now: it changes with its last time, and with each decision about it.
func (f *Finding) MessageID() string {
	id := f.ID + "/" + strconv.FormatInt(f.LastTime.UnixMicro(), 10)
	if !f.Decided.IsZero() {
		id += "/" + strconv.FormatInt(f.Decided.UnixMicro(), 10)
	}
	return id
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
