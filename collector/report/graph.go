package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Bounds of a graph.
const (
	MaxDepth        = 8
	defaultDepth    = 3
	maxGraphNodes   = 20_000 // identities that are followed
	maxGraphItems   = 10_000 // that are listed
	maxGraphLeaves  = 2_000  // resources that are listed
	leavesPerAsking = 2_000
)

// ErrTarget means that a text names nothing that could be reached.
var ErrTarget = errors.New("no target")

// GraphNode is an identity that can be reached from another one, or can reach it, through others. Times are UTC.
type GraphNode struct {
	Identity    string          `json:"identity"`
	Depth       int             `json:"depth"`              // 0 is the start
	Via         string          `json:"via,omitempty"`      // the identity before it on the way that is used most
	Ways        uint64          `json:"ways,omitempty"`     // from how many identities of that depth
	Services    []string        `json:"services,omitempty"` // such as 5432/tcp, of the end that is reached
	Connections uint64          `json:"connections,omitempty"`
	LastTime    time.Time       `json:"last_time,omitzero"`
	Weight      int             `json:"weight"`
	Why         []string        `json:"why,omitempty"` // of its weight
	Owner       string          `json:"owner,omitempty"`
	Environment string          `json:"environment,omitempty"`
	Privilege   event.Privilege `json:"privilege,omitempty"`
}

// GraphLeaf is a resource that is no identity and can be reached.
type GraphLeaf struct {
	Resource    string    `json:"resource"`
	Depth       int       `json:"depth"` // of the identity that reaches it, and one more
	Via         string    `json:"via"`
	Identities  uint64    `json:"identities"` // on the way that reach it
	Connections uint64    `json:"connections"`
	LastTime    time.Time `json:"last_time"`
	Weight      int       `json:"weight"`
	Why         string    `json:"why,omitempty"`
}

// Graph is what can be reached from an identity, or what can reach one or a resource, over identities. It stands on what succeeded in the window: what
// would be allowed, and was never done, is not in it.
type Graph struct {
	Start      string      `json:"start"`
	Way        store.Way   `json:"way"` // forward: what it can reach; backward: what can reach it
	Depth      int         `json:"depth"`
	Score      int         `json:"score"`      // the weights of all that is reached
	Identities int         `json:"identities"` // that are reached, without the start
	Resources  int         `json:"resources"`  // forward: that are reached and no identities
	Truncated  bool        `json:"truncated"`  // there is more than is followed or listed
	Items      []GraphNode `json:"items"`      // by depth, the heaviest first; the start is the first one
	Leaves     []GraphLeaf `json:"leaves"`     // the heaviest first
	Coverage   *Summary    `json:"coverage"`
}

// GraphQuery says how far to follow.
type GraphQuery struct {
	Window time.Duration
	Depth  int // 0 is 3, at most MaxDepth
}

// BlastRadius reports what could be reached by who takes over an identity: it, those that it reaches, and so on.
func (r *Reporter) BlastRadius(ctx context.Context, id event.Identity, now time.Time, q GraphQuery) (*Graph, error) {
	if _, err := r.store.Member(ctx, id, now.Add(-q.Window), now); err != nil {
		return nil, err
	}
	b, err := r.newBuilder(ctx, id.String(), store.Forward, now, q)
	if err != nil {
		return nil, err
	}
	b.add(GraphNode{Identity: id.String()})
	if err := b.follow(ctx, 1, ""); err != nil {
		return nil, err
	}
	if err := b.leaves(ctx); err != nil {
		return nil, err
	}
	return b.finish(ctx)
}

// WhoCanReach reports which identities can reach a resource or an identity, directly or through others.
func (r *Reporter) WhoCanReach(ctx context.Context, target string, now time.Time, q GraphQuery) (*Graph, error) {
	b, err := r.newBuilder(ctx, target, store.Backward, now, q)
	if err != nil {
		return nil, err
	}
	service := ""
	id, err := event.ParseIdentity(target)
	if err != nil || !isIdentity(target) {
		resource, err := event.ParseResource(target)
		if err != nil {
			return nil, fmt.Errorf("%w: %q is neither an identity nor a resource such as dns:db.example:5432/tcp", ErrTarget, target)
		}
		name, port := splitResource(target)
		if parsed, err := event.ParseIdentity(name); err == nil {
			id, service = parsed, port
		} else {
			return b.ofResource(ctx, resource)
		}
	}
	if _, err := r.store.Member(ctx, id, b.since, now); err != nil {
		return nil, err
	}
	b.out.Start = id.String()
	b.add(GraphNode{Identity: id.String()})
	if err := b.follow(ctx, 1, service); err != nil {
		return nil, err
	}
	return b.finish(ctx)
}

// builder follows links, level by level.
type builder struct {
	r        *Reporter
	now      time.Time
	since    time.Time
	out      *Graph
	at       map[string]int // index in out.Items
	frontier []string
}

func (r *Reporter) newBuilder(ctx context.Context, start string, way store.Way, now time.Time, q GraphQuery) (*builder, error) {
	now = now.UTC()
	_, summary, err := r.coverage(ctx, now, q.Window)
	if err != nil {
		return nil, err
	}
	depth := min(max(q.Depth, 0), MaxDepth)
	if depth == 0 {
		depth = defaultDepth
	}
	return &builder{r: r, now: now, since: now.Add(-q.Window), at: map[string]int{},
		out: &Graph{Start: start, Way: way, Depth: depth, Items: []GraphNode{}, Leaves: []GraphLeaf{}, Coverage: summary}}, nil
}

