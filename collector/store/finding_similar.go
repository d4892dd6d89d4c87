package store

import (
	"context"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// SimilarFinding is a finding that has something in common with another one.
type SimilarFinding struct {
	ID           string            `json:"id"`
	Rule         string            `json:"rule"`
	Title        string            `json:"title"`
	Severity     event.Severity    `json:"severity"`
	Status       event.Status      `json:"status"`
	Verdict      event.VerdictKind `json:"verdict,omitempty"`
	Identity     string            `json:"identity"`
	Resource     string            `json:"resource,omitempty"`
	LastTime     time.Time         `json:"last_time"`
	Count        uint64            `json:"count"`
	SameIdentity bool              `json:"same_identity"`
	SameRule     bool              `json:"same_rule"`
	SameResource bool              `json:"same_resource"`
}

type similarRow struct {
	ID           string    `ch:"id"`
	Rule         string    `ch:"rule"`
	Title        string    `ch:"title"`
	Severity     string    `ch:"severity"`
	Status       string    `ch:"status"`
	Verdict      string    `ch:"verdict"`
	Identity     string    `ch:"identity"`
	Resource     string    `ch:"resource"`
	LastTime     time.Time `ch:"last_time"`
	Count        uint64    `ch:"count"`
	SameIdentity bool      `ch:"same_identity"`
	SameRule     bool      `ch:"same_rule"`
	SameResource bool      `ch:"same_resource"`
}

// SimilarFindings gives findings of the rule and identity of f, and those about its resource, those first that have the most in common, then the latest;
// at most so many.
func (s *Store) SimilarFindings(ctx context.Context, f *event.Finding, limit int) ([]SimilarFinding, error) {
	var out []SimilarFinding
	args := named("id", f.ID, "identity", f.Identity.String(), "rule", f.Rule, "resource", f.Resource.String(), "limit", uint32(limit))
	err := each(ctx, s, "read similar findings", findingSimilarSQL, args, func(r *similarRow) error {
		out = append(out, SimilarFinding{
			r.ID, r.Rule, r.Title, event.Severity(r.Severity), event.Status(r.Status), event.VerdictKind(r.Verdict), r.Identity, r.Resource, r.LastTime.UTC(), r.Count,
			r.SameIdentity, r.SameRule, r.SameResource,
		})
		return nil
	})
	return out, err
}
