package store

import (
	"context"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Declared is what inventories say of an identity. Zero times are not known.
type Declared struct {
	Created time.Time
	Gone    time.Time
	Owner   string
	Version uint64 // grows with each change
}

// EachDeclared visits what all inventories together say of each identity, in the order of identities, where a version of it is above one (0 is all).
// An identity exists since the first of them says, and is gone when the last one has dropped it.
func (s *Store) EachDeclared(ctx context.Context, above uint64, visit func(id event.Identity, d Declared) error) error {
	if above == 0 { // who asks for what is new asks again soon
		if err := s.settle(ctx, "inventory"); err != nil {
			return err
		}
	}
	var identity, owner string
	var since, until int64
	var version uint64
	dest := []any{&identity, &since, &until, &owner, &version}
	return s.scan(ctx, "restore what is declared", restoreDeclaredSQL, named("above", above), dest, func() error {
		id, err := event.ParseIdentity(identity)
		if err != nil {
			s.corrupt["inventory"].Add(1)
			return nil
		}
		return visit(id, Declared{Created: microMoment(since), Gone: microMoment(until), Owner: owner, Version: version})
	})
}

func microMoment(micros int64) time.Time {
	if micros <= 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}
