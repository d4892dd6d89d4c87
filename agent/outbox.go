package agent

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ambit-nhi/ambit/agent/spool"
	"github.com/ambit-nhi/ambit/event"
)

// message is an encoded message on its way to the stream.
type message struct {
	subject      string
	id           string // Nats-Msg-Id
	boot         string
	data         []byte
	observations uint64
	from, until  time.Time   // of what it tells
	heartbeat    bool        // of its boot
	told         []event.Gap // by a heartbeat

	// The outbox's.
	handed   time.Time
	inFlight bool
	spooling bool   // it is being written
	settled  bool   // it needs no further care
	position uint64 // in the spool; 0: it is not there
}

// messageOverhead is what a queued message costs besides its data.
const messageOverhead = 256

func (m *message) size() int { return len(m.data) + messageOverhead }

// outbox keeps messages in order until the stream has acknowledged them: the newest in memory, within a bound of bytes, all before them in the
// spool. It is safe for concurrent use, but only one goroutine takes, and one spools.
type outbox struct {
	limit int
	gaps  *gaps
	spool *spool.Spool  // nil: memory is all there is; set before anything is sent
	added chan struct{} // holds a value after a push
	fresh chan struct{} // likewise, for the one that spools

	now     func() time.Time // by which messages have their times
	spooled atomic.Uint64    // messages

	mu     sync.Mutex // guards all below; held while neither disk nor stream is waited for
	queue  []*message // in memory, oldest first
	bytes  int
	next   uint64              // position in the spool of what is to be sent next
	end    uint64              // behind the last that is sent from there
	flying map[uint64]struct{} // positions in flight
}

func newOutbox(limit int, g *gaps) *outbox {
	return &outbox{limit: limit, gaps: g, added: make(chan struct{}, 1), fresh: make(chan struct{}, 1), flying: map[uint64]struct{}{}}
}

// open goes on with what waits in a spool.
func (b *outbox) open(s *spool.Spool) {
	b.mu.Lock()
	b.spool, b.end = s, s.Next()
	b.mu.Unlock()
	notify(b.added)
}

// notify leaves a value, if none is left yet.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// push adds a message without waiting. Where it does not fit, the oldest go that are neither in flight nor on their way to the disk, and are
// counted. A heartbeat replaces an earlier one of its boot that still waits, since it says all that the earlier one says.
func (b *outbox) push(m *message) {
	m.handed = time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	idle := func(q *message) bool { return !q.inFlight && !q.spooling }
	if m.heartbeat {
		if i := slices.IndexFunc(b.queue, func(q *message) bool { return q.heartbeat && q.boot == m.boot && idle(q) }); i >= 0 {
			b.remove(i)
		}
	}
	b.queue = append(b.queue, m)
	b.bytes += m.size()
	for b.bytes > b.limit {
		i := slices.IndexFunc(b.queue, idle)
		if i < 0 {
			break
		}
		if old := b.queue[i]; old.observations > 0 {
			cause := causeQueue
			if b.spool != nil {
				cause = causeDisk
			}
			b.gaps.lose(cause, old.from, old.until, old.observations)
		}
		b.remove(i)
	}
	notify(b.added)
	notify(b.fresh)
}

func (b *outbox) remove(i int) {
	b.bytes -= b.queue[i].size()
	b.queue = slices.Delete(b.queue, i, i+1)
}

// take marks the oldest waiting message as in flight and gives it, or nil.
func (b *outbox) take() (*message, error) {
	b.mu.Lock()
	next, end := b.next, b.end
	if next >= end {
		defer b.mu.Unlock()
		for _, m := range b.queue {
			if !m.inFlight {
				m.inFlight = true
				return m, nil
			}
		}
		return nil, nil
	}
	b.mu.Unlock()
	m, at, ok, err := b.spool.Read(next, b.now())
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	if !ok || at >= end { // nothing of it is left: what came since is in memory, too
		b.next = max(b.next, end)
		b.mu.Unlock()
		return b.take()
	}
	b.next = at + 1
	b.flying[at] = struct{}{}
	b.mu.Unlock()
	return &message{
		subject: m.Subject, id: m.ID, boot: m.Boot, data: m.Data, observations: uint64(m.Observations), from: m.From, until: m.Until,
		inFlight: true, position: at,
	}, nil
}

// done removes a message that needs no further care.
func (b *outbox) done(m *message) error {
	b.mu.Lock()
	m.settled = true
	if m.position == 0 {
		if i := slices.Index(b.queue, m); i >= 0 {
			b.remove(i)
		}
		b.mu.Unlock()
		return nil
	}
	delete(b.flying, m.position)
	b.mu.Unlock()
	return b.spool.Settle(m.position, uint32(m.observations), m.until)
}

// back makes a message wait again, in its old place.
func (b *outbox) back(m *message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m.inFlight = false
	if m.position > 0 {
		delete(b.flying, m.position)
		b.next = min(b.next, m.position)
	}
}

// pending says whether something waits to be taken.
func (b *outbox) pending() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.next < b.end || slices.ContainsFunc(b.queue, func(m *message) bool { return !m.inFlight })
}

// waiting gives the number of messages and observations that are not acknowledged, and the bytes that they take in memory.
func (b *outbox) waiting() (messages int, observations uint64, bytes int) {
	var spooled uint64
	if b.spool != nil {
		spooled, observations, _ = b.spool.Waiting()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.queue {
		observations += m.observations
	}
	return len(b.queue) + int(spooled), observations, b.bytes
}
