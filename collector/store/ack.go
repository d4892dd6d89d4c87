package store

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

type ackRow struct {
	Decision    string    `ch:"decision"`
	Node        string    `ch:"node"`
	Boot        string    `ch:"boot"`
	State       string    `ch:"state"`
	Serial      uint64    `ch:"serial"`
	Why         string    `ch:"why"`
	At          time.Time `ch:"at"`
	Told        time.Time `ch:"told"`
	Denied      uint64    `ch:"denied"`
	WouldDeny   uint64    `ch:"would_deny"`
	FirstDenied time.Time `ch:"first_denied"`
	LastDenied  time.Time `ch:"last_denied"`
	LastAllowed time.Time `ch:"last_allowed"`
	Cut         uint64    `ch:"cut"`
	Entries     uint64    `ch:"entries"`
}

// InsertAcks keeps what nodes did about decisions. Repeating it changes nothing.
func (s *Store) InsertAcks(ctx context.Context, acks []event.Ack) error {
	rows := make([]ackRow, len(acks))
	for i := range acks {
		a := &acks[i]
		if !event.ValidDecisionID(a.Decision) || a.Node == "" || a.At.IsZero() || a.Told.IsZero() {
			return fmt.Errorf("insert acknowledgements: row %d: %w: decision, node or times are missing", i, ErrRefused)
		}
		rows[i] = ackRow{
			a.Decision, a.Node, a.Boot, string(a.State), a.Serial, a.Why, a.At, a.Told, a.Denied, a.WouldDeny,
			epoch(a.FirstDenied), epoch(a.LastDenied), epoch(a.LastAllowed), a.Cut, uint64(a.Entries),
		}
	}
	return insert(ctx, s, "decision_acks", repeatable(), rows)
}

// epoch is 1970 where there is no time.
func epoch(t time.Time) time.Time {
	if t.IsZero() {
		return time.Unix(0, 0)
	}
	return t
}

// NodeAck is what one node did about a decision. Counts are over all starts of its agent.
type NodeAck struct {
	event.Ack
	Received time.Time `json:"received,omitzero"` // when it first came there
	InForce  time.Time `json:"in_force,omitzero"` // when it first was in force there
}

type nodeAckRow struct {
	ackRow
	Received time.Time `ch:"received"`
	InForce  time.Time `ch:"in_force"`
}

// Acks gives what nodes did about a decision, by their names behind after, at most so many (0: 1000, at most 10,000).
func (s *Store) Acks(ctx context.Context, decision, after string, limit int) ([]NodeAck, error) {
	var out []NodeAck
	err := each(ctx, s, "read acknowledgements", acksSQL, named("decisions", []string{decision}, "after", after, "limit", uint32(bound(limit, 1000, 10_000))), func(r *nodeAckRow) error {
		out = append(out, NodeAck{event.Ack{
			Decision: r.Decision, Serial: r.Serial, Node: r.Node, Boot: r.Boot, State: event.AckState(r.State), Why: r.Why, At: r.At.UTC(), Told: r.Told.UTC(),
			Denied: r.Denied, WouldDeny: r.WouldDeny, FirstDenied: moment(r.FirstDenied), LastDenied: moment(r.LastDenied), LastAllowed: moment(r.LastAllowed),
			Cut: r.Cut, Entries: int(r.Entries),
		}, moment(r.Received), moment(r.InForce)})
		return nil
	})
	return out, err
}

// AckSummary is what all nodes did about a decision together.
type AckSummary struct {
	Nodes       map[event.AckState]uint64 `json:"nodes"`             // by the state that they came to last
	InForce     time.Time                 `json:"in_force,omitzero"` // on the last of the nodes where it is
	Denied      uint64                    `json:"denied"`            // connections that were refused
	WouldDeny   uint64                    `json:"would_deny"`        // or would have been, in a dry run
	FirstDenied time.Time                 `json:"first_denied,omitzero"`
	LastDenied  time.Time                 `json:"last_denied,omitzero"`
	LastAllowed time.Time                 `json:"last_allowed,omitzero"` // last connection that still succeeded
	Cut         uint64                    `json:"cut"`                   // established connections that were cut
}

// SummarizeAcks adds up what nodes did about decisions. Decisions that no node spoke of are left out.
func (s *Store) SummarizeAcks(ctx context.Context, decisions []string) (map[string]AckSummary, error) {
	out := map[string]AckSummary{}
	if len(decisions) == 0 {
		return out, nil
	}
	var id string
	var states []string
	var nodes []uint64
	var a AckSummary
	into := []any{&id, &states, &nodes, &a.InForce, &a.Denied, &a.WouldDeny, &a.FirstDenied, &a.LastDenied, &a.LastAllowed, &a.Cut}
	err := s.scan(ctx, "read acknowledgements", acksSummarySQL, named("decisions", decisions), into, func() error {
		x := a
		x.Nodes = map[event.AckState]uint64{}
		for i, state := range states {
			x.Nodes[event.AckState(state)] = nodes[i]
		}
		x.InForce, x.FirstDenied, x.LastDenied, x.LastAllowed = moment(a.InForce), moment(a.FirstDenied), moment(a.LastDenied), moment(a.LastAllowed)
		out[id] = x
		return nil
	})
	return out, err
}

// RevokeTimes says how long it took from a decision until it was in force on the last node that took it, and until the last connection that still succeeded, over
// decisions that enforce. Times are in seconds.
type RevokeTimes struct {
	Decisions         uint64  `json:"decisions"`
	InForce           uint64  `json:"in_force"` // of these, on some node; the rest is not in the times
	InForceP50        float64 `json:"in_force_p50"`
	InForceP99        float64 `json:"in_force_p99"`
	LastConnectionP50 float64 `json:"last_connection_p50"`
	LastConnectionP99 float64 `json:"last_connection_p99"`
}

// TimeToRevoke measures decisions that were issued since a time.
func (s *Store) TimeToRevoke(ctx context.Context, since time.Time) (RevokeTimes, error) {
	var t RevokeTimes
	into := []any{&t.Decisions, &t.InForce, &t.InForceP50, &t.InForceP99, &t.LastConnectionP50, &t.LastConnectionP99}
	err := s.scan(ctx, "measure decisions", timeToRevokeSQL, named("since", max(since.UnixMicro(), 0)), into, func() error { return nil })
	if t.InForce == 0 { // of nothing there are no quantiles
		t = RevokeTimes{Decisions: t.Decisions}
	}
	return t, err
}

// ends are the first and the last address of a range, IPv4 as mapped.
func ends(p netip.Prefix) (first, last netip.Addr) {
	a := p.Masked().Addr().As16()
	b := a
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	for i := bits; i < 128; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom16(a), netip.AddrFrom16(b)
}
