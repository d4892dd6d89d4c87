package report

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Bounds of a map.
const (
	MaxMapDepth     = 4
	MaxMapEdges     = 5_000
	defaultMapDepth = 1
	mapNew          = 24 * time.Hour // an edge that is younger is new, where its identity is not
)

// States of an edge, the gravest first.
const (
	EdgeFinding = "finding" // an open finding is about it
	EdgeFailed  = "failed"  // no connection ever succeeded
	EdgeNew     = "new"     // seen for the first time within a day, of an identity whose reach is known
	EdgeNormal  = "normal"
)

// EdgeStates are all of them.
var EdgeStates = []string{EdgeFinding, EdgeFailed, EdgeNew, EdgeNormal}

// MapNode is an identity, or a resource that is none.
type MapNode struct {
	ID          string          `json:"id"`   // an identity's URI, a resource, or callers without a name as net:192.0.2.0/24
	Type        string          `json:"type"` // identity, resource, callers
	Kind        string          `json:"kind"` // of an identity as in its own answer; else dns, service, node, net
	Label       string          `json:"label"`
	Depth       int             `json:"depth"`              // from the centre; 0 without one
	Expanded    bool            `json:"expanded,omitempty"` // all of its edges were asked for
	State       string          `json:"state,omitempty"`    // of learning; unknown where the detector holds none
	Findings    uint64          `json:"findings,omitempty"` // that are open
	Severity    event.Severity  `json:"severity,omitempty"` // the gravest of these
	Namespace   string          `json:"namespace,omitempty"`
	Owner       string          `json:"owner,omitempty"`
	Environment string          `json:"environment,omitempty"`
	Domain      event.Domain    `json:"domain,omitempty"`
	Privilege   event.Privilege `json:"privilege,omitempty"`
	Why         string          `json:"why,omitempty"` // a resource matters
}

// MapEdge is that one node reached another one. Times are UTC.
type MapEdge struct {
	From        string    `json:"from"`
	To          string    `json:"to"`
	State       string    `json:"state"`
	Services    []string  `json:"services"` // of the end that is reached, such as 5432/tcp
	Connections uint64    `json:"connections"`
	Failed      uint64    `json:"failed,omitempty"` // or denied
	FirstTime   time.Time `json:"first_time"`
	LastTime    time.Time `json:"last_time"`
}

// Map is a part of the graph of who reaches what, in both ways.
type Map struct {
	Center    string    `json:"center,omitempty"`
	Depth     int       `json:"depth,omitempty"`
	Namespace string    `json:"namespace,omitempty"`
	Since     time.Time `json:"since"`
	Until     time.Time `json:"until"`
	Nodes     []MapNode `json:"nodes"`               // by depth, then by id
	Edges     []MapEdge `json:"edges"`               // those with most connections first
	LeftOut   uint64    `json:"left_out"`            // edges of the nodes that were asked for, beyond the bound
	Statement string    `json:"statement,omitempty"` // what is left out, in a sentence
}

// MapQuery chooses a part of the graph: around a centre, or of the identities of a namespace, or of all.
type MapQuery struct {
	Center    string // an identity or a resource
	Depth     int    // around a centre; 0 is 1, at most MaxMapDepth
	Namespace string
	Window    time.Duration
	Limit     int // edges; 0 is MaxMapEdges, which is the most
}

// Map draws who reaches what in the window that ends now: around a centre it follows links between identities, in both ways. It is bounded, and says what it
// left out.
func (r *Reporter) Map(ctx context.Context, now time.Time, q MapQuery) (*Map, error) {
	now = now.UTC()
	m := &mapper{
		r: r, now: now, limit: cmp.Or(min(max(q.Limit, 0), MaxMapEdges), MaxMapEdges), nodes: map[string]int{}, edges: map[[2]string]int{},
		out: &Map{Namespace: q.Namespace, Since: now.Add(-q.Window), Until: now, Nodes: []MapNode{}, Edges: []MapEdge{}},
	}
	var err error
	if q.Center == "" {
		err = m.ask(ctx, store.Those{Namespace: q.Namespace}, 0)
		for i := range m.out.Nodes {
			n := &m.out.Nodes[i]
			n.Expanded = n.Type == "identity" && (q.Namespace == "" || n.Namespace == q.Namespace)
		}
	} else {
		m.out.Namespace, m.out.Depth = "", cmp.Or(min(max(q.Depth, 0), MaxMapDepth), defaultMapDepth)
		err = m.around(ctx, q.Center)
	}
	if err != nil {
		return nil, err
	}
	return m.out, m.finish(ctx)
}

