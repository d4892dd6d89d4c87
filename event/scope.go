package event

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Scope is what an identity is declared to be allowed. An identity without a scope is not restricted by one.
type Scope struct {
	Identity   Identity     `json:"identity"`
	Version    uint64       `json:"version,omitempty"` // grows by one each time a scope of the identity is applied
	Entries    []ScopeEntry `json:"entries"`
	Origin     string       `json:"origin,omitempty"` // generated, or where it was written
	ApprovedBy string       `json:"approved_by,omitempty"`
	At         time.Time    `json:"at,omitzero"` // when it was applied
}

// ScopeEntry allows one resource, or those that match it.
type ScopeEntry struct {
	// Resource is a resource's text. In the name of an identity, of a DNS name and of a service, * stands for one character or more but / and, in names of
	// hosts, dots. A range allows all ranges and addresses within it.
	Resource  string    `json:"resource"`
	Direction Direction `json:"direction,omitempty"` // empty: outbound
	Flags     []string  `json:"flags,omitempty"`     // what is dangerous about it, which has to be said
}

// What is dangerous about an entry of a scope.
const (
	FlagWildcard       = "wildcard"        // it matches more than one name
	FlagInternet       = "internet"        // it matches addresses that are not private, or all of them
	FlagPrivilegedPort = "privileged-port" // a port that administers machines or is below 1024, but the usual ones
)

// ScopeFlags are all flags.
var ScopeFlags = []string{FlagInternet, FlagPrivilegedPort, FlagWildcard}

// MaxScopeEntries bounds a scope.
const MaxScopeEntries = 10_000

// Validate says what is wrong with a scope, in one line. Whatever is dangerous about an entry must stand in its flags.
func (s *Scope) Validate() error {
	if s.Identity.IsZero() {
		return errors.New("identity: is missing")
	}
	if len(s.Entries) > MaxScopeEntries {
		return fmt.Errorf("entries: there are %d, at most %d are kept", len(s.Entries), MaxScopeEntries)
	}
	for _, field := range []struct{ name, text string }{{"origin", s.Origin}, {"approved_by", s.ApprovedBy}} {
		if err := checkDeclared(field.text); err != nil {
			return fmt.Errorf("%s: %w", field.name, err)
		}
	}
	seen := map[string]bool{}
	for i, e := range s.Entries {
		if err := e.Validate(); err != nil {
			return fmt.Errorf("entries: number %d: %w", i+1, err)
		}
		key := string(e.way()) + " " + e.Resource
		if seen[key] {
			return fmt.Errorf("entries: number %d: %s %s is there twice", i+1, e.way(), short(e.Resource))
		}
		seen[key] = true
	}
	return nil
}

func (e *ScopeEntry) way() Direction {
	if e.Direction == "" {
		return Outbound
	}
	return e.Direction
}

// Validate says what is wrong with an entry, in one line.
func (e *ScopeEntry) Validate() error {
	if err := checkDeclared(e.Resource); err != nil {
		return fmt.Errorf("resource: %w", err)
	}
	if d := e.way(); d != Outbound && d != Inbound {
		return fmt.Errorf("direction: %q is not outbound or inbound", short(string(d)))
	}
	for _, flag := range e.Flags {
		if !slices.Contains(ScopeFlags, flag) {
			return fmt.Errorf("flags: %q is not one of %s", short(flag), words(ScopeFlags))
		}
	}
	if _, err := parsePattern(e.Resource); err != nil {
		return err
	}
	for _, flag := range Dangers(e.Resource) {
		if !slices.Contains(e.Flags, flag) {
			return fmt.Errorf("%s is dangerous (%s): write flags: [%s], if that is meant", short(e.Resource), flag, flag)
		}
	}
	return nil
}

// pattern is a resource, or what matches several.
type pattern struct {
	Resource
	glob string // of the name; empty: as the resource
}

func (p *pattern) matches(r Resource) bool {
	switch {
	case p.kind != r.kind || p.port != r.port || p.protocol != r.protocol:
		return false
	case p.kind == kindNet:
		return p.prefix.Bits() <= r.prefix.Bits() && p.prefix.Contains(r.prefix.Addr())
	case p.glob == "":
		return p.name == r.name
	}
	breaks := "./"
	if p.kind == kindIdentity {
		breaks = "/"
	}
	return glob(p.glob, r.name, breaks)
}

