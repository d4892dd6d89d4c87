package inventory

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/event"
)

// rulesOf reads rules as they stand in a configuration.
func rulesOf(t testing.TB, text string) (Rules, error) {
	t.Helper()
	var list []map[string]any
	if err := yaml.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	return ParseRules(list)
}

func identity(t testing.TB, uri string) event.Identity {
	t.Helper()
	id, err := event.ParseIdentity(uri)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestParseRules(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := rulesOf(t, text)
		if err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
	const good = "- {match: {namespace: shop}, set: {owner: a}}\n"
	f(good+"- {match: {namespace: shop}}", "inventory.rules: rule 2: set is empty, so that the rule does nothing")
	f("- {set: {owner: a}}", `inventory.rules: rule 1: match is empty; a rule for all has match: {identity: "*"}`)
	f("- {matches: {namespace: shop}, set: {owner: a}}", "inventory.rules: rule 1: unknown key matches; known are match and set")
	f("- {match: shop, set: {owner: a}}", "inventory.rules: rule 1: match takes settings of its own, such as namespace: shop")
	f("- {match: {namespaces: shop}, set: {owner: a}}", "inventory.rules: rule 1: match.namespaces: unknown key; known are identity, namespace, name, source, label, annotation")
	f("- {match: {namespace: 5}, set: {owner: a}}", "inventory.rules: rule 1: match.namespace: want a text, or a list of texts, with * for anything; got 5")
	f("- {match: {namespace: []}, set: {owner: a}}", "inventory.rules: rule 1: match.namespace: the list is empty, so that nothing matches")
	f("- {match: {source: cmdb}, set: {owner: a}}", `inventory.rules: rule 1: match.source: "cmdb" is not one of kubernetes, spire, csv, json`)
	f("- {match: {name: a}, set: {ownr: a}}", "inventory.rules: rule 1: set.ownr: unknown key; known are owner, purpose, environment, business_function, domain, privilege")
	f("- {match: {name: a}, set: {owner: [a]}}", "inventory.rules: rule 1: set.owner: want a text, got [a]")
	f("- {match: {name: a}, set: {domain: robots}}",
		`inventory.rules: rule 1: set.domain: "robots" is not one of production-service-account, ci-cd, oauth-app, ai-agent, certificate, other`)
	f("- {match: {name: a}, set: {privilege: root}}", `inventory.rules: rule 1: set.privilege: "root" is not one of none, low, medium, high, cluster-admin`)
	f("- {match: {name: a}, set: {purpose: \"a\\nb\"}}", "inventory.rules: rule 1: set.purpose: holds a control character")
	f("- {}\n"+good+"- {x: 1}", "inventory.rules: rule 1: match is empty; a rule for all has match: {identity: \"*\"}\ninventory.rules: rule 3: unknown key x; known are match and set")
	if _, err := ParseRules(make([]map[string]any, maxRules+1)); err == nil || !strings.Contains(err.Error(), "at most 1000") {
		t.Errorf("%v", err)
	}
}

func TestClassify(t *testing.T) {
	rules, err := rulesOf(t, `
- {match: {namespace: shop, name: [check*, pay]}, set: {owner: team checkout, privilege: high}}
- {match: {namespace: shop}, set: {owner: team shop, environment: production, business_function: sales}}
- {match: {label: team=search-*}, set: {owner: team search}}
- {match: {annotation: bot}, set: {domain: ai-agent}}
- {match: {source: [csv, json]}, set: {purpose: from a list}}
- {match: {identity: "spiffe://*/oauth/*"}, set: {domain: oauth-app}}
`)
	if err != nil {
		t.Fatal(err)
	}
	f := func(d event.Declaration, want string) {
		t.Helper()
		rules.Classify(&d)
		got := strings.Join([]string{d.Owner, d.Environment, string(d.Domain), string(d.Privilege), d.BusinessFunction, d.Purpose}, "|")
		if got != want {
			t.Errorf("%s: got %s, want %s", d.Identity, got, want)
		}
	}
	account := func(ns, name string) event.Declaration {
		return event.Declaration{Identity: identity(t, "spiffe://shop.example/ns/"+ns+"/sa/"+name), Source: event.SourceKubernetes, Namespace: ns, Name: name}
	}
	f(account("shop", "checkout"), "team checkout|production|production-service-account|high|sales|")
	f(account("shop", "pay"), "team checkout|production|production-service-account|high|sales|")
	f(account("shop", "payer"), "team shop|production|production-service-account||sales|")
	f(account("kube-system", "coredns"), "kubernetes|platform|other|||")
	f(account("web-staging", "web"), "|staging|other|||")
	f(account("jenkins", "builder"), "||ci-cd|||")
	f(account("tools", "argocd-server"), "||ci-cd|||")
	f(account("tools", "default"), "||production-service-account|||made by Kubernetes for pods that name no service account")

	said := account("shop", "checkout") // what the source says stays, but for the privilege
	said.Owner, said.Environment, said.Domain, said.Privilege = "somebody", "lab", event.DomainOther, event.PrivilegeLow
	f(said, "somebody|lab|other|high|sales|")
	rules.Classify(&said)
	if len(said.PrivilegeReasons) != 1 || said.PrivilegeReasons[0] != "inventory rule 1 says high, the source low" {
		t.Errorf("%q", said.PrivilegeReasons)
	}
	labelled := account("x", "y")
	labelled.Labels, labelled.Annotations = map[string]string{"team": "search-1"}, map[string]string{"bot": ""}
	f(labelled, "team search||ai-agent|||")
	f(event.Declaration{Identity: identity(t, "spiffe://shop.example/oauth/app"), Source: event.SourceCSV}, "||oauth-app|||from a list")
	f(event.Declaration{Identity: identity(t, "x509://0f3a/CN=a"), Source: event.SourceJSON}, "||certificate|||from a list")
	f(event.Declaration{Identity: identity(t, "spiffe://shop.example/a"), Source: event.SourceJSON}, "||other|||from a list")
}

func TestGlob(t *testing.T) {
	f := func(pattern, s string, want bool) {
		t.Helper()
		if glob(pattern, s) != want {
			t.Errorf("%q and %q: %v", pattern, s, !want)
		}
	}
	f("", "", true)
	f("*", "", true)
	f("*", "a/b", true)
	f("a", "ab", false)
	f("a*", "a", true)
	f("*a", "ba", true)
	f("a*a", "a", false)
	f("a*b*c", "a-b-b-c", true)
	f("a*b*c", "a-c-b", false)
	f("**", "x", true)
	rapid.Check(t, func(t *rapid.T) { // a text matches every pattern made of it
		s := rapid.StringMatching(`[ab/]{0,8}`).Draw(t, "s")
		i := rapid.IntRange(0, len(s)).Draw(t, "i")
		j := rapid.IntRange(i, len(s)).Draw(t, "j")
		if p := s[:i] + "*" + s[j:]; !glob(p, s) {
			t.Errorf("%q does not match %q", p, s)
		}
		if !glob(s+"*", s+"z") || glob(s+"z", s) {
			t.Errorf("%q", s)
		}
	})
}

// TestBuiltin: what is built in would be accepted from a configuration.
func TestBuiltin(t *testing.T) {
	for i := range builtin {
		m := map[string]any{"match": map[string]any{}, "set": map[string]any{}}
		for key, patterns := range builtin[i].match {
			var list []any
			for _, p := range patterns {
				list = append(list, p)
			}
			m["match"].(map[string]any)[key] = list
		}
		for key, value := range builtin[i].set {
			m["set"].(map[string]any)[key] = value
		}
		if _, err := ParseRules([]map[string]any{m}); err != nil {
			t.Errorf("%v: %v", m, err)
		}
	}
}