type mapper struct {
	r        *Reporter
	now      time.Time
	limit    int
	out      *Map
	nodes    map[string]int    // index in out.Nodes
	edges    map[[2]string]int // index in out.Edges
	frontier []string          // identities that are new since it was emptied
}

// around follows edges from a centre, level by level.
func (m *mapper) around(ctx context.Context, center string) error {
	depth, name := 1, center
	if !isIdentity(center) && strings.Contains(center, "://") { // an identity with a port: the node is the identity
		name, _ = splitResource(center)
	}
	id, err := event.ParseIdentity(name)
	switch {
	case err == nil:
		if _, err := m.r.store.Member(ctx, id, m.out.Since, m.now); err != nil {
			return err
		}
		m.out.Center = id.String()
		m.node(m.out.Center, "identity", 0)
	default:
		resource, err := event.ParseResource(center)
		if err != nil {
			return fmt.Errorf("%w: %q is neither an identity nor a resource such as dns:db.example:5432/tcp", ErrTarget, center)
		}
		m.out.Center = resource.String()
		if err := m.ofResource(ctx, resource); err != nil {
			return err
		}
		depth = 2
	}
	for ; depth <= m.out.Depth && len(m.frontier) > 0 && len(m.out.Edges) < m.limit; depth++ {
		level := m.frontier
		m.frontier = nil
		const most = 1000 // of a question
		for part := range slices.Chunk(level, most) {
			if err := m.ask(ctx, store.Those{Identities: part}, depth); err != nil {
				return err
			}
		}
		for _, name := range level {
			m.out.Nodes[m.nodes[name]].Expanded = true
		}
	}
	return nil
}

// ofResource draws those that reached a resource.
func (m *mapper) ofResource(ctx context.Context, resource event.Resource) error {
	name := resource.String()
	found, err := m.r.store.Reachers(ctx, resource, m.out.Since, m.limit+1)
	if err != nil {
		return err
	}
	m.node(name, "resource", 0)
	m.out.Nodes[0].Expanded = true
	_, service := splitResource(name)
	for i, x := range found {
		if i == m.limit {
			m.out.LeftOut++
			break
		}
		m.node(x.Identity, "identity", 1)
		m.edges[[2]string{x.Identity, name}] = len(m.out.Edges)
		m.out.Edges = append(m.out.Edges, MapEdge{From: x.Identity, To: name, State: EdgeNormal, Services: []string{service}, Connections: x.Connections, LastTime: x.LastTime})
	}
	return nil
}

