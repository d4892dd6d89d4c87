// Package agent watches one node: it loads the kernel side, says at once who each edge belongs to and what its peer is called, and publishes
// observations.
package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/ambit-nhi/ambit/agent/peer"
	"github.com/ambit-nhi/ambit/agent/workload"
	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

// Agent is one node's agent. [New] makes it, Run is called once.
type Agent struct {
	cfg     Config
	last    atomic.Pointer[event.Heartbeat] // that was told; never changed
	publish *Publisher

	resolve      *workload.Resolver
	names        *peer.Names
	ranges       *peer.Ranges
	cluster      *peer.Cluster // empty without Kubernetes
	translations *peer.Translations
	turned       map[bpf.Number]turned
	proven       *proven
	services     []netip.Prefix // as the kernel side knows them
	sources      *sources
	deny         *denier // nil where decisions are not even looked at
	claimed      uint64  // generation of what was proven, as the denier knows it

	kernel  *bpf.Kernel
	ledger  *ledger
	tls     *tlsWatch   // nil where TLS is not watched
	claims  chan []byte // of workloads, to be kept; nil if they are not
	numbers []bpf.Number
	lost    map[string]uint64 // in the kernel, as of the last look
	drained time.Duration     // monotonic, as below
	newest  time.Duration     // when something new was seen
	running chan []event.Workload

	clock  clock
	asleep time.Duration // how long the machine was, as of the start of this boot
	losses losses
}

// How often the agent looks.
const (
	pollEvery   = 20 * time.Millisecond // the rings, and the kernel side's clock
	restEvery   = 60 * time.Millisecond // the same, after nothing was new for restAfter
	restAfter   = time.Second
	hurryEvery  = time.Second // a drain where room for edges is scarce
	sightEvery  = time.Minute // which workloads run, whether or not they connect
	censusEvery = 10 * time.Minute
)

// New checks the configuration. The connection stays the caller's.
func New(cfg Config, nc *nats.Conn) (*Agent, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("check agent configuration: %w", err)
	}
	js, err := jetstream.New(nc, PublishOptions()...)
	if err != nil {
		return nil, fmt.Errorf("make agent: %w", err)
	}
	a := &Agent{cfg: cfg, running: make(chan []event.Workload, 1)}
	a.publish = newPublisher(PublisherConfig{Node: cfg.Node, Partitions: cfg.Partitions, QueueBytes: cfg.QueueBytes, Spool: cfg.spool()}, js)
	a.names, a.ranges = peer.New(peer.Config{ClusterDomain: cfg.ClusterDomain}), peer.NewRanges(peer.RangesConfig{})
	a.translations, a.turned, a.proven = peer.NewTranslations(), map[bpf.Number]turned{}, newProven(cfg.TrustDomain, cfg.Identity)
	a.cluster = peer.NewCluster(peer.ClusterConfig{TrustDomain: cfg.TrustDomain, Template: cfg.Identity, ClusterDomain: cfg.ClusterDomain})
	if a.sources, err = newSources(cfg); err != nil {
		return nil, fmt.Errorf("make agent: %w", err)
	}
	a.resolve, err = workload.New(workload.Config{
		TrustDomain: cfg.TrustDomain, Node: cfg.Node, CgroupRoot: cfg.CgroupRoot, Names: kernelNames{a}, Sources: a.sources.workloads,
	})
	if err != nil {
		return nil, fmt.Errorf("make agent: %w", err)
	}
	if cfg.Deny.Mode != "" {
		a.deny = newDenier(a, nc, js)
	}
	return a, nil
}

// newBoot names one start of an agent: sorted by time, and random, since two starts may share a second of a clock that was set back.
func newBoot(at time.Time) string {
	var b [4]byte
	rand.Read(b[:]) // never fails
	return strconv.FormatInt(at.Unix(), 36) + "-" + hex.EncodeToString(b[:])
}

// kernelNames defers to the kernel side, which is loaded after the resolver is made.
type kernelNames struct{ a *Agent }

func (k kernelNames) CgroupPath(id uint64) (string, bool) {
	if k.a.kernel == nil {
		return "", false
	}
	return k.a.kernel.CgroupPath(id)
}

