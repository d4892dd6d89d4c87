package svid

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Peers are those who may be at the other end of a connection. The zero value is nobody.
type Peers struct {
	ids     []spiffeid.ID
	domains []spiffeid.TrustDomain
	names   []string // DNS names and addresses, for certificates from files
}

// hostName is a DNS name without wildcards.
var hostName = regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9_-]{0,62}\.)*[A-Za-z0-9_][A-Za-z0-9_-]{0,62}\.?$`)

// ParsePeers reads SPIFFE ids (spiffe://shop.example/ns/nats/sa/nats), whole trust domains (spiffe://shop.example), and DNS names or addresses.
func ParsePeers(texts []string) (Peers, error) {
	var p Peers
	for _, text := range texts {
		if strings.Contains(text, "://") {
			id, err := spiffeid.FromString(text)
			if err != nil {
				return Peers{}, fmt.Errorf("%q is not a SPIFFE id such as spiffe://shop.example/ns/nats/sa/nats, nor a trust domain such as spiffe://shop.example: %w", clip(text), err)
			}
			if id.Path() == "" {
				p.domains = append(p.domains, id.TrustDomain())
			} else {
				p.ids = append(p.ids, id)
			}
			continue
		}
		if _, err := netip.ParseAddr(text); err != nil && (len(text) > 253 || !hostName.MatchString(text)) {
			return Peers{}, fmt.Errorf("%q is neither a SPIFFE id, as spiffe://shop.example/ns/nats/sa/nats, nor a DNS name", clip(text))
		}
		p.names = append(p.names, text)
	}
	return p, nil
}

// Names are the DNS names and addresses among them, which certificates of the Workload API do not have.
func (p Peers) Names() []string { return slices.Clone(p.names) }

// Empty says whether nobody is allowed.
func (p Peers) Empty() bool { return len(p.ids)+len(p.domains)+len(p.names) == 0 }

// allows says whether a verified SPIFFE id is among them.
func (p Peers) allows(id spiffeid.ID) bool {
	return slices.Contains(p.ids, id) || slices.Contains(p.domains, id.TrustDomain())
}

// String lists them.
func (p Peers) String() string {
	var out []string
	for _, id := range p.ids {
		out = append(out, id.String())
	}
	for _, td := range p.domains {
		out = append(out, td.IDString())
	}
	return strings.Join(append(out, p.names...), ", ")
}
