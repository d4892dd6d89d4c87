package tlsprobe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"github.com/ambit-nhi/ambit/bpf"
)

// file is one that was judged. Of those without TLS only one stands for all.
type file struct {
	identity     identity
	major, minor uint32 // as stat tells them
	path         string // as its first user sees it
	number       uint32 // of its target; 0: it is not attached
	dropped      bool   // it was attached, until nobody used it
	verdict      *verdict
	stack        string
	exact        bool

	seen     time.Time
	mapping  mapping // of its last user that was seen
	lean     io.Closer
	dear     io.Closer
	recovery io.Closer
	attached time.Time
	wanted   bool // all its functions
	thorough bool // and they are attached
	related  bool // and those of the files that it is used with are wanted
}

// work looks into files, one at a time, so that only one is held in memory.
func (f *Finder) work(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		s, r, wait := f.next(time.Now())
		switch {
		case s != nil:
			if err := f.lookInto(ctx, s); err != nil {
				return err
			}
			continue
		case r != request{}:
			if err := f.serve(ctx, r); err != nil {
				return err
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		case <-f.wake:
		}
	}
}

// lookInto opens a file by those who have it mapped, judges it if its like was not, and attaches to it. Its error is the context's.
func (f *Finder) lookInto(ctx context.Context, s *sighting) error {
	if err := f.judges.Wait(ctx); err != nil {
		return err
	}
	users, byName := f.openers(s)
	o, m, err := f.open(ctx, users, byName)
	if err != nil {
		f.notOpened(s, &m, err)
		return nil
	}
	defer o.Close()
	x := f.known(o, &m)
	if x == nil {
		if x, err = f.judge(ctx, o, &m); err != nil {
			return err
		}
	}
	if x.verdict != nil {
		if err := f.attach(ctx, x, o, &m); err != nil {
			return err
		}
	}
	f.mu.Lock()
	s.file, s.judged, s.brief = x, time.Now(), 0
	f.mu.Unlock()
	return nil
}

// open opens a file by its users, the first that still has it.
func (f *Finder) open(ctx context.Context, users []mapping, byName bool) (o *opened, m mapping, err error) {
	type result struct {
		*opened
		error
	}
	late := func(r result) {
		if r.opened != nil {
			r.Close()
		}
	}
	err = errGone
	for _, user := range users {
		m = user
		r, stuck := patiently(ctx, f, func() result {
			o, err := openMapped(f.cfg.ProcRoot, &user)
			return result{o, err}
		}, late)
		if o, err = r.opened, cmp.Or(stuck, r.error); !errors.Is(err, errGone) {
			return o, m, err
		}
	}
	if errors.Is(err, errGone) && byName && len(users) > 0 { // on the host it has a name still
		o, err = openOnHost(f.cfg.ProcRoot, &m)
	}
	return o, m, err
}

func (f *Finder) notOpened(s *sighting, m *mapping, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if errors.Is(err, errGone) {
		s.brief++
		return
	}
	// What it is does not change before somebody changes it.
	s.file, s.judged = nothing, time.Now()
	var foreign *foreignError
	switch {
	case errors.As(err, &foreign):
		f.report.blind("", "files on "+foreign.filesystem+": reading them may block", m.path)
	case errors.Is(err, errStuck): // it was counted
	case errors.Is(err, errChanged):
		f.report.count(lostChanged)
	default:
		f.report.count(lostRefused)
		f.report.refuse(err)
	}
}

// nothing stands for all files that there is nothing to attach to.
var nothing = &file{}

// known finds a file that was judged already, maybe as another inode of the kernel's.
func (f *Finder) known(o *opened, m *mapping) *file {
	f.mu.Lock()
	defer f.mu.Unlock()
	var x *file
	if known := f.contents.Get(o.identity); known != nil {
		x = *known
	}
	for _, a := range f.attached {
		if x == nil && a.identity == o.identity {
			x = a
		}
	}
	if x == nil {
		return nil
	}
	if x.number != 0 {
		x.seen, x.mapping = time.Now(), *m
	}
	return x
}

