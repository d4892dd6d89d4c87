package collector

import (
	"context"
	"errors"
	"testing"

	"github.com/ambit-nhi/ambit/event"
)

// away is a store that takes no findings while it is down.
type away struct {
	Store
	down  bool
	tried chan struct{}
	has   map[string]uint64
}

func (s *away) InsertFindings(_ context.Context, findings []event.Finding) error {
	if s.down {
		s.tried <- struct{}{}
		return errors.New("the store is away")
	}
	for _, f := range findings {
		s.has[f.ID] = f.Count
	}
	return nil
}

// TestFindingsOfOthers has the work of a partition end while it stores findings of all partitions: they are stored later, as they were told last.
func TestFindingsOfOthers(t *testing.T) {
	c := newCourt(t)
	s := &away{down: true, tried: make(chan struct{}, 100), has: map[string]uint64{}}
	c.store = s
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	if err := c.findings.add(ctx, []event.Finding{{ID: "a", Count: 1}, {ID: "b", Count: 1}}); err != nil {
		t.Fatal(err)
	}
	flushed := make(chan error)
	go func() { flushed <- c.flushFindings(ctx) }()
	<-s.tried
	if err := c.findings.add(t.Context(), []event.Finding{{ID: "b", Count: 2}}); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-flushed; err == nil {
		t.Error("the store took them")
	}
	s.down = false
	if err := c.flushFindings(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.has) != 2 || s.has["a"] != 1 || s.has["b"] != 2 {
		t.Errorf("the store has %v", s.has)
	}
}
