package tlsprobe

import (
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
)

// attachError says which file could not be probed.
type attachError struct {
	path string
	err  error
}

func (e *attachError) Error() string { return fmt.Sprintf("probe %s: %v", printable(e.path), e.err) }
func (e *attachError) Unwrap() error { return e.err }

// detachOlder ends the probes of what the same inode held before it was written into.
func (f *Finder) detachOlder(x *file) {
	f.mu.Lock()
	var older []*file
	for _, a := range f.attached {
		if a.identity.number == x.identity.number && a.major == x.major && a.minor == x.minor && a != x {
			older = append(older, a)
		}
	}
	f.mu.Unlock()
	f.detach(older)
}

// detachUnused ends the probes of files that nobody was seen to use since then, and those whose time is over.
func (f *Finder) detachUnused(since time.Time) {
	var unused []*file
	f.mu.Lock()
	for _, x := range f.attached {
		if x.seen.Before(since) {
			unused = append(unused, x)
		}
	}
	f.mu.Unlock()
	f.detach(unused)
}

// endRecovery ends the probes for old connections of Go programs: who has not written anything in that time is not seen before it connects again.
func (f *Finder) endRecovery(now time.Time) {
	var over []io.Closer
	f.mu.Lock()
	for _, x := range f.attached {
		if x.recovery != nil && now.Sub(x.attached) >= f.cfg.Recover {
			over = append(over, x.recovery)
			x.recovery = nil
		}
	}
	f.mu.Unlock()
	f.closeAll(over...)
}

func (f *Finder) detachAll() {
	f.mu.Lock()
	all := make([]*file, 0, len(f.attached))
	for _, x := range f.attached {
		all = append(all, x)
	}
	f.mu.Unlock()
	f.detach(all)
}

// detach ends the probes of files.
func (f *Finder) detach(files []*file) {
	var c []io.Closer
	f.mu.Lock()
	for _, x := range files {
		delete(f.attached, x.number)
		c = append(c, x.dear, x.recovery, x.lean)
		x.dear, x.recovery, x.lean = nil, nil, nil
		x.number, x.wanted, x.thorough, x.related, x.dropped = 0, false, false, false, true
	}
	f.mu.Unlock()
	f.closeAll(c...)
}

func (f *Finder) closeAll(closers ...io.Closer) {
	if err := closeAll(closers...); err != nil {
		f.mu.Lock()
		f.report.refuse(fmt.Errorf("detach: %w", err))
		f.mu.Unlock()
	}
}

// closeAll closes many at a time: the kernel takes its time for each.
func closeAll(closers ...io.Closer) error {
	var g errgroup.Group
	g.SetLimit(64)
	for _, c := range closers {
		if c != nil {
			g.Go(c.Close)
		}
	}
	return g.Wait()
}
