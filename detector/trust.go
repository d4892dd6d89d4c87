package detector

import (
	"net/netip"

	"github.com/ambit-nhi/ambit/event"
)

// What protection the way to a peer had is kept by the name or address that was asked for, not by resource: a resource is named after the peer's
// certificate, so without one it would be another.

type trustKey struct {
	identity uint32
	port     uint16
	address  netip.Addr
	name     string
}

// maxTrust bounds the table; ways beyond are not compared.
const maxTrust = 1_000_000

type trust struct {
	level   trustLevel
	times   uint8 // intervals in which it had that level, up to 255
	version string
	peer    event.Identity // who answered, by its certificate
	since   uint8          // intervals in which it was that one, up to 255
}

type trustLevel uint8

const (
	trustPlain    trustLevel = iota
	trustTLS                 // encrypted
	trustVerified            // and the peer's certificate was verified
	trustMutual              // and so was the workload's own
)

var trustWords = [...]string{"without TLS", "TLS, with a peer that was not verified", "TLS with a verified peer", "mutual TLS with a verified peer"}

func trustOf(t *event.TLS) trustLevel {
	switch {
	case t == nil || t.Version == "" && t.Provenance == "":
		return trustPlain
	case t.Verified && t.Mutual:
		return trustMutual
	case t.Verified:
		return trustVerified
	}
	return trustTLS
}

func trustKeyOf(who uint32, o *event.Observation) trustKey {
	k := trustKey{identity: who, port: o.Peer.Port}
	if o.Peer.Dialled.IsValid() {
		k.port = o.Peer.Dialled.Port()
	}
	if o.Peer.Name != "" && o.Peer.NameSource != event.NameSNI {
		k.name = o.Peer.Name
	} else {
		k.address = o.Peer.Address
	}
	return k
}

// established is how often a protection must be seen before its lack is told.
const established = 5

// trustBefore notes how an observation was protected, and gives what was established before.
func (d *Detector) trustBefore(who uint32, o *event.Observation) trust {
	now := trustOf(o.TLS)
	id := &d.identities[who]
	if now == trustPlain && !id.tls {
		return trust{}
	}
	k := trustKeyOf(who, o)
	before, known := d.trust[k]
	if now == trustPlain && !known {
		return trust{}
	}
	after := before
	switch {
	case !known:
		after = trust{level: now, times: 1, version: o.TLS.Version}
	case now > before.level: // it rose: it must hold first
		after = trust{level: now, times: 1, version: o.TLS.Version}
	case now == before.level && before.times < 255:
		after.times++
	}
	if p := &o.Peer; p.Evidence == event.EvidenceSVID && !p.Identity.IsZero() {
		if after.peer != p.Identity {
			after.peer, after.since = p.Identity, 0
		}
		after.since = min(after.since, 254) + 1
	}
	if after != before && (known || len(d.trust) < maxTrust) {
		d.trust[k] = after
		id.tls = true
	}
	return before
}
