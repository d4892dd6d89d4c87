package agent

import (
	"time"

	"golang.org/x/sys/unix"
)

// noteLost tells that kernel counters grew at some time since the last drain.
func (a *Agent) noteLost(now moment, before, after map[string]uint64) {
	from := a.publish.cfg.Started
	if a.drained > 0 {
		from = later(from, now.at(a.drained))
	}
	for cause, n := range grown(before, after) {
		a.publish.gaps.note(cause, from, now.wall, n)
	}
}

// noteSilences tells when the Kubernetes API did not answer: new pods and addresses were not known by their names.
func (a *Agent) noteSilences() {
	if a.sources.silences == nil {
		return
	}
	for _, s := range a.sources.silences() {
		a.publish.gaps.during(causeAPI, s.From, s.Until, s.Over)
	}
}

// noteSet tells of a time that never was, or was there twice, since the clock was set by a step. A machine that slept missed nothing.
func (a *Agent) noteSet(now moment, step time.Duration) {
	set := step - (asleep() - a.asleep)
	if set.Abs() <= maxStep {
		return
	}
	from, until := now.wall.Round(0).Add(-set), now.wall.Round(0)
	if set < 0 {
		from, until = until, from
	}
	a.publish.gaps.note(causeClock, from, until, 0)
}

// asleep is how long the machine slept since it was started.
func asleep() time.Duration {
	var all, awake unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &awake) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &all) != nil {
		return 0
	}
	return time.Duration(all.Nano() - awake.Nano()).Round(100 * time.Millisecond) // the clocks are read one after the other
}
