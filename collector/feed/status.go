package feed

import (
	"sync"
	"time"
)

// State of a feed, in one word.
type State string

// The states.
const (
	StateOff      State = "off"
	StateWaiting  State = "waiting"  // for a collector to work it
	StateWorking  State = "working"  //
	StateRetrying State = "retrying" // the receiver takes nothing
)

// Status says how a feed is. It holds no secret.
type Status struct {
	Name      string    `json:"name"`
	Kind      Kind      `json:"kind"`
	Transport string    `json:"transport"`
	Format    string    `json:"format"`
	State     State     `json:"state"`
	Collector string    `json:"collector,omitempty"` // who works it
	Lag       uint64    `json:"lag"`                 // messages that wait
	Oldest    time.Time `json:"oldest,omitzero"`     // when the first one came that is not done; zero where nothing waits in memory
	Sequence  uint64    `json:"sequence"`            // of the last message that is done
	Sent      uint64    `json:"sent"`                // since this collector works it
	Aside     uint64    `json:"set_aside"`           // likewise
	Limited   uint64    `json:"limited"`             // likewise: left out for the rate
	Lost      uint64    `json:"lost"`                // likewise
	LastSent  time.Time `json:"last_sent,omitzero"`
	Attempts  int       `json:"attempts,omitempty"` // that failed since the last that did not
	Error     string    `json:"error,omitempty"`    // of the last attempt
	Since     time.Time `json:"since,omitzero"`     // when it began to fail
	Next      time.Time `json:"next,omitzero"`      // attempt
	Updated   time.Time `json:"updated,omitzero"`
}

// board is the status of a lane that this collector works.
type board struct {
	mu      sync.Mutex
	status  Status
	changed bool
}

func (b *board) note(change func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.status)
	b.changed = true
}

// take gives the status, and whether it changed since it was taken last.
func (b *board) take() (Status, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	changed := b.changed
	b.changed = false
	return b.status, changed
}
