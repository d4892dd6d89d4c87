package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/ambit-nhi/ambit/agent/enforce"
	"github.com/ambit-nhi/ambit/agent/peer"
	"github.com/ambit-nhi/ambit/agent/workload"
	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

// denier follows decisions: it holds those that count, has the kernel refuse what they say, cuts what is established, and tells what it did. All of it is in
// one goroutine of its own, so that nothing of the watching delays it; others only poke it.
type denier struct {
	cfg     Config
	nc      *nats.Conn
	js      jetstream.JetStream
	resolve *workload.Resolver
	names   *peer.Names
	cluster *peer.Cluster
	root    string // of the cgroups

	kernel   *bpf.Deny
	lock     *os.File // of the pins: one agent has them
	engine   *enforce.Engine
	boot     string // of the machine
	cgroups  map[uint64]string
	scanned  time.Time
	own      string // cgroup
	ownID    uint64 // the same; 0 if the kernel does not tell
	facts    uint64 // generation of what is known, as of the last table
	broken   bool   // the glass
	failed   bool   // the last table was not applied
	dropping bool   // packets of established connections, since they cannot be ended
	tallies  map[uint32]*denyTally
	sweeps   []time.Time // that are still due
	outbox   *ackBox
	idle     time.Time // since when nothing is denied
	warned   time.Time // of refusals
	quiet    int       // refusals since

	arrived chan arrival
	poked   chan struct{}
	met     chan meeting
	saves   chan saving
	telling []event.Ack                               // with the next of them
	running atomic.Pointer[map[event.Identity]string] // who runs in shared cgroups, and where
	claims  atomic.Pointer[claims]
	skew    atomic.Int64  // of the wall clock, in ns: tests set the clock so
	unmet   atomic.Uint64 // meetings that found no room

	mu     sync.Mutex // guards what follows, which heartbeats tell
	status string
	counts map[string]uint64
	gauges map[string]uint64
}

// claims are the identities that cgroups have proven, by path.
type claims struct {
	one     map[string]event.Identity
	several map[string]bool
}

// meeting is a handshake that said who the peer is.
type meeting struct {
	own, peer  event.Identity
	connection enforce.Connection
}

// denyTally is what happened to a decision besides what the kernel counts.
type denyTally struct {
	cut     uint64
	lastCut time.Time
	told    event.Ack
	next    time.Time // when counts are told again, if they moved
	pace    time.Duration
	at      time.Time // when it came to its state
	state   event.AckState
	why     string
}

const (
	denyTick     = 50 * time.Millisecond
	denyName     = "decisions.json" // in the agent's folder
	maxDenyFile  = 64 << 20
	tellSoon     = time.Second // counts are told so soon after they moved, and then less and less often,
	tellLate     = time.Minute // down to this
	detachAfter  = time.Minute // without decisions
	scanAgain    = 10 * time.Second
	resolveAgain = 2 * time.Second
	startAgain   = 10 * time.Second
)

func newDenier(a *Agent, nc *nats.Conn, js jetstream.JetStream) *denier {
	d := &denier{
		cfg: a.cfg, nc: nc, js: js, resolve: a.resolve, names: a.names, cluster: a.cluster, cgroups: map[uint64]string{}, tallies: map[uint32]*denyTally{},
		arrived: make(chan arrival, 1024), poked: make(chan struct{}, 1), met: make(chan meeting, 256), saves: make(chan saving, 1), status: "off: it has not started yet",
	}
	d.outbox = newAckBox(js, event.AckSubject(a.cfg.Node))
	return d
}

// Status is what heartbeats tell.
func (d *denier) Status() (status string, counts, gauges map[string]uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.status, d.counts, d.gauges
}

func (d *denier) setStatus(s string) {
	d.mu.Lock()
	d.status = s
	d.mu.Unlock()
}

// poke says that something may be otherwise than it was: names, addresses or identities.
func (d *denier) poke() {
	select {
	case d.poked <- struct{}{}:
	default:
	}
}

// shook tells that a peer has shown who it is. It does not wait.
func (d *denier) shook(m meeting) {
	select {
	case d.met <- m:
	default:
		d.unmet.Add(1)
	}
}

// saw takes what runs, for those identities that only processes have.
func (d *denier) saw(running []event.Workload) {
	shared := map[event.Identity]string{}
	for i := range running {
		if w := &running[i]; w.Evidence == event.EvidenceProcess {
			shared[w.Identity] = w.Cgroup
		}
	}
	d.running.Store(&shared)
}

