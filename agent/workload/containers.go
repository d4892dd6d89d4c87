package workload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/lru"
)

// ContainersConfig of [Containers]. TrustDomain and Node are needed, zero values of the others mean the defaults.
//
// Sockets are of engines that speak Docker's API. One that is not there is waited for. An engine that is a user's own should not be among them:
// its user gives containers any name, also one that a container of the node has.
type ContainersConfig struct {
	TrustDomain event.TrustDomain
	Node        string
	Sockets     []string      // default [DefaultSockets]
	Keep        time.Duration // how long a container is known after it was removed; default 5 minutes
	Max         int           // containers that are kept, of all engines; default 8192
}

// DefaultSockets are where Docker and Podman listen.
var DefaultSockets = []string{"/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock"}

// Containers names the containers of engines such as Docker and Podman by the names that people gave them. It knows what the engines told:
// containers are known before they start, because the engines tell when they make them. It is a [Source], safe for concurrent use.
type Containers struct {
	cfg        ContainersConfig
	engines    []*engine
	generation atomic.Uint64

	mu       sync.RWMutex
	known    map[string]*container         // by id
	strange  *lru.Cache[string, time.Time] // when ids that no engine told of were first met
	overflow uint64
	failures uint64
}

type container struct {
	engine   *engine
	identity event.Identity
	name     string
	image    string
	removed  time.Time // zero while the engine has it
}

// NewContainers checks the configuration. It opens nothing.
func NewContainers(cfg ContainersConfig) (*Containers, error) {
	if cfg.TrustDomain.IsZero() || cfg.Node == "" {
		return nil, errors.New("name containers: trust domain or node name is missing")
	}
	if len(cfg.Sockets) == 0 {
		cfg.Sockets = DefaultSockets
	}
	cfg.Keep = cmp.Or(max(cfg.Keep, 0), 5*time.Minute)
	cfg.Max = orDefault(cfg.Max, 8192)
	c := &Containers{cfg: cfg, known: map[string]*container{}, strange: lru.New[string, time.Time](1024)}
	for _, socket := range cfg.Sockets {
		if !strings.HasPrefix(socket, "/") {
			return nil, fmt.Errorf("name containers: socket %q is not an absolute path, such as %s", socket, DefaultSockets[0])
		}
		c.engines = append(c.engines, newEngine(c, socket))
	}
	return c, nil
}

// Run keeps up with the engines until ctx ends. That an engine is away is no error.
func (c *Containers) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, e := range c.engines {
		group.Go(func() error {
			defer e.http.CloseIdleConnections()
			e.run(ctx)
			return nil
		})
	}
	return group.Wait()
}

// Workload implements [Source]. It leaves the pods' cgroups alone, and those of containers that no engine told of.
func (c *Containers) Workload(g Cgroup, p Process) (event.Workload, bool) {
	if _, pod := parsePodPath(g.Path); pod {
		return event.Workload{}, false
	}
	for id := range containerIDs(g.Path) {
		c.mu.RLock()
		k := c.known[id]
		c.mu.RUnlock()
		if k != nil {
			return event.Workload{
				Identity:   k.identity,
				Evidence:   event.EvidenceCgroup,
				Container:  readable(k.name),
				Image:      readable(k.image),
				Executable: p.Executable, Interactive: p.Interactive, UID: p.UID,
			}, true
		}
	}
	return event.Workload{}, false
}

// soonWait is how long an engine may take to tell of a container that runs already.
const soonWait = 3 * time.Second

// Soon says that a cgroup looks like that of a container that is not known, but may be within moments: an engine tells of containers when it makes
// them, but what it tells takes its time.
func (c *Containers) Soon(path string) bool {
	if !slices.ContainsFunc(c.engines, func(e *engine) bool { return e.followed.Load() }) {
		return false
	}
	if _, pod := parsePodPath(path); pod {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	strange := ""
	for id := range containerIDs(path) {
		if c.known[id] != nil {
			return false
		}
		if strange == "" {
			strange = id
		}
	}
	if strange == "" {
		return false
	}
	first := c.strange.Get(strange)
	if first == nil {
		c.strange.Put(strange, time.Now())
		return true
	}
	return time.Since(*first) < soonWait
}

// Generation implements [Source].
func (c *Containers) Generation() uint64 { return c.generation.Load() }

// Missing says in words which engines cannot be asked now although they are there.
func (c *Containers) Missing() []string {
	var out []string
	for _, e := range c.engines {
		if why := e.trouble.Load(); why != nil {
			out = append(out, fmt.Sprintf("names of new containers: %s", why.err))
		}
	}
	return out
}

// Counters says how much was not known since the start, by cause.
func (c *Containers) Counters() map[string]uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return map[string]uint64{"container-overflow": c.overflow, "container-engine-failure": c.failures}
}

// Gauges says how many containers are known.
func (c *Containers) Gauges() map[string]uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return map[string]uint64{"containers": uint64(len(c.known))}
}

// expect notes what an event said of a container that is not known.
func (c *Containers) expect(e *engine, id string, t told) {
	c.mu.RLock()
	_, known := c.known[id]
	c.mu.RUnlock()
	if !known && t.Name != "" {
		c.put(e, id, t)
	}
}

// put notes what an engine told of a container.
func (c *Containers) put(e *engine, id string, t told) {
	k := container{engine: e, name: strings.TrimPrefix(t.Name, "/"), image: t.image()}
	k.identity = event.ContainerIdentity(c.cfg.TrustDomain, c.cfg.Node, t.lastingName(id))
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.known[id]
	if old != nil && *old == k {
		return
	}
	if old == nil && len(c.known) >= c.cfg.Max {
		c.forget(0)
		if len(c.known) >= c.cfg.Max {
			c.overflow++
			return
		}
	}
	c.known[id] = &k
	c.generation.Add(1)
}

// remove notes that an engine has a container no more. Its last connections may still be told of.
func (c *Containers) remove(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.known[id]; k != nil && k.removed.IsZero() {
		gone := *k // readers may hold the old one
		gone.removed = time.Now()
		c.known[id] = &gone
	}
	c.forget(c.cfg.Keep)
}

// retain notes which containers an engine has.
func (c *Containers) retain(e *engine, has map[string]bool) {
	c.mu.RLock()
	all := maps.Clone(c.known)
	c.mu.RUnlock()
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if all[id].engine == e && !has[id] {
			c.remove(id)
		}
	}
}

// forget drops what was removed so long ago.
func (c *Containers) forget(keep time.Duration) {
	for id, k := range c.known {
		if !k.removed.IsZero() && time.Since(k.removed) >= keep {
			delete(c.known, id)
			c.generation.Add(1)
		}
	}
}

func (c *Containers) fail() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures++
}
