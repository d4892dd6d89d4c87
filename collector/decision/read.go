package decision

import (
	"context"
	"fmt"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// State is how far a decision is.
type State string

// The states.
const (
	StateWaiting State = "waiting" // for approval, unsigned
	StateInForce State = "in-force"
	StateRevoked State = "revoked"
	StateExpired State = "expired"

	StateWithdrawn State = "withdrawn" // it waited, and is gone
)

// States are those that a decision can be found in.
var States = []State{StateWaiting, StateInForce, StateRevoked, StateExpired}

// View is a decision with what became of it. Of one that waits, issued and expires are of when it was asked for.
type View struct {
	event.Decision
	State State            `json:"state"`
	Until time.Time        `json:"until,omitzero"` // of one that waits: it is dropped then
	Acks  store.AckSummary `json:"acks"`
}

func (s *Service) view(d event.Decision, acks store.AckSummary) View {
	v := View{Decision: d, State: StateInForce, Acks: acks}
	switch {
	case !d.Revoked.IsZero():
		v.State = StateRevoked
	case !s.now().Before(d.Expires):
		v.State = StateExpired
	}
	if v.Acks.Nodes == nil {
		v.Acks.Nodes = map[event.AckState]uint64{}
	}
	return v
}

func waitingView(w *Waiting) View {
	d := w.Request.decision(w.ID, w.Requester, w.Asked)
	d.Serial = 0
	return View{Decision: *d, State: StateWaiting, Until: w.Until, Acks: store.AckSummary{Nodes: map[event.AckState]uint64{}}}
}

// List gives a page of decisions, the latest first, those that wait before all others, and the cursor of the next page or "".
func (s *Service) List(ctx context.Context, f store.DecisionFilter, state State) ([]View, string, error) {
	var out []View
	if f.Cursor == "" && (state == "" || state == StateWaiting) {
		for _, w := range s.book.allWaiting() {
			if (f.Identity == "" || w.Request.Identity == f.Identity) && (f.Mode == "" || w.Request.Mode == f.Mode) && (f.Finding == "" || w.Request.Finding == f.Finding) {
				out = append(out, waitingView(&w.Waiting))
			}
		}
	}
	if state == StateWaiting {
		return out, "", nil
	}
	// What came just now is in memory alone.
	if err := s.flush(ctx); err != nil {
		s.log.Debug("keep decisions before they are listed", "error", err)
	}
	f.State, f.Now = string(state), s.now()
	list, next, err := s.store.Decisions(ctx, f)
	if err != nil {
		return nil, "", err
	}
	ids := make([]string, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	acks, err := s.store.SummarizeAcks(ctx, ids)
	if err != nil {
		return nil, "", err
	}
	for _, d := range list {
		out = append(out, s.view(d, acks[d.ID]))
	}
	return out, next, nil
}

// Get gives one decision, or an error that wraps [ErrNotFound].
func (s *Service) Get(ctx context.Context, id string) (View, error) {
	if w := s.book.getWaiting(id); w != nil {
		return waitingView(&w.Waiting), nil
	}
	var d event.Decision
	if k := s.book.get(id); k != nil {
		d = k.Decision
	} else {
		list, _, err := s.store.Decisions(ctx, store.DecisionFilter{ID: id, Limit: 1, Now: s.now()})
		if err != nil {
			return View{}, err
		}
		if id == "" || len(list) == 0 {
			return View{}, fmt.Errorf("%w: there is no decision %.80q", ErrNotFound, id)
		}
		d = list[0]
	}
	acks, err := s.store.SummarizeAcks(ctx, []string{id})
	if err != nil {
		return View{}, err
	}
	return s.view(d, acks[id]), nil
}

// Acks gives what nodes did about a decision, by their names behind after.
func (s *Service) Acks(ctx context.Context, id, after string, limit int) ([]store.NodeAck, error) {
	return s.store.Acks(ctx, id, after, limit)
}

// TimeToRevoke measures the decisions of a window.
func (s *Service) TimeToRevoke(ctx context.Context, window time.Duration) (store.RevokeTimes, error) {
	return s.store.TimeToRevoke(ctx, s.now().Add(-window))
}
