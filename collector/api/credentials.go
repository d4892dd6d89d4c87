package api

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Validity is what is common to all that is said of a certificate.
type Validity struct {
	SHA256        string                 `json:"sha256"` // of the DER form, in hex
	Kind          string                 `json:"kind"`   // svid: it is the identity's SPIFFE ID; x509: another one that the identity presented
	State         report.CredentialState `json:"state"`
	NotBefore     time.Time              `json:"not_before,omitzero"`
	NotAfter      time.Time              `json:"not_after,omitzero"`
	LastSeen      time.Time              `json:"last_seen"`               // on connections that stay open or are resumed, too
	LastPresented time.Time              `json:"last_presented,omitzero"` // in a handshake
}

// LastCredential is the certificate that an identity presented last.
type LastCredential struct {
	Validity
	Count uint64 `json:"count"` // of all credentials that the identity presented
}

// Credential is a certificate that an identity presented.
type Credential struct {
	Validity
	Verified  bool      `json:"verified"`
	Roles     []string  `json:"roles"` // own: seen at the identity's end; peer: seen at another one's
	Serial    string    `json:"serial,omitempty"`
	Issuer    string    `json:"issuer,omitempty"`
	FirstSeen time.Time `json:"first_seen"`
	Presented uint64    `json:"presented"` // connections, as counted at the identity's end
	Received  uint64    `json:"received"`  // connections, as counted at other ends
	Nodes     []string  `json:"nodes"`
	Peers     []string  `json:"peers,omitempty"` // identities that it was shown to
}

func (s *Server) lastCredential(id event.Identity, c *store.LastCredential) *LastCredential {
	if c == nil {
		return nil
	}
	return &LastCredential{Validity{c.SHA256, credentialKind(id, c.Proven), report.StateOfCredential(c.NotBefore, c.NotAfter, c.LastPresented, s.now()),
		c.NotBefore, c.NotAfter, c.LastSeen, c.LastPresented}, c.Count}
}

func (s *Server) credentials(id event.Identity, all []store.Credential) []Credential {
	var out []Credential
	for i := range all {
		c := &all[i]
		out = append(out, Credential{
			Validity: Validity{c.SHA256, credentialKind(id, c.Proven), report.StateOfCredential(c.NotBefore, c.NotAfter, c.LastPresented, s.now()),
				c.NotBefore, c.NotAfter, c.LastSeen, c.LastPresented},
			Verified: c.Verified, Roles: list(c.Roles), Serial: c.Serial, Issuer: c.Issuer, FirstSeen: c.FirstSeen,
			Presented: c.Presented, Received: c.Received, Nodes: list(c.Nodes), Peers: c.Peers,
		})
	}
	return out
}

func credentialKind(id event.Identity, proven bool) string {
	if proven && strings.HasPrefix(id.String(), "spiffe://") {
		return "svid"
	}
	return "x509"
}

// expiring says before when the last credential of identities must end to be looked for; zero: all identities are.
func (s *Server) expiring(values url.Values) (time.Time, error) {
	if !values.Has("expiring") {
		return time.Time{}, nil
	}
	d, err := report.ParseWindow(values.Get("expiring"))
	if err != nil {
		return time.Time{}, problem(http.StatusBadRequest, "expiring: %v", err)
	}
	return s.now().UTC().Add(d), nil
}
