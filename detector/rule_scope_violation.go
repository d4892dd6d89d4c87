package detector

import (
	"fmt"

	"github.com/ambit-nhi/ambit/event"
)

var ruleScopeViolation = rule{
	name:     "scope-violation",
	about:    "An identity uses what is outside of the scope that was declared for it, whether it is learned or not.",
	advice:   "If the owner wants it, add it to the scope and have that approved; else deny it and look at what ran there.",
	severity: event.High,
	owasp:    []string{"NHI5:2025"}, // overprivileged
	attack:   []string{"T1078"},     // valid accounts
}

// scoped is the scope of an identity, with what it says of the resources that were asked about.
type scoped struct {
	scope   event.Scope
	matcher *event.ScopeMatcher
	inside  map[uint32]bool // outbound, by resource
}

// maxScoped bounds the resources for which an answer is kept.
const maxScoped = 20_000

// Scope declares what an identity may reach: what is outside is told, what is inside is normal when it is reached for the first time. An older version
// than the one that holds changes nothing. A scope without entries and approval lifts the restriction.
func (d *Detector) Scope(id event.Identity, scope event.Scope) {
	who, ok := d.identity(id)
	if !ok {
		return
	}
	if held := d.scopes[who]; held != nil && scope.Version < held.scope.Version {
		return
	}
	if len(scope.Entries) == 0 && scope.ApprovedBy == "" {
		delete(d.scopes, who)
		d.identities[who].scoped = false
	} else {
		d.scopes[who] = &scoped{scope, scope.Matcher(), map[uint32]bool{}}
		d.identities[who].scoped = true
	}
	d.rescope(who)
}

// rescope ends the findings that are within the scope now.
func (d *Detector) rescope(who uint32) {
	s := d.scopes[who]
	reason := "The scope was withdrawn."
	if s != nil {
		reason = fmt.Sprintf("Version %d of the scope allows it.", s.scope.Version)
	}
	d.eachEdge(&d.identities[who], func(e *edge) {
		if e.state != edgeTold || e.rule != scopeIndex || s != nil && !s.allows(d, e.resource) {
			return
		}
		e.state = edgeApproved
		d.healLater(findingKey{edgeKey{who, e.resource}, &ruleScopeViolation}, max(d.clock.now, e.last), reason)
	})
}

func (s *scoped) allows(d *Detector, what uint32) bool {
	in, known := s.inside[what]
	if !known {
		in = s.matcher.Allows(event.Outbound, d.resources[what])
		if len(s.inside) < maxScoped {
			s.inside[what] = in
		}
	}
	return in
}

// scope judges the use of an edge by the identity's scope, and says whether nothing else is to be said of it. fresh is an edge that was not known.
func (s *sight) scope(key edgeKey, e *edge, r event.Resource, fresh bool) bool {
	if !s.id.scoped || s.o.Counts.Connections == 0 {
		return false
	}
	scope := s.d.scopes[s.who]
	if scope.allows(s.d, key.resource) {
		if fresh && s.learned {
			e.state = edgeApproved
			return true
		}
		return false
	}
	k := findingKey{key, &ruleScopeViolation}
	t := s.d.findings.open[k]
	switch {
	case t != nil && quiet(&t.finding, s.first):
		if e.state != edgeTold {
			e.state, e.rule = edgeApproved, scopeIndex
		}
	case t != nil && e.state == edgeTold && e.rule != scopeIndex: // beside another one
		s.out = s.d.update(k, e.connections, s.first, s.last, s.out)
	case t != nil:
		e.state, e.rule = edgeTold, scopeIndex
	case s.silent(k.rule) || e.state == edgeApproved && e.rule == scopeIndex:
		return false
	default:
		s.tellScope(k, e, r, scope, fresh)
	}
	return true
}

func (s *sight) tellScope(k findingKey, e *edge, r event.Resource, scope *scoped, fresh bool) {
	o := s.o
	severity, verb := ruleScopeViolation.severity, "reached"
	if allFailed(o) {
		severity, verb = event.Medium, "tried to reach"
	}
	a := alarm{
		rule: k.rule, what: k.resource, resource: r, score: 0.95, severity: severity, count: max(e.connections, o.Counts.Connections),
		title: fmt.Sprintf("%s %s %s, which is outside of its scope", shortName(&o.Workload), verb, spoken(r)),
		explanation: []string{
			whoConnected(r, o), outcome(o),
			scope.sentence(),
		},
	}
	if !fresh {
		a.explanation = append(a.explanation, fmt.Sprintf("It has reached it since %s, in %s; the scope does not know of that.", clockMicros(e.first), plural(e.connections, "connection")))
	}
	if !s.allow(&a) {
		return
	}
	if !s.spend(a.severity) {
		if fresh && s.learned {
			e.state = edgeFolded
		}
		return
	}
	if e.state != edgeTold { // what was normal is no longer
		e.state, e.rule = edgeTold, scopeIndex
	}
	f := s.finding(a)
	s.reached = f.Severity
	s.d.newFinding(k, f, &s.out)
	s.out = append(s.out, f)
}

// sentence says what the scope is.
func (s *scoped) sentence() string {
	by := ""
	if s.scope.ApprovedBy != "" {
		by = ", approved by " + s.scope.ApprovedBy
	}
	text := fmt.Sprintf("Its scope (version %d%s) has %d entries", s.scope.Version, by, len(s.scope.Entries))
	if len(s.scope.Entries) == 1 {
		text = fmt.Sprintf("Its scope (version %d%s) has 1 entry", s.scope.Version, by)
	}
	for i := range min(len(s.scope.Entries), topResources) {
		if i == 0 {
			text += ": "
		} else {
			text += ", "
		}
		text += s.scope.Entries[i].Resource
	}
	if len(s.scope.Entries) > topResources {
		text += " and more"
	}
	return text + "; none of them allows this."
}

// callers judges an inbound connection by the identity's scope.
func (s *sight) callers() {
	if !s.id.scoped || s.o.Counts.Connections == 0 {
		return
	}
	scope, r := s.d.scopes[s.who], event.ResourceOf(s.o)
	if scope.matcher.Allows(event.Inbound, r) || s.silent(&ruleScopeViolation) {
		return
	}
	what, ok := s.d.intern(r)
	if !ok || s.told(&ruleScopeViolation, what) {
		return
	}
	severity, verb := ruleScopeViolation.severity, "was reached by"
	if allFailed(s.o) {
		severity, verb = event.Medium, "refused"
	}
	s.tell(alarm{
		rule: &ruleScopeViolation, what: what, resource: r, score: 0.95, severity: severity, count: s.o.Counts.Connections,
		title: fmt.Sprintf("%s %s %s, which is outside of its scope", shortName(&s.o.Workload), verb, caller(r)),
		explanation: []string{
			fmt.Sprintf("%s %s %s at %s.", nameOf(s.o), verb, r, clock(s.o.First())), outcome(s.o),
			scope.sentence(),
		},
	})
}
