package collector

import (
	"context"
	"sync"
	"time"
)

// keeping holds the minds of judges whose leases were lost, not given back. When the collector gets the same lease again, and nobody else had it, they
// go on. It is safe for concurrent use.
type keeping struct {
	mu    sync.Mutex
	minds map[int]*mind
}

// keep holds a mind.
func (k *keeping) keep(partition int, m *mind) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.minds == nil {
		k.minds = map[int]*mind{}
	}
	k.minds[partition] = m
}

// of gives the minds of some partitions.
func (k *keeping) of(workers []*worker) map[int]*mind {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := map[int]*mind{}
	for _, w := range workers {
		if m := k.minds[w.partition]; m != nil {
			out[w.partition] = m
		}
	}
	return out
}

// drop forgets the mind of a partition.
func (k *keeping) drop(partition int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.minds, partition)
}

// clear forgets all of them.
func (k *keeping) clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.minds)
}

// partWait is for saving what the detector of a partition knows that goes to another collector, which waits for it.
const partWait = time.Second

// part keeps or saves what the judge of a partition knows whose work is over.
func (s *shift) part(ctx context.Context, w *worker) {
	if !w.judges() || !w.started.Load() {
		return
	}
	select {
	case <-w.idle:
	default: // the judge has not ended in time
		return
	}
	if s.ending.Err() != nil { // saved when it had judged all
		return
	}
	if l := s.leases.Load(); l != nil && l.Status().Err != nil { // lost
		if w.reached >= w.asOf || w.around == w.base { // else heartbeats before the mind were not all heard
			// The next worker has a lock of its own: nobody may come to the detector through this one any more.
			w.mu.Lock()
			m := w.mind
			w.mind = mind{}
			w.mu.Unlock()
			s.keeping.keep(w.partition, &m)
		}
		return
	}
	ctx, cancel := context.WithTimeout(ctx, partWait)
	defer cancel()
	w.saveLast(ctx)
}
