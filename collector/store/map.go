package store

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Edge is that an identity reached another one or a resource, or was reached by who is no identity. Times are UTC.
type Edge struct {
	Identity    string
	Inbound     bool     // Other reached Identity; only where Other is no identity
	Other       string   // another identity, or a resource with its port and protocol
	Services    []string // of the end that is reached, such as 5432/tcp, at most 8; nil where Other is a resource
	FirstTime   time.Time
	LastTime    time.Time
	Connections uint64 // as the end counted that counted more
	Failed      uint64 // or denied
	Succeeded   bool   // ever
}

// Those are identities that a question is about: some by name, all of a namespace, or all there are.
type Those struct {
	Identities []string // at most 1,000
	Namespace  string   // of the latest workload; where Identities is empty
}

// where chooses them in a question, which must not hold more than its parameters.
func (t *Those) where() string {
	switch {
	case len(t.Identities) > 0:
		return "l.identity IN {identities:Array(String)}"
	case t.Namespace != "":
		return "l.identity GLOBAL IN (SELECT i.identity FROM identities AS i GROUP BY i.identity HAVING max(i.latest).2 = {namespace:String})"
	}
	return "1"
}

func (t *Those) ask(sql string, since time.Time, limit int) (string, []any) {
	names := t.Identities[:min(len(t.Identities), maxAsked)]
	if names == nil {
		names = []string{}
	}
	return strings.Replace(sql, "{{.Those}}", t.where(), 1), named("identities", names, "namespace", t.Namespace, "since", since.UnixMicro(), "limit", uint32(limit))
}

// MapLinks gives what some identities have to do with other identities since a time, in both ways, at most limit edges, those with most connections first;
// and how many there are.
func (s *Store) MapLinks(ctx context.Context, of Those, since time.Time, limit int) ([]Edge, uint64, error) {
	var e Edge
	var out []Edge
	var first, last int64
	var total uint64
	sql, args := of.ask(mapLinksSQL, since, limit)
	into := []any{&e.Identity, &e.Other, &first, &last, &e.Connections, &e.Failed, &e.Succeeded, &e.Services, &total}
	err := s.scan(ctx, "read links", sql, args, into, func() error {
		x := e
		x.FirstTime, x.LastTime, x.Services = micros(first), micros(last), slices.Clone(e.Services)
		out = append(out, x)
		return nil
	})
	return out, total, err
}

// MapResources gives what some identities reached since a time, or were reached by, that is no identity, at most limit, those with most connections first;
// and how many there are.
func (s *Store) MapResources(ctx context.Context, of Those, since time.Time, limit int) ([]Edge, uint64, error) {
	var e Edge
	var direction string
	var out []Edge
	var first, last int64
	var total uint64
	sql, args := of.ask(mapResourcesSQL, since, limit)
	into := []any{&e.Identity, &direction, &e.Other, &first, &last, &e.Connections, &e.Failed, &e.Succeeded, &total}
	err := s.scan(ctx, "read reach", sql, args, into, func() error {
		x := e
		x.Inbound, x.FirstTime, x.LastTime = direction == string(event.Inbound), micros(first), micros(last)
		out = append(out, x)
		return nil
	})
	return out, total, err
}

// OpenFinding is how many open findings there are of an identity and a resource, and the gravest severity of them.
type OpenFinding struct {
	Identity string
	Resource string // "" where they are about none
	Count    uint64
	Severity event.Severity
}

// FindingsOf gives the open findings of identities, by resource.
func (s *Store) FindingsOf(ctx context.Context, ids []string) ([]OpenFinding, error) {
	var out []OpenFinding
	for part := range slices.Chunk(ids, maxAsked) {
		var f OpenFinding
		var severity string
		err := s.scan(ctx, "read findings", mapFindingsSQL, named("identities", part), []any{&f.Identity, &f.Resource, &f.Count, &severity}, func() error {
			f.Severity = event.Severity(severity)
			out = append(out, f)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
