package collector

import (
	"time"
)

// Agents number their batches of each partition from 1 at each start. A batch that was stored twice, because its repetition came after the stream had forgotten
// the first one's Msg-Id, is known by its number, and a batch that never came by the number that is missing.

const (
	windowSize = 1024            // numbers back from the highest that are told apart; an agent has 64 messages in flight at most
	openFor    = 2 * time.Minute // a missing number may still come; between once and twice that later it counts as lost
	maxNumber  = 1 << 53         // far beyond what an agent can send
	maxLost    = 1 << 53         // of one start of an agent: nobody's lies make sums wrap
	causeGap   = "stream"        // messages that never came
)

// bits has one bit for each of the last windowSize numbers.
type bits [windowSize / 64]uint64

func (b *bits) get(n uint64) bool { return b[n%windowSize/64]>>(n%64)&1 == 1 }
func (b *bits) set(n uint64)      { b[n%windowSize/64] |= 1 << (n % 64) }
func (b *bits) clear(n uint64)    { b[n%windowSize/64] &^= 1 << (n % 64) }

// window is what came of one start of an agent.
type window struct {
	boot           string
	started, until time.Time         // what it watched
	unknown        uint64            // what came up to this number is not known, unless the bits say so
	high           uint64            // highest number that came, or was sent by the agent's own word
	seen           bits              // came
	told           bits              // counts as lost
	mark           uint64            // numbers missing up to this one
	since          time.Time         // are so since then at least; zero: none is missing that is not told
	lost           map[string]uint64 // what is not in the store, or was not judged, by cause
	counted        uint64            // of what never came, that is in the metrics
}

// take notes that a number came, at a time of the stream. It says false if it came before.
func (w *window) take(n uint64, now time.Time) bool {
	w.expect(n-1, now)
	switch {
	case n > w.high:
		w.advance(n)
	case w.high-n >= windowSize:
		return n <= w.unknown // further back than is remembered: what is counted as lost, or came, must not come again
	case w.seen.get(n):
		return false
	}
	if w.told.get(n) { // not lost, only late
		w.told.clear(n)
		w.lose(causeGap, -1)
	}
	w.seen.set(n)
	return true
}

// expect notes that all numbers up to n were sent, so that those which did not come are missing.
func (w *window) expect(n uint64, now time.Time) {
	w.age(now)
	if n <= w.high {
		return
	}
	w.advance(n)
	if w.since.IsZero() {
		w.mark, w.since = w.high, now
	}
}

// advance makes n the highest number. What falls out of the window and did not come is lost.
func (w *window) advance(n uint64) {
	for next := w.high + 1; next <= min(n, w.high+windowSize); next++ {
		if next > windowSize {
			w.tell(next - windowSize)
		}
		w.seen.clear(next)
		w.told.clear(next)
	}
	if gap := n - w.high; gap > windowSize { // numbers that were never within the window
		w.lose(causeGap, int64(min(gap-windowSize, maxLost)))
	}
	w.high = n
}

// tell counts a number as lost, if it is missing and was not counted.
func (w *window) tell(n uint64) {
	if n > w.unknown && !w.seen.get(n) && !w.told.get(n) {
		w.told.set(n)
		w.lose(causeGap, 1)
	}
}

// age counts what is missing for long. It says whether that was anything.
func (w *window) age(now time.Time) bool {
	if w.since.IsZero() || now.Sub(w.since) < openFor {
		return false
	}
	before := w.lost[causeGap]
	missing := false
	for n := w.low() + 1; n <= w.high; n++ {
		if n <= w.mark {
			w.tell(n)
		} else if n > w.unknown && !w.seen.get(n) {
			missing = true
		}
	}
	w.mark, w.since = w.high, time.Time{}
	if missing {
		w.since = now
	}
	return w.lost[causeGap] != before
}

// low is the highest number that is no longer told apart.
func (w *window) low() uint64 {
	if w.high <= windowSize {
		return 0
	}
	return w.high - windowSize
}

// lose adds to what is lost.
func (w *window) lose(cause string, n int64) {
	if w.lost == nil {
		w.lost = map[string]uint64{}
	}
	w.lost[cause] = uint64(min(max(int64(w.lost[cause])+n, 0), maxLost))
}