// Run takes the spool, loads the kernel side, calls ready when everything is attached, and watches until ctx ends. Then it drains once more,
// detaches, and waits for what is queued to be acknowledged, for a bounded time. It returns when all its goroutines have.
func (a *Agent) Run(ctx context.Context, ready func()) (err error) {
	if err := a.publish.openSpool(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.publish.Close()) }()
	root := a.cfg.CgroupRoot
	if root == "" {
		mount, err := workload.FindMount()
		if err != nil {
			return err
		}
		root = mount.Path
	}
	kernel, err := bpf.Load(bpf.Config{CgroupRoot: root, EdgesPerCgroup: a.cfg.EdgesPerCgroup, Hellos: a.cfg.TLS != nil})
	if err != nil {
		return fmt.Errorf("load the kernel side: %w", err)
	}
	defer kernel.Close()
	a.kernel = kernel
	defer a.translations.Close()
	for _, m := range kernel.Missing() {
		slog.Warn("this kernel refuses a hook", "hook", m.Name, "blind", m.Purpose, "reason", m.Err)
	}
	if err := a.resolve.Scan(); err != nil {
		return err
	}
	now, err := readMoment()
	if err != nil {
		return err
	}
	a.begin(now) // only now everything is watched
	a.ledger = newLedger(kernel, a, a.cfg.Node, a.publish.Observe)
	if a.cfg.TLS != nil {
		a.tls = watchTLS(kernel, *a.cfg.TLS, a.clock.wall)
		if a.deny != nil {
			a.tls.met = a.met
		}
		a.ledger.handshakes = a.tls.tracker
		if file := a.cfg.file(provenName); file != "" {
			if err := a.proven.restoreFile(file, a.cfg.Node, now.wall); err != nil {
				slog.Warn("what workloads had proven is not known any more", "error", err)
			}
			a.claims = make(chan []byte, 1)
		}
	}

	// The publisher outlives the watching: what the last drain gives it is still sent.
	publishing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, watching := errgroup.WithContext(ctx)
	a.sources.done = watching.Done()
	group.Go(func() error { return a.publish.Run(publishing) })
	group.Go(func() error {
		defer stop()
		return a.watch(watching, ready)
	})
	group.Go(func() error { return a.sight(watching) })
	if a.tls != nil {
		group.Go(func() error { return a.tls.Run(watching) })
		if a.claims != nil {
			group.Go(func() error { return keep(publishing, a.cfg.file(provenName), a.claims) })
		}
	}
	if a.deny != nil {
		group.Go(func() error { return a.deny.Run(watching, root) })
	}
	for _, run := range a.sources.run {
		group.Go(func() error { return run(watching) })
	}
	return group.Wait()
}

// watch is the agent's loop: it owns the kernel side and the ledger.
func (a *Agent) watch(ctx context.Context, ready func()) error {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	drain := time.NewTicker(a.cfg.Interval)
	defer drain.Stop()
	census := time.NewTicker(censusEvery)
	defer census.Stop()
	if err := a.drain(); err != nil { // the inventory, and a first heartbeat
		return err
	}
	ready()
	for {
		var err error
		select {
		case <-ctx.Done():
			return a.finish()
		case <-poll.C:
			var next time.Duration
			next, err = a.poll()
			poll.Reset(next)
		case <-drain.C:
			err = a.drain()
		case <-census.C:
			err = a.ledger.census()
		case changes := <-a.sources.changes:
			err = a.apply(changes)
		case workloads := <-a.running:
			if a.deny != nil {
				a.deny.saw(workloads)
			}
			var now moment
			if now, err = a.now(); err != nil {
				return err
			}
			for i := range workloads {
				if worthTelling(&workloads[i]) {
					a.publish.Sight(&workloads[i])
				}
			}
			a.publish.Flush(now.wall)
		}
		if err != nil {
			return err
		}
	}
}

// worthTelling says whether to tell of a workload that only runs. What people run by hand is known by what it reaches, or not at all; and a pod that the API has
// not told of will have another name in a moment.
func worthTelling(w *event.Workload) bool {
	return w.Evidence != event.EvidenceProcess && w.Unattributed != event.UnattributedPod
}

// now reads the clocks. When they have parted, watching begins anew as far as others can tell: they measure it in wall time, of which some is
// now missing, or there twice.
func (a *Agent) now() (moment, error) {
	now, err := readMoment()
	if err != nil {
		return now, err
	}
	if step := a.clock.stepped(now); step != 0 {
		slog.Warn("the clock was set, or the machine slept: watching counts as interrupted", "by", step)
		a.noteSet(now, step)
		a.begin(now)
	}
	return now, nil
}

// begin begins a boot: from here on the node is watched without a break.
func (a *Agent) begin(now moment) {
	a.clock.set(now)
	a.asleep = asleep()
	a.publish.Restart(newBoot(now.wall), now.wall)
	a.losses.restart()
}

// poll sends what is new, and says when to look again.
func (a *Agent) poll() (next time.Duration, err error) {
	if err := a.kernel.Tick(); err != nil {
		return pollEvery, fmt.Errorf("tell the kernel side the time: %w", err)
	}
	// News of addresses first: who is new at one is asked for below, and must not be taken for who was there before.
	if err := a.applyQueued(); err != nil {
		return pollEvery, err
	}
	now, err := a.now()
	if err != nil {
		return pollEvery, err
	}
	opened, err := a.open(now)
	told := a.ledger.told.connections
	if err == nil {
		err = a.ledger.retry(now)
	}
	if err == nil {
		err = a.ledger.look(now)
	}
	if opened > 0 || a.ledger.told.connections != told {
		a.publish.Flush(now.wall)
	}
	if err == nil && a.ledger.crowded() && now.monotonic-a.drained >= hurryEvery {
		err = a.drain()
	}
	if now.monotonic-a.newest > restAfter {
		return restEvery, err
	}
	return pollEvery, err
}