func (b *builder) add(n GraphNode) {
	if _, known := b.at[n.Identity]; known {
		return
	}
	if len(b.out.Items) >= maxGraphNodes {
		b.out.Truncated = true
		return
	}
	b.at[n.Identity] = len(b.out.Items)
	b.out.Items = append(b.out.Items, n)
	b.frontier = append(b.frontier, n.Identity)
}

// follow goes on from the frontier, from a depth to the last one. Only links with a service count at first.
func (b *builder) follow(ctx context.Context, from int, service string) error {
	for depth := from; depth <= b.out.Depth && len(b.frontier) > 0; depth++ {
		links, err := b.r.store.Links(ctx, b.out.Way, b.frontier, service, b.since, maxGraphNodes+1)
		if err != nil {
			return err
		}
		service, b.frontier = "", nil
		best := map[string]*store.Link{}
		for i := range links { // of parts of the frontier
			l := &links[i]
			if known := best[l.Peer]; known != nil {
				l.Ways += known.Ways
				if known.Connections >= l.Connections {
					known.Ways = l.Ways
					continue
				}
			}
			best[l.Peer] = l
		}
		peers := make([]*store.Link, 0, len(best))
		for _, l := range best {
			peers = append(peers, l)
		}
		slices.SortFunc(peers, func(x, y *store.Link) int { return cmp.Compare(x.Peer, y.Peer) })
		for _, l := range peers {
			b.add(GraphNode{Identity: l.Peer, Depth: depth, Via: l.Via, Ways: l.Ways, Services: l.Services, Connections: l.Connections, LastTime: l.LastTime})
		}
	}
	return nil
}

// ofResource begins with those that reached a resource.
func (b *builder) ofResource(ctx context.Context, resource event.Resource) (*Graph, error) {
	reachers, err := b.r.store.Reachers(ctx, resource, b.since, maxGraphNodes+1)
	if err != nil {
		return nil, err
	}
	_, service := splitResource(resource.String())
	for _, x := range reachers {
		b.add(GraphNode{Identity: x.Identity, Depth: 1, Via: resource.String(), Ways: 1, Services: []string{service}, Connections: x.Connections, LastTime: x.LastTime})
	}
	if err := b.follow(ctx, 2, ""); err != nil {
		return nil, err
	}
	return b.finish(ctx)
}

// leaves adds what the identities reach that is no identity.
func (b *builder) leaves(ctx context.Context) error {
	var ids []string
	for i := range b.out.Items {
		if b.out.Items[i].Depth < b.out.Depth {
			ids = append(ids, b.out.Items[i].Identity)
		}
	}
	found, _, err := b.r.store.Reached(ctx, ids, b.since, sensitivePorts, leavesPerAsking)
	if err != nil {
		return err
	}
	at := map[string]int{}
	for _, f := range found {
		depth := b.out.Items[b.at[f.Via]].Depth + 1
		if i, known := at[f.Resource]; known {
			leaf := &b.out.Leaves[i]
			leaf.Identities += f.Identities
			leaf.Connections += f.Connections
			if f.LastTime.After(leaf.LastTime) {
				leaf.LastTime = f.LastTime
			}
			if depth < leaf.Depth {
				leaf.Depth, leaf.Via = depth, f.Via
			}
			continue
		}
		weight, why := weighResource(f.Resource)
		at[f.Resource] = len(b.out.Leaves)
		b.out.Leaves = append(b.out.Leaves, GraphLeaf{f.Resource, depth, f.Via, f.Identities, f.Connections, f.LastTime, weight, why})
	}
	slices.SortStableFunc(b.out.Leaves, func(x, y GraphLeaf) int {
		return cmp.Or(cmp.Compare(y.Weight, x.Weight), cmp.Compare(x.Depth, y.Depth), cmp.Compare(x.Resource, y.Resource))
	})
	b.out.Truncated = b.out.Truncated || len(found) >= leavesPerAsking
	return nil
}

// finish weighs what was found, and puts it in order.
func (b *builder) finish(ctx context.Context) (*Graph, error) {
	out := b.out
	members := make([]store.Member, 0, len(out.Items))
	for i := range out.Items {
		id, err := event.ParseIdentity(out.Items[i].Identity)
		if err != nil {
			continue // the other end of a link that nobody else knows
		}
		members = append(members, store.Member{Identity: id})
	}
	e, err := b.r.estate(ctx, members, len(members) > 2000, b.now)
	if err != nil {
		return nil, err
	}
	for i := range members {
		m := &members[i]
		n := &out.Items[b.at[m.Identity.String()]]
		v := e.view(m)
		n.Weight, n.Why = weigh(v)
		n.Owner, n.Environment, n.Privilege = v.Owner, v.Environment, v.Privilege
	}
	for i := range out.Items {
		n := &out.Items[i]
		n.Weight = max(n.Weight, weightOrdinary)
		if n.Depth > 0 {
			out.Identities++
			out.Score += n.Weight
		}
	}
	for i := range out.Leaves {
		out.Score += out.Leaves[i].Weight
	}
	out.Resources = len(out.Leaves)
	slices.SortStableFunc(out.Items, func(x, y GraphNode) int {
		return cmp.Or(cmp.Compare(x.Depth, y.Depth), cmp.Compare(y.Weight, x.Weight), cmp.Compare(x.Identity, y.Identity))
	})
	out.Truncated = out.Truncated || len(out.Items) > maxGraphItems || len(out.Leaves) > maxGraphLeaves
	out.Items, out.Leaves = out.Items[:min(len(out.Items), maxGraphItems)], out.Leaves[:min(len(out.Leaves), maxGraphLeaves)]
	return out, nil
}

// isIdentity says whether a text is an identity, not one with a port and a protocol behind it.
func isIdentity(text string) bool {
	_, err := event.ParseResource(text)
	return err != nil
}
