package agent

// losses are what was lost since the start of this process, by cause. Heartbeats tell what was lost since the start of their boot.
type losses struct {
	told   map[string]uint64 // as of the last heartbeat
	before map[string]uint64 // what heartbeats of earlier boots told
}

// tell adds up counters that only grow, and gives what this boot lost.
func (l *losses) tell(counters ...map[string]uint64) map[string]uint64 {
	l.told = map[string]uint64{}
	for _, c := range counters {
		for cause, n := range c {
			l.told[cause] += n
		}
	}
	since := map[string]uint64{}
	for cause, n := range l.told {
		if n > l.before[cause] {
			since[cause] = n - l.before[cause]
		}
	}
	return since
}

// restart begins another boot. What was lost after the last heartbeat of the one before is told by the new one.
func (l *losses) restart() { l.before = l.told }

// grown gives by how much counters grew, those that did.
func grown(before, after map[string]uint64) map[string]uint64 {
	more := map[string]uint64{}
	for cause, n := range after {
		if n > before[cause] {
			more[cause] = n - before[cause]
		}
	}
	return more
}
