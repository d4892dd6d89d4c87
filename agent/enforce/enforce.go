// Package enforce turns decisions into what a node's kernel refuses: who is named here, by which addresses what they may not reach is known here, and until when.
// It keeps the rails: what no decision may do. It does no I/O and reads no clock.
package enforce

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Config of an [Engine]. Keys, MaxLife, Floor and Protected are as the operator set them.
type Config struct {
	Keys               []string       // public keys whose signatures count
	MaxLife            time.Duration  // of a decision
	Floor              []event.Target // what nobody is denied
	Protected          []string       // identities, with * for anything, that no decision is about
	AutomaticPerMinute int            // decisions that nobody asked for
	AutomaticMax       int            // likewise, at a time
	PerMinute          int            // decisions of all kinds; default 1000
	DryRun             bool           // whatever decisions say, nothing is refused
	Boot               string         // this start of the machine, whose clock the deadlines are of
	Slots              uint32         // counts that the kernel has; the first is not used
	Sorts              int            // sorts of rules that one subject may have each way
	Subjects           uint32         // that may be named; the first is the floor
	Rules              int            // in all
}

// Moment is one instant on both clocks: decisions have wall time, and what is in the kernel ends by the clock that nobody sets.
type Moment struct {
	Wall time.Time
	Boot time.Duration
}

// Engine holds the decisions of a node. It is for one goroutine.
type Engine struct {
	cfg      Config
	verifier event.Verifier
	held     map[string]*Held
	refused  map[string]refusal
	ended    map[string]ending
	subjects map[event.Identity]uint32
	resting  []uint32 // numbers that were given back, and are free after the next table
	free     []uint32
	next     uint32
	slots    map[uint32]string // by decision
	table    Table
	changed  bool // since it was saved
	counts   map[string]uint64
}

// Held is a decision that this node believes.
type Held struct {
	Decision *event.Decision
	Target   event.Target
	Deadline time.Duration // boot clock
	Slot     uint32        // index of its count
	State    event.AckState
	Why      string
	Entries  int // rules and cgroups
	over     bool
}

type refusal struct {
	serial uint64
	mark   []byte
	why    string
}

// ending is the form of a decision that ended, and until when that is remembered.
type ending struct {
	serial uint64
	until  time.Duration // boot clock
}

// maxEnded bounds how many of them are remembered.
const maxEnded = 100_000

// maxRefused bounds how many refusals are remembered, so that each is told once.
const maxRefused = 4096

// New makes an engine without decisions.
func New(cfg Config) *Engine {
	if cfg.PerMinute == 0 {
		cfg.PerMinute = 1000
	}
	return &Engine{
		cfg: cfg, verifier: event.Verifier{Keys: cfg.Keys, MaxLife: cfg.MaxLife}, held: map[string]*Held{}, refused: map[string]refusal{},
		ended:    map[string]ending{},
		subjects: map[event.Identity]uint32{}, next: 1, slots: map[uint32]string{}, counts: map[string]uint64{},
	}
}

// Told is what a node tells of a decision that came.
type Told struct {
	State event.AckState // received, refused or ended
	Why   string
	Known bool // it was told before

	Expired bool // it is refused for nothing else
}

// Take takes a decision as it came, from whomever. Only the signature says that it counts.
func (e *Engine) Take(d *event.Decision, at Moment) Told {
	h := e.held[d.ID]
	if h != nil && d.Serial == h.Decision.Serial && bytes.Equal(d.Signature, h.Decision.Signature) {
		return Told{State: event.AckReceived, Known: true} // it is in force by the clock of this machine, whatever others have been set to
	}
	wall := at.Wall
	if h != nil && !h.over && !d.Revoked.IsZero() && d.Serial > h.Decision.Serial {
		wall = d.Issued // what holds by the clock of this machine is lifted likewise
	}
	if err := e.verifier.Check(d, wall); err != nil {
		return e.refuse(d, err)
	}
	last, ended := e.ended[d.ID]
	if !d.Revoked.IsZero() {
		if h == nil || h.over {
			known := h != nil || ended && d.Serial <= last.serial
			e.changed = e.changed || !known
			e.remember(d, at)
			return Told{State: event.AckEnded, Why: "revoked", Known: known}
		}
		e.changed = true
		h.Decision = d.Clone()
		e.end(h, "revoked")
		e.remember(d, at)
		return Told{State: event.AckEnded, Why: h.Why}
	}
	if ended && d.Serial <= last.serial { // the clock of the wall was set back since
		return Told{State: event.AckEnded, Known: true}
	}
	if why := e.rails(d, at); why != nil {
		return e.refuse(d, why)
	}
	target, err := event.ParseTarget(d.To)
	if err != nil {
		return e.refuse(d, err)
	}
	if h == nil {
		slot, ok := e.slot(d.ID)
		if !ok {
			return e.refuse(d, fmt.Errorf("this node holds %d decisions and takes no more", len(e.held)))
		}
		h = &Held{Slot: slot}
		e.held[d.ID] = h
	}
	// Whose clock is behind must not make it longer than it was meant to be.
	life := min(d.Expires.Sub(at.Wall), d.Expires.Sub(d.Issued))
	h.Decision, h.Target, h.Deadline, h.State, h.Why, h.over = d.Clone(), target, at.Boot+life, event.AckReceived, "", false
	delete(e.refused, d.ID)
	e.changed = true
	return Told{State: event.AckReceived}
}

