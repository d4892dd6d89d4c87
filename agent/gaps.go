package agent

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ambit-nhi/ambit/agent/spool"
	"github.com/ambit-nhi/ambit/event"
)

// Causes of gaps besides those of the spool and the kernel side's counters.
const (
	causeQueue   = "publish-queue-full" // no spool, and no room in memory
	causeDisk    = "spool-disk"         // the disk did not take it, and no room in memory
	causeRefused = "publish-refused"    // the stream never takes it
	causeEncode  = "publish-unencodable"
	causeAPI     = "api-away"
	causeClock   = "clock"
)

// publishCauses are of losses on the way, which outlive this process until they are told.
var publishCauses = []string{spool.Full, spool.Age, spool.Damaged, causeQueue, causeDisk, causeRefused, causeEncode}

// gaps are spans in which something was not seen, or was lost, until a heartbeat that tells them has been stored. It is safe for concurrent use.
type gaps struct {
	mu      sync.Mutex // guards all below
	entries []gap
	last    map[string]time.Time // From of the newest by cause: each is told under one of its own
	lost    map[string]uint64    // on the way, by cause
}

type gap struct {
	event.Gap
	safe uint64 // how much of Lost heartbeats tell that are stored or spooled
	open bool   // it goes on
}

func newGaps() *gaps { return &gaps{last: map[string]time.Time{}, lost: map[string]uint64{}} }

const (
	adjacent   = 30 * time.Second // so close to each other, gaps of a cause are one
	longestGap = 72 * time.Hour   // further back, clocks were wrong
)

// lose counts what was lost on the way, with the span that it tells of.
func (g *gaps) lose(cause string, from, until time.Time, observations uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lost[cause] += observations
	g.add(cause, from, until, observations, false)
}

// note adds a span in which something else was lost.
func (g *gaps) note(cause string, from, until time.Time, lost uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.add(cause, from, until, lost, false)
}

// during tells that something has been away since a time, and is so until now at least; over says that it is not any more.
func (g *gaps) during(cause string, since, now time.Time, over bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.add(cause, since, now, 0, !over)
}

func (g *gaps) add(cause string, from, until time.Time, lost uint64, open bool) {
	from, until = from.Round(0).UTC(), until.Round(0).UTC()
	if oldest := until.Add(-longestGap); from.Before(oldest) {
		from = oldest
	}
	if until.Before(from) {
		until = from
	}
	for i := len(g.entries) - 1; i >= 0; i-- {
		e := &g.entries[i]
		if e.Cause != cause {
			continue
		}
		if from.After(e.Until.Add(adjacent)) || until.Before(e.From) {
			break
		}
		if until.After(e.Until) {
			e.Until = until
		}
		e.Lost, e.open = e.Lost+lost, open
		return
	}
	if last, ok := g.last[cause]; ok && !from.After(last) {
		from = last.Add(1)
		until = later(from, until)
	}
	g.last[cause] = from
	g.entries = append(g.entries, gap{Gap: event.Gap{Cause: cause, From: from, Until: until, Lost: lost}, open: open})
	g.entries = squeeze(g.entries, event.MaxGaps)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// squeeze makes one of the two gaps of a cause that are next to each other, until there are no more than most. What was lost stays counted, but not
// what is told of the second for sure: that comes under its own time.
func squeeze(entries []gap, most int) []gap {
	for len(entries) > most {
		into, out, least := -1, -1, time.Duration(0)
		before := map[string]int{}
		for i := range entries {
			e := &entries[i]
			if j, ok := before[e.Cause]; ok {
				if apart := e.From.Sub(entries[j].Until); into < 0 || apart < least {
					into, out, least = j, i, apart
				}
			}
			before[e.Cause] = i
		}
		if into < 0 { // as many causes
			return entries[len(entries)-most:]
		}
		a, b := &entries[into], &entries[out]
		a.Until, a.Lost, a.open = later(a.Until, b.Until), a.Lost+b.Lost-b.safe, b.open
		entries = slices.Delete(entries, out, out+1)
	}
	return entries
}

// tell gives all of them.
func (g *gaps) tell() (told []event.Gap) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.entries {
		told = append(told, g.entries[i].Gap)
	}
	return told
}

// spooled takes note that a heartbeat will be stored, whatever becomes of this process.
func (g *gaps) spooled(told []event.Gap) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range told {
		if i := g.find(t); i >= 0 {
			g.entries[i].safe = max(g.entries[i].safe, t.Lost)
		}
	}
}

// stored takes note that a heartbeat is, so that what it tells is told.
func (g *gaps) stored(told []event.Gap) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range told {
		i := g.find(t)
		switch {
		case i < 0:
		case g.entries[i].Gap == t && !g.entries[i].open:
			g.entries = slices.Delete(g.entries, i, i+1)
		default:
			g.entries[i].safe = max(g.entries[i].safe, t.Lost)
		}
	}
}

func (g *gaps) find(t event.Gap) int {
	return slices.IndexFunc(g.entries, func(e gap) bool { return e.Cause == t.Cause && e.From.Equal(t.From) })
}

// counters are what was lost on the way, by cause.
func (g *gaps) counters() map[string]uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := map[string]uint64{}
	for _, cause := range publishCauses {
		out[cause] = g.lost[cause]
	}
	return out
}

// noted is a gap as it is kept on disk.
type noted struct {
	Cause string
	From  int64 // ns since 1970
	Until int64
	Lost  uint64
}

const maxNoted = 32

// keep gives what was lost on the way and is told by nothing that outlives this process.
func (g *gaps) keep() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	var untold []gap
	for _, e := range g.entries {
		if e.Lost > e.safe && slices.Contains(publishCauses, e.Cause) {
			e.Lost -= e.safe
			e.safe = 0
			untold = append(untold, e)
		}
	}
	var out []noted
	for _, e := range squeeze(untold, maxNoted) {
		out = append(out, noted{e.Cause, e.From.UnixNano(), e.Until.UnixNano(), e.Lost})
	}
	if out == nil {
		return nil
	}
	data, err := json.Marshal(out)
	if err != nil {
		return nil // numbers and words always can
	}
	return data
}

// restore takes what an earlier process did not tell.
func (g *gaps) restore(note []byte) error {
	if len(note) == 0 {
		return nil
	}
	var in []noted
	if err := json.Unmarshal(note, &in); err != nil {
		return fmt.Errorf("read what was lost before: %w", err)
	}
	for _, n := range in {
		if slices.Contains(publishCauses, n.Cause) {
			g.lose(n.Cause, time.Unix(0, n.From), time.Unix(0, n.Until), n.Lost)
		}
	}
	return nil
}
