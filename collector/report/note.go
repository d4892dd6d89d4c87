package report

import (
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// CredentialNote is what is known of an identity's credential in a few words. Times are UTC; a zero time is not known.
type CredentialNote struct {
	Type     string          `json:"type"`            // svid, certificate, legacy-secret, bound-token
	State    CredentialState `json:"state,omitempty"` // of a certificate
	AgeDays  int             `json:"age_days"`        // whole days since it began; of tokens, since the account was made
	Lifetime string          `json:"lifetime,omitempty"`
	NotAfter time.Time       `json:"not_after,omitzero"` // zero: without end, or not known
	Endless  bool            `json:"endless,omitempty"`
	Count    uint64          `json:"count,omitempty"` // of certificates that it ever presented
}

// noteCredential says what matters most of what an identity has: a certificate that was seen, else tokens that are known to exist.
func noteCredential(h *store.Held, view *inventory.View, now time.Time) *CredentialNote {
	if h != nil {
		n := &CredentialNote{Type: "certificate", State: StateOfCredential(h.NotBefore, h.NotAfter, h.LastPresented, now), NotAfter: h.NotAfter, Count: h.Count}
		if h.Proven {
			n.Type = "svid"
		}
		if !h.NotBefore.IsZero() {
			n.AgeDays = max(int(now.Sub(h.NotBefore)/day), 0)
			if !h.NotAfter.IsZero() {
				n.Lifetime = FormatWindow(h.NotAfter.Sub(h.NotBefore).Truncate(time.Minute))
			}
		}
		return n
	}
	if len(view.Tokens) == 0 {
		return nil
	}
	n := &CredentialNote{Type: "bound-token"}
	if slices.Contains(view.Tokens, event.TokenSecret) {
		n.Type, n.Endless = "legacy-secret", true
	}
	if view.Created != nil {
		n.AgeDays = max(int(now.Sub(*view.Created)/day), 0)
	}
	return n
}
