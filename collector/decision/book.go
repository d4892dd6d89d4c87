package decision

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/event"
)

// Waiting is a request that waits for approval.
type Waiting struct {
	ID        string    `json:"id"`
	Request   Request   `json:"request"`
	Requester string    `json:"requester"`
	Asked     time.Time `json:"asked"`
	Until     time.Time `json:"until"` // not approved by then, it is dropped
}

// Change is news of a decision.
type Change struct {
	Decision string         `json:"decision"`
	What     string         `json:"what"` // waiting, withdrawn, signed, revoked, expired, acknowledged
	Node     string         `json:"node,omitempty"`
	State    event.AckState `json:"state,omitempty"`
	Why      string         `json:"why,omitempty"`
	At       time.Time      `json:"at"`
}

// kept is a decision with its place in the bucket.
type kept struct {
	event.Decision
	revision uint64
	target   event.Target
	blocked  bool // a connection was refused, and that is in the audit trail
}

type keptWaiting struct {
	Waiting
	revision uint64
}

// book is what the buckets hold, in memory. It is safe for concurrent use. What it gives out must not be changed.
type book struct {
	mu        sync.RWMutex
	verifier  event.Verifier
	decisions map[string]*kept
	exact     map[string]map[string]*kept // those without a pattern, by identity
	globs     map[string]*kept            // the others
	waiting   map[string]*keptWaiting
	unkept    map[string]event.Decision // not in the archive yet
	news      chan struct{}             // there are some
	listeners map[chan Change]struct{}
	missed    uint64
}

func newBook(v event.Verifier) *book {
	return &book{
		verifier: v, decisions: map[string]*kept{}, exact: map[string]map[string]*kept{}, globs: map[string]*kept{}, waiting: map[string]*keptWaiting{},
		unkept: map[string]event.Decision{}, news: make(chan struct{}, 1), listeners: map[chan Change]struct{}{},
	}
}

// put takes a decision that is believed in. It is false if it is known already, and an error if it must not be believed.
func (b *book) put(d *event.Decision, revision uint64, now time.Time) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old := b.decisions[d.ID]; old != nil && old.Serial == d.Serial && slices.Equal(old.Signature, d.Signature) {
		old.revision = max(old.revision, revision)
		return false, nil
	}
	if err := b.verifier.Check(d, now); err != nil {
		return false, err
	}
	target, err := event.ParseTarget(d.To)
	if err != nil {
		return false, err
	}
	k := &kept{Decision: *d, revision: revision, target: target}
	if old := b.drop(d.ID); old != nil {
		k.blocked = old.blocked
	}
	b.decisions[d.ID] = k
	if d.Glob {
		b.globs[d.ID] = k
	} else {
		if b.exact[d.Identity] == nil {
			b.exact[d.Identity] = map[string]*kept{}
		}
		b.exact[d.Identity][d.ID] = k
	}
	b.unkept[d.ID] = *d
	select {
	case b.news <- struct{}{}:
	default:
	}
	return true, nil
}

// drop forgets a decision; the caller holds the lock.
func (b *book) drop(id string) *kept {
	k := b.decisions[id]
	if k == nil {
		return nil
	}
	delete(b.decisions, id)
	delete(b.globs, id)
	if same := b.exact[k.Identity]; same != nil {
		if delete(same, id); len(same) == 0 {
			delete(b.exact, k.Identity)
		}
	}
	return k
}

// remove forgets a decision whose time is over.
func (b *book) remove(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(id)
}

// forget drops what is remembered of decisions that have expired.
func (b *book) forget(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.verifier.Forget(now)
}

// get gives a decision, nil if there is none.
func (b *book) get(id string) *kept {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if k := b.decisions[id]; k != nil {
		c := *k
		return &c
	}
	return nil
}

// naming gives the decisions that hold and name an identity, the earliest first.
func (b *book) naming(id event.Identity, now time.Time) []*kept {
	b.mu.RLock()
	var out []*kept
	for _, k := range b.exact[id.String()] {
		out = append(out, k)
	}
	for _, k := range b.globs {
		if k.Names(id) {
			out = append(out, k)
		}
	}
	b.mu.RUnlock()
	out = slices.DeleteFunc(out, func(k *kept) bool { return !k.Holds(now) })
	slices.SortFunc(out, func(a, b *kept) int {
		return strings.Compare(a.Issued.Format(time.RFC3339Nano)+a.ID, b.Issued.Format(time.RFC3339Nano)+b.ID)
	})
	return out
}