// ask adds the edges of some identities, as far as there is room.
func (m *mapper) ask(ctx context.Context, of store.Those, depth int) error {
	var links, resources []store.Edge
	var ofLinks, ofResources uint64
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		links, ofLinks, err = m.r.store.MapLinks(gctx, of, m.out.Since, m.limit)
		return err
	})
	g.Go(func() (err error) {
		resources, ofResources, err = m.r.store.MapResources(gctx, of, m.out.Since, m.limit)
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	m.out.LeftOut += ofLinks + ofResources - uint64(len(links)+len(resources))
	all := append(links, resources...)
	slices.SortStableFunc(all, func(a, b store.Edge) int { return cmp.Compare(b.Connections, a.Connections) })
	for i := range all {
		m.add(&all[i], depth)
	}
	return nil
}

func (m *mapper) add(e *store.Edge, depth int) {
	from, to, services, kind := e.Identity, e.Other, e.Services, "identity"
	if services == nil {
		name, service := splitResource(e.Other)
		services, kind = []string{service}, "resource"
		if e.Inbound { // who has no name has no port, either
			from, to, kind = name, e.Identity, "callers"
		}
	}
	key := [2]string{from, to}
	if at, known := m.edges[key]; known {
		m.join(&m.out.Edges[at], e, services)
		return
	}
	if len(m.out.Edges) >= m.limit {
		m.out.LeftOut++
		return
	}
	if kind == "callers" {
		m.node(from, kind, depth)
		m.node(to, "identity", depth)
	} else {
		m.node(from, "identity", depth)
		m.node(to, kind, depth)
	}
	state := EdgeNormal
	switch {
	case !e.Succeeded:
		state = EdgeFailed
	case m.now.Sub(e.FirstTime) < mapNew:
		state = EdgeNew // unless its identity is as new, see finish
	}
	m.edges[key] = len(m.out.Edges)
	m.out.Edges = append(m.out.Edges, MapEdge{from, to, state, services, e.Connections, e.Failed, e.FirstTime, e.LastTime})
}

// join adds what another service of the same two nodes did; what is told again changes nothing.
func (m *mapper) join(at *MapEdge, e *store.Edge, services []string) {
	if !slices.ContainsFunc(services, func(s string) bool { return !slices.Contains(at.Services, s) }) {
		return
	}
	at.Services = append(at.Services, services...)
	at.Connections += e.Connections
	at.Failed += e.Failed
	if e.FirstTime.Before(at.FirstTime) {
		at.FirstTime = e.FirstTime
	}
	if e.LastTime.After(at.LastTime) {
		at.LastTime = e.LastTime
	}
	if e.Succeeded && at.State == EdgeFailed {
		at.State = EdgeNormal
	}
}

func (m *mapper) node(id, kind string, depth int) {
	if _, known := m.nodes[id]; known {
		return
	}
	n := MapNode{ID: id, Type: kind, Depth: depth}
	if kind == "identity" {
		m.frontier = append(m.frontier, id)
		n.Kind, n.Label, n.Namespace = describeIdentity(id)
	} else {
		n.Kind, n.Label, _ = strings.Cut(id, ":")
		if kind == "resource" {
			_, n.Why = weighResource(id)
		}
	}
	m.nodes[id] = len(m.out.Nodes)
	m.out.Nodes = append(m.out.Nodes, n)
}

// describeIdentity gives the kind of an identity, a short name for a picture, and the namespace that its URI names.
func describeIdentity(uri string) (kind, label, namespace string) {
	kind = "workload"
	if id, err := event.ParseIdentity(uri); err == nil {
		kind = store.Kind(id)
	}
	_, rest, _ := strings.Cut(uri, "://")
	path := strings.Split(rest, "/")
	label = path[len(path)-1]
	switch kind {
	case "service-account":
		namespace = path[2]
		label = namespace + "/" + path[4]
	case "certificate":
		label = strings.Join(path[1:], "/")
	case "unit", "cgroup", "container", "process":
		label = label + " on " + path[2]
	default:
		if len(path) > 1 {
			label = strings.Join(path[1:], "/")
		}
	}
	return kind, label, namespace
}

// finish says of nodes and edges what others know of them, and puts them in order.
func (m *mapper) finish(ctx context.Context) error {
	out := m.out
	var names []string
	var members []store.Member
	for i := range out.Nodes {
		if n := &out.Nodes[i]; n.Type == "identity" {
			names = append(names, n.ID)
			if id, err := event.ParseIdentity(n.ID); err == nil { // else the other end of a link that nobody knows
				members = append(members, store.Member{Identity: id})
				n.State = cmp.Or(m.r.state(id), "unknown")
			}
		}
	}
	var e *estate
	var findings []store.OpenFinding
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		e, err = m.r.estate(gctx, members, len(members) > 2000, m.now)
		return err
	})
	g.Go(func() (err error) {
		findings, err = m.r.store.FindingsOf(gctx, names)
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	for i := range members {
		v, n := e.view(&members[i]), &out.Nodes[m.nodes[members[i].Identity.String()]]
		n.Owner, n.Environment, n.Domain, n.Privilege = v.Owner, v.Environment, v.Domain, v.Privilege
	}
	for i := range out.Edges {
		if x := &out.Edges[i]; x.State == EdgeNew {
			if at := &out.Nodes[m.nodes[x.From]]; at.State == "unknown" || at.State == "warming" || at.State == "learning" {
				x.State = EdgeNormal // all of it is new
			}
		}
	}
	for _, f := range findings {
		n := &out.Nodes[m.nodes[f.Identity]]
		n.Findings += f.Count
		n.Severity = graver(n.Severity, f.Severity)
		name, _ := splitResource(f.Resource)
		for _, to := range []string{f.Resource, name} {
			if at, ok := m.edges[[2]string{f.Identity, to}]; ok {
				out.Edges[at].State = EdgeFinding
			}
		}
	}
	slices.SortFunc(out.Nodes, func(a, b MapNode) int { return cmp.Or(cmp.Compare(a.Depth, b.Depth), cmp.Compare(a.ID, b.ID)) })
	slices.SortStableFunc(out.Edges, func(a, b MapEdge) int {
		return cmp.Or(cmp.Compare(b.Connections, a.Connections), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	if out.LeftOut > 0 {
		out.Statement = fmt.Sprintf("%d more edges are left out: at most %d are drawn, those with most connections first. Choose a centre, a namespace or a shorter window.", out.LeftOut, m.limit)
	}
	return nil
}
