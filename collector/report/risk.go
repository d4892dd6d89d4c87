package report

import (
	"cmp"
	"context"
	"fmt"
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
	Limit   int // 0 is 1000, at most 10,000
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
	_, summary, err := r.coverage(ctx, now, q.Window)
	if err != nil {
		return nil, err
	}
	all, err := r.risks(ctx, since, now)
	if err != nil {
		return nil, err
	}
	atLeast := cmp.Or(q.AtLeast, 2)
	text := strings.ToLower(q.Text)
	out := &RiskReport{List: List[HighRisk]{Items: []HighRisk{}, Coverage: summary}, Risks: map[Risk]uint64{}}
	for i := range all {
		h := &all[i]
		if len(h.Risks) < atLeast || q.With != "" && !h.has(q.With) || text != "" && !strings.Contains(strings.ToLower(h.Identity.String()), text) {
			continue
		}
		for _, e := range h.Risks {
			out.Risks[e.Risk]++
		}
		out.Items = append(out.Items, *h)
	}
	slices.SortStableFunc(out.Items, func(a, b HighRisk) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Identity.String(), b.Identity.String()))
	})
	out.Total = uint64(len(out.Items))
	limit := q.Limit
	if limit <= 0 {
		limit = 1000
	}
	out.Items = out.Items[:min(len(out.Items), limit, 10_000)]
	return out, nil
}

func (h *HighRisk) has(risk Risk) bool {
	return slices.ContainsFunc(h.Risks, func(e RiskEvidence) bool { return e.Risk == risk })
}

// risks gives each identity that was seen since a time, or is declared, with its risks; those without any too.
func (r *Reporter) risks(ctx context.Context, since, now time.Time) ([]HighRisk, error) {
	var (
		members []store.Member
		e       *estate
		held    map[string]store.Held
		exposed = map[string][]store.Exposed{}
		found   = map[string][]store.OpenFindings{}
	)
	g, gctx := errgroup.WithContext(ctx) // the questions do not depend on each other
	g.Go(func() (err error) {
		members, e, err = r.population(gctx, since, now)
		members = slices.DeleteFunc(members, func(m store.Member) bool { return m.Declarations == 0 && m.LastSeen.Before(since) })
		return err
	})
	g.Go(func() (err error) {
		held, err = r.store.Held(gctx, nil, since)
		return err
	})
	g.Go(func() error {
		return r.store.Exposed(gctx, since, func(x store.Exposed) { exposed[x.Identity] = append(exposed[x.Identity], x) })
	})
	g.Go(func() error {
		return r.store.OpenFindings(gctx, slices.Concat(scopeRules, sharedRules), since, func(f store.OpenFindings) { found[f.Identity] = append(found[f.Identity], f) })
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out, views := make([]HighRisk, 0, len(members)), e.views(members)
	for i := range members {
		m := &members[i]
		id, view := m.Identity.String(), views[i]
		var last *store.Held
		if h, ok := held[id]; ok {
			last = &h
		}
		h := HighRisk{
			Identity: m.Identity, Kind: store.Kind(m.Identity), Domain: view.Domain, Environment: view.Environment, Namespace: e.namespace(m), Owner: view.Owner,
			Privilege: view.Privilege, LastUsed: m.LastUsed, Credential: noteCredential(last, view, now), Risks: []RiskEvidence{},
		}
		add := func(risk Risk, evidence string) {
			if evidence != "" {
				h.Risks = append(h.Risks, RiskEvidence{risk, evidence})
				h.Score += riskWeights[risk]
			}
		}
		add(RiskPrivileged, privileged(view))
		add(RiskLongLived, endless(last, view))
		add(RiskInternet, facing(exposed[id]))
		add(RiskScope, findingsOf(found[id], scopeRules))
		add(RiskShared, cmp.Or(shared(m), findingsOf(found[id], sharedRules)))
		if answerable(m) && view.Owner == "" {
			add(RiskOwner, "nobody is named as its owner")
		}
		out = append(out, h)
	}
	return out, nil
}

func privileged(view *inventory.View) string {
	if view.Privilege.Rank() < event.PrivilegeHigh.Rank() {
		return ""
	}
	said := "its privilege is " + string(view.Privilege)
	if len(view.PrivilegeReasons) > 0 {
		said += ": " + strings.Join(view.PrivilegeReasons, "; ")
	}
	return said
}

func endless(h *store.Held, view *inventory.View) string {
	switch {
	case h != nil && !h.NotBefore.IsZero() && h.NotAfter.Sub(h.NotBefore) > longLived:
		return fmt.Sprintf("its certificate %s lives for %d days, until %s", shortHash(h.SHA256), int(h.NotAfter.Sub(h.NotBefore)/day), h.NotAfter.Format(time.DateOnly))
	case slices.Contains(view.Tokens, event.TokenSecret):
		return "it has a token in a Secret, which never ends"
	}
	return ""
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

func shared(m *store.Member) string {
	if len(m.Owners) < 2 || !answerable(m) {
		return ""
	}
	owners := slices.Clone(m.Owners)
	slices.Sort(owners)
	return "several workloads act as it: " + strings.Join(owners, ", ")
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
