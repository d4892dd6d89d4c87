package store

import (
	"context"
	_ "embed"
	"fmt"
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

//go:embed query/observations.sql
var observationsSQL string

// observationStep is the stretch of time that is asked for at once, which bounds what the server sorts.
const observationStep = time.Hour

// EachObservation visits the stored observations whose batches ended between two times, by the hour, and in each in the order in which they came. batch is
// when that was. The visitor may keep the observation. What cannot be read is counted and left out.
func (s *Store) EachObservation(ctx context.Context, from, until time.Time, visit func(o *event.Observation, batch time.Time) error) error {
	for at := from; at.Before(until); {
		next := at.Truncate(observationStep).Add(observationStep)
		if next.After(until) {
			next = until
		}
		args := named("since", at.UnixMicro(), "until", next.UnixMicro())
		err := each(ctx, s, "read observations", observationsSQL, args, func(r *ObservationRow) error {
			o, err := r.Observation()
			if err != nil {
				s.corrupt["observations"].Add(1)
				return nil
			}
			return visit(&o, r.BatchTime.UTC())
		})
		if err != nil {
			return err
		}
		at = next
	}
	return nil
}

// Recorded gives when the first and the last of the stored observations' batches ended; zero times where there are none.
func (s *Store) Recorded(ctx context.Context) (first, last time.Time, err error) {
	var a, b int64
	err = s.scan(ctx, "read what is recorded", "SELECT toUnixTimestamp64Micro(min(batch_time)), toUnixTimestamp64Micro(max(batch_time)) FROM observations", nil,
		[]any{&a, &b}, func() error { return nil })
	return microMoment(a), microMoment(b), err
}

// Observation is what the row was made of, but for what rows do not hold: a TLS handshake of which nothing is known.
func (r *ObservationRow) Observation() (event.Observation, error) {
	w, err := r.workload()
	if err != nil {
		return event.Observation{}, err
	}
	o := event.Observation{
		Time: r.Time.UTC(), FirstTime: r.FirstTime.UTC(), Node: r.Node, Workload: w, Direction: event.Direction(r.Direction), Protocol: event.Protocol(r.Protocol),
		Peer: event.Peer{
			Address: plain(r.PeerAddress), Port: r.PeerPort, Name: r.PeerName, NameSource: event.NameSource(r.PeerNameSource), Evidence: event.Evidence(r.PeerEvidence),
		},
		Counts: event.Counts{Connections: r.Connections, Failed: r.Failed, Denied: r.Denied, BytesSent: r.BytesSent, BytesReceived: r.BytesReceived},
		Error:  r.LastError,
	}
	if o.FirstTime.Equal(o.Time) {
		o.FirstTime = time.Time{}
	}
	if r.PeerIdentity != "" {
		if o.Peer.Identity, err = event.ParseIdentity(r.PeerIdentity); err != nil {
			return event.Observation{}, err
		}
	}
	if r.PeerRange != "" {
		if o.Peer.Range, err = netip.ParsePrefix(r.PeerRange); err != nil {
			return event.Observation{}, fmt.Errorf("parse the range of a peer: %w", err)
		}
	}
	if a := plain(r.DialledAddress); a.IsValid() {
		o.Peer.Dialled = netip.AddrPortFrom(a, r.DialledPort)
	}
	if r.TLSVersion != "" || r.TLSProvenance != "" || r.TLSSNI != "" || r.TLSPeerSHA256 != "" || r.TLSOwnSHA256 != "" {
		o.TLS = &event.TLS{
			Version: r.TLSVersion, SNI: r.TLSSNI, ALPN: r.TLSALPN, Mutual: r.TLSMutual, Verified: r.TLSVerified, Provenance: r.TLSProvenance,
			PeerCertificate: certificateOf(r.TLSPeerSHA256, r.TLSPeerSerial, r.TLSPeerIssuer, r.TLSPeerNotBefore, r.TLSPeerNotAfter, r.TLSPeerProven),
			OwnCertificate:  certificateOf(r.TLSOwnSHA256, r.TLSOwnSerial, r.TLSOwnIssuer, r.TLSOwnNotBefore, r.TLSOwnNotAfter, r.TLSOwnProven),
		}
	}
	return o, nil
}

// plain is an address as it was before [address].
func plain(a netip.Addr) netip.Addr {
	if !a.IsValid() || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a.Unmap()
}

func certificateOf(sha, serial, issuer string, from, until time.Time, proven bool) *event.Certificate {
	if sha == "" && serial == "" && issuer == "" {
		return nil
	}
	return &event.Certificate{SHA256: sha, Serial: serial, Issuer: issuer, NotBefore: someTime(from), NotAfter: someTime(until), Proven: proven}
}
