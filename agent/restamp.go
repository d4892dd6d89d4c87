package agent

import (
	"log/slog"
	"sync"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// maxAhead is how far the time of what is sent may be ahead of this clock. It is so only if the clock was set back meanwhile; receivers refuse
// what is far ahead of theirs.
const maxAhead = time.Minute

// maxClocks bounds how many boots are remembered.
const maxClocks = 32

// clocks knows by how much the clock was set since each of the last boots began. It is safe for concurrent use.
type clocks struct {
	mu    sync.Mutex // guards all below
	boots []bootClock
}

type bootClock struct {
	boot    string
	started time.Time     // by the clock of observations
	read    time.Time     // at the same time, with a monotonic reading
	set     time.Duration // in all up to its start
}

func (c *clocks) begin(boot string, started, read time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := bootClock{boot: boot, started: started.Round(0), read: read}
	if n := len(c.boots); n > 0 {
		last := &c.boots[n-1]
		b.set = last.set + b.started.Sub(last.started) - read.Sub(last.read)
		if n == maxClocks {
			c.boots = c.boots[1:]
		}
	}
	c.boots = append(c.boots, b)
}

// since gives by how much the clock was set since a boot began; false for a boot that it does not know.
func (c *clocks) since(boot string) (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.boots {
		if b.boot == boot {
			return c.boots[len(c.boots)-1].set - b.set, true
		}
	}
	return 0, false
}

// stamped gives the data of a message. Where its time is yet to come, the clock was wrong when it was made, and it is moved by as much as the
// clock was set back since, so that it is not refused; where that is not known, to now.
func (p *Publisher) stamped(m *message) []byte {
	ahead := m.until.Sub(p.cfg.Now().Round(0))
	if ahead <= maxAhead {
		return m.data
	}
	by := -ahead
	if set, known := p.clocks.since(m.boot); known && set < 0 && ahead+set <= maxAhead {
		by = set
	}
	data, err := event.Restamp(m.data, by)
	if err != nil { // it goes as it is, and its receiver judges
		slog.Warn("the time of a message is ahead, and cannot be moved", "id", m.id, "ahead", ahead, "error", err)
		return m.data
	}
	p.restamped.Add(1)
	return data
}