// all gives every decision.
func (b *book) all() []*kept {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := make([]*kept, 0, len(b.decisions))
	for _, k := range b.decisions {
		c := *k
		out = append(out, &c)
	}
	return out
}

func (b *book) putWaiting(w Waiting, revision uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old := b.waiting[w.ID]; old == nil || old.revision < revision {
		b.waiting[w.ID] = &keptWaiting{w, revision}
	}
}

func (b *book) removeWaiting(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, had := b.waiting[id]
	delete(b.waiting, id)
	return had
}

func (b *book) getWaiting(id string) *keptWaiting {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if w := b.waiting[id]; w != nil {
		c := *w
		return &c
	}
	return nil
}

// allWaiting gives what waits, the latest first.
func (b *book) allWaiting() []keptWaiting {
	b.mu.RLock()
	out := make([]keptWaiting, 0, len(b.waiting))
	for _, w := range b.waiting {
		out = append(out, *w)
	}
	b.mu.RUnlock()
	slices.SortFunc(out, func(a, b keptWaiting) int {
		if c := b.Asked.Compare(a.Asked); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// takeUnkept gives what is not in the archive yet, which is out then.
func (b *book) takeUnkept() []event.Decision {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []event.Decision
	for _, d := range b.unkept {
		out = append(out, d)
	}
	clear(b.unkept)
	return out
}

// giveBack takes what could not be kept.
func (b *book) giveBack(list []event.Decision) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range list {
		if b.unkept[d.ID].Serial < d.Serial {
			b.unkept[d.ID] = d
		}
	}
	select {
	case b.news <- struct{}{}:
	default:
	}
}

// maxNews bounds what waits for one listener; what is more, it misses.
const maxNews = 256

// listen gives news until stop is called.
func (b *book) listen() (news <-chan Change, stop func()) {
	ch := make(chan Change, maxNews)
	b.mu.Lock()
	b.listeners[ch] = struct{}{}
	b.mu.Unlock()
	return ch, func() {
		b.mu.Lock()
		delete(b.listeners, ch)
		b.mu.Unlock()
	}
}

func (b *book) tell(c Change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for ch := range b.listeners {
		select {
		case ch <- c:
		default:
			b.missed++
		}
	}
}

// takeDecision takes what stands in the bucket. What is not believed is told of, and left alone.
func (s *Service) takeDecision(ctx context.Context, e jetstream.KeyValueEntry) {
	if e.Operation() != jetstream.KeyValuePut {
		return // that a key is gone lifts nothing
	}
	now := s.now()
	d, err := event.DecodeDecision(e.Value())
	if err == nil && d.ID != e.Key() {
		err = event.ErrSignature
	}
	changed := false
	if err == nil {
		changed, err = s.book.put(d, e.Revision(), now)
	}
	switch {
	case isExpired(err):
	case err != nil:
		s.metrics.refused.WithLabelValues(cause(err)).Inc()
		s.log.Error("a decision in the bucket is not believed", "key", e.Key(), "error", err)
		s.foundRefused(ctx, e.Key(), d, "", "the collector", err.Error(), now)
	case changed:
		what := "signed"
		if !d.Revoked.IsZero() {
			what = "revoked"
		}
		s.book.tell(Change{Decision: d.ID, What: what, At: now.UTC()})
	}
}

// takeRequest takes what waits for approval.
func (s *Service) takeRequest(_ context.Context, e jetstream.KeyValueEntry) {
	if e.Operation() != jetstream.KeyValuePut {
		if s.book.removeWaiting(e.Key()) {
			s.book.tell(Change{Decision: e.Key(), What: "decided", At: s.now().UTC()})
		}
		return
	}
	var w Waiting
	if err := json.Unmarshal(e.Value(), &w); err != nil || w.ID != e.Key() || !event.ValidDecisionID(w.ID) {
		s.metrics.refused.WithLabelValues("malformed request").Inc()
		s.log.Error("a request of a decision cannot be read", "key", e.Key())
		return
	}
	s.book.putWaiting(w, e.Revision())
	s.book.tell(Change{Decision: w.ID, What: "waiting", At: s.now().UTC()})
}

// Follow calls tell with news of decisions until ctx ends or tell fails.
func (s *Service) Follow(ctx context.Context, tell func(Change) error) error {
	news, stop := s.book.listen()
	defer stop()
	for {
		select {
		case c := <-news:
			if err := tell(c); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}
