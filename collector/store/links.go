package store

import (
	"context"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Way is the direction in which links are followed.
type Way string

// The ways.
const (
	Forward  Way = "forward"  // whom an identity can reach
	Backward Way = "backward" // who can reach it
)

// Link is that an identity can be reached, or can reach, through another one.
type Link struct {
	Peer        string
	Via         string   // of those that were asked for, the one with most connections
	Services    []string // of the peer toward Via or the other way round, such as 5432/tcp, at most 8
	LastTime    time.Time
	Connections uint64 // through Via, as the end counted that counted more
	Ways        uint64 // through how many
}

// Links gives the peers of identities on a way, where the last use was since a time and one succeeded, at most limit for each 1,000 identities. Peers may be
// told again for each 1,000. service, as 5432/tcp, leaves out links that did not use it; "" none.
func (s *Store) Links(ctx context.Context, way Way, ids []string, service string, since time.Time, limit int) ([]Link, error) {
	var out []Link
	for part := range slices.Chunk(ids, maxAsked) {
		var l Link
		var last int64
		args := named("way", string(way), "identities", part, "service", service, "since", since.UnixMicro(), "limit", uint32(limit))
		err := s.scan(ctx, "read links", linksSQL, args, []any{&l.Peer, &l.Via, &l.Services, &last, &l.Connections, &l.Ways}, func() error {
			x := l
			x.LastTime, x.Services = micros(last), slices.Clone(l.Services)
			out = append(out, x)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Reached is a resource that identities reached.
type Reached struct {
	Resource    string
	Via         string // the identity with most connections to it
	Identities  uint64
	LastTime    time.Time
	Connections uint64
}

// Reached gives what identities reached since a time, with success, but for other identities, at most limit for each 1,000 identities, those on certain
// ports first; and how many there are in all. Resources may be told, and counted, again for each 1,000.
func (s *Store) Reached(ctx context.Context, ids []string, since time.Time, ports []string, limit int) ([]Reached, uint64, error) {
	var out []Reached
	var all uint64
	for part := range slices.Chunk(ids, maxAsked) {
		var r Reached
		var last int64
		var total uint64
		args := named("identities", part, "ports", ports, "since", since.UnixMicro(), "limit", uint32(limit))
		err := s.scan(ctx, "read reach", reachedSQL, args, []any{&r.Resource, &r.Via, &r.Identities, &last, &r.Connections, &total}, func() error {
			r.LastTime = micros(last)
			out = append(out, r)
			return nil
		})
		if err != nil {
			return nil, 0, err
		}
		all += total
	}
	return out, all, nil
}

// Reacher is an identity that reached a resource.
type Reacher struct {
	Identity    string
	LastTime    time.Time
	Connections uint64
}

// Reachers gives the identities that reached a resource since a time, with success.
func (s *Store) Reachers(ctx context.Context, resource event.Resource, since time.Time, limit int) ([]Reacher, error) {
	var r Reacher
	var out []Reacher
	var last int64
	args := named("resource", resource.String(), "since", since.UnixMicro(), "limit", uint32(limit))
	err := s.scan(ctx, "read reach", reachersSQL, args, []any{&r.Identity, &last, &r.Connections}, func() error {
		r.LastTime = micros(last)
		out = append(out, r)
		return nil
	})
	return out, err
}

// Exposed is that an identity has to do with the internet.
type Exposed struct {
	Identity  string
	Direction event.Direction
	Example   string // a resource that was used last
}

// Exposed visits what those of some identities that reached the internet since a time, or were reached from there, had to do with it.
func (s *Store) Exposed(ctx context.Context, ids []event.Identity, since time.Time, visit func(Exposed)) error {
	var x Exposed
	var direction string
	return eachOf(ids, func(part []string) error {
		args := named("identities", part, "since", since.UnixMicro())
		return s.scan(ctx, "read exposure", exposedSQL, args, []any{&x.Identity, &direction, &x.Example}, func() error {
			x.Direction = event.Direction(direction)
			visit(x)
			return nil
		})
	})
}

// ExposedIdentities visits the identities that reached the internet since a time, or were reached from there.
func (s *Store) ExposedIdentities(ctx context.Context, since time.Time, visit func(id string)) error {
	var id string
	return s.scan(ctx, "read exposure", exposedIdentitiesSQL, named("since", since.UnixMicro()), []any{&id}, func() error {
		visit(id)
		return nil
	})
}
