package collector

import (
	"strings"
	"sync"
	"time"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/lru"
)

// beats decodes heartbeats once for all partitions, each of which needs all of them, at about the same time. It is safe for concurrent use.
type beats struct {
	behind     time.Duration
	partitions int

	mu      sync.Mutex
	decoded *lru.Cache[uint64, *event.Heartbeat] // by sequence; nil: refused
}

// maxBeats are as many as a large cluster sends within a second or two.
const maxBeats = 2048

func newBeats(behind time.Duration, partitions int) *beats {
	return &beats{behind: behind, partitions: partitions, decoded: lru.New[uint64, *event.Heartbeat](maxBeats)}
}

// isHeartbeat says whether a subject is of an agent itself.
func isHeartbeat(subject string) bool { return strings.HasPrefix(subject, "ambit.v1.agent.") }

// isBatch says whether a subject is of observations.
func isBatch(subject string) bool { return strings.HasPrefix(subject, "ambit.v1.obs.") }

// get gives the heartbeat that a message holds, which must not be changed, or nil where it is refused.
func (b *beats) get(m message) *event.Heartbeat {
	b.mu.Lock()
	defer b.mu.Unlock()
	if h := b.decoded.Get(m.sequence); h != nil {
		return *h
	}
	in, _ := decode(m.Subject(), m.Data(), m.stored, b.behind, b.partitions)
	b.decoded.Put(m.sequence, in.heartbeat)
	return in.heartbeat
}
