package scope

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/ambit-nhi/ambit/event"
)

// Format is a language of policies.
type Format string

// The formats.
const (
	Ambit      Format = "ambit"      // what `ambit scope apply` reads
	Kubernetes Format = "kubernetes" // NetworkPolicy
	Cilium     Format = "cilium"     // CiliumNetworkPolicy
	Calico     Format = "calico"     // StagedNetworkPolicy: it tells what it would deny, and denies nothing
	Istio      Format = "istio"      // AuthorizationPolicy, with the annotation for a dry run
	Cerbos     Format = "cerbos"     // resource policy
)

// Formats are all of them.
var Formats = []Format{Ambit, Kubernetes, Cilium, Calico, Istio, Cerbos}

// Policy is a scope in another language.
type Policy struct {
	Text    string    // YAML, whose head says in comments what is to be known of it
	Missing []LeftOut // entries that this language cannot say: it denies them
	Notes   []string
}

// ErrFormat says that an identity or a scope has no form in a format.
var ErrFormat = errors.New("cannot be written in this format")

// Write writes a scope in a format.
func Write(s *event.Scope, f Format) (*Policy, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	w := &writer{scope: s, account: accountOf(s.Identity)}
	var document any
	var err error
	switch f {
	case Ambit:
		document = w.ambit()
	case Cerbos:
		document = w.cerbos()
	case Kubernetes, Cilium, Calico, Istio:
		if w.account.name == "" {
			return nil, fmt.Errorf("%w: %s is no service account of Kubernetes", ErrFormat, s.Identity)
		}
		document, err = map[Format]func() (any, error){Kubernetes: w.kubernetes, Cilium: w.cilium, Calico: w.calico, Istio: w.istio}[f]()
	default:
		err = fmt.Errorf("%w: there is no format %.40q", ErrFormat, string(f))
	}
	if err != nil {
		return nil, err
	}
	return w.finish(document)
}

// writer is one policy being written.
type writer struct {
	scope   *event.Scope
	account account
	missing []LeftOut
	notes   []string
}

func (w *writer) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(w.notes, text) {
		w.notes = append(w.notes, text)
	}
}

// lack says that an entry cannot be written.
func (w *writer) lack(e *entry, why string) {
	w.missing = append(w.missing, LeftOut{e.text, e.way, why})
}

func (w *writer) finish(document any) (*Policy, error) {
	var b bytes.Buffer
	comment := func(format string, args ...any) { fmt.Fprintf(&b, "# %s\n", line(fmt.Sprintf(format, args...))) }
	comment("Scope of %s, written by Ambit.", w.scope.Identity)
	for _, e := range w.scope.Entries {
		if len(e.Flags) > 0 {
			comment("FLAGGED (%s): %s", strings.Join(e.Flags, ", "), e.Resource)
		}
	}
	for _, m := range w.missing {
		comment("NOT ALLOWED: %s %s: %s", m.Direction, m.Resource, m.Why)
	}
	for _, n := range w.notes {
		comment("Note: %s", n)
	}
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(document); err != nil {
		return nil, fmt.Errorf("encode a policy: %w", err)
	}
	return &Policy{Text: b.String(), Missing: w.missing, Notes: w.notes}, nil
}

// line makes one line of text for a comment.
func line(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// entry is an entry of a scope that was taken apart.
type entry struct {
	text    string
	way     event.Direction
	r       event.Resource // zero where there are stars
	pattern bool
	flags   []string
}

func (w *writer) entries(way event.Direction) (out []entry) {
	for _, e := range w.scope.Entries {
		x := entry{text: e.Resource, way: e.Direction, flags: e.Flags}
		if x.way == "" {
			x.way = event.Outbound
		}
		r, err := event.ParseResource(e.Resource)
		x.r, x.pattern = r, err != nil || strings.Contains(e.Resource, "*")
		if x.way == way {
			out = append(out, x)
		}
	}
	return out
}

// account is a service account of Kubernetes.
type account struct{ namespace, name string }

var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// accountOf reads the identity that Ambit derives of service accounts; the zero account is none.
func accountOf(id event.Identity) account {
	_, path, _ := strings.Cut(strings.TrimPrefix(id.String(), "spiffe://"), "/")
	part := strings.Split(path, "/")
	if !strings.HasPrefix(id.String(), "spiffe://") || len(part) != 4 || part[0] != "ns" || part[2] != "sa" || !label.MatchString(part[1]) || !label.MatchString(part[3]) {
		return account{}
	}
	return account{part[1], part[3]}
}

// peer is the service account that a resource is. One of another trust domain is none here: a policy would allow the account of its name in this one.
func (w *writer) peer(r event.Resource) account {
	id, err := event.ParseIdentity(r.Name())
	if r.Kind() != event.ResourceIdentity || err != nil || domain(id) != domain(w.scope.Identity) {
		return account{}
	}
	return accountOf(id)
}

func domain(id event.Identity) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(id.String(), "spiffe://"), "/")
	return name
}

// service reads name.namespace[.svc…].
func service(name string) (account, bool) {
	part := strings.Split(name, ".")
	if len(part) < 2 || !label.MatchString(part[0]) || !label.MatchString(part[1]) || len(part) > 2 && part[2] != "svc" {
		return account{}, false
	}
	return account{part[1], part[0]}, true
}

var hostname = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.?$`)

func cidr(p netip.Prefix) string { return p.Masked().String() }

func upper(p event.Protocol) string { return strings.ToUpper(string(p)) }

type meta struct {
	Name        string            `yaml:"name"`
	Namespace   string            `yaml:"namespace,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

// meta is what objects of Kubernetes have in common.
func (w *writer) meta(annotations map[string]string) meta {
	all := map[string]string{"ambit.dev/identity": w.scope.Identity.String()}
	if w.scope.Version > 0 {
		all["ambit.dev/scope-version"] = fmt.Sprint(w.scope.Version)
	}
	for key, v := range annotations {
		all[key] = v
	}
	return meta{Name: "ambit-" + w.account.name, Namespace: w.account.namespace, Annotations: all}
}
