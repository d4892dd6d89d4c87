package agent

import (
	"time"

	"github.com/ambit-nhi/ambit/bpf"
)

// moment is one instant on both clocks: the kernel counts in monotonic time, observations carry wall time.
type moment struct {
	wall      time.Time
	monotonic time.Duration
}

func (m moment) at(monotonic time.Duration) time.Time {
	return m.wall.Add(min(monotonic-m.monotonic, 0))
}

// readMoment reads both clocks. A pause of this process between the two readings must not look like a step of one of them.
func readMoment() (moment, error) {
	const tries, atOnce = 3, 10 * time.Millisecond
	var m moment
	for range tries {
		before, err := bpf.Monotonic()
		if err != nil {
			return moment{}, err
		}
		m.wall = time.Now()
		if m.monotonic, err = bpf.Monotonic(); err != nil {
			return moment{}, err
		}
		if m.monotonic-before < atOnce {
			break
		}
	}
	return m, nil
}

// maxStep is how far the clocks may part. Slewing by a time service moves both alike.
const maxStep = time.Second

// clock knows how far apart wall time and monotonic time are. They part when the wall clock is set, in either direction, and when the machine
// sleeps, since monotonic time does not pass then.
type clock struct {
	apart time.Duration
}

func (m moment) apart() time.Duration { return time.Duration(m.wall.UnixNano()) - m.monotonic }

func (c *clock) set(m moment) { c.apart = m.apart() }

// wall is the wall clock's time of one of the monotonic clock's.
func (c *clock) wall(monotonic time.Duration) time.Time {
	return time.Unix(0, int64(c.apart+monotonic))
}

// stepped says by how much wall time went ahead (or back, below zero) of monotonic time since set; 0 if that is too little to matter.
func (c *clock) stepped(m moment) time.Duration {
	step := m.apart() - c.apart
	if step.Abs() <= maxStep {
		return 0
	}
	return step
}
