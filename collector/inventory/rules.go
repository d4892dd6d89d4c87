package inventory

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ambit-nhi/ambit/event"
)

// Rules classify identities. They fill what no source said; the first rule that matches and sets a field wins. A privilege is replaced, since
// sources only derive it. The zero Rules are those that are built in. They are a value, safe for concurrent use.
type Rules struct{ rules []rule }

type rule struct {
	number int // in the configuration, from 1; 0 is built in
	match  map[string][]string
	set    map[string]string

	matchers []matcher // match and set again, by name: a report asks all rules of each identity, and to walk a map takes most of that
	settings []setting
}

type matcher struct {
	key      string
	patterns []string
}

type setting struct{ name, value string }

// ready makes lists of what a rule matches and sets.
func (r rule) ready() rule {
	r.matchers, r.settings = nil, nil
	for _, key := range slices.Sorted(maps.Keys(r.match)) {
		r.matchers = append(r.matchers, matcher{key, r.match[key]})
	}
	for _, name := range slices.Sorted(maps.Keys(r.set)) {
		r.settings = append(r.settings, setting{name, r.set[name]})
	}
	return r
}

var (
	matchKeys = []string{"identity", "namespace", "name", "source", "label", "annotation"}
	setKeys   = []string{"owner", "purpose", "environment", "business_function", "domain", "privilege"}
)

// maxRules bounds the rules of a configuration.
const maxRules = 1000

// ParseRules reads the rules of a configuration: a list of {match: {…}, set: {…}}. All faults are told, each with the number of its rule and the
// key.
func ParseRules(list []map[string]any) (Rules, error) {
	if len(list) > maxRules {
		return Rules{}, fmt.Errorf("inventory.rules: there are %d, at most %d are allowed", len(list), maxRules)
	}
	var out Rules
	var faults []error
	for i, m := range list {
		r, err := parseRule(m)
		if err != nil {
			faults = append(faults, fmt.Errorf("inventory.rules: rule %d: %w", i+1, err))
			continue
		}
		r.number = i + 1
		out.rules = append(out.rules, r.ready())
	}
	return out, errors.Join(faults...)
}

func parseRule(m map[string]any) (rule, error) {
	r := rule{match: map[string][]string{}, set: map[string]string{}}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		inner, ok := m[key].(map[string]any)
		if key != "match" && key != "set" {
			return r, fmt.Errorf("unknown key %s; known are match and set", key)
		}
		if !ok {
			return r, fmt.Errorf("%s takes settings of its own, such as %s", key, map[string]string{"match": "namespace: shop", "set": "owner: team shop"}[key])
		}
		for _, name := range slices.Sorted(maps.Keys(inner)) {
			if err := r.add(key, name, inner[name]); err != nil {
				return r, fmt.Errorf("%s.%s: %w", key, name, err)
			}
		}
	}
	if len(r.match) == 0 {
		return r, errors.New("match is empty; a rule for all has match: {identity: \"*\"}")
	}
	if len(r.set) == 0 {
		return r, errors.New("set is empty, so that the rule does nothing")
	}
	return r, nil
}

func (r *rule) add(part, name string, value any) error {
	if part == "match" {
		if !slices.Contains(matchKeys, name) {
			return fmt.Errorf("unknown key; known are %s", strings.Join(matchKeys, ", "))
		}
		patterns, ok := value.([]any)
		if !ok {
			patterns = []any{value}
		}
		for _, p := range patterns {
			text, ok := p.(string)
			if !ok || text == "" || len(text) > maxNote {
				return fmt.Errorf("want a text, or a list of texts, with * for anything; got %v", shorten(fmt.Sprint(p)))
			}
			if name == "source" && !slices.Contains(event.DeclarationSources, event.DeclarationSource(text)) {
				return fmt.Errorf("%q is not one of kubernetes, spire, csv, json", shorten(text))
			}
			r.match[name] = append(r.match[name], text)
		}
		if len(r.match[name]) == 0 {
			return errors.New("the list is empty, so that nothing matches")
		}
		return nil
	}
	if !slices.Contains(setKeys, name) {
		return fmt.Errorf("unknown key; known are %s", strings.Join(setKeys, ", "))
	}
	text, ok := value.(string)
	if !ok || text == "" {
		return fmt.Errorf("want a text, got %v", shorten(fmt.Sprint(value)))
	}
	// What it sets must be what a declaration may hold.
	probe := event.Declaration{Identity: event.KubernetesIdentity(probeDomain, "n", "s"), Source: event.SourceJSON, SourceName: "rule"}
	*field(&probe, name) = text
	if name == "domain" {
		probe.Domain = event.Domain(text)
	}
	if name == "privilege" {
		probe.Privilege = event.Privilege(text)
	}
	if err := probe.Validate(); err != nil {
		_, reason, _ := strings.Cut(err.Error(), ": ")
		return errors.New(reason)
	}
	r.set[name] = text
	return nil
}