// rails says why a decision must not be followed although it is signed.
func (e *Engine) rails(d *event.Decision, at Moment) error {
	if !d.Glob {
		for _, p := range e.cfg.Protected {
			if event.Fits(p, d.Identity) {
				e.counts["deny-refused-protected"]++
				return fmt.Errorf("the identity is protected (deny.protected %s)", p)
			}
		}
	}
	if t, err := event.ParseTarget(d.To); err == nil {
		if f, ok := e.onFloor(t); ok {
			e.counts["deny-refused-floor"]++
			return fmt.Errorf("the target is on the floor (%s), which nobody is denied", f)
		}
	}
	all, automatic, living := 0, 0, 0
	for id, h := range e.held {
		if id == d.ID {
			continue
		}
		near := h.Decision.Issued.After(d.Issued.Add(-time.Minute)) && !h.Decision.Issued.After(d.Issued)
		if near {
			all++
		}
		if h.Decision.Automatic {
			if near {
				automatic++
			}
			if !h.over && at.Boot < h.Deadline {
				living++
			}
		}
	}
	switch {
	case all >= e.cfg.PerMinute:
		e.counts["deny-refused-rate"]++
		return fmt.Errorf("more than %d decisions in a minute", e.cfg.PerMinute)
	case d.Automatic && automatic >= e.cfg.AutomaticPerMinute:
		e.counts["deny-refused-breaker"]++
		return fmt.Errorf("the circuit breaker is open: more than %d automatic decisions in a minute (deny.automatic_per_minute)", e.cfg.AutomaticPerMinute)
	case d.Automatic && living >= e.cfg.AutomaticMax:
		e.counts["deny-refused-breaker"]++
		return fmt.Errorf("the circuit breaker is open: %d automatic decisions hold already (deny.automatic_max)", living)
	}
	return nil
}

func (e *Engine) refuse(d *event.Decision, why error) Told {
	e.counts["deny-refused"]++
	t := Told{State: event.AckRefused, Why: why.Error(), Expired: errors.Is(why, event.ErrExpired)}
	r, ok := e.refused[d.ID]
	t.Known = ok && r.serial == d.Serial && bytes.Equal(r.mark, d.Signature)
	if len(e.refused) >= maxRefused {
		clear(e.refused)
	}
	e.refused[d.ID] = refusal{d.Serial, bytes.Clone(d.Signature), t.Why}
	return t
}

func (e *Engine) slot(id string) (uint32, bool) {
	if uint32(len(e.slots))+1 >= e.cfg.Slots {
		return 0, false
	}
	for n := uint32(1); n < e.cfg.Slots; n++ {
		if _, taken := e.slots[n]; !taken {
			e.slots[n] = id
			return n, true
		}
	}
	return 0, false
}

func (e *Engine) end(h *Held, why string) {
	h.State, h.Why, h.Entries, h.over = event.AckEnded, why, 0, true
}

// remember notes that a form of a decision has ended here, for as long as it could be valid: it neither begins again nor is told again.
func (e *Engine) remember(d *event.Decision, at Moment) {
	if _, ok := e.ended[d.ID]; ok || len(e.ended) < maxEnded {
		e.ended[d.ID] = ending{d.Serial, at.Boot + e.cfg.MaxLife}
	}
}

// Expire ends what is over, and gives all that ended and is still held, for the last word about it; see [Engine.Forget].
func (e *Engine) Expire(at Moment) []*Held {
	e.verifier.Forget(at.Wall)
	for id, x := range e.ended {
		if at.Boot >= x.until {
			delete(e.ended, id)
		}
	}
	var over []*Held
	for _, h := range e.held {
		if !h.over && at.Boot >= h.Deadline {
			e.end(h, "expired")
			e.remember(h.Decision, at)
			e.changed = true
		}
		if h.over {
			over = append(over, h)
		}
	}
	return over
}

// Forget lets go of a decision that ended, once nothing of it is in the kernel and that was told.
func (e *Engine) Forget(h *Held) {
	if h.over {
		delete(e.held, h.Decision.ID)
		delete(e.slots, h.Slot)
		e.changed = true
	}
}

// All gives the decisions that hold, oldest first.
func (e *Engine) All() []*Held {
	return slices.SortedFunc(maps.Values(e.held), func(a, b *Held) int {
		return cmp.Or(a.Decision.Issued.Compare(b.Decision.Issued), cmp.Compare(a.Decision.ID, b.Decision.ID))
	})
}

// Holds says whether a decision is held, also one that has ended and was not forgotten yet.
func (e *Engine) Holds(id string) bool { return e.held[id] != nil }

// Living counts the decisions that are to be in force.
func (e *Engine) Living() (n int) {
	for _, h := range e.held {
		if !h.over {
			n++
		}
	}
	return n
}

// Counters says what was refused since the start, by cause.
func (e *Engine) Counters() map[string]uint64 { return maps.Clone(e.counts) }

// Unreadable counts a decision that cannot be read, and says whether it is another than was told of last.
func (e *Engine) Unreadable(id string, data []byte) (fresh bool) {
	sum := sha256.Sum256(data)
	d := &event.Decision{ID: id, Signature: sum[:]}
	return !e.refuse(d, errors.New("it cannot be read")).Known
}
