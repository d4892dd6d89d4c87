package decision

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Scopes knows what identities are declared to be allowed.
type Scopes interface {
	// Scope gives the scope of an identity, or [store.ErrNotFound] if it has none.
	Scope(ctx context.Context, id event.Identity) (event.Scope, error)
}

// Answer is whether an access is allowed, and why.
type Answer struct {
	Allowed  bool
	Code     string // no-decision, decision, dry-run, in-scope, out-of-scope
	Reason   string // for people
	Decision string // the one that denies, or in a dry run would
}

// Evaluate answers whether an identity may reach a resource, from decisions that hold and from its scope. Resource is a resource or target text. The answer is in the
// audit trail before it is given.
func (s *Service) Evaluate(ctx context.Context, who string, id event.Identity, direction event.Direction, resource string, scopes Scopes, more map[string]string) (Answer, error) {
	a, err := s.evaluate(ctx, id, direction, resource, scopes)
	if err != nil {
		return Answer{}, err
	}
	m := map[string]string{"resource": resource, "direction": string(direction), "allowed": fmt.Sprint(a.Allowed), "code": a.Code}
	if a.Decision != "" {
		m["decision"] = a.Decision
	}
	for k, v := range more {
		m[k] = v
	}
	if _, err := s.trail.Append(ctx, who, "access.evaluated", id.String(), m); err != nil {
		return Answer{}, err
	}
	s.metrics.answers.WithLabelValues(a.Code).Inc()
	return a, nil
}

func (s *Service) evaluate(ctx context.Context, id event.Identity, direction event.Direction, text string, scopes Scopes) (Answer, error) {
	resource, asked, err := reached(text)
	if err != nil {
		return Answer{}, err
	}
	out := Answer{Allowed: true, Code: "no-decision", Reason: "No decision denies it."}
	for _, k := range s.book.naming(id, s.now()) {
		if k.Direction != event.Both && k.Direction != direction || !(k.target.Covers(resource) || holds(k.target, asked)) {
			continue
		}
		if k.Mode == event.Enforce {
			return Answer{false, "decision", fmt.Sprintf("Decision %s denies %s until %s: %s", k.ID, k.To, k.Expires.UTC().Format("2006-01-02 15:04:05 UTC"), k.Reason), k.ID}, nil
		}
		out.Code, out.Decision, out.Reason = "dry-run", k.ID, fmt.Sprintf("Decision %s would deny %s, and is a dry run.", k.ID, k.To)
	}
	if scopes == nil || resource.IsZero() {
		return out, nil
	}
	scope, err := scopes.Scope(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	switch {
	case !scope.Matcher().Allows(direction, resource):
		return Answer{false, "out-of-scope", fmt.Sprintf("%s is not in the scope of %s (version %d).", resource, id, scope.Version), out.Decision}, nil
	case out.Code == "no-decision":
		out.Code, out.Reason = "in-scope", fmt.Sprintf("It is in the scope of %s (version %d), and no decision denies it.", id, scope.Version)
	}
	return out, nil
}

// reached reads a resource, or else a target, of which a decision must hold all to deny it.
func reached(text string) (event.Resource, event.Target, error) {
	r, err := event.ParseResource(text)
	if err == nil {
		t, _ := event.ParseTarget(text)
		return r, t, nil
	}
	t, err := event.ParseTarget(text)
	if err != nil {
		return event.Resource{}, event.Target{}, fmt.Errorf("%w: resource: %w", ErrInvalid, err)
	}
	r, _ = event.ParseResource(strings.Replace(t.String(), "svc:", "service:", 1))
	return r, t, nil
}

// holds says whether a decision's target holds all of what is asked for.
func holds(target, asked event.Target) bool {
	if asked.Kind == "" || target.Port != 0 && target.Port != asked.Port || target.Protocol != "" && target.Protocol != asked.Protocol {
		return false
	}
	switch {
	case target.Kind == event.TargetAny, target.Kind == event.TargetPort:
		return true
	case target.Kind != asked.Kind:
		return false
	case target.Kind == event.TargetNet:
		return within(target.Prefix, asked.Prefix)
	}
	return target.Identity == asked.Identity && target.Name == asked.Name
}
