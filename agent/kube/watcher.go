// Package kube tells what the Kubernetes API knows: the pods of this node, and the addresses of the whole cluster. It is the only part of the agent
// that talks to the API, and holds no more of it than which objects were told.
package kube

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/ambit-nhi/ambit/agent/peer"
	"github.com/ambit-nhi/ambit/agent/workload"
)

// Config of a [Watcher]. Node is needed, zero values of the others mean the defaults.
type Config struct {
	Kubeconfig string // file; default: the service account of the pod that this runs in
	Node       string // name of this node in the API
	UserAgent  string // what the API server's audit log says of us; default "ambit-agent"
}

// PodSink is told of the pods of this node. What it is given is its own, and must not be changed where it shares slices.
type PodSink interface {
	PutPod(workload.Pod)
	DeletePod(uid string)
	ReplacePods([]workload.Pod) // all that there are
}

// AddressSink is told of pods, services, endpoint slices and nodes of the whole cluster. The order holds within a kind of objects. Where it
// blocks, the API server has to wait; it must not block for good once Run's context has ended.
type AddressSink interface {
	Apply([]peer.Change)
}

// Watcher watches the API server. Its sinks are called from its own goroutines, each never twice at the same time.
type Watcher struct {
	cfg       Config
	api       *api
	pods      *nodePods
	addresses *addresses
	owners    *owners
	status    *status
	rights    *rights
	feeds     []*feed
}

// New reads how to reach the API. It connects to nothing.
func New(cfg Config, pods PodSink, addressSink AddressSink) (*Watcher, error) {
	if cfg.Node == "" {
		return nil, errors.New("make Kubernetes watcher: the node's name is missing")
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "ambit-agent"
	}
	quietClient()
	api, err := newAPI(cfg)
	if err != nil {
		return nil, err
	}
	w := &Watcher{cfg: cfg, api: api, addresses: &addresses{sink: addressSink}}
	w.status = newStatus(api.host, cfg.Node)
	w.rights = newRights(api, w.status)
	w.owners = newOwners(api, w.status)
	w.pods = &nodePods{sink: pods, owners: w.owners, told: map[string]nodePod{}}
	for _, r := range watched {
		w.feeds = append(w.feeds, newFeed(w, r))
	}
	return w, nil
}

// Run watches until ctx ends; whatever fails is tried again. It returns when all its goroutines have.
func (w *Watcher) Run(ctx context.Context) error {
	w.status.start()
	group, ctx := errgroup.WithContext(ctx)
	listing := newUnderway()
	for _, f := range w.feeds {
		f.listing = listing
		group.Go(func() error { return f.run(ctx) })
	}
	group.Go(func() error { return w.owners.run(ctx, w.pods) })
	group.Go(func() error { return w.rights.run(ctx) })
	err := group.Wait()
	listing.finish() // a reflector leaves a list that is under way to itself
	w.api.close()
	return err
}

// Synced says whether everything that there was has been told once.
func (w *Watcher) Synced() bool { return w.status.synced() }

// Missing says what is not seen now, in words for people, each on one line; nothing while all is well.
func (w *Watcher) Missing() []string { return w.status.missing(time.Now()) }

// Counters says how many seconds something was not told since the start.
func (w *Watcher) Counters() map[string]uint64 { return w.status.counters(time.Now()) }

// Gauges says how often watches were made anew, and everything was told anew, and how many pods' owners could not be asked for. Nothing is lost by that.
func (w *Watcher) Gauges() map[string]uint64 { return w.status.gauges() }

// addresses gives changes to the sink, one call at a time.
type addresses struct {
	mu   sync.Mutex
	sink AddressSink
}

// batch is how many changes are given at once.
const batch = 512

func (a *addresses) apply(changes []peer.Change) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(changes) > 0 {
		n := min(batch, len(changes))
		a.sink.Apply(changes[:n:n])
		changes = changes[n:]
	}
}

// limiter is for all requests together. Four watches and a few owners need a fraction of it; it bounds what a fault can do to the API server.
func limiter() flowcontrol.RateLimiter { return flowcontrol.NewTokenBucketRateLimiter(10, 20) }

func closeIdle(c *http.Client) { utilnet.CloseIdleConnectionsFor(c.Transport) }
