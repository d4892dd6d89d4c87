package store

import (
	"context"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Unused is an identity that is known and not used. Times are UTC; a zero time is never.
type Unused struct {
	Identity     event.Identity
	Evidence     event.Evidence
	Namespace    string
	Unit         string
	Nodes        []string // at most 8
	Lived        []string // nodes where it was running since the time that was asked for, or else the one where it was last; sorted
	FirstSeen    time.Time
	LastSeen     time.Time // running
	LastUsed     time.Time // made or got a connection, or tried to
	LastSuccess  time.Time
	LastResource event.Resource // zero where it never had one
}

type unusedRow struct {
	Identity     string    `ch:"identity"`
	Nodes        []string  `ch:"nodes"`
	Lived        []string  `ch:"lived"`
	FirstSeen    time.Time `ch:"first_seen"`
	LastSeen     time.Time `ch:"last_seen"`
	LastUsed     time.Time `ch:"last_used"`
	LastSuccess  time.Time `ch:"last_success"`
	LastResource string    `ch:"last_resource"`
	Evidence     string    `ch:"evidence"`
	Namespace    string    `ch:"namespace"`
	Unit         string    `ch:"unit"`
	Total        uint64    `ch:"total"`
}

// Unused gives the identities that were seen before a time and not used since, never used ones first and then by last use, at most limit
// of them, and how many there are.
func (s *Store) Unused(ctx context.Context, since time.Time, limit int) ([]Unused, uint64, error) {
	var out []Unused
	var total uint64
	err := each(ctx, s, "read unused identities", unusedSQL, named("since", since.UnixMicro(), "limit", uint32(limit)), func(r *unusedRow) error {
		total = r.Total
		id, err := event.ParseIdentity(r.Identity)
		if err != nil {
			s.corrupt["identities"].Add(1)
			return nil
		}
		var resource event.Resource
		if err := resource.UnmarshalText([]byte(r.LastResource)); err != nil {
			s.corrupt["reach"].Add(1) // the identity is still unused
		}
		out = append(out, Unused{id, event.Evidence(r.Evidence), r.Namespace, r.Unit, r.Nodes, r.Lived,
			moment(r.FirstSeen), moment(r.LastSeen), moment(r.LastUsed), moment(r.LastSuccess), resource})
		return nil
	})
	return out, total, err
}
