package inventory

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// State is how what is declared of an identity fits to what was seen of it.
type State string

// The states. An identity that nobody needs to declare, because it is bound to a node, has none, as has any before there is an inventory.
const (
	DeclaredSeen   State = "declared-seen"
	DeclaredUnseen State = "declared-never-seen"
	Undeclared     State = "seen-undeclared"
	Orphaned       State = "orphaned"
)

// States are all of them.
var States = []State{DeclaredSeen, DeclaredUnseen, Undeclared, Orphaned}

// Words are a state for people.
func (s State) Words() string {
	switch s {
	case DeclaredSeen:
		return "declared and seen"
	case DeclaredUnseen:
		return "declared, never seen"
	case Undeclared:
		return "seen, undeclared"
	}
	return string(s)
}

// Seen is what observation knows of an identity. Zero times are never.
type Seen struct {
	Identity       event.Identity
	Kind           string // of its URI, as the store says it
	Namespace      string
	ServiceAccount string
	First, Last    time.Time
}

// View is what all sources and rules say of one identity together, and how it fits to what was seen.
type View struct {
	State            State             `json:"state,omitempty"`
	Reason           string            `json:"reason,omitempty"` // of the state, in words
	Owner            string            `json:"owner,omitempty"`
	Purpose          string            `json:"purpose,omitempty"`
	Environment      string            `json:"environment,omitempty"`
	Domain           event.Domain      `json:"domain,omitempty"`
	BusinessFunction string            `json:"business_function,omitempty"`
	Privilege        event.Privilege   `json:"privilege,omitempty"`
	PrivilegeReasons []string          `json:"privilege_reasons,omitempty"`
	Tokens           []event.TokenKind `json:"tokens,omitempty"`
	Created          *time.Time        `json:"created,omitempty"`
	Claims           []Claim           `json:"claims,omitempty"` // who declares it, or did
}

// Claim is that one source declares an identity, or did until Gone.
type Claim struct {
	Source event.DeclarationSource `json:"source"`
	Name   string                  `json:"name"`
	First  time.Time               `json:"first_declared"`
	Last   time.Time               `json:"last_declared"`
	Gone   *time.Time              `json:"gone,omitempty"`
}

func (c *Claim) String() string {
	if c.Name == "" {
		return string(c.Source)
	}
	return fmt.Sprintf("%s %s", c.Source, c.Name)
}

// precedence of sources: what people wrote down comes before what a machine registered.
var precedence = map[event.DeclarationSource]int{event.SourceCSV: 0, event.SourceJSON: 0, event.SourceKubernetes: 1, event.SourceSPIRE: 2}

// Judge says what is known of an identity from the declarations of it, in any order. known says that there is any inventory at all. It gives nil
// where there is nothing to say.
func (r Rules) Judge(seen *Seen, declarations []event.Declaration, known bool, now time.Time) *View {
	list := declarations
	if len(list) > 1 { // most have one: what is given is not changed
		list = slices.Clone(declarations)
		slices.SortFunc(list, func(a, b event.Declaration) int {
			return cmp.Or(a.Gone.Compare(b.Gone), cmp.Compare(precedence[a.Source], precedence[b.Source]),
				cmp.Compare(a.Source, b.Source), cmp.Compare(a.SourceName, b.SourceName))
		})
	}
	live := slices.IndexFunc(list, func(d event.Declaration) bool { return !d.Gone.IsZero() })
	if live < 0 {
		live = len(list)
	}
	local := nodeLocal(seen.Kind)
	if len(list) == 0 && !known && !local {
		known = len(r.rules) > 0 // rules classify, but without a list nothing is undeclared
		if !known {
			return nil
		}
		local = true
	}
	merged := event.Declaration{Identity: seen.Identity, Namespace: seen.Namespace, Name: seen.ServiceAccount}
	var sources []event.DeclarationSource
	said := list[:live]
	if live == 0 {
		said = list // what is gone still says whose it was
	}
	for i := range said {
		merge(&merged, &said[i])
		sources = append(sources, said[i].Source)
	}
	configured := r.apply(&merged, sources)
	if len(list) == 0 && local {
		if !configured {
			return nil
		}
		return viewOf(&merged, nil)
	}
	v := viewOf(&merged, list)
	v.State, v.Reason = judge(seen, list[:live], list[live:], merged.Owner, now)
	return v
}