var probeDomain = func() event.TrustDomain {
	td, err := event.ParseTrustDomain("example.org")
	if err != nil {
		panic(err) // a constant
	}
	return td
}()

// field is a text field of a declaration; domain and privilege are words, and go nowhere here.
func field(d *event.Declaration, name string) *string {
	switch name {
	case "owner":
		return &d.Owner
	case "purpose":
		return &d.Purpose
	case "environment":
		return &d.Environment
	case "business_function":
		return &d.BusinessFunction
	}
	return new(string)
}

// NeedsPairs says whether a rule looks at labels or annotations.
func (r Rules) NeedsPairs() bool {
	for _, list := range [][]rule{r.rules, builtin} {
		for i := range list {
			if list[i].match["label"] != nil || list[i].match["annotation"] != nil {
				return true
			}
		}
	}
	return false
}

// apply fills a declaration with what rules say. It says whether a rule of the configuration did.
func (r Rules) apply(d *event.Declaration, sources []event.DeclarationSource) (configured bool) {
	privileged := false
	for _, list := range [][]rule{r.rules, builtin} {
		for i := range list {
			rule := &list[i]
			if !rule.matters(d, privileged) || !rule.fits(d, sources) {
				continue
			}
			for _, s := range rule.settings {
				name, value, done := s.name, s.value, true
				switch {
				case name == "privilege" && !privileged:
					privileged = true
					if old := d.Privilege; old != "" && string(old) != value {
						d.PrivilegeReasons = append(slices.Clone(d.PrivilegeReasons), fmt.Sprintf("inventory rule %d says %s, the source %s", rule.number, value, old))
					}
					d.Privilege = event.Privilege(value)
				case name == "domain" && d.Domain == "":
					d.Domain = event.Domain(value)
				case name != "privilege" && name != "domain" && *field(d, name) == "":
					*field(d, name) = value
				default:
					done = false
				}
				configured = configured || done && rule.number > 0
			}
		}
	}
	if d.Domain == "" {
		d.Domain = event.DomainOther
	}
	return configured
}

// matters says whether a rule would set something, if it matched: most do not, and to see that costs less than to match.
func (r *rule) matters(d *event.Declaration, privileged bool) bool {
	for i := range r.settings {
		name := r.settings[i].name
		switch {
		case name == "privilege" && !privileged, name == "domain" && d.Domain == "", name != "privilege" && name != "domain" && *field(d, name) == "":
			return true
		}
	}
	return false
}

// fits says whether a declaration matches a rule.
func (r *rule) fits(d *event.Declaration, sources []event.DeclarationSource) bool {
	for i := range r.matchers {
		if !r.matchers[i].fits(d, sources) {
			return false
		}
	}
	return true
}

// fits says whether one of its patterns does.
func (m *matcher) fits(d *event.Declaration, sources []event.DeclarationSource) bool {
	like := func(text string) bool {
		return slices.ContainsFunc(m.patterns, func(p string) bool { return glob(p, text) })
	}
	switch m.key {
	case "identity":
		return like(d.Identity.String())
	case "namespace":
		return d.Namespace != "" && like(d.Namespace)
	case "name":
		return d.Name != "" && like(d.Name)
	case "source":
		return slices.ContainsFunc(m.patterns, func(p string) bool { return slices.Contains(sources, event.DeclarationSource(p)) })
	}
	pairs := d.Annotations
	if m.key == "label" {
		pairs = d.Labels
	}
	return slices.ContainsFunc(m.patterns, func(p string) bool { return matchPair(p, pairs) })
}

// matchPair matches key=pattern, or a key with any value.
func matchPair(p string, pairs map[string]string) bool {
	key, pattern, ok := strings.Cut(p, "=")
	value, has := pairs[key]
	return has && (!ok || glob(pattern, value))
}

// glob matches a text against a pattern in which * stands for anything, also nothing and also /. It takes time linear in both for each *.
func glob(pattern, s string) bool {
	first, rest, ok := strings.Cut(pattern, "*")
	if !ok {
		return pattern == s
	}
	if !strings.HasPrefix(s, first) {
		return false
	}
	s = s[len(first):]
	for {
		part, more, ok := strings.Cut(rest, "*")
		if !ok { // the last part ends the text
			return strings.HasSuffix(s, part)
		}
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s, rest = s[i+len(part):], more
	}
}
