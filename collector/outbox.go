package collector

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/ambit-nhi/ambit/event"
)

// maxOutbox bounds the findings that were told and are not in the store. Judging stands still beyond it.
const maxOutbox = 20_000

// outbox holds findings that were told until the store has them, each as it was told last. It is safe for concurrent use.
type outbox struct {
	mu       sync.Mutex
	findings map[string]event.Finding // by ID
	room     chan struct{}            // closed when some were taken
	news     chan struct{}

	storing chan struct{} // of one: held while findings are on their way
}

func newOutbox() *outbox {
	return &outbox{findings: map[string]event.Finding{}, room: make(chan struct{}), news: make(chan struct{}, 1), storing: make(chan struct{}, 1)}
}

// add puts findings in. It waits while there are too many.
func (o *outbox) add(ctx context.Context, findings []event.Finding) error {
	for {
		o.mu.Lock()
		if len(o.findings) < maxOutbox {
			for _, f := range findings {
				o.findings[f.ID] = f
			}
			o.mu.Unlock()
			select {
			case o.news <- struct{}{}:
			default:
			}
			return nil
		}
		room := o.room
		o.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take gives all that are in, which are out then.
func (o *outbox) take() []event.Finding {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.findings) == 0 {
		return nil
	}
	all := make([]event.Finding, 0, len(o.findings))
	for _, f := range o.findings {
		all = append(all, f)
	}
	clear(o.findings)
	close(o.room)
	o.room = make(chan struct{})
	slices.SortFunc(all, func(a, b event.Finding) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// back puts in again what was taken and could not be stored. What was told since is newer.
func (o *outbox) back(findings []event.Finding) {
	o.mu.Lock()
	for _, f := range findings {
		if _, newer := o.findings[f.ID]; !newer {
			o.findings[f.ID] = f
		}
	}
	o.mu.Unlock()
	select {
	case o.news <- struct{}{}:
	default:
	}
}

func (o *outbox) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.findings)
}

// storeFindings stores findings as they come, until ctx ends.
func (s *shift) storeFindings(ctx context.Context) error {
	for {
		select {
		case <-s.findings.news:
			if err := s.flushFindings(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// flushFindings returns when all findings that were told before are in the store.
func (s *shift) flushFindings(ctx context.Context) error {
	select {
	case s.findings.storing <- struct{}{}:
		defer func() { <-s.findings.storing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	findings := s.findings.take()
	if len(findings) == 0 {
		return nil
	}
	refused, err := insertSome(ctx, s.Collector, "the store", "insert findings", findings,
		func(f []event.Finding) error { return s.store.InsertFindings(ctx, f) })
	if err != nil { // ctx may be that of one partition, and the findings are of all
		s.findings.back(findings)
		return err
	}
	s.metrics.inserted.WithLabelValues("findings").Add(float64(len(findings) - len(refused)))
	return nil
}
