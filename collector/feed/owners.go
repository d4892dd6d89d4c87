package feed

import (
	"context"
	"sync"
	"time"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/lru"
)

// ownersKept bounds how many owners are remembered, ownersFor how long.
const (
	ownersKept = 50_000
	ownersFor  = 5 * time.Minute
)

// owners remembers who owns an identity. It is safe for concurrent use.
type owners struct {
	ask func(ctx context.Context, id event.Identity) (string, error)

	mu    sync.Mutex
	known *lru.Cache[event.Identity, owned]
}

type owned struct {
	owner string
	until time.Time
}

func newOwners(ask func(ctx context.Context, id event.Identity) (string, error)) *owners {
	return &owners{ask: ask, known: lru.New[event.Identity, owned](ownersKept)}
}

func (o *owners) of(ctx context.Context, id event.Identity) (string, error) {
	o.mu.Lock()
	if k := o.known.Get(id); k != nil && time.Now().Before(k.until) {
		owner := k.owner
		o.mu.Unlock()
		return owner, nil
	}
	o.mu.Unlock()
	owner, err := o.ask(ctx, id)
	if err != nil {
		return "", err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.known.Put(id, owned{owner, time.Now().Add(ownersFor)})
	return owner, nil
}
