package store

import (
	"context"
	"fmt"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Credential is a certificate that an identity presented. Times are UTC; a zero time is not known.
type Credential struct {
	SHA256        string    `json:"sha256"`   // of the DER form, in hex
	Proven        bool      `json:"proven"`   // it is a verified SVID, or the verified subject, of its holder; else the holder presented it, no more
	Roles         []string  `json:"roles"`    // own: seen where it was presented; peer: seen where it was shown to
	Verified      bool      `json:"verified"` // ever, by Ambit's trust bundles or by the program that it was shown to
	Serial        string    `json:"serial,omitempty"`
	Issuer        string    `json:"issuer,omitempty"`
	NotBefore     time.Time `json:"not_before,omitzero"`
	NotAfter      time.Time `json:"not_after,omitzero"`
	FirstSeen     time.Time `json:"first_seen"`
	LastSeen      time.Time `json:"last_seen"`               // on connections that stay open or are resumed, too
	LastPresented time.Time `json:"last_presented,omitzero"` // in a handshake; not later than the end of the interval in which it was
	Presented     uint64    `json:"presented"`               // connections, as they were counted at its holder's end
	Received      uint64    `json:"received"`                // connections, as they were counted at the other ends
	Nodes         []string  `json:"nodes"`                   // where it was seen, at most 8
	Peers         []string  `json:"peers,omitempty"`         // identities that it was shown to, at most 8
}

type credentialRow struct {
	SHA256        string    `ch:"sha256"`
	Identity      string    `ch:"identity"`
	Serial        string    `ch:"serial"`
	Issuer        string    `ch:"issuer"`
	NotBefore     time.Time `ch:"not_before"`
	NotAfter      time.Time `ch:"not_after"`
	FirstSeen     time.Time `ch:"first_seen"`
	LastSeen      time.Time `ch:"last_seen"`
	LastPresented time.Time `ch:"last_presented"`
	Verified      uint8     `ch:"verified"`
	Roles         []string  `ch:"roles"`
	Presented     uint64    `ch:"presented"`
	Received      uint64    `ch:"received"`
	Nodes         []string  `ch:"nodes"`
	Peers         []string  `ch:"peers"`
}

// maxCredentials bounds the credentials that are told of one identity.
const maxCredentials = 100

// credentials gives those that an identity presented last.
func (s *Store) credentials(ctx context.Context, id event.Identity) ([]Credential, error) {
	out := []Credential{}
	err := each(ctx, s, "read credentials", credentialsSQL, named("holder", id.String(), "limit", uint32(maxCredentials)), func(r *credentialRow) error {
		out = append(out, Credential{
			SHA256: r.SHA256, Proven: r.Identity != "", Roles: r.Roles, Verified: r.Verified != 0, Serial: r.Serial, Issuer: r.Issuer,
			NotBefore: moment(r.NotBefore), NotAfter: moment(r.NotAfter), FirstSeen: moment(r.FirstSeen), LastSeen: moment(r.LastSeen),
			LastPresented: moment(r.LastPresented),
			Presented:     r.Presented, Received: r.Received, Nodes: r.Nodes, Peers: r.Peers,
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("identity %s: %w", id, err)
	}
	return out, nil
}

// LastCredential is the certificate that an identity presented last.
type LastCredential struct {
	SHA256        string    `json:"sha256"`
	Proven        bool      `json:"proven"` // see [Credential]
	NotBefore     time.Time `json:"not_before,omitzero"`
	NotAfter      time.Time `json:"not_after,omitzero"`
	LastSeen      time.Time `json:"last_seen"`
	LastPresented time.Time `json:"last_presented,omitzero"`
	Count         uint64    `json:"count"` // of all credentials that the identity presented
}

func (c *LastCredential) endsBefore(t time.Time) bool {
	return c != nil && !c.NotAfter.IsZero() && c.NotAfter.Before(t)
}

type lastCredentialRow struct {
	Holder        string    `ch:"holder"`
	Count         uint64    `ch:"count"`
	LastSeen      time.Time `ch:"last_seen"`
	LastPresented time.Time `ch:"last_presented"`
	NotAfter      time.Time `ch:"not_after"`
	SHA256        string    `ch:"sha256"`
	NotBefore     time.Time `ch:"not_before"`
	Proven        uint8     `ch:"proven"`
}

// equip adds to identities, which are in order, the credential that each presented last.
func (s *Store) equip(ctx context.Context, identities []Identity) error {
	if len(identities) == 0 {
		return nil
	}
	at := make(map[string]*Identity, len(identities))
	for i := range identities {
		at[identities[i].Identity.String()] = &identities[i]
	}
	args := named("from", identities[0].Identity.String(), "until", identities[len(identities)-1].Identity.String())
	return each(ctx, s, "read credentials", lastCredentialsSQL, args, func(r *lastCredentialRow) error {
		if i := at[r.Holder]; i != nil {
			i.Credential = &LastCredential{r.SHA256, r.Proven != 0, moment(r.NotBefore), moment(r.NotAfter), moment(r.LastSeen), moment(r.LastPresented), r.Count}
		}
		return nil
	})
}
