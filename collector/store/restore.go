package store

import (
	"context"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Span is a time in which one start of an agent watched its node.
type Span struct {
	Boot  string
	From  time.Time
	Until time.Time
}

// EachNode visits every node that was ever watched, with its spans in the order of their starts. The visitor may keep the spans. An error of
// the visitor ends the stream and is returned, here and in all Each methods.
func (s *Store) EachNode(ctx context.Context, visit func(node string, spans []Span) error) error {
	type row struct {
		Node  string    `ch:"node"`
		Boot  string    `ch:"boot"`
		From  time.Time `ch:"from_time"`
		Until time.Time `ch:"until_time"`
	}
	var node string
	var spans []Span
	flush := func() error {
		if len(spans) == 0 {
			return nil
		}
		defer func() { spans = nil }()
		return visit(node, spans)
	}
	err := each(ctx, s, "restore coverage", restoreNodesSQL, nil, func(r *row) error {
		if r.Node != node {
			if err := flush(); err != nil {
				return err
			}
			node = r.Node
		}
		spans = append(spans, Span{r.Boot, r.From.UTC(), r.Until.UTC()})
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}

// EachIdentity visits every identity once for each node that it was seen on.
func (s *Store) EachIdentity(ctx context.Context, visit func(id event.Identity, node string, first time.Time) error) error {
	type row struct {
		Identity string    `ch:"identity"`
		Node     string    `ch:"node"`
		First    time.Time `ch:"first_time"`
	}
	return each(ctx, s, "restore identities", restoreIdentitiesSQL, nil, func(r *row) error {
		id, err := event.ParseIdentity(r.Identity)
		if err != nil {
			s.corrupt["identities"].Add(1)
			return nil
		}
		return visit(id, r.Node, r.First.UTC())
	})
}

// EachReach visits everything that identities reach (not what reaches them), all of one identity in a row.
func (s *Store) EachReach(ctx context.Context, visit func(id event.Identity, r event.Resource, first, last time.Time, connections uint64) error) error {
	type row struct {
		Identity    string    `ch:"identity"`
		Resource    string    `ch:"resource"`
		First       time.Time `ch:"first_time"`
		Last        time.Time `ch:"last_time"`
		Connections uint64    `ch:"connections"`
	}
	var id event.Identity
	return each(ctx, s, "restore reach", restoreReachSQL, nil, func(r *row) error {
		if r.Identity != id.String() { // parsed once for all its resources
			var err error
			if id, err = event.ParseIdentity(r.Identity); err != nil {
				s.corrupt["reach"].Add(1)
				id = event.Identity{}
				return nil
			}
		}
		resource, err := event.ParseResource(r.Resource)
		if err != nil {
			s.corrupt["reach"].Add(1)
			return nil
		}
		return visit(id, resource, r.First.UTC(), r.Last.UTC(), r.Connections)
	})
}

// EachFinding visits every finding, newest first. The visitor may keep it.
func (s *Store) EachFinding(ctx context.Context, visit func(f *event.Finding) error) error {
	f := FindingFilter{Limit: 1000}
	for {
		found, next, err := s.Findings(ctx, f)
		if err != nil {
			return err
		}
		for i := range found {
			if err := visit(&found[i]); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		f.Cursor = next
	}
}
