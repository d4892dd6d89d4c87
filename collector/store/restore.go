package store

import (
	"context"
	"math"
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
	if err := s.settle(ctx, "coverage_daily"); err != nil {
		return err
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

// chosen parses the identities of rows that come in the order of their identities, each once, and asks once for each whether it is wanted.
type chosen struct {
	in     func(event.Identity) bool // nil wants all
	text   string
	id     event.Identity
	wanted bool
}

// next takes the identity of a row; one that cannot be parsed is not wanted.
func (c *chosen) next(text string) (wanted bool, err error) {
	if text == c.text && !c.id.IsZero() {
		return c.wanted, nil
	}
	c.text = text
	c.id, err = event.ParseIdentity(text)
	c.wanted = err == nil && (c.in == nil || c.in(c.id))
	return c.wanted, err
}

// EachIdentity visits every identity that in wants (nil wants all) once for each node that it was seen on. in is asked once for each identity,
// here and in EachReach.
func (s *Store) EachIdentity(ctx context.Context, in func(event.Identity) bool, visit func(id event.Identity, node string, first time.Time) error) error {
	if err := s.settle(ctx, "identities"); err != nil {
		return err
	}
	var identity, node string
	var first int64
	c := chosen{in: in}
	return s.scan(ctx, "restore identities", restoreIdentitiesSQL, nil, []any{&identity, &node, &first}, func() error {
		wanted, err := c.next(identity)
		if err != nil {
			s.corrupt["identities"].Add(1)
		}
		if !wanted {
			return nil
		}
		return visit(c.id, node, time.UnixMicro(first).UTC())
	})
}

// EachReach visits everything that identities which in wants (nil wants all) reach, not what reaches them, all of one identity in a row.
func (s *Store) EachReach(ctx context.Context, in func(event.Identity) bool,
	visit func(id event.Identity, r event.Resource, first, last time.Time, connections uint64) error) error {
	if err := s.settle(ctx, "reach"); err != nil {
		return err
	}
	var identity, name string
	var first, last int64
	var connections uint64
	c := chosen{in: in}
	return s.scan(ctx, "restore reach", restoreReachSQL, nil, []any{&identity, &name, &first, &last, &connections}, func() error {
		wanted, err := c.next(identity)
		if err != nil {
			s.corrupt["reach"].Add(1)
		}
		if !wanted {
			return nil
		}
		resource, err := event.ParseResource(name)
		if err != nil {
			s.corrupt["reach"].Add(1)
			return nil
		}
		return visit(c.id, resource, time.UnixMicro(first).UTC(), time.UnixMicro(last).UTC(), connections)
	})
}

// EachFinding visits every finding of an identity that in wants (nil wants all), newest first. The visitor may keep it.
func (s *Store) EachFinding(ctx context.Context, in func(event.Identity) bool, visit func(f *event.Finding) error) error {
	if err := s.settle(ctx, "findings"); err != nil {
		return err
	}
	return each(ctx, s, "restore findings", findingsSQL, findingArgs(FindingFilter{}, 0, "", math.MaxUint32), func(r *decidedRow) error {
		if in != nil {
			if id, err := event.ParseIdentity(r.Identity); err == nil && !in(id) {
				return nil
			}
		}
		f, err := r.finding()
		if err != nil {
			s.corrupt["findings"].Add(1)
			return nil
		}
		return visit(&f)
	})
}
