package decision

import (
	"fmt"
	"time"
)

// breakerRest is how long there are no automatic decisions after there were too many.
const breakerRest = 10 * time.Minute

// breaker stops automatic decisions above a rate or a number: what wants to deny much at once is more likely wrong than right. It is not safe for concurrent use, and has no
// clock: time comes with each call.
type breaker struct {
	perMinute int
	most      int
	recent    []time.Time // of the last minute
	open      time.Time   // until then
}

// allow takes one automatic decision, or says why not. Times are when automatic decisions that hold were issued, by whichever collector.
func (b *breaker) allow(now time.Time, holding []time.Time) error {
	if now.Before(b.open) {
		return fmt.Errorf("%w: the circuit breaker is open until %s: there were too many automatic decisions", ErrRail, b.open.UTC().Format(time.RFC3339))
	}
	keep := b.recent[:0]
	for _, t := range b.recent {
		if now.Sub(t) < time.Minute {
			keep = append(keep, t)
		}
	}
	b.recent = keep
	lately := len(b.recent)
	others := 0
	for _, t := range holding {
		if now.Sub(t) < time.Minute {
			others++
		}
	}
	if lately = max(lately, others); lately >= b.perMinute {
		b.open = now.Add(breakerRest)
		return fmt.Errorf("%w: the circuit breaker opens until %s: %d automatic decisions in a minute, and deny.automatic_per_minute allows %d",
			ErrRail, b.open.UTC().Format(time.RFC3339), lately+1, b.perMinute)
	}
	if len(holding) >= b.most {
		return fmt.Errorf("%w: %d automatic decisions hold, and deny.automatic_max allows no more", ErrRail, len(holding))
	}
	b.recent = append(b.recent, now)
	return nil
}
