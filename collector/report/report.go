package report

import (
	"context"
	"time"

	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Identity is what is known of an identity.
type Identity = store.Identity

// Reach is one resource of an identity.
type Reach = store.Reach

// List is one page of something.
type List[T any] struct {
	Items    []T      `json:"items"`                 // never nil
	Next     string   `json:"next_cursor,omitempty"` // cursor of the next page
	Total    uint64   `json:"total,omitempty"`       // of a report: how many there are, where Items holds only the first
	Coverage *Summary `json:"coverage,omitempty"`    // of a report
}

// Page gives the list itself, of whatever holds it.
func (l *List[T]) Page() *List[T] { return l }

// Reporter answers questions from the store. It is safe for concurrent use.
type Reporter struct {
	store     *store.Store
	state     func(event.Identity) string
	kept      *kept[*population]
	overviews *kept[*Overview]

	Rules inventory.Rules // of who owns what; set before use

	// Reuse is for how long at most what was read of all identities answers other questions of the same window, too; [Summary.IdentitiesAsOf] and
	// [Directory.AsOf] say when that was. What is read fast is read anew, and so is what was read before a change that [store.Store.Changes] counts. 0 reads it
	// for each question. Set before use.
	Reuse time.Duration
}

// New makes a Reporter. state gives an identity's state of learning, or ""; it is called from any goroutine, and may be nil.
func New(s *store.Store, state func(event.Identity) string) *Reporter {
	if state == nil {
		state = func(event.Identity) string { return "" }
	}
	return &Reporter{store: s, state: state, kept: newKept[*population](1, reuseQuick, s.Changes), overviews: newKept[*Overview](keptOverviews, 0, s.Changes)}
}

// Identities gives a page of the identities in a state of learning and a state of the inventory, or in any where these are empty. Identities that
// are declared but were never seen are among them.
func (r *Reporter) Identities(ctx context.Context, f store.IdentityFilter, state string, declared inventory.State) (*List[Identity], error) {
	judge, err := r.judge(ctx)
	if err != nil {
		return nil, err
	}
	if state != "" || declared != "" {
		f.Keep = func(i *Identity) bool {
			if state != "" && r.state(i.Identity) != state {
				return false
			}
			judge(i)
			return declared == "" || i.Inventory != nil && i.Inventory.State == declared
		}
	}
	items, next, err := r.store.Identities(ctx, f)
	if err != nil {
		return nil, err
	}
	for i := range items {
		items[i].State = r.state(items[i].Identity)
		if f.Keep == nil {
			judge(&items[i])
		}
	}
	return &List[Identity]{Items: items, Next: next}, nil
}

// Identity gives one identity, or [store.ErrNotFound].
func (r *Reporter) Identity(ctx context.Context, id event.Identity) (*Identity, error) {
	judge, err := r.judge(ctx)
	if err != nil {
		return nil, err
	}
	out, err := r.store.Identity(ctx, id)
	if err != nil {
		return nil, err
	}
	out.State = r.state(id)
	judge(&out)
	return &out, nil
}

// Reach gives a page of an identity's reach.
func (r *Reporter) Reach(ctx context.Context, id event.Identity, f store.ReachFilter) (*List[Reach], error) {
	items, next, err := r.store.Reach(ctx, id, f)
	if err != nil {
		return nil, err
	}
	return &List[Reach]{Items: items, Next: next}, nil
}

// Findings gives a page of findings, newest first.
func (r *Reporter) Findings(ctx context.Context, f store.FindingFilter) (*List[event.Finding], error) {
	items, next, err := r.store.Findings(ctx, f)
	if err != nil {
		return nil, err
	}
	return &List[event.Finding]{Items: items, Next: next}, nil
}

// Finding gives one finding, or [store.ErrNotFound].
func (r *Reporter) Finding(ctx context.Context, id string) (*event.Finding, error) {
	out, err := r.store.Finding(ctx, id)
	if err != nil {
		return nil, err
	}
	return &out, nil
}
