package event

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Declaration says that an identity should exist: somebody registered, created or listed it. It is a claim of its source, not something that
// was seen.
type Declaration struct {
	Identity         Identity          `json:"identity"`
	Kind             string            `json:"kind,omitempty"` // in the terms of the source: service-account, registration-entry, …
	Source           DeclarationSource `json:"source"`
	SourceName       string            `json:"source_name"` // which cluster, server or list
	Namespace        string            `json:"namespace,omitempty"`
	Name             string            `json:"name,omitempty"`
	Owner            string            `json:"owner,omitempty"` // a person or team
	Purpose          string            `json:"purpose,omitempty"`
	Environment      string            `json:"environment,omitempty"`
	Domain           Domain            `json:"domain,omitempty"`
	Privilege        Privilege         `json:"privilege,omitempty"` // empty: not known
	PrivilegeReasons []string          `json:"privilege_reasons,omitempty"`
	Tokens           []TokenKind       `json:"tokens,omitempty"` // that are known to exist
	BusinessFunction string            `json:"business_function,omitempty"`
	Created          time.Time         `json:"created,omitzero"`
	Expires          time.Time         `json:"expires,omitzero"` // of the registration; zero is never
	Labels           map[string]string `json:"labels,omitempty"`
	Annotations      map[string]string `json:"annotations,omitempty"`

	FirstDeclared time.Time `json:"first_declared,omitzero"` // when Ambit learned of it; the store fills these in
	LastDeclared  time.Time `json:"last_declared,omitzero"`
	Gone          time.Time `json:"gone,omitzero"` // since when its source does not declare it any more
}

// DeclarationSource is where a declaration comes from.
type DeclarationSource string

// The sources of declarations.
const (
	SourceKubernetes DeclarationSource = "kubernetes"
	SourceSPIRE      DeclarationSource = "spire"
	SourceCSV        DeclarationSource = "csv"
	SourceJSON       DeclarationSource = "json"
)

// DeclarationSources are all of them.
var DeclarationSources = []DeclarationSource{SourceKubernetes, SourceSPIRE, SourceCSV, SourceJSON}

// Domain is the part of an organisation's identities that one belongs to.
type Domain string

// The domains.
const (
	DomainService     Domain = "production-service-account"
	DomainCI          Domain = "ci-cd"
	DomainOAuth       Domain = "oauth-app"
	DomainAgent       Domain = "ai-agent"
	DomainCertificate Domain = "certificate"
	DomainOther       Domain = "other"
)

// Domains are all of them.
var Domains = []Domain{DomainService, DomainCI, DomainOAuth, DomainAgent, DomainCertificate, DomainOther}

// Privilege is how much an identity may do, in one word; the reasons stand beside it.
type Privilege string

// The privileges, the least first.
const (
	PrivilegeNone         Privilege = "none"          // nothing was granted
	PrivilegeLow          Privilege = "low"           // some things in some namespaces
	PrivilegeMedium       Privilege = "medium"        // the whole cluster, or secrets, or running programs in a namespace
	PrivilegeHigh         Privilege = "high"          // a way to nearly everything
	PrivilegeClusterAdmin Privilege = "cluster-admin" // everything
)

// Privileges are all of them, the least first.
var Privileges = []Privilege{PrivilegeNone, PrivilegeLow, PrivilegeMedium, PrivilegeHigh, PrivilegeClusterAdmin}

// Rank orders privileges: 1 for none to 5 for cluster-admin, 0 for one that is not known.
func (p Privilege) Rank() int { return slices.Index(Privileges, p) + 1 }

// TokenKind is a kind of credential that a service account has.
type TokenKind string

// The kinds of tokens.
const (
	TokenBound  TokenKind = "bound"         // projected into pods, for a pod, an audience and an hour
	TokenSecret TokenKind = "legacy-secret" // in a Secret, without end
)

// Bounds of a declaration.
const (
	maxDeclaredText  = 1024 // bytes
	maxDeclaredPairs = 64   // labels, and annotations
)

// Validate says what is wrong with a declaration, in one line that begins with the name of the field.
func (d *Declaration) Validate() error {
	if d.Identity.IsZero() {
		return errors.New("identity: is missing")
	}
	if !slices.Contains(DeclarationSources, d.Source) {
		return fmt.Errorf("source: %q is not one of kubernetes, spire, csv, json", d.Source)
	}
	if d.SourceName == "" {
		return errors.New("source_name: is missing")
	}
	for _, field := range []struct{ name, text string }{
		{"source_name", d.SourceName}, {"kind", d.Kind}, {"namespace", d.Namespace}, {"name", d.Name}, {"owner", d.Owner}, {"purpose", d.Purpose},
		{"environment", d.Environment}, {"business_function", d.BusinessFunction},
	} {
		if err := checkDeclared(field.text); err != nil {
			return fmt.Errorf("%s: %w", field.name, err)
		}
	}
	if d.Domain != "" && !slices.Contains(Domains, d.Domain) {
		return fmt.Errorf("domain: %q is not one of %s", short(string(d.Domain)), words(Domains))
	}
	if d.Privilege != "" && d.Privilege.Rank() == 0 {
		return fmt.Errorf("privilege: %q is not one of %s", short(string(d.Privilege)), words(Privileges))
	}
	for _, token := range d.Tokens {
		if token != TokenBound && token != TokenSecret {
			return fmt.Errorf("tokens: %q is not one of bound, legacy-secret", short(string(token)))
		}
	}
	if len(d.Tokens) > 2 || len(d.PrivilegeReasons) > maxDeclaredPairs {
		return fmt.Errorf("privilege_reasons: more than %d, or tokens: more than 2", maxDeclaredPairs)
	}
	for _, reason := range d.PrivilegeReasons {
		if err := checkDeclared(reason); err != nil {
			return fmt.Errorf("privilege_reasons: %w", err)
		}
	}
	if err := checkPairs(d.Labels); err != nil {
		return fmt.Errorf("labels: %w", err)
	}
	if err := checkPairs(d.Annotations); err != nil {
		return fmt.Errorf("annotations: %w", err)
	}
	// What the database can hold.
	for _, field := range []struct {
		name string
		time time.Time
	}{{"created", d.Created}, {"expires", d.Expires}} {
		if y := field.time.UTC().Year(); !field.time.IsZero() && (y < 1971 || y > 2261) {
			return fmt.Errorf("%s: %s is not from 1971 to 2261", field.name, field.time.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

func checkPairs(pairs map[string]string) error {
	if len(pairs) > maxDeclaredPairs {
		return fmt.Errorf("there are %d, at most %d are kept", len(pairs), maxDeclaredPairs)
	}
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		if key == "" {
			return errors.New("a key is empty")
		}
		if err := checkDeclared(key); err != nil {
			return fmt.Errorf("key %q: %w", short(key), err)
		}
		if err := checkDeclared(pairs[key]); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

// checkDeclared wants one line of text.
func checkDeclared(s string) error {
	switch {
	case len(s) > maxDeclaredText:
		return fmt.Errorf("is %d bytes long, at most %d are kept", len(s), maxDeclaredText)
	case !utf8.ValidString(s):
		return errors.New("is not UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("holds a control character")
	}
	return nil
}

// short is the beginning of a text for an error.
func short(s string) string {
	if len(s) <= 40 {
		return s
	}
	return strings.ToValidUTF8(s[:40], "") + "…"
}

func words[T ~string](list []T) string {
	var b strings.Builder
	for i, w := range list {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(w))
	}
	return b.String()
}
