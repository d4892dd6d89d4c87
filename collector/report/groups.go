package report

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Group is how many identities have something in common.
type Group struct {
	By         string `json:"by"`    // one of GroupBys
	Value      string `json:"value"` // "" is not known
	Identities uint64 `json:"identities"`
	Declared   uint64 `json:"declared"` // by a source that still does
	Seen       uint64 `json:"seen"`     // running or used in the window
	Used       uint64 `json:"used"`     // in the window
	Unused     uint64 `json:"unused"`   // of some class of unused ones
	Privileged uint64 `json:"privileged"`
	NoOwner    uint64 `json:"no_owner"` // somebody should answer for it, and nobody is named
	NoPurpose  uint64 `json:"no_purpose"`
}

// GroupBys are what identities can be grouped by.
var GroupBys = []string{"domain", "kind", "environment", "owner", "business-function", "privilege", "namespace", "inventory", "trust-domain"}

var groupings = map[string]func(m *store.Member, v *inventory.View, namespace string) string{
	"domain":            func(_ *store.Member, v *inventory.View, _ string) string { return string(v.Domain) },
	"kind":              func(m *store.Member, _ *inventory.View, _ string) string { return store.Kind(m.Identity) },
	"environment":       func(_ *store.Member, v *inventory.View, _ string) string { return v.Environment },
	"owner":             func(_ *store.Member, v *inventory.View, _ string) string { return v.Owner },
	"business-function": func(_ *store.Member, v *inventory.View, _ string) string { return v.BusinessFunction },
	"privilege":         func(_ *store.Member, v *inventory.View, _ string) string { return string(v.Privilege) },
	"namespace":         func(_ *store.Member, _ *inventory.View, namespace string) string { return namespace },
	"inventory":         func(_ *store.Member, v *inventory.View, _ string) string { return string(v.State) },
	"trust-domain": func(m *store.Member, _ *inventory.View, _ string) string {
		rest, ok := strings.CutPrefix(m.Identity.String(), "spiffe://")
		if !ok {
			return ""
		}
		domain, _, _ := strings.Cut(rest, "/")
		return domain
	},
}

// Groups reports the whole inventory: how many identities there are of each kind, of those that were seen in the window that ends now or are declared.
// by is one of GroupBys, or "" for all of them.
func (r *Reporter) Groups(ctx context.Context, now time.Time, window time.Duration, by string, paging Paging) (*List[Group], error) {
	if by != "" && groupings[by] == nil {
		return nil, fmt.Errorf("by %q is not one of %s", by, strings.Join(GroupBys, ", "))
	}
	now = now.UTC()
	since := now.Add(-window)
	members, e, summary, err := r.watchedPopulation(ctx, since, now)
	if err != nil {
		return nil, err
	}
	views := e.views(members)
	groups := map[[2]string]*Group{}
	for i := range members {
		m := &members[i]
		if m.Declarations == 0 && m.LastSeen.Before(since) {
			continue
		}
		v, namespace := views[i], e.namespace(m)
		for name, value := range groupings {
			if by != "" && name != by {
				continue
			}
			key := [2]string{name, value(m, v, namespace)}
			g := groups[key]
			if g == nil {
				g = &Group{By: name, Value: key[1]}
				groups[key] = g
			}
			g.add(m, v, since)
		}
	}
	all := make([]Group, 0, len(groups))
	for _, g := range groups {
		all = append(all, *g)
	}
	out := &List[Group]{Total: uint64(len(all)), Coverage: summary}
	out.Items, out.Next, err = cut(all, func(g *Group) place {
		return place{int64(slices.Index(GroupBys, g.By)), -int64(g.Identities), g.Value}
	}, paging)
	return out, err
}

func (g *Group) add(m *store.Member, v *inventory.View, since time.Time) {
	g.Identities++
	for _, c := range []struct {
		n  *uint64
		is bool
	}{
		{&g.Declared, m.Declarations > 0}, {&g.Seen, !m.LastSeen.Before(since)}, {&g.Used, !m.LastUsed.Before(since)},
		{&g.Unused, m.Class != "" && m.Class != store.ClassRetired}, {&g.Privileged, v.Privilege.Rank() >= event.PrivilegeHigh.Rank()},
		{&g.NoOwner, answerable(m) && v.Owner == ""}, {&g.NoPurpose, answerable(m) && v.Purpose == ""},
	} {
		if c.is {
			*c.n++
		}
	}
}
