package tlsprobe

import (
	"slices"
	"time"
)

// sighting is what is known of one of the kernel's inodes that processes run code of.
type sighting struct {
	generation uint64
	file       *file // once it was judged; several inodes may be one file, as seen by different means
	judged     time.Time
	queued     bool
	due        time.Time
	brief      int       // processes in a row that were gone before it was looked into
	recent     []mapping // who had it, the last at the end
}

const (
	maxRecent = 4
	maxBrief  = 3 // so many brief processes, and the next one is not waited for
)

// see takes note of a mapping. Old says that the process has it for some time.
func (f *Finder) see(m *mapping, old bool) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.sighting(m)
	if x := s.file; x != nil {
		if x.number != 0 {
			x.seen, x.mapping = now, *m
			f.uses(x, m)
			if x.wanted && !x.thorough {
				f.queue(s, m, now, true)
				return
			}
		}
		if now.Sub(s.judged) < f.cfg.Recheck && (x.number != 0 || !x.dropped) {
			return
		}
	}
	f.queue(s, m, now, old || s.file != nil || s.brief >= maxBrief)
}

// uses takes note that a process has a file that is attached.
func (f *Finder) uses(x *file, m *mapping) {
	if x.verdict == nil || !x.verdict.openssl() {
		return
	}
	known := f.users.Get(m.pid)
	if known == nil {
		f.users.Put(m.pid, []mapping{*m})
		return
	}
	if i := slices.IndexFunc(*known, func(k mapping) bool { return k.inode == m.inode }); i >= 0 {
		(*known)[i] = *m
	} else if len(*known) < maxUsed {
		*known = append(*known, *m)
	}
}

// sighting is what is known of the inode, maybe nothing yet.
func (f *Finder) sighting(m *mapping) *sighting {
	var s *sighting
	if known := f.judged.Get(m.inode); known != nil {
		s = *known
	}
	if s == nil || s.generation != m.generation && s.generation != 0 && m.generation != 0 {
		s = &sighting{}
		f.judged.Put(m.inode, s)
	}
	if m.generation != 0 {
		s.generation = m.generation
	}
	return s
}

// queue has a file looked into, at once or after some time.
func (f *Finder) queue(s *sighting, m *mapping, now time.Time, atOnce bool) {
	if len(s.recent) == maxRecent {
		copy(s.recent, s.recent[1:])
		s.recent = s.recent[:maxRecent-1]
	}
	s.recent = append(s.recent, *m)
	if s.queued {
		return
	}
	if len(f.waiting)+len(f.ready) >= f.cfg.MaxWaiting {
		f.report.count(lostWaiting)
		s.recent = nil
		return
	}
	s.queued = true
	if s.due = now; !atOnce {
		s.due = now.Add(f.cfg.Delay)
		f.waiting = append(f.waiting, s)
		if len(f.waiting) > 1 {
			return
		}
	} else {
		f.ready = append(f.ready, s)
	}
	f.rouse()
}

// next takes what is due, or says when something is.
func (f *Finder) next(now time.Time) (s *sighting, r request, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for r := range f.requests {
		delete(f.requests, r)
		return nil, r, 0
	}
	switch {
	case len(f.ready) > 0:
		s, f.ready = take(f.ready)
	case len(f.waiting) > 0 && !f.waiting[0].due.After(now):
		s, f.waiting = take(f.waiting)
	case len(f.waiting) > 0:
		return nil, request{}, f.waiting[0].due.Sub(now)
	default:
		return nil, request{}, time.Hour
	}
	return s, request{}, 0
}

func take(queue []*sighting) (*sighting, []*sighting) {
	s := queue[0]
	queue[0] = nil
	if queue = queue[1:]; len(queue) == 0 {
		queue = nil
	}
	return s, queue
}

// openers are the mappings to open a file by, the last one first, and whether it may be opened by its name on the host where they are gone: such users
// always are soon, or the file is known. From then on the sighting may be queued again.
func (f *Finder) openers(s *sighting) (recent []mapping, byName bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	recent, s.recent, s.queued = s.recent, nil, false
	for i, j := 0, len(recent)-1; i < j; i, j = i+1, j-1 {
		recent[i], recent[j] = recent[j], recent[i]
	}
	return recent, s.brief >= maxBrief || s.file != nil && s.file.number != 0
}
