package detector

import "github.com/ambit-nhi/ambit/event"

// eventTime is the time of what is seen, so that what follows from time passing is the same in every run: it goes as far as nodes were watched. It never
// goes back. A node that is far ahead of the others moves it only when another one is there, too, or none else is heard any more.
type eventTime struct {
	now   int64 // µs; 0: not yet
	ahead jump
	hour  int64 // that was swept last
	began int64 // the first time that was known, µs
}

// jump is the claim of one node that it is much later.
type jump struct {
	node uint32
	at   int64 // when it claimed that first; 0: nobody does
}

const (
	farAhead  = dayMicros // more than that at once is a jump
	farBehind = 7 * dayMicros
	jumpProof = hourMicros // a node that goes on for so long with nobody else heard is believed
)

// pass takes in that a node was watched until a time, and says whether that is believed.
func (c *eventTime) pass(node uint32, at int64, alone bool) bool {
	switch {
	case c.now == 0 || alone || at <= c.now+farAhead:
		if c.ahead.at != 0 && node != c.ahead.node && at > c.now { // others go on without that
			c.ahead = jump{}
		}
	case c.ahead.at == 0:
		c.ahead = jump{node, at}
		return false
	case node == c.ahead.node && at-c.ahead.at < jumpProof:
		return false
	}
	if at <= c.now {
		return true
	}
	if c.now == 0 {
		c.began, c.hour = at, at/hourMicros
	}
	c.now, c.ahead = at, jump{}
	return true
}

// trust moves the clock without doubt.
func (c *eventTime) trust(at int64) {
	if at > c.now {
		c.now, c.hour = at, at/hourMicros
		if c.began == 0 {
			c.began = at
		}
	}
}

// sweep tells what follows from time having passed, once an hour.
func (d *Detector) sweep(out []event.Finding) []event.Finding {
	hour := d.clock.now / hourMicros
	if hour <= d.clock.hour {
		return out
	}
	before := d.clock.hour
	d.clock.hour = hour
	out = d.settle(out)
	return d.dormant(hour/24 > before/24, out)
}