// nodeLocal says whether identities of a kind are bound to a node, so that no inventory is expected to list them.
func nodeLocal(kind string) bool {
	switch kind {
	case "unit", "cgroup", "process", "container", "node":
		return true
	}
	return false
}

func merge(into, d *event.Declaration) {
	for _, f := range []struct{ into, from *string }{
		{&into.Namespace, &d.Namespace}, {&into.Name, &d.Name}, {&into.Owner, &d.Owner}, {&into.Purpose, &d.Purpose},
		{&into.Environment, &d.Environment}, {&into.BusinessFunction, &d.BusinessFunction},
	} {
		if *f.into == "" {
			*f.into = *f.from
		}
	}
	if into.Domain == "" {
		into.Domain = d.Domain
	}
	if d.Privilege.Rank() > into.Privilege.Rank() {
		into.Privilege = d.Privilege
	}
	into.PrivilegeReasons = append(into.PrivilegeReasons, d.PrivilegeReasons...)
	into.Tokens = append(into.Tokens, d.Tokens...)
	normalize(into)
	if into.Created.IsZero() || !d.Created.IsZero() && d.Created.Before(into.Created) {
		into.Created = d.Created
	}
	into.Labels, into.Annotations = mergePairs(into.Labels, d.Labels), mergePairs(into.Annotations, d.Annotations)
}

func mergePairs(into, from map[string]string) map[string]string {
	for key, value := range from {
		if into == nil {
			into = map[string]string{}
		}
		if _, has := into[key]; !has {
			into[key] = value
		}
	}
	return into
}

func viewOf(d *event.Declaration, claims []event.Declaration) *View {
	v := &View{
		Owner: d.Owner, Purpose: d.Purpose, Environment: d.Environment, Domain: d.Domain, BusinessFunction: d.BusinessFunction,
		Privilege: d.Privilege, PrivilegeReasons: d.PrivilegeReasons, Tokens: d.Tokens, Created: optional(d.Created),
	}
	for i := range claims {
		c := &claims[i]
		v.Claims = append(v.Claims, Claim{c.Source, c.SourceName, c.FirstDeclared, c.LastDeclared, optional(c.Gone)})
	}
	return v
}

func judge(seen *Seen, live, gone []event.Declaration, owner string, now time.Time) (State, string) {
	was := "never seen"
	if !seen.Last.IsZero() {
		was = "last seen " + stamp(seen.Last)
	}
	switch {
	case len(live) == 0 && len(gone) == 0:
		return Undeclared, "seen since " + stamp(seen.First) + ", and no source of the inventory declares it"
	case len(live) == 0:
		latest := slices.MaxFunc(gone, func(a, b event.Declaration) int { return a.Gone.Compare(b.Gone) })
		where := sourceOf(&latest)
		if seen.Last.After(latest.Gone) {
			return Undeclared, fmt.Sprintf("not declared by %s any more since %s, but %s", where, stamp(latest.Gone), was)
		}
		return Orphaned, fmt.Sprintf("its registration is gone from %s since %s, and so is its workload: %s", where, stamp(latest.Gone), was)
	}
	var names []string
	expired := true
	for i := range live {
		names = append(names, sourceOf(&live[i]))
		expired = expired && !live[i].Expires.IsZero() && live[i].Expires.Before(now)
	}
	where := "declared by " + strings.Join(names, ", ")
	switch {
	case expired:
		last := slices.MaxFunc(live, func(a, b event.Declaration) int { return a.Expires.Compare(b.Expires) })
		return Orphaned, fmt.Sprintf("its registration expired %s; %s, %s", stamp(last.Expires), where, was)
	case owner == "":
		return Orphaned, fmt.Sprintf("nobody is named as its owner; %s, %s", where, was)
	case seen.Last.IsZero():
		first := slices.MinFunc(live, func(a, b event.Declaration) int { return a.FirstDeclared.Compare(b.FirstDeclared) })
		return DeclaredUnseen, fmt.Sprintf("%s since %s, and never seen", where, stamp(first.FirstDeclared))
	}
	return DeclaredSeen, where + ", " + was
}

func sourceOf(d *event.Declaration) string {
	return (&Claim{Source: d.Source, Name: d.SourceName}).String()
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Classify fills one declaration with what rules say of it.
func (r Rules) Classify(d *event.Declaration) { r.apply(d, []event.DeclarationSource{d.Source}) }
