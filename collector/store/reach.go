package store

import (
	"context"
	"fmt"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Reach is one resource of an identity: what it reaches, or what reaches it. Times are UTC; a zero time is never.
type Reach struct {
	Identity    event.Identity  `json:"identity"`
	Direction   event.Direction `json:"direction"`
	Resource    event.Resource  `json:"resource"`
	FirstTime   time.Time       `json:"first_time"`
	LastTime    time.Time       `json:"last_time"`
	LastSuccess time.Time       `json:"last_success,omitzero"`
	Counts      event.Counts    `json:"counts"`
	Hours       []int           `json:"hours"`       // of the day, UTC, in which it was used
	Executables []string        `json:"executables"` // at most 8
	Nodes       []string        `json:"nodes"`       // at most 8

	TLS []ReachTLS `json:"tls,omitempty"` // by kind of handshake, most connections first; the other connections had none that was seen
}

type reachRow struct {
	Identity      string    `ch:"identity"`
	Direction     string    `ch:"direction"`
	Resource      string    `ch:"resource"`
	FirstTime     time.Time `ch:"first_time"`
	LastTime      time.Time `ch:"last_time"`
	LastSuccess   time.Time `ch:"last_success"`
	Connections   uint64    `ch:"connections"`
	Failed        uint64    `ch:"failed"`
	Denied        uint64    `ch:"denied"`
	BytesSent     uint64    `ch:"bytes_sent"`
	BytesReceived uint64    `ch:"bytes_received"`
	Hours         uint32    `ch:"hours"`
	Executables   []string  `ch:"executables"`
	Nodes         []string  `ch:"nodes"`
}

func (r *reachRow) reach(id event.Identity) (Reach, error) {
	resource, err := event.ParseResource(r.Resource)
	return Reach{
		Identity: id, Direction: event.Direction(r.Direction), Resource: resource,
		FirstTime: moment(r.FirstTime), LastTime: moment(r.LastTime), LastSuccess: moment(r.LastSuccess),
		Counts: event.Counts{Connections: r.Connections, Failed: r.Failed, Denied: r.Denied, BytesSent: r.BytesSent, BytesReceived: r.BytesReceived},
		Hours:  hours(r.Hours), Executables: r.Executables, Nodes: r.Nodes,
	}, err
}

func hours(set uint32) []int {
	out := []int{}
	for h := range 24 {
		if set&(1<<h) != 0 {
			out = append(out, h)
		}
	}
	return out
}

// ReachFilter chooses reach, which comes in the order of direction and resource.
type ReachFilter struct {
	Direction event.Direction // "" is both
	Limit     int             // 0 is 1000, at most 10000
	Cursor    string          // where the page before ended
}

// Reach gives a page of an identity's reach, and the cursor of the next page or "". An identity that is not known has none.
func (s *Store) Reach(ctx context.Context, id event.Identity, f ReachFilter) ([]Reach, string, error) {
	after, err := parseCursor(f.Cursor, 2)
	if err != nil {
		return nil, "", fmt.Errorf("read reach: %w", err)
	}
	limit := bound(f.Limit, 1000, 10_000)
	var rows []reachRow
	err = each(ctx, s, "read reach", reachSQL, named("identity", id.String(), "direction", string(f.Direction),
		"after_direction", after[0], "after_resource", after[1], "limit", uint32(limit+1)),
		func(r *reachRow) error {
			rows = append(rows, *r)
			return nil
		})
	if err != nil {
		return nil, "", err
	}
	rows, next := page(rows, limit, func(r *reachRow) string { return cursor(r.Direction, r.Resource) })
	out := make([]Reach, 0, len(rows))
	for i := range rows {
		r, err := rows[i].reach(id)
		if err != nil {
			s.corrupt["reach"].Add(1)
			continue
		}
		out = append(out, r)
	}
	if err := s.protect(ctx, id, out); err != nil {
		return nil, "", err
	}
	return out, next, nil
}
