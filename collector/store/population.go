package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Classes of identities that are not used, or should not be.
const (
	ClassRetired  = "retired-but-active" // acts, although nobody declares it any more
	ClassOrphaned = "orphaned"           // not used, and nobody declares it any more
	ClassDeclared = "declared-only"      // declared, and never seen
	ClassNever    = "never-used"         // seen running, but it never made or got a connection, nor tried to
	ClassDormant  = "dormant"            // used once, and not any more
)

// Classes are all of them, in the order of reports.
var Classes = []string{ClassRetired, ClassOrphaned, ClassDeclared, ClassNever, ClassDormant}

// Member is an identity that was seen, or that is or was declared. Times are UTC; a zero time is never.
type Member struct {
	Identity       event.Identity
	Class          string // of unused identities; "" of none
	Evidence       event.Evidence
	Namespace      string
	ServiceAccount string
	Unit           string
	Nodes          []string // at most 8
	NodeCount      uint64
	Lived          []string // nodes where it was running since the time that was asked for, or else the one where it was last; sorted
	Owners         []string // controllers of its workloads since then, by node the latest; at most 4
	FirstSeen      time.Time
	LastSeen       time.Time // running
	LastUsed       time.Time // made or got a connection, or tried to
	Declarations   uint64    // that are in force
	Declared       time.Time // since when it exists, as far as anybody says; zero where nobody ever declared it
	Ended          time.Time // when the last of its declarations ended, where none is in force
}

// Since is from when on it was not used: its last use, or when it was first seen or declared.
func (m *Member) Since() time.Time {
	switch {
	case !m.LastUsed.IsZero():
		return m.LastUsed
	case !m.LastSeen.IsZero():
		return m.FirstSeen
	}
	return m.Declared
}

// Population gives all identities, in their order, or only those of some class of unused ones in a time until now: in the order of Classes, then by since
// when they are not used.
func (s *Store) Population(ctx context.Context, since, now time.Time, unusedOnly bool) ([]Member, error) {
	return s.population(ctx, "", since, now, unusedOnly)
}

// Member gives one identity of the population, or [ErrNotFound].
func (s *Store) Member(ctx context.Context, id event.Identity, since, now time.Time) (Member, error) {
	if id.IsZero() {
		return Member{}, fmt.Errorf("read an identity: %w", ErrNotFound)
	}
	found, err := s.population(ctx, id.String(), since, now, false)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("read identity %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return Member{}, err
	}
	return found[0], nil
}

// micros reads a time in microseconds, where 1970 is never.
func micros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

// maxAsked bounds the identities that one question names: they go with its address where it is asked over HTTP.
const maxAsked = 1000

// eachOf asks for parts of a list of identities.
func eachOf(ids []event.Identity, ask func(part []string) error) error {
	for part := range slices.Chunk(ids, maxAsked) {
		names := make([]string, len(part))
		for i, id := range part {
			names[i] = id.String()
		}
		if err := ask(names); err != nil {
			return err
		}
	}
	return nil
}

// LastUse is what an identity reached last, or was reached at, and when that last succeeded.
type LastUse struct {
	Resource event.Resource
	Success  time.Time // zero: never
}

// LastUses gives the last use of identities, without those that were never used.
func (s *Store) LastUses(ctx context.Context, ids []event.Identity) (map[string]LastUse, error) {
	out := make(map[string]LastUse, len(ids))
	var identity, resource string
	var success int64
	err := eachOf(ids, func(part []string) error {
		return s.scan(ctx, "read last uses", lastUseSQL, named("identities", part), []any{&identity, &resource, &success}, func() error {
			use := LastUse{Success: micros(success)}
			if err := use.Resource.UnmarshalText([]byte(resource)); err != nil {
				s.corrupt["reach"].Add(1) // it was still used then
			}
			out[identity] = use
			return nil
		})
	})
	return out, err
}