// open takes new edges, then answers, and only then names the edges: an answer that came before an edge is in its ring before the edge is.
func (a *Agent) open(now moment) (int, error) {
	a.numbers = a.numbers[:0]
	for n, err := range a.kernel.NewEdges() {
		if err != nil {
			return 0, fmt.Errorf("read new edges: %w", err)
		}
		a.numbers = append(a.numbers, n)
	}
	answered := false
	for answer, err := range a.kernel.Answers() {
		if err != nil {
			return 0, fmt.Errorf("read DNS answers: %w", err)
		}
		answered = true
		// What they refuse, they count.
		if answer.TCP {
			a.names.Stream(answer.Cgroup, answer.Flow, answer.Sequence, answer.Payload, answer.Length, now.wall)
		} else {
			a.names.Answer(answer.Cgroup, answer.Payload, now.wall)
		}
		a.newest = now.monotonic // who asked is about to connect
	}
	if answered && a.deny != nil {
		a.deny.poke()
	}
	if a.tls != nil {
		some, err := a.tls.take(now)
		if err != nil {
			return 0, err
		}
		if some {
			a.newest = now.monotonic
		}
	}
	if len(a.numbers) > 0 {
		a.newest = now.monotonic
	}
	opened, err := a.ledger.announced(now, a.numbers)
	if a.tls != nil {
		a.tls.tell(now, a.ledger, a.proven)
		a.tellProven()
	}
	return opened, err
}

// drain sends what changed, and the heartbeat.
func (a *Agent) drain() error {
	if err := a.kernel.Tick(); err != nil {
		return fmt.Errorf("tell the kernel side the time: %w", err)
	}
	now, err := a.now()
	if err != nil {
		return err
	}
	if _, err := a.open(now); err != nil {
		return err
	}
	lost, err := a.kernel.Losses()
	if err != nil {
		return err
	}
	if lost["edge-ring-full"] > a.lost["edge-ring-full"] { // only their announcements were lost
		if _, err := a.ledger.scan(now); err != nil {
			return err
		}
	}
	a.noteLost(now, a.lost, lost)
	if a.tls != nil {
		before := a.tls.lost
		if err := a.tls.look(); err != nil {
			return err
		}
		a.noteLost(now, before, a.tls.lost)
	}
	a.noteSilences()
	a.lost, a.drained = lost, now.monotonic
	if err := a.ledger.drain(now); err != nil {
		return err
	}
	a.publish.Flush(now.wall)
	a.tell(a.heartbeat(now.wall))
	return a.keepProven()
}

// keepProven hands over what workloads have proven, to be written down.
func (a *Agent) keepProven() error {
	if a.claims == nil || len(a.claims) > 0 { // the disk is slow; later
		return nil
	}
	data, ok, err := a.proven.snapshot(a.cfg.Node)
	if ok {
		a.claims <- data // nobody else sends
	}
	return err
}

// apply takes over changes of the cluster's addresses. What was toward those that change hands is told first.
func (a *Agent) apply(changes []peer.Change) error {
	now, err := a.now()
	if err != nil {
		return err
	}
	a.cluster.Update(now.wall, changes, func(addresses []netip.Addr) { err = a.ledger.settle(addresses, now) })
	if err != nil {
		return err
	}
	ranges := a.cluster.ServiceRanges()
	if slices.Equal(ranges, a.services) { // while they are set, the kernel side knows none
		return nil
	}
	a.services = ranges
	return a.kernel.SetServiceRanges(ranges)
}

// applyQueued applies what waits, within bounds: new edges wait, too.
func (a *Agent) applyQueued() error {
	const most = 64
	for range most {
		select {
		case changes := <-a.sources.changes:
			if err := a.apply(changes); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

// finish drains for the last time: what waits for names is told without, after taking the handshakes that are over.
func (a *Agent) finish() error {
	now, err := a.now()
	if err != nil {
		return err
	}
	if _, err := a.open(now); err != nil {
		return err
	}
	if err := a.ledger.finish(now); err != nil {
		return err
	}
	return a.drain()
}

// sight looks now and then which units and cgroups run, so that those that never connect are known too.
func (a *Agent) sight(ctx context.Context) error {
	tick := time.NewTicker(sightEvery)
	defer tick.Stop()
	for {
		running, err := a.resolve.Running(ctx)
		if err != nil && ctx.Err() == nil {
			slog.Warn("cannot list what runs", "error", err)
		}
		select {
		case a.running <- running:
		case <-ctx.Done():
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