// parsePattern reads the text of a resource, whose name may hold stars.
func parsePattern(text string) (pattern, error) {
	if !strings.Contains(text, "*") {
		r, err := ParseResource(text)
		return pattern{Resource: r}, err
	}
	bad := func(why string) (pattern, error) {
		return pattern{}, fmt.Errorf("parse pattern %q: %s; want, for example, dns:*.example.com:443/tcp or spiffe://shop.example/ns/shop/sa/*:443/tcp", short(text), why)
	}
	i := strings.LastIndexByte(text, ':')
	if i < 0 || strings.Contains(text[i:], "*") {
		return bad("the port must be a number")
	}
	if strings.Count(text, "*") > 8 {
		return bad("there are more than 8 stars")
	}
	// The same text without stars must be a resource.
	r, err := ParseResource(strings.ReplaceAll(text, "*", "x"))
	if err != nil {
		return bad("it is no resource")
	}
	p := pattern{Resource: r}
	switch r.kind {
	case kindDNS, kindService:
		_, p.glob, _ = strings.Cut(text[:i], ":")
		if _, rest, ok := strings.Cut(p.glob, "."); !ok || strings.Trim(rest, "*.") == "" {
			return bad("it matches nearly every name")
		}
	case kindIdentity:
		p.glob = text[:i]
		domain, _, _ := strings.Cut(strings.TrimPrefix(p.glob, "spiffe://"), "/")
		if strings.Contains(domain, "*") {
			return bad("a star cannot stand in the trust domain")
		}
	default:
		return bad("a star can stand in names of identities, of hosts and of services only")
	}
	return p, nil
}

// glob matches stars against one character or more, none of which is in breaks. It takes time of the product of the lengths at most. What lies between
// breaks is matched by itself, so that it is enough to go back to the latest star.
func glob(pattern, text, breaks string) bool {
	star, from := -1, 0 // the latest star, and where what it stands for may end next
	i, j := 0, 0
	for j < len(text) {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			if strings.IndexByte(breaks, text[j]) >= 0 {
				return false // stars before it stand for less, or for as much
			}
			star, from = i, j+1
			i, j = i+1, j+1
		case i < len(pattern) && pattern[i] == text[j]:
			i, j = i+1, j+1
		case star >= 0 && strings.IndexByte(breaks, text[from]) < 0:
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	return i == len(pattern)
}

// Dangers says what is dangerous about an entry's resource, sorted. A text that is no resource has none.
func Dangers(text string) []string {
	p, err := parsePattern(text)
	if err != nil {
		return nil
	}
	var out []string
	if p.internet() {
		out = append(out, FlagInternet)
	}
	if p.privileged() {
		out = append(out, FlagPrivilegedPort)
	}
	if p.glob != "" {
		out = append(out, FlagWildcard)
	}
	return out
}

// usualPorts are those below 1024 that services have.
var usualPorts = []uint16{53, 80, 88, 123, 389, 443, 636, 853, 993, 995}

// adminPorts are those above that give power over machines.
var adminPorts = []uint16{2375, 2376, 2379, 2380, 3389, 5900, 5985, 5986, 6443, 10250}

func (p *pattern) privileged() bool {
	return p.port < 1024 && !slices.Contains(usualPorts, p.port) || slices.Contains(adminPorts, p.port)
}

// internet says whether a range holds public addresses.
func (p *pattern) internet() bool {
	if p.kind != kindNet {
		return false
	}
	return !slices.ContainsFunc(insideNets, func(n netip.Prefix) bool {
		return n.Bits() <= p.prefix.Bits() && n.Contains(p.prefix.Addr())
	})
}

var insideNets = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("::1/128"),
}

// Allows says whether the identity may reach a resource. For many questions, see [Scope.Matcher].
func (s *Scope) Allows(r Resource) bool {
	m := s.Matcher()
	return m.Allows(Outbound, r)
}

// ScopeMatcher answers for a scope. It does not change, and is safe for concurrent use.
type ScopeMatcher struct {
	exact    map[Resource]uint8 // bits by direction
	patterns []wayPattern
	inbound  bool
}

type wayPattern struct {
	pattern
	way uint8
}

func wayBit(d Direction) uint8 {
	if d == Inbound {
		return 2
	}
	return 1
}

// Matcher makes a matcher of a scope. Entries that are not valid allow nothing.
func (s *Scope) Matcher() *ScopeMatcher {
	m := &ScopeMatcher{exact: make(map[Resource]uint8, len(s.Entries))}
	for i := range s.Entries {
		e := &s.Entries[i]
		p, err := parsePattern(e.Resource)
		if err != nil {
			continue
		}
		bit := wayBit(e.way())
		m.inbound = m.inbound || bit == 2
		if p.glob == "" {
			m.exact[p.Resource] |= bit
		}
		if p.glob != "" || p.kind == kindNet && !p.prefix.IsSingleIP() {
			m.patterns = append(m.patterns, wayPattern{p, bit})
		}
	}
	return m
}

// Allows says whether a connection in a direction with a resource is within the scope. A scope without any inbound entry says nothing of inbound ones.
func (m *ScopeMatcher) Allows(d Direction, r Resource) bool {
	bit := wayBit(d)
	if bit == 2 && !m.inbound || m.exact[r]&bit != 0 {
		return true
	}
	for i := range m.patterns {
		if m.patterns[i].way == bit && m.patterns[i].matches(r) {
			return true
		}
	}
	return false
}
