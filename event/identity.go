package event

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Identity is who acts, as a URI: spiffe://<trust domain>/<path> for workloads, x509://<issuer hash>/<subject> for certificates without a
// SPIFFE ID. The zero Identity is no identity; any other value is valid, comparable with == and safe as a map key.
type Identity struct {
	uri string
}

// TrustDomain is the SPIFFE trust domain that derived identities live in.
type TrustDomain = spiffeid.TrustDomain

// ParseTrustDomain checks a trust domain name, such as "shop.example".
func ParseTrustDomain(name string) (TrustDomain, error) {
	td, err := spiffeid.TrustDomainFromString(name)
	if err != nil {
		return TrustDomain{}, fmt.Errorf("parse trust domain %q: %w", name, err)
	}
	return td, nil
}

// The SPIFFE ID specification (section 2.3) allows 2048 bytes; node and trust domain names are short, so a derived path is held well below.
const maxDerivedPath = 1024

var errScheme = errors.New("scheme is not spiffe or x509")

// maxIdentity is the longest URI, in bytes (SPIFFE ID specification, section 2.3).
const maxIdentity = 2048

// ParseIdentity checks a URI that came from outside.
func ParseIdentity(uri string) (Identity, error) {
	if len(uri) > maxIdentity {
		return Identity{}, fmt.Errorf("parse identity %q…: longer than %d bytes", uri[:64], maxIdentity)
	}
	switch {
	case strings.HasPrefix(uri, "spiffe://"):
		if _, err := spiffeid.FromString(uri); err != nil {
			return Identity{}, fmt.Errorf("parse identity %q: %w", uri, err)
		}
	case strings.HasPrefix(uri, "x509://"):
		u, err := url.Parse(uri)
		if err != nil {
			return Identity{}, fmt.Errorf("parse identity: %w", err)
		}
		if u.Host == "" || u.User != nil || len(u.Path) < 2 || strings.ContainsAny(uri, "?#") || !utf8.ValidString(uri) {
			return Identity{}, fmt.Errorf("parse identity %q: want x509://<issuer hash>/<subject>", uri)
		}
	default:
		return Identity{}, fmt.Errorf("parse identity %q: %w", uri, errScheme)
	}
	return Identity{uri}, nil
}

// KubernetesIdentity is the identity of a service account.
func KubernetesIdentity(td TrustDomain, namespace, serviceAccount string) Identity {
	return derive(td, "ns", namespace, "sa", serviceAccount)
}

// UnitIdentity is the identity of a systemd unit on a node.
func UnitIdentity(td TrustDomain, node, unit string) Identity {
	return derive(td, "node", node, "unit", unit)
}

// ContainerIdentity is the identity of a container that no orchestrator runs, by its name.
func ContainerIdentity(td TrustDomain, node, name string) Identity {
	return derive(td, "node", node, "container", name)
}

// CgroupIdentity is the identity of a cgroup that nothing else names; path is its path below the cgroup root.
func CgroupIdentity(td TrustDomain, node, path string) Identity {
	segments := []string{"node", node, "cgroup"}
	for s := range strings.SplitSeq(path, "/") {
		if s != "" {
			segments = append(segments, s)
		}
	}
	return derive(td, segments...)
}

// ProcessIdentity is the identity of what a user runs outside of any workload, by the file name of its executable.
func ProcessIdentity(td TrustDomain, node string, uid uint32, executable string) Identity {
	if i := strings.LastIndexByte(executable, '/'); i >= 0 {
		executable = executable[i+1:]
	}
	if executable == "" {
		executable = "unknown"
	}
	return derive(td, "node", node, "uid", strconv.FormatUint(uint64(uid), 10), "exe", executable)
}

