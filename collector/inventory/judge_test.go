package inventory

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/event"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func ago(days int) time.Time { return noon.AddDate(0, 0, -days) }

const checkout = "spiffe://shop.example/ns/shop/sa/checkout"

func TestJudge(t *testing.T) {
	account := Seen{Identity: identity(t, checkout), Kind: "service-account", Namespace: "shop", ServiceAccount: "checkout"}
	seen := account
	seen.First, seen.Last = ago(9), ago(1)
	live := event.Declaration{Identity: account.Identity, Source: event.SourceKubernetes, SourceName: "cluster", Owner: "team shop", FirstDeclared: ago(30), LastDeclared: noon}
	orphan, gone, expired, other := live, live, live, live
	orphan.Owner = ""
	gone.Gone = ago(5)
	expired.Source, expired.SourceName, expired.Expires = event.SourceSPIRE, "server", ago(2)
	other.Source, other.SourceName, other.Owner = event.SourceCSV, "cmdb", "team lists"
	type list = []event.Declaration
	f := func(seen Seen, declarations list, known bool, state State, reason string) {
		t.Helper()
		v := (Rules{}).Judge(&seen, declarations, known, noon)
		if v == nil {
			if state != "" || reason != "" {
				t.Errorf("nothing, want %s: %s", state, reason)
			}
			return
		}
		if v.State != state || v.Reason != reason {
			t.Errorf("\n got %s: %s\nwant %s: %s", v.State, v.Reason, state, reason)
		}
	}
	f(seen, list{live}, true, DeclaredSeen, "declared by kubernetes cluster, last seen 2026-11-19T12:00:00Z")
	f(account, list{live}, true, DeclaredUnseen, "declared by kubernetes cluster since 2026-10-21T12:00:00Z, and never seen")
	f(seen, nil, true, Undeclared, "seen since 2026-11-11T12:00:00Z, and no source of the inventory declares it")
	f(seen, list{gone}, true, Undeclared, "not declared by kubernetes cluster any more since 2026-11-15T12:00:00Z, but last seen 2026-11-19T12:00:00Z")
	silent := seen
	silent.Last = ago(8)
	f(silent, list{gone}, true, Orphaned, "its registration is gone from kubernetes cluster since 2026-11-15T12:00:00Z, and so is its workload: last seen 2026-11-12T12:00:00Z")
	f(seen, list{orphan}, true, Orphaned, "nobody is named as its owner; declared by kubernetes cluster, last seen 2026-11-19T12:00:00Z")
	f(account, list{orphan}, true, Orphaned, "nobody is named as its owner; declared by kubernetes cluster, never seen")
	f(seen, list{orphan, other}, true, DeclaredSeen, "declared by csv cmdb, kubernetes cluster, last seen 2026-11-19T12:00:00Z")
	f(seen, list{expired}, true, Orphaned, "its registration expired 2026-11-18T12:00:00Z; declared by spire server, last seen 2026-11-19T12:00:00Z")
	f(seen, list{expired, live}, true, DeclaredSeen, "declared by kubernetes cluster, spire server, last seen 2026-11-19T12:00:00Z")

	// Where nothing is expected in an inventory, nothing is missed there.
	f(seen, nil, false, "", "")
	unit := Seen{Identity: identity(t, "spiffe://shop.example/node/n1/unit/cron.service"), Kind: "unit", First: ago(9), Last: ago(1)}
	f(unit, nil, true, "", "")
	declared := live
	declared.Identity = unit.Identity
	f(unit, list{declared}, true, DeclaredSeen, "declared by kubernetes cluster, last seen 2026-11-19T12:00:00Z")

	// Rules give an owner, also to what has no state.
	rules, err := rulesOf(t, "- {match: {identity: '*'}, set: {owner: somebody}}")
	if err != nil {
		t.Fatal(err)
	}
	if v := rules.Judge(&seen, list{orphan}, true, noon); v.State != DeclaredSeen || v.Owner != "somebody" {
		t.Errorf("%+v", v)
	}
	if v := rules.Judge(&unit, nil, true, noon); v == nil || v.State != "" || v.Owner != "somebody" {
		t.Errorf("%+v", v)
	}
}

func TestJudgeMerges(t *testing.T) {
	id := identity(t, checkout)
	machine := event.Declaration{Identity: id, Source: event.SourceKubernetes, SourceName: "cluster", Owner: "robot", Environment: "production",
		Privilege: event.PrivilegeHigh, PrivilegeReasons: []string{"reads secrets"}, Tokens: []event.TokenKind{event.TokenBound}, Created: ago(100)}
	person := event.Declaration{Identity: id, Source: event.SourceCSV, SourceName: "cmdb", Owner: "team shop", Privilege: event.PrivilegeLow, Created: ago(50)}
	v := (Rules{}).Judge(&Seen{Identity: id, Kind: "service-account"}, []event.Declaration{machine, person}, true, noon)
	if v.Owner != "team shop" || v.Environment != "production" || v.Privilege != event.PrivilegeHigh || !v.Created.Equal(ago(100)) || len(v.Claims) != 2 || len(v.Tokens) != 1 {
		t.Errorf("%+v", v)
	}
}

// TestJudgeOrder: a judgement does not depend on the order of declarations, changes none of them, and always has a reason.
func TestJudgeOrder(t *testing.T) {
	id := identity(t, checkout)
	rapid.Check(t, func(r *rapid.T) {
		var list []event.Declaration
		for i := range rapid.IntRange(0, 5).Draw(r, "n") {
			d := event.Declaration{
				Identity: id, Source: rapid.SampledFrom(event.DeclarationSources).Draw(r, "source"), SourceName: string(rune('a' + i)),
				Owner: rapid.SampledFrom([]string{"", "x", "y"}).Draw(r, "owner"), Privilege: rapid.SampledFrom(event.Privileges).Draw(r, "privilege"),
				PrivilegeReasons: rapid.SliceOfN(rapid.SampledFrom([]string{"p", "q"}), 0, 2).Draw(r, "reasons"), FirstDeclared: ago(rapid.IntRange(0, 9).Draw(r, "first")),
			}
			if rapid.Bool().Draw(r, "gone") {
				d.Gone = ago(rapid.IntRange(0, 9).Draw(r, "since"))
			}
			if rapid.Bool().Draw(r, "expires") {
				d.Expires = ago(rapid.IntRange(-2, 2).Draw(r, "at"))
			}
			list = append(list, d)
		}
		s := Seen{Identity: id, Kind: "service-account"}
		if len(list) == 0 || rapid.Bool().Draw(r, "seen") {
			s.First, s.Last = ago(20), ago(rapid.IntRange(0, 10).Draw(r, "last"))
		}
		before := make([]event.Declaration, len(list))
		copy(before, list)
		a := (Rules{}).Judge(&s, list, true, noon)
		b := (Rules{}).Judge(&s, rapid.Permutation(list).Draw(r, "mixed"), true, noon)
		if !reflect.DeepEqual(a, b) {
			r.Fatalf("%+v\n%+v", a, b)
		}
		if len(list) > 0 && !reflect.DeepEqual(before, list) {
			r.Fatalf("changed: %+v", list)
		}
		if a.State == "" || a.Reason == "" || strings.Contains(a.Reason, "\n") {
			r.Fatalf("%+v", a)
		}
	})
}
