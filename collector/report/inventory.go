package report

import (
	"context"
	"time"

	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// judge gives what fills in how an identity fits to the inventory.
func (r *Reporter) judge(ctx context.Context) (func(*Identity), error) {
	sources, err := r.store.InventorySources(ctx)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return func(i *Identity) {
		seen := inventory.Seen{
			Identity: i.Identity, Kind: i.Kind, Namespace: i.Namespace, ServiceAccount: i.ServiceAccount, First: i.FirstSeen, Last: i.LastSeen,
		}
		i.Inventory = r.Rules.Judge(&seen, i.Declarations, len(sources) > 0, now)
	}, nil
}

// Inventory gives a page of what is declared, with what rules say of it, in a domain of identities or in any.
func (r *Reporter) Inventory(ctx context.Context, f store.InventoryFilter, domain event.Domain) (*List[event.Declaration], error) {
	f.Keep = func(d *event.Declaration) bool {
		r.Rules.Classify(d)
		return domain == "" || d.Domain == domain
	}
	items, next, err := r.store.Inventory(ctx, f)
	if err != nil {
		return nil, err
	}
	return &List[event.Declaration]{Items: items, Next: next}, nil
}
