package decision

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/event"
)

// NodeCover says whether a node enforces decisions.
type NodeCover struct {
	Node    string    `json:"node"`
	Covered bool      `json:"covered"`
	Why     string    `json:"why,omitempty"` // it does not
	Version string    `json:"version,omitempty"`
	Heard   time.Time `json:"heard"` // last
}

// Bounds of what is known of nodes.
const (
	nodeLost  = 10 * time.Minute // a node that was not heard of for so long is left out
	nodesLast = 5 * time.Second  // how long an answer is good
	nodesTime = 10 * time.Second
	maxNodes  = 50_000
)

// cover keeps the latest answer.
type cover struct {
	mu    sync.Mutex
	at    time.Time
	nodes []NodeCover
}

// Nodes says of each node that was heard of lately whether it enforces decisions, by what its agent told last.
func (s *Service) Nodes(ctx context.Context) ([]NodeCover, error) {
	s.cover.mu.Lock()
	defer s.cover.mu.Unlock()
	if s.now().Sub(s.cover.at) < nodesLast {
		return s.cover.nodes, nil
	}
	run, err := s.working()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, nodesTime)
	defer cancel()
	nodes, err := lastHeartbeats(ctx, run.js, s.now())
	if err != nil {
		return nil, err
	}
	s.cover.at, s.cover.nodes = s.now(), nodes
	return nodes, nil
}

// lastHeartbeats reads the last heartbeat of each node from the stream.
func lastHeartbeats(ctx context.Context, js jetstream.JetStream, now time.Time) ([]NodeCover, error) {
	since := now.Add(-nodeLost)
	consumer, err := js.OrderedConsumer(ctx, event.StreamObservations, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{event.SubjectAgents}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy,
	})
	if err != nil {
		return nil, fmt.Errorf("read heartbeats: %w", err)
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("read heartbeats: %w", err)
	}
	waiting := min(info.NumPending, maxNodes)
	nodes := map[string]NodeCover{}
	for waiting > 0 {
		messages, err := fetchSome(ctx, consumer, int(min(waiting, 500)))
		if err != nil {
			return nil, fmt.Errorf("read heartbeats: %w", err)
		}
		if len(messages) == 0 {
			break
		}
		waiting -= min(waiting, uint64(len(messages)))
		for _, m := range messages {
			h, err := event.DecodeHeartbeat(m.Data())
			if err != nil || h.Time.Before(since) || event.AgentSubject(h.Node) != m.Subject() {
				continue
			}
			nodes[h.Node] = coverOf(h)
		}
	}
	out := make([]NodeCover, 0, len(nodes))
	for _, n := range nodes {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b NodeCover) int { return strings.Compare(a.Node, b.Node) })
	return out, nil
}

// fetchSome gives up to so many messages, fewer where they do not come within a second.
func fetchSome(ctx context.Context, consumer jetstream.Consumer, n int) ([]jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	batch, err := consumer.Fetch(n, jetstream.FetchContext(ctx))
	if err != nil {
		return nil, err
	}
	return collect(batch, nil)
}

func coverOf(h *event.Heartbeat) NodeCover {
	n := NodeCover{Node: h.Node, Version: h.Version, Heard: h.Time.UTC()}
	switch {
	case h.Deny == "":
		n.Why = "its agent is too old to deny"
	case h.Deny == "on":
		n.Covered = true
	default:
		n.Why = strings.TrimSpace(strings.TrimPrefix(h.Deny, "off:"))
	}
	return n
}