// Foreign says whether an identity is bound to another node than this one: what units, cgroups and processes of a node are called, nobody but
// that node can know. Identities that are not bound to a node, such as service accounts, are foreign to none.
func (i Identity) Foreign(node string) bool {
	rest, spiffe := strings.CutPrefix(i.uri, "spiffe://")
	if !spiffe {
		return false
	}
	_, path, _ := strings.Cut(rest, "/")
	kind, path, _ := strings.Cut(path, "/")
	if kind != "node" {
		return false
	}
	owner, _, _ := strings.Cut(path, "/")
	return owner != pathSegment(node)
}

func derive(td TrustDomain, segments ...string) Identity {
	if td.IsZero() { // a programming error: every agent has a validated trust domain
		return Identity{}
	}
	var path strings.Builder
	for _, s := range segments {
		path.WriteByte('/')
		path.WriteString(pathSegment(s))
	}
	p := path.String()
	if len(p) > maxDerivedPath {
		cut := p[:maxDerivedPath-1-2*hashBytes]
		p = strings.TrimRight(cut, "/.") + "-" + shortHash(p)
	}
	return Identity{td.IDString() + p}
}

// hashBytes of SHA-256 keep names apart whose forbidden characters were replaced.
const hashBytes = 8

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:hashBytes])
}

// pathSegment makes a SPIFFE path segment of any name: characters that the specification forbids become '-', and then a hash of the
// original is appended. A name that already ends like such a hash gets one too, so that no two names ever share a segment.
func pathSegment(name string) string {
	clean := []byte(name)
	changed := name == "" || name == "." || name == ".." || endsLikeHash(name)
	for i, c := range clean {
		if !pathByte(c) {
			clean[i] = '-'
			changed = true
		}
	}
	if !changed {
		return name
	}
	return strings.Trim(string(clean), ".") + "-" + shortHash(name)
}

func pathByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_'
}

func endsLikeHash(s string) bool {
	i := len(s) - 2*hashBytes - 1
	if i < 0 || s[i] != '-' {
		return false
	}
	return strings.Trim(s[i+1:], "0123456789abcdef") == ""
}

// String is the URI, or "" for the zero Identity.
func (i Identity) String() string { return i.uri }

// IsZero says whether there is no identity.
func (i Identity) IsZero() bool { return i.uri == "" }

// Domain is the trust domain of a SPIFFE identity, the issuer of an X.509 one.
func (i Identity) Domain() string {
	_, rest, _ := strings.Cut(i.uri, "://")
	domain, _, _ := strings.Cut(rest, "/")
	return domain
}

// MarshalText implements [encoding.TextMarshaler].
func (i Identity) MarshalText() ([]byte, error) { return []byte(i.uri), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]; an empty text is the zero Identity.
func (i *Identity) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*i = Identity{}
		return nil
	}
	parsed, err := ParseIdentity(string(text))
	if err != nil {
		return err
	}
	*i = parsed
	return nil
}

// Evidence is why an identity is believed.
type Evidence string

// The kinds of evidence, strongest first.
const (
	EvidenceSVID        Evidence = "svid"         // its certificate was seen in a handshake that completed
	EvidenceWorkloadAPI Evidence = "workload-api" // the SPIFFE Workload API named it
	EvidenceKubernetes  Evidence = "kubernetes"   // the API server's pod, matched by cgroup
	EvidenceSystemd     Evidence = "systemd"      // the unit that its cgroup belongs to
	EvidenceCgroup      Evidence = "cgroup"       // only the cgroup's name
	EvidenceProcess     Evidence = "process"      // only user and executable
)

var evidenceOrder = [...]Evidence{EvidenceSVID, EvidenceWorkloadAPI, EvidenceKubernetes, EvidenceSystemd, EvidenceCgroup, EvidenceProcess}

// Strength orders evidence: 6 for the strongest, 1 for the weakest, 0 for none or an unknown word.
func (e Evidence) Strength() uint8 {
	for i, x := range evidenceOrder {
		if e == x {
			return uint8(len(evidenceOrder) - i)
		}
	}
	return 0
}
