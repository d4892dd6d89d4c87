package agent

import (
	"slices"
	"sync"
)

// message is an encoded message on its way to the stream.
type message struct {
	subject      string
	id           string // Nats-Msg-Id
	data         []byte
	observations uint64
	heartbeat    string // boot that it is a heartbeat of; empty for others
	inFlight     bool
}

// messageOverhead is what a queued message costs besides its data.
const messageOverhead = 256

func (m *message) size() int { return len(m.data) + messageOverhead }

// outbox keeps messages in order until the stream has acknowledged them, within a bound of bytes. This is where a spool on disk would stand: it
// would take what is dropped here, and give it back before what came later. It is safe for concurrent use.
type outbox struct {
	limit int
	added chan struct{} // holds a value after a push

	mu      sync.Mutex // guards all below
	queue   []*message // oldest first
	bytes   int
	dropped uint64 // observations
}

func newOutbox(limit int) *outbox {
	return &outbox{limit: limit, added: make(chan struct{}, 1)}
}

// push adds a message without waiting. Where it does not fit, the oldest go that are not in flight, and are counted. A heartbeat replaces an
// earlier one of its boot that still waits, since it says all that the earlier one says.
func (b *outbox) push(m *message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.heartbeat != "" {
		if i := slices.IndexFunc(b.queue, func(q *message) bool { return q.heartbeat == m.heartbeat && !q.inFlight }); i >= 0 {
			b.remove(i)
		}
	}
	b.queue = append(b.queue, m)
	b.bytes += m.size()
	for b.bytes > b.limit {
		i := slices.IndexFunc(b.queue, func(q *message) bool { return !q.inFlight })
		if i < 0 {
			break
		}
		b.dropped += b.queue[i].observations
		b.remove(i)
	}
	select {
	case b.added <- struct{}{}:
	default:
	}
}

func (b *outbox) remove(i int) {
	b.bytes -= b.queue[i].size()
	b.queue = slices.Delete(b.queue, i, i+1)
}

// take marks the oldest waiting message as in flight and gives it, or nil.
func (b *outbox) take() *message {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.queue {
		if !m.inFlight {
			m.inFlight = true
			return m
		}
	}
	return nil
}

// done removes a message that needs no further care.
func (b *outbox) done(m *message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.queue, m); i >= 0 {
		b.remove(i)
	}
}

// back makes a message wait again, in its old place.
func (b *outbox) back(m *message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m.inFlight = false
}

// waiting gives the number of messages and observations that are not acknowledged, and the bytes they take.
func (b *outbox) waiting() (messages int, observations uint64, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.queue {
		observations += m.observations
	}
	return len(b.queue), observations, b.bytes
}
