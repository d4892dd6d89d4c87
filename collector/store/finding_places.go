package store

import (
	"context"
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Place is where connections came from, and what address they reached.
type Place struct {
	Node         string         `json:"node"`
	Pod          string         `json:"pod,omitempty"`
	Container    string         `json:"container,omitempty"`
	Executable   string         `json:"executable,omitempty"`
	Interactive  bool           `json:"interactive,omitempty"`
	Address      string         `json:"address,omitempty"` // with its port; empty where it is not known
	Peer         string         `json:"peer,omitempty"`    // identity of the other side
	PeerEvidence event.Evidence `json:"peer_evidence,omitempty"`
	FirstTime    time.Time      `json:"first_time"`
	LastTime     time.Time      `json:"last_time"`
	Connections  uint64         `json:"connections"`
	Failed       uint64         `json:"failed"`
	Denied       uint64         `json:"denied"`
	LastError    string         `json:"last_error,omitempty"`
}

type placeRow struct {
	Node         string     `ch:"node"`
	Pod          string     `ch:"pod"`
	Container    string     `ch:"container"`
	Executable   string     `ch:"executable"`
	Interactive  bool       `ch:"interactive"`
	Address      netip.Addr `ch:"address"`
	Port         uint16     `ch:"port"`
	Peer         string     `ch:"peer"`
	PeerEvidence string     `ch:"peer_evidence"`
	FirstTime    time.Time  `ch:"first_time"`
	LastTime     time.Time  `ch:"last_time"`
	Connections  uint64     `ch:"connections"`
	Failed       uint64     `ch:"failed"`
	Denied       uint64     `ch:"denied"`
	LastError    string     `ch:"last_error"`
}

// Places gives where an identity's connections to a resource ("": any) came from since a time, the latest first, at most so many. It reads single observations, which
// are not kept for long.
func (s *Store) Places(ctx context.Context, id event.Identity, resource string, since time.Time, limit int) ([]Place, error) {
	var out []Place
	args := named("identity", id.String(), "resource", resource, "since", microsOrZero(since), "limit", uint32(limit))
	err := each(ctx, s, "read places", findingPlacesSQL, args, func(r *placeRow) error {
		p := Place{
			r.Node, r.Pod, r.Container, r.Executable, r.Interactive, "", r.Peer, event.Evidence(r.PeerEvidence), r.FirstTime.UTC(), r.LastTime.UTC(),
			r.Connections, r.Failed, r.Denied, r.LastError,
		}
		if a := r.Address.Unmap(); a.IsValid() && !a.IsUnspecified() {
			p.Address = netip.AddrPortFrom(a, r.Port).String()
		}
		out = append(out, p)
		return nil
	})
	return out, err
}

// Handshake is one kind of TLS handshake of an identity with a resource.
type Handshake struct {
	Version         string             `json:"version,omitempty"`
	SNI             string             `json:"sni,omitempty"`
	ALPN            string             `json:"alpn,omitempty"`
	Mutual          bool               `json:"mutual"`
	Verified        bool               `json:"verified"`
	Provenance      string             `json:"provenance"` // full, resumed, inferred, wire-only
	PeerCertificate *event.Certificate `json:"peer_certificate,omitempty"`
	OwnCertificate  *event.Certificate `json:"own_certificate,omitempty"`
	FirstTime       time.Time          `json:"first_time"`
	LastTime        time.Time          `json:"last_time"`
	Connections     uint64             `json:"connections"`
}

type handshakeRow struct {
	Version       string    `ch:"version"`
	SNI           string    `ch:"sni"`
	ALPN          string    `ch:"alpn"`
	Mutual        bool      `ch:"mutual"`
	Verified      bool      `ch:"verified"`
	Provenance    string    `ch:"provenance"`
	PeerSHA256    string    `ch:"peer_sha256"`
	PeerSerial    string    `ch:"peer_serial"`
	PeerIssuer    string    `ch:"peer_issuer"`
	PeerNotBefore time.Time `ch:"peer_not_before"`
	PeerNotAfter  time.Time `ch:"peer_not_after"`
	PeerProven    bool      `ch:"peer_proven"`
	OwnSHA256     string    `ch:"own_sha256"`
	OwnSerial     string    `ch:"own_serial"`
	OwnIssuer     string    `ch:"own_issuer"`
	OwnNotBefore  time.Time `ch:"own_not_before"`
	OwnNotAfter   time.Time `ch:"own_not_after"`
	OwnProven     bool      `ch:"own_proven"`
	FirstTime     time.Time `ch:"first_time"`
	LastTime      time.Time `ch:"last_time"`
	Connections   uint64    `ch:"connections"`
}

// Handshakes gives the TLS handshakes of an identity with a resource ("": any) since a time, the latest first, at most so many.
func (s *Store) Handshakes(ctx context.Context, id event.Identity, resource string, since time.Time, limit int) ([]Handshake, error) {
	var out []Handshake
	args := named("identity", id.String(), "resource", resource, "since", microsOrZero(since), "limit", uint32(limit))
	err := each(ctx, s, "read handshakes", findingHandshakesSQL, args, func(r *handshakeRow) error {
		out = append(out, Handshake{
			r.Version, r.SNI, r.ALPN, r.Mutual, r.Verified, r.Provenance,
			certificateOf(r.PeerSHA256, r.PeerSerial, r.PeerIssuer, r.PeerNotBefore, r.PeerNotAfter, r.PeerProven),
			certificateOf(r.OwnSHA256, r.OwnSerial, r.OwnIssuer, r.OwnNotBefore, r.OwnNotAfter, r.OwnProven),
			r.FirstTime.UTC(), r.LastTime.UTC(), r.Connections,
		})
		return nil
	})
	return out, err
}