// Run follows decisions until ctx ends. That this machine cannot deny is no error: it is told.
func (d *denier) Run(ctx context.Context, root string) error {
	d.root = root
	if !d.begin(ctx) {
		return nil
	}
	defer d.stop()
	d.setStatus("on")
	if d.cfg.Deny.Mode == DenyDryRun {
		d.setStatus("off: it only counts what would be refused (deny.mode)")
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.listen(ctx) })
	group.Go(func() error { return d.outbox.run(ctx) })
	group.Go(func() error { return d.keepSaved(ctx) })
	group.Go(func() error { return d.loop(ctx) })
	return group.Wait()
}

func (d *denier) moment() (enforce.Moment, error) {
	boot, err := bpf.BootTime()
	return enforce.Moment{Wall: time.Now().Round(0).Add(time.Duration(d.skew.Load())), Boot: boot}, err
}

// begin starts it, sooner or later: another agent may hold the pins for a moment still, or the kernel be short of memory. It says whether it did before ctx
// ended.
func (d *denier) begin(ctx context.Context) bool {
	again := time.NewTicker(startAgain)
	defer again.Stop()
	told := ""
	for {
		err := d.start()
		if err == nil {
			return true
		}
		off := errors.Is(err, errNoKeys) || errors.Is(err, errDenyOff)
		if reason := firstLine(err); reason != told {
			level := slog.LevelWarn
			if off {
				level = slog.LevelInfo
			}
			slog.Log(ctx, level, "decisions are not followed on this node", "reason", err)
			d.setStatus("off: " + reason)
			told = reason
		}
		retry := again.C
		if off {
			retry = nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-retry:
		}
	}
}

// loop owns the engine and the kernel side.
func (d *denier) loop(ctx context.Context) error {
	tick := time.NewTicker(denyTick)
	defer tick.Stop()
	var told, resolved time.Time
	d.glass()
	if err := d.apply(true); err != nil {
		return err
	}
	for {
		again, fresh := false, false
		select {
		case <-ctx.Done():
			return nil
		case a := <-d.arrived:
			d.take(a)
			for range 256 { // what came at once is applied at once
				select {
				case a := <-d.arrived:
					d.take(a)
				default:
				}
			}
			again, fresh = true, true
		case <-d.poked:
			again = d.engine.Living() > 0
		case m := <-d.met:
			if err := d.cutPeer(m); err != nil {
				slog.Warn("cannot cut a connection to a denied peer", "error", err)
			}
		case now := <-tick.C:
			var err error
			if again, err = d.look(now); err != nil {
				return err
			}
			if now.Sub(resolved) >= resolveAgain && (d.engine.Living() > 0 || d.failed) {
				again = true
			}
			if now.Sub(told) >= tellSoon {
				told = now
				d.tellAll(now)
				d.save()
			}
		}
		if again {
			resolved = time.Now()
			if err := d.apply(fresh); err != nil {
				return err
			}
		}
	}
}

// look sees what changed by itself: time, the glass, cgroups, and what is known.
func (d *denier) look(now time.Time) (again bool, err error) {
	again = d.glass()
	if len(d.sweeps) > 0 && now.After(d.sweeps[0]) {
		d.sweeps = d.sweeps[1:]
		d.sweep()
	}
	if d.engine.Living() == 0 {
		if d.idle.IsZero() {
			d.idle = now
		}
		if now.Sub(d.idle) >= detachAfter && !d.kernel.Armed() {
			d.idle = now
			return again, d.kernel.Detach()
		}
		return again, nil
	}
	d.idle = time.Time{}
	at, err := d.moment()
	if err != nil {
		return false, err
	}
	for _, h := range d.engine.All() {
		again = again || h.State != event.AckEnded && at.Boot >= h.Deadline
	}
	made, err := d.kernel.NewCgroups()
	if err != nil {
		return false, err
	}
	if len(made) > 0 {
		d.scanned, again = time.Time{}, true
	}
	return again || d.generation() != d.facts, nil
}

// glass looks whether somebody broke it, and says whether that is new.
func (d *denier) glass() bool {
	_, err := os.Lstat(d.cfg.Deny.BreakGlass)
	if broken := err == nil; broken != d.broken {
		d.broken = broken
		slog.Warn("the break-glass file turns enforcement off while it exists", "file", d.cfg.Deny.BreakGlass, "exists", broken)
		return true
	}
	return false
}

func (d *denier) generation() uint64 { return d.resolve.Generation() + d.cluster.Generation() }
