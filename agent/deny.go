package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/renameio/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/agent/cut"
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
	if err := d.start(); err != nil {
		level := slog.LevelWarn
		if errors.Is(err, errNoKeys) || errors.Is(err, errDenyOff) {
			level = slog.LevelInfo
		}
		slog.Log(ctx, level, "decisions are not followed on this node", "reason", err)
		d.setStatus("off: " + firstLine(err))
		<-ctx.Done()
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

var (
	errNoKeys  = errors.New("deny.keys names no key whose decisions count")
	errDenyOff = errors.New("deny.mode is off")
)

// start loads the kernel side, and has it agree with what was held before this start.
func (d *denier) start() (err error) {
	c := d.cfg.Deny
	if c.Mode == DenyOff || len(c.Keys) == 0 {
		if _, err := RemovePins(c.Pins); err != nil { // of an agent before this one
			return fmt.Errorf("lift what was denied: %w", err)
		}
		if c.Mode == DenyOff {
			return errDenyOff
		}
		return errNoKeys
	}
	if d.boot, d.own, err = bootAndCgroup(); err != nil {
		return err
	}
	if d.ownID, err = cut.OwnCgroup(); err != nil && !errors.Is(err, cut.ErrUnsupported) {
		return err
	}
	if err := bpf.MakePins(c.Pins); err != nil {
		return err
	}
	if d.lock, err = lockFolder(c.Pins); err != nil {
		return err
	}
	if d.kernel, err = bpf.LoadDeny(bpf.DenyConfig{CgroupRoot: d.root, Pins: c.Pins}); err != nil {
		return errors.Join(err, d.lock.Close())
	}
	floor := make([]event.Target, len(c.Floor))
	for i, f := range c.Floor {
		if floor[i], err = event.ParseTarget(f); err != nil {
			break
		}
	}
	d.engine = enforce.New(enforce.Config{
		Keys: c.Keys, MaxLife: c.MaxLife, Floor: floor, Protected: c.Protected, AutomaticPerMinute: c.AutomaticPerMinute, AutomaticMax: c.AutomaticMax,
		DryRun: c.Mode == DenyDryRun, Boot: d.boot, Slots: bpf.DenyDecisions, Sorts: bpf.DenySorts, Subjects: bpf.DenySubjects, Rules: bpf.DenyRules - 1024,
	})
	var at enforce.Moment
	if err == nil {
		at, err = d.moment()
	}
	if err != nil {
		return errors.Join(err, d.kernel.Close(), d.lock.Close())
	}
	if err := d.restore(at); err != nil {
		slog.Warn("the decisions of before the start are not known any more; they come again from the stream", "error", err)
	}
	return nil
}

// lockFolder has one agent at a time: two would undo each other's work.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another agent on this machine denies (deny.pins %s): %w", dir, err), f.Close())
	}
	return f, nil
}

// stop leaves in the kernel what is in force, and nothing if nothing is.
func (d *denier) stop() {
	d.save()
	select {
	case s := <-d.saves:
		d.kept(s)
	default:
	}
	errs := []error{d.kernel.Close()}
	if d.engine.Living() == 0 && !d.broken {
		_, err := bpf.RemoveDeny(d.cfg.Deny.Pins)
		errs = append(errs, err)
	}
	if err := errors.Join(append(errs, d.lock.Close())...); err != nil {
		slog.Warn("cannot leave the kernel side of deny in order", "error", err)
	}
}

func bootAndCgroup() (boot, cgroup string, err error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", "", fmt.Errorf("read which start of the machine this is: %w", err)
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", "", fmt.Errorf("read the own cgroup: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			cgroup = path
		}
	}
	return strings.TrimSpace(string(id)), cgroup, nil
}

func (d *denier) moment() (enforce.Moment, error) {
	boot, err := bpf.BootTime()
	return enforce.Moment{Wall: time.Now().Round(0).Add(time.Duration(d.skew.Load())), Boot: boot}, err
}

func (d *denier) restore(at enforce.Moment) error {
	file := d.cfg.file(denyName)
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(data) > maxDenyFile {
		err = fmt.Errorf("%s is longer than %d bytes", file, maxDenyFile)
	}
	if err != nil {
		return err
	}
	return d.engine.Restore(data, at)
}

// save hands over what is to be written down, and what is told once it is: the disk is slow, and the next decision does not wait for it. What was told as in
// force is so after a restart, too.
func (d *denier) save() {
	var data []byte
	if d.cfg.file(denyName) != "" {
		var err error
		if data, _, err = d.engine.Save(); err != nil {
			slog.Warn("cannot keep decisions for the next start", "error", err)
		}
	}
	if data == nil && len(d.telling) == 0 {
		return
	}
	next := saving{data, d.telling}
	d.telling = nil
	select {
	case old := <-d.saves: // nobody took it so far
		if next.data == nil {
			next.data = old.data
		}
		next.acks = append(old.acks, next.acks...)
	default:
	}
	d.saves <- next // nobody else sends
}

