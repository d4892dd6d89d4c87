package decision

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// acksName is the consumer of acknowledgements that all collectors share.
const acksName = "ambit-acks"

// maxAcks bounds the acknowledgements that are kept at once.
const maxAcks = 500

// takeAcks keeps what nodes tell, until ctx ends. All collectors share the work.
func (s *Service) takeAcks(ctx context.Context, run *running) error {
	return s.consume(ctx, run.js, event.StreamAcks, jetstream.ConsumerConfig{
		Durable: acksName, Description: "keeps what nodes did about decisions", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute, MaxAckPending: 4 * maxAcks,
	}, maxAcks, s.keepAcks)
}

// keepAcks keeps a batch, and makes findings of what was refused.
func (s *Service) keepAcks(ctx context.Context, batch []jetstream.Msg) error {
	var acks []event.Ack
	for _, m := range batch {
		a, err := decodeAck(m.Subject(), m.Data())
		if err != nil {
			s.metrics.refused.WithLabelValues("acknowledgement").Inc()
			s.log.Warn("an acknowledgement is refused", "subject", m.Subject(), "error", err)
			continue
		}
		acks = append(acks, *a)
	}
	if len(acks) == 0 {
		return nil
	}
	if err := s.store.InsertAcks(ctx, acks); err != nil && !errors.Is(err, store.ErrRefused) {
		return err
	}
	for i := range acks {
		a := &acks[i]
		s.metrics.acks.WithLabelValues(string(a.State)).Inc()
		if a.State == event.AckRefused {
			s.refusedBy(ctx, a)
		}
	}
	return s.auditAcks(ctx, acks)
}

var errOtherNode = errors.New("it is told on another node's subject")

// decodeAck reads an acknowledgement. NATS lets an agent publish on the subject of its own node only, so a node that is named in it must be that one.
func decodeAck(subject string, data []byte) (*event.Ack, error) {
	a, err := event.DecodeAck(data)
	if err != nil {
		return nil, err
	}
	if event.AckSubject(a.Node) != subject {
		return nil, errOtherNode
	}
	return a, nil
}

// maxAuditNodes bounds the nodes that one record names; the database has all.
const maxAuditNodes = 50

// auditAcks writes down when decisions came into force, failed or ended on nodes, and where connections were first refused: one record for each decision
// and state of a batch. What a node tells again while its counts grow is no news.
func (s *Service) auditAcks(ctx context.Context, acks []event.Ack) error {
	type step struct{ decision, action string }
	nodes := map[step][]string{}
	var order []step
	add := func(a *event.Ack, what string) {
		k := step{a.Decision, "decision." + what}
		if nodes[k] == nil {
			order = append(order, k)
		}
		if !slices.Contains(nodes[k], a.Node) {
			nodes[k] = append(nodes[k], a.Node)
		}
	}
	for i := range acks {
		a := &acks[i]
		k := s.book.get(a.Decision)
		if k == nil && a.State != event.AckRefused {
			continue // long over, or made up
		}
		if a.Told.Sub(a.At) < time.Second {
			switch a.State {
			case event.AckReceived:
				add(a, "delivered")
			case event.AckNotCovered:
				add(a, "not-covered")
			case event.AckRefused:
				if k != nil {
					add(a, "refused-by-node")
				}
			default:
				add(a, string(a.State))
			}
		}
		if !a.FirstDenied.IsZero() && s.firstBlocked(a.Decision) {
			add(a, "blocked-first")
		}
	}
	for _, k := range order {
		list := nodes[k]
		detail := map[string]string{"nodes": strings.Join(list[:min(len(list), maxAuditNodes)], " "), "count": strconv.Itoa(len(list))}
		if _, err := s.trail.Append(ctx, "nodes", k.action, k.decision, detail); err != nil {
			return err
		}
	}
	return nil
}

// firstBlocked is true once for each decision in each collector.
func (s *Service) firstBlocked(id string) bool {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	k := s.book.decisions[id]
	if k == nil || k.blocked {
		return false
	}
	k.blocked = true
	return true
}

// hearAcks tells those who listen here of what nodes do, until ctx ends. Whoever keeps it may be another collector.
func (s *Service) hearAcks(ctx context.Context, run *running) error {
	messages := make(chan *nats.Msg, 4*maxNews)
	sub, err := run.nc.ChanSubscribe(event.SubjectAcks, messages)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	for {
		select {
		case m := <-messages:
			if a, err := decodeAck(m.Subject, m.Data); err == nil {
				s.book.tell(Change{Decision: a.Decision, What: "acknowledged", Node: a.Node, State: a.State, Why: a.Why, At: a.Told.UTC()})
			}
		case <-ctx.Done():
			return nil
		}
	}
}
