package report

import (
	"cmp"
	"context"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Risk is one thing that makes an identity dangerous.
type Risk string

// The risks, the gravest first.
const (
	RiskPrivileged Risk = "privileged"
	RiskLongLived  Risk = "long-lived-credential"
	RiskInternet   Risk = "internet-reachable"
	RiskScope      Risk = "outside-scope"
	RiskShared     Risk = "shared"
	RiskOwner      Risk = "no-owner"
)

// Risks are all of them.
var Risks = []Risk{RiskPrivileged, RiskLongLived, RiskInternet, RiskScope, RiskShared, RiskOwner}

var riskWeights = map[Risk]int{RiskPrivileged: 30, RiskLongLived: 20, RiskInternet: 20, RiskScope: 15, RiskShared: 10, RiskOwner: 5}

// longLived is the life of a certificate beyond which it is long-lived. OWASP names no number; 90 days is what public authorities give at most from
// 2027 on, and what rotation is usually asked for.
const longLived = 90 * day

// RiskEvidence is a risk with what shows it.
type RiskEvidence struct {
	Risk     Risk   `json:"risk"`
	Evidence string `json:"evidence"`
}

// HighRisk is an identity with risks. Times are UTC; a zero time is never.
type HighRisk struct {
	Identity    event.Identity  `json:"identity"`
	Kind        string          `json:"kind"`
	Score       int             `json:"score"` // 0 to 100: the weights of its risks
	Risks       []RiskEvidence  `json:"risks"` // the gravest first
	Domain      event.Domain    `json:"domain,omitempty"`
	Environment string          `json:"environment,omitempty"`
	Namespace   string          `json:"namespace,omitempty"`
	Owner       string          `json:"owner,omitempty"`
	Privilege   event.Privilege `json:"privilege,omitempty"`
	LastUsed    time.Time       `json:"last_used,omitzero"`
	Credential  *CredentialNote `json:"credential,omitempty"`
}

// RiskQuery chooses identities with risks.
type RiskQuery struct {
	Window  time.Duration
	AtLeast int  // so many risks; 0 is 2
	With    Risk // only those with this one; "" is any
	Text    string
	Limit   int // see [Paging]
	Cursor  string
}

// RiskReport lists identities with risks, the highest score first. Risks counts how many have each.
type RiskReport struct {
	List[HighRisk]
	Risks map[Risk]uint64 `json:"risks"`
}

// Rules of findings that are evidence of risks.
var (
	scopeRules  = []string{"scope-violation"}
	sharedRules = []string{"identity-reuse", "identity-mismatch"}
)

// HighRisk reports identities of the window that ends now that have several risks at once. Those that were neither seen in the window nor are declared
// are left out.
func (r *Reporter) HighRisk(ctx context.Context, now time.Time, q RiskQuery) (*RiskReport, error) {
	now = now.UTC()
	since := now.Add(-q.Window)
	all, err := r.risks(ctx, since, now)
	if err != nil {
		return nil, err
	}
	summary := all.summary
	atLeast := cmp.Or(q.AtLeast, 2)
	text := strings.ToLower(q.Text)
	out := &RiskReport{List: List[HighRisk]{Coverage: summary}, Risks: map[Risk]uint64{}}
	found := make([]risky, 0, len(all.risky))
	for _, x := range all.risky {
		if x.count() < atLeast || q.With != "" && !x.has(q.With) || text != "" && !strings.Contains(strings.ToLower(all.members[x.member].Identity.String()), text) {
			continue
		}
		for i, risk := range Risks {
			if x.risks&(1<<i) != 0 {
				out.Risks[risk]++
			}
		}
		found = append(found, x)
	}
	out.Total = uint64(len(found))
	page, next, err := cut(found, func(x *risky) place { return place{-int64(x.score()), 0, all.members[x.member].Identity.String()} }, Paging{q.Limit, q.Cursor})
	if err != nil {
		return nil, err
	}
	out.Next = next
	if err := r.exemplify(ctx, all, page, since); err != nil {
		return nil, err
	}
	out.Items = make([]HighRisk, len(page))
	for i := range page {
		out.Items[i] = all.describe(&page[i], now)
	}
	return out, nil
}

// risky is a member of the population with its risks, as bits in the order of Risks.
type risky struct {
	member int
	risks  uint8
}

func (x *risky) add(risk Risk)      { x.risks |= 1 << slices.Index(Risks, risk) }
func (x *risky) has(risk Risk) bool { return x.risks&(1<<slices.Index(Risks, risk)) != 0 }
func (x *risky) count() int         { return bits.OnesCount8(x.risks) }

func (x *risky) score() (sum int) {
	for i, risk := range Risks {
		if x.risks&(1<<i) != 0 {
			sum += riskWeights[risk]
		}
	}
	return sum
}

// risks is all that the report of risks rests on.
type risks struct {
	*estate
	members []store.Member
	views   []*inventory.View
	held    map[string]store.Held
	exposed map[string][]store.Exposed
	found   map[string][]store.OpenFindings
	summary *Summary
	risky   []risky // of each member that was seen in the window, or is declared
}

// risks finds the risks of each identity that was seen since a time, or is declared.
func (r *Reporter) risks(ctx context.Context, since, now time.Time) (*risks, error) {
	x := &risks{found: map[string][]store.OpenFindings{}}
	exposed := map[string]bool{}
	g, gctx := errgroup.WithContext(ctx) // the questions do not depend on each other
	g.Go(func() (err error) {
		if x.members, x.estate, x.summary, err = r.watchedPopulation(gctx, since, now); err == nil {
			x.views = x.estate.views(x.members)
		}
		return err
	})
	g.Go(func() (err error) {
		x.held, err = r.store.Held(gctx, nil, since)
		return err
	})
	g.Go(func() error {
		return r.store.ExposedIdentities(gctx, since, func(id string) { exposed[id] = true })
	})
	g.Go(func() error {
		return r.store.OpenFindings(gctx, slices.Concat(scopeRules, sharedRules), since, func(f store.OpenFindings) { x.found[f.Identity] = append(x.found[f.Identity], f) })
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	x.risky = make([]risky, 0, len(x.members))
	for i := range x.members {
		m, view := &x.members[i], x.views[i]
		if m.Declarations == 0 && m.LastSeen.Before(since) {
			continue
		}
		id := m.Identity.String()
		one := risky{member: i}
		for _, f := range []struct {
			risk Risk
			is   bool
		}{
			{RiskPrivileged, isPrivileged(view)}, {RiskLongLived, isEndless(x.lastOf(id), view)}, {RiskInternet, exposed[id]}, {RiskScope, hasFinding(x.found[id], scopeRules)},
			{RiskShared, isShared(m) || hasFinding(x.found[id], sharedRules)}, {RiskOwner, answerable(m) && view.Owner == ""},
		} {
			if f.is {
				one.add(f.risk)
			}
		}
		x.risky = append(x.risky, one)
	}
	return x, nil
}

// exemplify asks for what those of a page have to do with the internet.
func (r *Reporter) exemplify(ctx context.Context, x *risks, page []risky, since time.Time) error {
	var of []event.Identity
	for i := range page {
		if page[i].has(RiskInternet) {
			of = append(of, x.members[page[i].member].Identity)
		}
	}
	x.exposed = make(map[string][]store.Exposed, len(of))
	return r.store.Exposed(ctx, of, since, func(e store.Exposed) { x.exposed[e.Identity] = append(x.exposed[e.Identity], e) })
}

func (x *risks) lastOf(id string) *store.Held {
	if h, ok := x.held[id]; ok {
		return &h
	}
	return nil
}

// describe says all of one identity, with what shows each of its risks.
func (x *risks) describe(one *risky, now time.Time) HighRisk {
	m, view := &x.members[one.member], x.views[one.member]
	id := m.Identity.String()
	last := x.lastOf(id)
	h := HighRisk{
		Identity: m.Identity, Kind: store.Kind(m.Identity), Score: one.score(), Domain: view.Domain, Environment: view.Environment, Namespace: x.namespace(m), Owner: view.Owner,
		Privilege: view.Privilege, LastUsed: m.LastUsed, Credential: noteCredential(last, view, now), Risks: []RiskEvidence{},
	}
	for _, risk := range Risks {
		if !one.has(risk) {
			continue
		}
		evidence := ""
		switch risk {
		case RiskPrivileged:
			evidence = privileged(view)
		case RiskLongLived:
			evidence = endless(last, view)
		case RiskInternet:
			evidence = facing(x.exposed[id])
		case RiskScope:
			evidence = findingsOf(x.found[id], scopeRules)
		case RiskShared:
			evidence = cmp.Or(shared(m), findingsOf(x.found[id], sharedRules))
		case RiskOwner:
			evidence = "nobody is named as its owner"
		}
		h.Risks = append(h.Risks, RiskEvidence{risk, evidence})
	}
	return h
}

func isPrivileged(view *inventory.View) bool {
	return view.Privilege.Rank() >= event.PrivilegeHigh.Rank()
}

func privileged(view *inventory.View) string {
	said := "its privilege is " + string(view.Privilege)
	if len(view.PrivilegeReasons) > 0 {
		said += ": " + strings.Join(view.PrivilegeReasons, "; ")
	}
	return said
}

// lasts says whether its certificate is long-lived.
func lasts(h *store.Held) bool {
	return h != nil && !h.NotBefore.IsZero() && h.NotAfter.Sub(h.NotBefore) > longLived
}

func isEndless(h *store.Held, view *inventory.View) bool {
	return lasts(h) || slices.Contains(view.Tokens, event.TokenSecret)
}

func endless(h *store.Held, view *inventory.View) string {
	if lasts(h) {
		return fmt.Sprintf("its certificate %s lives for %d days, until %s", shortHash(h.SHA256), int(h.NotAfter.Sub(h.NotBefore)/day), h.NotAfter.Format(time.DateOnly))
	}
	return "it has a token in a Secret, which never ends"
}

func shortHash(s string) string { return s[:min(len(s), 12)] }

func facing(exposed []store.Exposed) string {
	var said []string
	for _, x := range exposed {
		if x.Direction == event.Inbound {
			said = append(said, "it is reached from the internet: "+x.Example)
		} else {
			said = append(said, "it reaches the internet: "+x.Example)
		}
	}
	slices.Sort(said)
	return strings.Join(said, "; ")
}

func isShared(m *store.Member) bool { return len(m.Owners) >= 2 && answerable(m) }

func shared(m *store.Member) string {
	if !isShared(m) {
		return ""
	}
	owners := slices.Clone(m.Owners)
	slices.Sort(owners)
	return "several workloads act as it: " + strings.Join(owners, ", ")
}

func hasFinding(found []store.OpenFindings, rules []string) bool {
	return slices.ContainsFunc(found, func(f store.OpenFindings) bool { return slices.Contains(rules, f.Rule) })
}

// findingsOf names the open findings of some rules.
func findingsOf(found []store.OpenFindings, rules []string) string {
	var said []string
	for _, f := range found {
		if slices.Contains(rules, f.Rule) {
			what := f.Title
			if f.Resource != "" {
				what += ", such as " + f.Resource
			}
			said = append(said, fmt.Sprintf("%s of rule %s: %s", count(f.Count, "open finding"), f.Rule, what))
		}
	}
	return strings.Join(said, "; ")
}