// saving is the state of the engine, nil if it is what it was, and what is told of it.
type saving struct {
	data []byte
	acks []event.Ack
}

func (d *denier) tell(a event.Ack) { d.telling = append(d.telling, a) }

// keepSaved writes down what it is given until ctx ends.
func (d *denier) keepSaved(ctx context.Context) error {
	for {
		select {
		case s := <-d.saves:
			d.kept(s)
		case <-ctx.Done():
			return nil
		}
	}
}

func (d *denier) kept(s saving) {
	if s.data != nil {
		d.write(s.data)
	}
	for _, a := range s.acks {
		d.outbox.put(a)
	}
}

func (d *denier) write(data []byte) {
	file := d.cfg.file(denyName)
	if err := renameio.WriteFile(file, data, 0o600, renameio.WithTempDir(filepath.Dir(file))); err != nil {
		slog.Warn("cannot keep decisions for the next start", "error", err)
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

// take takes a decision that came.
func (d *denier) take(a arrival) {
	at, err := d.moment()
	if err != nil {
		slog.Warn("cannot take a decision", "error", err)
		return
	}
	x, err := event.DecodeDecision(a.data)
	if err == nil && x.ID != a.key {
		err = fmt.Errorf("the decision %q came as %q: it was altered", x.ID, a.key)
	}
	if err != nil {
		d.tellRefused(a.key, 0, err.Error(), a.data, at)
		return
	}
	switch t := d.engine.Take(x, at); {
	case t.Known:
	case t.Expired && a.listed: // it is in the bucket for some time still
	case t.State == event.AckRefused:
		d.tellRefused(x.ID, x.Serial, t.Why, nil, at)
	case t.State == event.AckEnded && d.engine.Holds(x.ID): // that is told when the kernel has let go of it
	default:
		d.tell(event.Ack{Decision: x.ID, Serial: x.Serial, Node: d.cfg.Node, Boot: d.boot, State: t.State, Why: t.Why, At: at.Wall, Told: at.Wall})
	}
}

// apply has the kernel agree with what the decisions say and what is known now. With fresh, cgroups are looked for.
func (d *denier) apply(fresh bool) error {
	at, err := d.moment()
	if err != nil {
		return err
	}
	over := d.engine.Expire(at)
	if d.engine.Living() > 0 {
		if err := d.scan(fresh); err != nil {
			slog.Warn("cannot list cgroups", "error", err)
		}
	}
	d.facts = d.generation()
	table := d.engine.Resolve(d)
	if err := d.newSlots(); err != nil {
		return err
	}
	before, live := d.kernel.Armed(), d.engine.Living() > 0 && !d.broken
	var off error
	if !live { // whatever becomes of the rules
		off = d.kernel.Arm(false)
	}
	changes, err := d.kernel.Apply(kernelTable(table))
	if err == nil && live {
		err = d.kernel.Arm(true)
	}
	armed := err == nil && live
	left := map[uint32]time.Duration{}
	if err = errors.Join(off, err); err != nil && d.kernel.Armed() {
		left = d.kernel.InForce()
		if slices.ContainsFunc(over, func(h *enforce.Held) bool { return left[h.Slot] > at.Boot }) { // rather nobody is denied than somebody for too long
			err = errors.Join(err, d.kernel.Arm(false))
		}
	}
	if d.failed = err != nil; d.failed {
		slog.Warn("cannot have the kernel deny", "error", err)
	}
	d.tellStates(at, err)
	for _, h := range over {
		if d.kernel.Armed() && left[h.Slot] > at.Boot {
			continue // until it has ended, too
		}
		d.tellOne(h, at, nil)
		d.engine.Forget(h)
		delete(d.tallies, h.Slot)
	}
	if armed && (changes.Added+changes.Changed > 0 || !before) {
		d.sweep()
		now := time.Now()
		d.sweeps = []time.Time{now.Add(denyTick), now.Add(time.Second)} // what was under way
	}
	d.save()
	d.note()
	return nil
}

func kernelTable(t enforce.Table) bpf.DenyTable {
	out := bpf.DenyTable{Cgroups: t.Cgroups, Rules: make(map[bpf.DenyKey]bpf.DenyRule, len(t.Rules))}
	for k, r := range t.Rules {
		out.Rules[bpf.DenyKey{Subject: k.Subject, Inbound: k.Inbound, Prefix: k.Prefix, Port: k.Port, Protocol: k.Protocol}] = bpf.DenyRule{
			Enforce: bpf.DenyUntil{Until: r.Enforce.Deadline, Decision: r.Enforce.Slot}, DryRun: bpf.DenyUntil{Until: r.DryRun.Deadline, Decision: r.DryRun.Slot},
		}
	}
	return out
}

// newSlots gives each decision a count that begins at zero, before any rule leads to it. After a restart, those of the same decisions go on.
func (d *denier) newSlots() error {
	for _, h := range d.engine.All() {
		if d.tallies[h.Slot] != nil {
			continue
		}
		d.tallies[h.Slot] = &denyTally{}
		c, err := d.kernel.Count(h.Slot)
		if err != nil {
			return err
		}
		if number := countNumber(h.Decision.ID); c.Decision != number {
			if err := d.kernel.SetCount(h.Slot, number); err != nil {
				return err
			}
		}
	}
	return nil
}

// note writes down what heartbeats tell.
func (d *denier) note() {
	counts := d.engine.Counters()
	counts["deny-handshakes-unseen"] = d.unmet.Load()
	counts["deny-acks-dropped"] = d.outbox.dropped.Load()
	gauges := map[string]uint64{"deny-decisions": uint64(d.engine.Living()), "deny-entries": 0}
	for _, h := range d.engine.All() {
		gauges["deny-entries"] += uint64(h.Entries)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts, d.gauges = counts, gauges
	switch {
	case d.broken:
		d.status = "off: the break-glass file " + d.cfg.Deny.BreakGlass + " is there"
	case d.cfg.Deny.Mode == DenyOn:
		d.status = "on"
	}
}

// ---- cutting

// sweep ends the established connections that are refused by now.
func (d *denier) sweep() {
	if d.broken {
		return
	}
	dirs := []string{}
	for id := range d.engine.Named() {
		if path, ok := d.cgroups[id]; ok {
			dirs = append(dirs, filepath.Join(d.root, path))
		}
	}
	err := d.sweepIn(dirs, func(s *cut.Socket, now time.Duration) (uint32, bool) {
		return d.engine.Refuses(connectionOf(s), now)
	})
	if lacking := errors.Is(err, cut.ErrUnsupported); err == nil || lacking {
		if lacking == d.dropping {
			return
		}
		if d.dropping = lacking; lacking {
			slog.Warn("established connections that are denied are cut by dropping their packets", "reason", err)
		}
		err = d.kernel.DropEstablished(lacking)
	}
	if err != nil {
		slog.Warn("cannot cut all connections that are denied", "error", err)
	}
}

func connectionOf(s *cut.Socket) enforce.Connection {
	c := enforce.Connection{Cgroup: s.Cgroup, Inbound: s.Accepted, Peer: s.Remote.Addr(), Port: s.Remote.Port(), Protocol: unix.IPPROTO_TCP}
	if s.Accepted {
		c.Port = s.Local.Port()
	}
	return c
}

func (d *denier) sweepIn(dirs []string, refuses func(*cut.Socket, time.Duration) (uint32, bool)) error {
	if len(dirs) == 0 {
		return nil
	}
	at, err := d.moment()
	if err != nil {
		return err
	}
	namespaces, err := cut.Namespaces(dirs)
	if err != nil {
		return err
	}
	var errs []error
	by := map[uint64]uint32{} // slots of the decisions, by socket
	for _, n := range namespaces {
		swept, err := cut.Sweep(n, func(s *cut.Socket) bool {
			slot, yes := refuses(s, at.Boot)
			if yes {
				by[s.Cookie] = slot
				if t := d.tallies[slot]; t != nil {
					t.cut++
					t.lastCut = at.Wall
				}
			}
			return yes
		})
		errs = append(errs, err, n.Close())
		for _, s := range swept.Left { // their packets, at least
			for _, h := range d.engine.All() {
				if h.Slot == by[s.Cookie] {
					errs = append(errs, d.kernel.CutPackets(s.Cookie, h.Deadline))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// cutPeer ends the connections of a workload to where a handshake has shown a denied peer. New ones to the same address may lead to others, and may begin.
func (d *denier) cutPeer(m meeting) error {
	at, err := d.moment()
	if err != nil || d.broken {
		return err
	}
	h, yes := d.engine.RefusesPeer(m.own, m.peer, m.connection, at.Boot)
	path, known := d.cgroups[m.connection.Cgroup]
	if !yes || !known {
		return nil
	}
	want := m.connection
	if !slices.ContainsFunc(d.Workloads(), func(w enforce.Workload) bool { return w.Cgroup == want.Cgroup && !w.Own && !w.Shared }) {
		return nil // as the rules: neither Ambit itself, nor who cannot be told apart
	}
	return d.sweepIn([]string{filepath.Join(d.root, path)}, func(s *cut.Socket, _ time.Duration) (uint32, bool) {
		return h.Slot, connectionOf(s) == want
	})
}

// peerAddress is an address as sockets have it.
func peerAddress(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
