package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/agent/enforce"
	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

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
