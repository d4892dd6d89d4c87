package api

import (
	"context"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Approved says who made a resource normal for an identity, though it was not.
type Approved struct {
	Finding string            `json:"finding"`
	Verdict event.VerdictKind `json:"verdict"` // approve or false-positive
	By      string            `json:"by"`
	Reason  string            `json:"reason"`
	At      time.Time         `json:"at"`
	Until   time.Time         `json:"until,omitzero"`
}

// maxApproved bounds the findings that are looked through for approvals, the newest.
const maxApproved = 1000

// approved gives what a person's word makes normal for an identity now.
func (s *Server) approved(ctx context.Context, id event.Identity) (map[event.Resource]*Approved, error) {
	list, err := s.Reports.Findings(ctx, store.FindingFilter{Identity: id, Status: event.StatusResolved, Limit: maxApproved})
	if err != nil {
		return nil, storeError(err)
	}
	out := map[event.Resource]*Approved{}
	for i := range list.Items {
		f := &list.Items[i]
		if !f.Verdict.Teaches() || f.Resource.IsZero() || !f.Until.IsZero() && !f.Until.After(s.now()) {
			continue
		}
		if held := out[f.Resource]; held == nil || f.Decided.After(held.At) {
			out[f.Resource] = &Approved{f.ID, f.Verdict, f.By, f.Reason, f.Decided, f.Until}
		}
	}
	return out, nil
}
