package peer

import (
	_ "embed" // for the list
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"
)

//go:embed suffixes.txt
var suffixList string

// suffixes are the rules of suffixes.txt by the last label of what they apply to.
type suffixes map[string][]suffixRule

type suffixRule struct {
	machine string   // what must stand before the suffix; empty for keep
	labels  []string // of the suffix
	reason  string
	line    int
}

// parseSuffixes reads a list. Errors name the line.
func parseSuffixes(text, clusterDomain string) (suffixes, error) {
	rules := suffixes{}
	for i, line := range strings.Split(text, "\n") {
		rule, reason, _ := strings.Cut(line, "#")
		f := strings.Fields(rule)
		r := suffixRule{reason: strings.TrimSpace(reason), line: i + 1}
		switch {
		case len(f) == 0:
			continue
		case len(f) == 3 && f[0] == "collapse":
			r.machine = f[1]
		case len(f) != 2 || f[0] != "keep":
			return nil, fmt.Errorf(`parse suffix list, line %d: %q is neither "collapse <machine> <suffix>" nor "keep <suffix>"`, i+1, rule)
		}
		r.labels = strings.Split(strings.ReplaceAll(f[len(f)-1], "{cluster}", strings.Trim(strings.ToLower(clusterDomain), ".")), ".")
		last := r.labels[len(r.labels)-1]
		if len(r.labels) < 2 || last == "*" || slices.Contains(r.labels, "") {
			return nil, fmt.Errorf("parse suffix list, line %d: %q is no suffix of two labels or more", i+1, f[len(f)-1])
		}
		if before, rest, ok := strings.Cut(r.machine, "{"); ok {
			class, after, ok := strings.Cut(rest, "}")
			if !ok || classes[class] == nil || strings.ContainsAny(before+after, "{}*.") {
				return nil, fmt.Errorf("parse suffix list, line %d: %q is no pattern of a label", i+1, r.machine)
			}
		}
		rules[last] = append(rules[last], r)
	}
	return rules, nil
}

// classes are the words in braces.
var classes = map[string]func(string) bool{
	"ip": func(s string) bool {
		if only(s, "0123456789-") {
			a, err := netip.ParseAddr(strings.ReplaceAll(s, "-", "."))
			return err == nil && a.Is4()
		}
		a, err := netip.ParseAddr(strings.ReplaceAll(s, "-", ":"))
		return err == nil && a.Is6()
	},
	"n":   func(s string) bool { return s != "" && only(s, "0123456789") },
	"hex": func(s string) bool { return len(s) >= 8 && only(s, "0123456789abcdef") },
	"id": func(s string) bool {
		return len(s) >= 8 && only(s, "0123456789abcdefghijklmnopqrstuvwxyz") && strings.ContainsAny(s, "0123456789")
	},
}

func only(s, chars string) bool { return strings.Trim(s, chars) == "" }

// before gives where in a name the rule's suffix begins, or -1.
func (r *suffixRule) before(name string) int {
	end := len(name)
	for i := len(r.labels) - 1; i >= 0; i-- {
		if end < 0 {
			return -1
		}
		dot := strings.LastIndexByte(name[:end], '.')
		if label := r.labels[i]; label != "*" && label != name[dot+1:end] {
			return -1
		}
		end = dot
	}
	return end + 1
}

func (r *suffixRule) machineMade(labels string) bool {
	switch r.machine {
	case "":
		return false
	case "**":
		return true
	case "*":
		return !strings.Contains(labels, ".")
	}
	before, rest, ok := strings.Cut(r.machine, "{")
	if !ok {
		return labels == before
	}
	class, after, _ := strings.Cut(rest, "}")
	middle, ok := strings.CutPrefix(labels, before)
	if !ok {
		return false
	}
	middle, ok = strings.CutSuffix(middle, after)
	return ok && classes[class](middle)
}

// collapse gives what a name is told as: itself, or "*." and the suffix that a rule gives.
func (s suffixes) collapse(name string) string {
	var rule *suffixRule
	start := 0
	rules := s[name[strings.LastIndexByte(name, '.')+1:]]
	for i := range rules {
		r := &rules[i]
		if rule != nil && len(r.labels) <= len(rule.labels) {
			continue
		}
		if at := r.before(name); at > 0 && (r.machine == "" || r.machineMade(name[:at-1])) {
			rule, start = r, at
		}
	}
	if rule == nil || rule.machine == "" {
		return name
	}
	return "*." + name[start:]
}

// domain gives the part of a name that somebody registered: the label before the longest suffix under which different parties have names, and that
// suffix. It is empty where the name is not below such a domain.
func (s suffixes) domain(name string) string {
	public, _ := publicsuffix.PublicSuffix(name)
	start := len(name) - len(public)
	for _, r := range s[name[strings.LastIndexByte(name, '.')+1:]] {
		if at := r.before(name); r.machine == "" && at >= 0 {
			start = min(start, at)
		}
	}
	if start == 0 {
		return ""
	}
	return name[strings.LastIndexByte(name[:start-1], '.')+1:]
}