// judge reads a file and remembers what is in it. What it costs is at most a quarter of a CPU.
func (f *Finder) judge(ctx context.Context, o *opened, m *mapping) (*file, error) {
	began := time.Now()
	type result struct {
		*verdict
		error
	}
	r, stuck := patiently(ctx, f, func() result {
		v, err := judge(o)
		return result{v, err}
	}, func(result) {})
	v, err := r.verdict, cmp.Or(stuck, r.error)
	took := time.Since(began)
	x := nothing
	if err == nil {
		x = &file{identity: o.identity, major: o.major, minor: o.minor, path: m.path, verdict: v, stack: v.stack, exact: v.exact}
	}
	f.mu.Lock()
	f.contents.Put(o.identity, x)
	var layout *unknownLayoutError
	var blind *blindError
	switch {
	case err == nil, errors.Is(err, errNoTLS), errors.Is(err, errStuck):
	case errors.As(err, &blind):
		f.report.blind(blind.stack, blind.why, m.path)
	case errors.As(err, &layout):
		f.report.blind(stackOf(layout.version), layout.Error(), m.path)
	default:
		f.report.count(lostMalformed)
		f.report.refuse(fmt.Errorf("read %s: %w", printable(m.path), err))
	}
	f.mu.Unlock()
	if took < 5*time.Millisecond {
		return x, nil
	}
	if took > 50*time.Millisecond {
		debug.FreeOSMemory() // what was read is large and was for once
	}
	return x, rest(ctx, min(3*took, 5*time.Second))
}

func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// attach probes a file, if it is not, and its dear functions if they are wanted. Its error is the context's.
func (f *Finder) attach(ctx context.Context, x *file, o *opened, m *mapping) error {
	f.mu.Lock()
	number, more, full := x.number, x.wanted && !x.thorough, len(f.attached) >= f.cfg.MaxTargets
	f.mu.Unlock()
	switch {
	case number == 0 && full:
		f.mu.Lock()
		f.report.count(lostTargets)
		f.report.full(f.cfg.MaxTargets, m.path)
		f.mu.Unlock()
	case number == 0:
		return f.attachLean(ctx, x, o, m)
	case more:
		return f.attachDear(ctx, x, o, number)
	}
	return nil
}

func (f *Finder) attachLean(ctx context.Context, x *file, o *opened, m *mapping) error {
	if err := f.attaches.Wait(ctx); err != nil {
		return err
	}
	f.detachOlder(x)
	f.mu.Lock()
	f.last++
	number := f.last
	f.mu.Unlock()
	lean, err := f.probe(o, x, number, x.verdict.lean())
	var recovery io.Closer
	if err == nil && f.cfg.Recover > 0 {
		recovery, err = f.probe(o, x, number, x.verdict.recovery())
	}
	if err != nil {
		f.mu.Lock()
		f.report.count(lostRefused)
		f.report.refuse(err)
		x.verdict = nil // the kernel will not think again
		f.mu.Unlock()
		f.closeAll(lean)
		return nil
	}
	now := time.Now()
	f.mu.Lock()
	x.number, x.lean, x.recovery, x.attached, x.seen, x.mapping, x.dropped = number, lean, recovery, now, now, *m, false
	f.attached[number] = x
	f.mu.Unlock()
	if x.verdict.openssl() {
		f.relate(ctx, m.pid)
	}
	return nil
}

func (f *Finder) attachDear(ctx context.Context, x *file, o *opened, number uint32) error {
	if err := f.attaches.Wait(ctx); err != nil {
		return err
	}
	c, err := f.probe(o, x, number, x.verdict.thorough())
	f.mu.Lock()
	if err != nil {
		f.report.count(lostRefused)
		f.report.refuse(err)
	}
	current := x.number == number
	if current {
		x.thorough, x.dear = true, c
	}
	f.mu.Unlock()
	if !current { // detached meanwhile
		f.closeAll(c)
	}
	return nil
}

// probe attaches some functions of a file, if there are any.
func (f *Finder) probe(o *opened, x *file, number uint32, functions map[bpf.Function][]uint64) (io.Closer, error) {
	if len(functions) == 0 {
		return nil, nil
	}
	c, err := f.cfg.Attach(o.path(f.cfg.ProcRoot), bpf.Target{Number: number, Functions: functions, Callers: x.verdict.callers, StoreError: x.verdict.error, Go: x.verdict.layout})
	if err != nil {
		return nil, &attachError{x.path, err}
	}
	return c, nil
}
