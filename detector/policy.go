package detector

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/nearest"
)

// Policy says what is told otherwise than by default. Of the rules that match, the first one that sets something wins; what none sets is as
// [DefaultPolicy] has it, and then as the detector's own rule does.
type Policy []PolicyRule

// PolicyRule changes what one rule of the detector, or all of them, tell of some identities.
type PolicyRule struct {
	Match    PolicyMatch    `mapstructure:"match"`
	Rule     string         `mapstructure:"rule"`      // its name; empty: all of them
	Off      *bool          `mapstructure:"off"`       // true: nothing is told
	Severity event.Severity `mapstructure:"severity"`  // whatever the circumstances
	AtMost   event.Severity `mapstructure:"at_most"`   // a finding is never more severe
	MinScore *float64       `mapstructure:"min_score"` // from 0 to 1: what scores less is not told
}

// PolicyMatch chooses identities. A list holds texts with * for anything, of which one must fit; all lists that are not empty must. Without any it is everybody.
type PolicyMatch struct {
	Namespace []string `mapstructure:"namespace"`
	Identity  []string `mapstructure:"identity"` // its URI
	Owner     []string `mapstructure:"owner"`    // in the inventory; where that says none, of its workload, as Kind/name
}

// DefaultPolicy turns off what is noise in most places.
func DefaultPolicy() Policy {
	off, changed := true, 0.5
	return Policy{
		// People work there when they like.
		{Match: PolicyMatch{Namespace: []string{"dev", "dev-*", "*-dev", "test", "test-*", "*-test", "staging", "*-staging", "sandbox", "*-sandbox"}}, Rule: ruleOffHours.name, Off: &off},
		// A certificate that always was of years is a fact for reports. That one of hours became one of years is an event.
		{Rule: ruleLongLivedCredential.name, MinScore: &changed},
	}
}

// maxPolicy bounds the rules of a policy.
const maxPolicy = 1000

// ParsePolicy reads a policy as a configuration has it: a list of {match: {…}, rule: …, off: …}. All faults are told, one in a line.
func ParsePolicy(list []map[string]any) (Policy, error) {
	var p Policy
	var faults []error
	for i, m := range list {
		var r PolicyRule
		var seen mapstructure.Metadata
		d, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{Result: &r, Metadata: &seen, DecodeHook: mapstructure.StringToSliceHookFunc(",")})
		if err == nil {
			err = d.Decode(m)
		}
		if err != nil {
			text := strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n", " ")), " ")
			faults = append(faults, fmt.Errorf("detector.policy: rule %d: %s", i+1, strings.TrimPrefix(text, "decoding failed due to the following error(s): ")))
			continue
		}
		slices.Sort(seen.Unused)
		for _, key := range seen.Unused {
			faults = append(faults, fmt.Errorf("detector.policy: rule %d: unknown key %s%s", i+1, key, nearest.Hint(key, policyKeys)))
		}
		if err := r.validate(); err != nil && len(seen.Unused) == 0 {
			faults = append(faults, fmt.Errorf("detector.policy: rule %d: %w", i+1, err))
		}
		p = append(p, r)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return p, p.Validate()
}

var policyKeys = []string{"match", "match.namespace", "match.identity", "match.owner", "rule", "off", "severity", "at_most", "min_score"}

// Validate says all that is wrong.
func (p Policy) Validate() error {
	if len(p) > maxPolicy {
		return fmt.Errorf("detector.policy: there are %d rules, at most %d are allowed", len(p), maxPolicy)
	}
	var faults []error
	for i := range p {
		if err := p[i].validate(); err != nil {
			faults = append(faults, fmt.Errorf("detector.policy: rule %d: %w", i+1, err))
		}
	}
	return errors.Join(faults...)
}

var severityNames = []string{string(event.Info), string(event.Low), string(event.Medium), string(event.High), string(event.Critical)}

func (r *PolicyRule) validate() error {
	if r.Rule != "" && ruleNamed(r.Rule) == nil {
		return fmt.Errorf("unknown rule %s%s", r.Rule, nearest.Hint(r.Rule, Rules()))
	}
	for key, severity := range map[string]event.Severity{"severity": r.Severity, "at_most": r.AtMost} {
		if severity != "" && !slices.Contains(severityNames, string(severity)) {
			return fmt.Errorf("%s %s is not one of %s%s", key, severity, strings.Join(severityNames, ", "), nearest.Hint(string(severity), severityNames))
		}
	}
	if r.MinScore != nil && (*r.MinScore < 0 || *r.MinScore > 1) {
		return fmt.Errorf("min_score is %g; it must be between 0 and 1", *r.MinScore)
	}
	if r.Off == nil && r.Severity == "" && r.AtMost == "" && r.MinScore == nil {
		return errors.New("it sets nothing; give it off, severity, at_most or min_score")
	}
	for _, list := range [][]string{r.Match.Namespace, r.Match.Identity, r.Match.Owner} {
		if slices.Contains(list, "") {
			return errors.New("an empty text in match fits nobody; use * for anything")
		}
	}
	return nil
}

// matches says whether the rule is about what somebody did.
func (r *PolicyRule) matches(name string, w *event.Workload, owner string) bool {
	return (r.Rule == "" || r.Rule == name) && fits(r.Match.Namespace, w.Namespace) && fits(r.Match.Owner, owner) &&
		(len(r.Match.Identity) == 0 || fits(r.Match.Identity, w.Identity.String()))
}

func fits(patterns []string, text string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { return glob(p, text) })
}

// glob says whether a text fits a pattern, in which * is anything.
func glob(pattern, text string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, first)
	if !ok {
		return false
	}
	for {
		part, more, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(text, part)
		}
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text, rest = text[i+len(part):], more
	}
}

// say gives what is set for a rule and a workload.
func (p Policy) say(name string, w *event.Workload, owner string) (set PolicyRule) {
	for i := range p {
		r := &p[i]
		if !r.matches(name, w, owner) {
			continue
		}
		if set.Off == nil {
			set.Off = r.Off
		}
		if set.MinScore == nil {
			set.MinScore = r.MinScore
		}
		if set.Severity == "" {
			set.Severity = r.Severity
		}
		if set.AtMost == "" {
			set.AtMost = r.AtMost
		}
	}
	return set
}

// silent says that the policy turns a rule off for who is being judged.
func (s *sight) silent(r *rule) bool {
	set := s.d.policy.say(r.name, &s.o.Workload, s.ownerOf())
	return set.Off != nil && *set.Off
}

// allow applies the policy to an alarm, and says whether it is to be told. What is not is counted.
func (s *sight) allow(a *alarm) bool {
	set := s.d.policy.say(a.rule.name, &s.o.Workload, s.ownerOf())
	if set.Off != nil && *set.Off || set.MinScore != nil && a.score < *set.MinScore {
		s.d.refused[causePolicy]++
		return false
	}
	if set.Severity != "" {
		a.severity = set.Severity
	}
	rank := func(s event.Severity) int { return slices.Index(severityNames, string(s)) }
	if set.AtMost != "" && rank(a.severity) > rank(set.AtMost) {
		a.severity = set.AtMost
	}
	return true
}
