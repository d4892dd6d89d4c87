package collector

import (
	"maps"
	"slices"
)

// roster has the workers of a collector, by partition. It is the collector's, since others ask for it.

// enrol adds a worker.
func (c *Collector) enrol(w *worker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.roster[w.partition] = w
}

// replace has a worker take another one's place, if that is still in it.
func (c *Collector) replace(old, next *worker) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.roster[old.partition]; now != nil && now != old {
		return false
	}
	c.roster[next.partition] = next
	return true
}

// dismiss removes a worker. What its detector has counted stays counted.
func (c *Collector) dismiss(w *worker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.roster[w.partition] != w {
		return
	}
	delete(c.roster, w.partition)
	if !w.judges() {
		c.fleet.Reset()
	}
	for cause, n := range w.counters() {
		c.counted[cause] += n
	}
}

// worker gives the one of a partition, or nil.
func (c *Collector) worker(partition int) *worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.roster[partition]
}

// all gives all workers, by partition.
func (c *Collector) all() []*worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]*worker, 0, len(c.roster))
	for _, p := range slices.Sorted(maps.Keys(c.roster)) {
		out = append(out, c.roster[p])
	}
	return out
}

// counters are those of the worker's detector; none while there is no detector.
func (w *worker) counters() map[string]uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.detector == nil {
		return nil
	}
	sum := w.detector.Counters()
	for cause, n := range w.counted {
		sum[cause] -= min(n, sum[cause])
	}
	return sum
}

func (w *worker) gauges() map[string]uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.detector == nil {
		return nil
	}
	return w.detector.Gauges()
}
