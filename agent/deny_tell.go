package agent

import (
	"hash/fnv"
	"log/slog"
	"time"

	"github.com/ambit-nhi/ambit/agent/enforce"
	"github.com/ambit-nhi/ambit/event"
)

// countNumber is what a decision's count is known by in the kernel.
func countNumber(id string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(id))
	return h.Sum64() | 1
}

// tellRefused tells of a decision that is not followed.
func (d *denier) tellRefused(id string, serial uint64, why string, data []byte, at enforce.Moment) {
	if !event.ValidDecisionID(id) {
		slog.Warn("a decision without a valid ID came", "why", why)
		return
	}
	if data != nil && !d.engine.Unreadable(id, data) { // told before
		return
	}
	if d.quiet++; at.Wall.Sub(d.warned).Abs() >= time.Second { // of a flood, a few
		slog.Warn("decisions are refused", "decision", id, "why", why, "refused", d.quiet)
		d.quiet, d.warned = 0, at.Wall
	}
	d.tell(event.Ack{Decision: id, Serial: serial, Node: d.cfg.Node, Boot: d.boot, State: event.AckRefused, Why: why, At: at.Wall, Told: at.Wall})
}

// tellStates tells of all decisions whose state is another by now.
func (d *denier) tellStates(at enforce.Moment, fault error) {
	for _, h := range d.engine.All() {
		if h.State == event.AckEnded {
			continue
		}
		state, why := h.State, h.Why
		switch {
		case fault != nil:
			state, why = event.AckFailed, firstLine(fault)
		case d.broken:
			state, why = event.AckNotCovered, "the break-glass file "+d.cfg.Deny.BreakGlass+" is there"
		}
		t := d.tallies[h.Slot]
		if t == nil {
			continue
		}
		if t.state != state || t.why != why || t.told.Serial != h.Decision.Serial {
			t.state, t.why, t.at = state, why, at.Wall
			d.put(h, t, at)
		}
	}
}

// tellOne says the last word about a decision.
func (d *denier) tellOne(h *enforce.Held, at enforce.Moment, t *denyTally) {
	if t == nil {
		t = d.tallies[h.Slot]
	}
	if t == nil {
		t = &denyTally{}
	}
	t.state, t.why, t.at = h.State, h.Why, at.Wall
	d.put(h, t, at)
}

// tellAll tells the counts of decisions that moved.
func (d *denier) tellAll(now time.Time) {
	at, err := d.moment()
	if err != nil {
		return
	}
	for _, h := range d.engine.All() {
		t := d.tallies[h.Slot]
		if t == nil || t.state == "" || now.Before(t.next) {
			continue
		}
		a, err := d.ack(h, t, at)
		if err != nil {
			slog.Warn("cannot read what a decision did", "error", err)
			continue
		}
		if a.Denied != t.told.Denied || a.WouldDeny != t.told.WouldDeny || a.Cut != t.told.Cut {
			t.told = a
			d.tell(a)
			t.pace = min(max(2*t.pace, tellSoon), tellLate)
			t.next = now.Add(t.pace)
		}
	}
	d.note()
}

func (d *denier) put(h *enforce.Held, t *denyTally, at enforce.Moment) {
	a, err := d.ack(h, t, at)
	if err != nil {
		slog.Warn("cannot read what a decision did", "error", err)
	}
	t.told, t.pace = a, 0
	d.tell(a)
}

// ack is what is known of a decision here. Times of the kernel's clock become wall time by what both are now.
func (d *denier) ack(h *enforce.Held, t *denyTally, at enforce.Moment) (event.Ack, error) {
	a := event.Ack{
		Decision: h.Decision.ID, Serial: h.Decision.Serial, Node: d.cfg.Node, Boot: d.boot, State: t.state, Why: t.why, At: t.at, Told: at.Wall,
		Cut: t.cut, LastAllowed: t.lastCut, Entries: h.Entries,
	}
	c, err := d.kernel.Count(h.Slot)
	if err != nil || c.Decision != countNumber(h.Decision.ID) {
		return a, err
	}
	wall := func(boot time.Duration) time.Time {
		if boot == 0 {
			return time.Time{}
		}
		return at.Wall.Add(boot - at.Boot)
	}
	a.Denied, a.WouldDeny, a.FirstDenied, a.LastDenied = c.Denied, c.Would, wall(c.FirstDone), wall(c.LastDone)
	return a, nil
}
