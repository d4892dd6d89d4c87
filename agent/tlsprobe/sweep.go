package tlsprobe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/ambit-nhi/ambit/bpf"
)

const (
	sweepTick  = 100 * time.Millisecond
	sweepFast  = 64       // processes per tick, when something may have been missed
	maxMaps    = 32 << 20 // bytes of one process's list
	maxFiles   = 4096     // in it
	minRescans = 5 * time.Second
)

// sweep looks through all processes: at once and fast in the beginning and when news were lost, else slowly, all of them once in an interval. After each
// round, files that nobody uses are left alone.
func (f *Finder) sweep(ctx context.Context, alone bool, lost <-chan struct{}) error {
	interval := f.cfg.Interval
	if alone {
		interval = f.cfg.ScanInterval
	}
	for fast, first := true, true; ; first = false {
		began := time.Now()
		err := f.round(ctx, interval, fast, first)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if f.swept(err); err == nil {
			f.detachUnused(began.Add(-f.cfg.Linger))
		}
		if fast, err = f.pause(ctx, began, interval, lost); err != nil {
			return err
		}
	}
}

// pause waits for the next round, or until something was missed.
func (f *Finder) pause(ctx context.Context, began time.Time, interval time.Duration, lost <-chan struct{}) (fast bool, err error) {
	f.endRecovery(time.Now())
	t := time.NewTimer(max(time.Until(began.Add(interval)), sweepTick))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-t.C:
		return false, nil
	case <-lost:
		return true, rest(ctx, min(interval, max(0, time.Until(began.Add(minRescans)))))
	}
}

// round looks through all processes that are there when it begins.
func (f *Finder) round(ctx context.Context, interval time.Duration, fast, first bool) error {
	pids, err := f.processes()
	if err != nil {
		return err
	}
	batch := sweepFast
	if !fast {
		batch = min(batch, 1+len(pids)*int(sweepTick)/max(1, int(interval)*8/10))
	}
	tick := time.NewTicker(min(sweepTick, max(time.Millisecond, interval/20)))
	defer tick.Stop()
	for i, pid := range pids {
		for _, m := range f.mapped(ctx, pid) {
			f.see(&m, first)
		}
		if (i+1)%batch != 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

func (f *Finder) processes() (pids []uint32, err error) {
	dir, err := os.Open(f.cfg.ProcRoot)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(256)
		for _, name := range names {
			if pid, err := strconv.ParseUint(name, 10, 31); err == nil {
				pids = append(pids, uint32(pid))
			}
		}
		if errors.Is(err, io.EOF) {
			return pids, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list processes: %w", err)
		}
	}
}

// mapped lists the files that a process has code of, each once. Most processes are there no more in a moment: no error is told.
func (f *Finder) mapped(ctx context.Context, pid uint32) []mapping {
	found, err := patiently(ctx, f, func() []mapping { return readMaps(f.procPath(strconv.FormatUint(uint64(pid), 10), "maps"), pid) }, func([]mapping) {})
	if err != nil {
		return nil
	}
	return found
}

func readMaps(path string, pid uint32) (found []mapping) {
	list, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer list.Close()
	lines := bufio.NewScanner(io.LimitReader(list, maxMaps))
	lines.Buffer(make([]byte, 0, 8<<10), maxPath+256)
	seen := map[inode]bool{}
	for lines.Scan() && len(found) < maxFiles {
		line := lines.Bytes()
		if !executable(line) {
			continue
		}
		if m, ok := parseLine(pid, string(line)); ok && !seen[m.inode] {
			seen[m.inode] = true
			found = append(found, m)
		}
	}
	return found
}

// serve attaches all functions of the files that a request means, as soon as one of their users is met.
func (f *Finder) serve(ctx context.Context, r request) error {
	pid := r.tgid
	f.mu.Lock()
	if x := f.attached[r.target]; pid == 0 && x != nil {
		x.wanted = true
		pid = x.mapping.pid
	}
	f.mu.Unlock()
	if pid != 0 {
		users := f.mapped(ctx, pid)
		if len(users) == 0 { // it has ended
			users = f.used(pid)
		}
		for _, m := range users {
			f.want(&m, r.target != 0)
		}
		f.mu.Lock()
		if x := f.attached[r.target]; x != nil && len(users) > 0 {
			x.related = true
		}
		f.mu.Unlock()
	}
	return ctx.Err()
}

// used are OpenSSL's files that a process had.
func (f *Finder) used(pid uint32) []mapping {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known := f.users.Get(pid); known != nil {
		return slices.Clone(*known)
	}
	return nil
}

// want asks for all functions of a file: libssl's and libcrypto's belong together. BIO_write of a libcrypto runs some hundred times in a handshake of
// whoever uses it: it is only wanted where it alone can tell which socket one is on.
func (f *Finder) want(m *mapping, unbound bool) {
	x := f.fileOf(m)
	f.mu.Lock()
	defer f.mu.Unlock()
	if x == nil || x.number == 0 || x.thorough || !x.verdict.openssl() || !unbound && len(x.verdict.functions[bpf.SSLRead]) == 0 {
		return
	}
	x.wanted = true
	f.queue(f.sighting(m), m, time.Now(), true)
}

// relate tells a libssl the version of the libcrypto that a process uses it with.
func (f *Finder) relate(ctx context.Context, pid uint32) {
	var libssl []*file
	version := ""
	for _, m := range f.mapped(ctx, pid) {
		x := f.fileOf(&m)
		if x == nil {
			continue
		}
		f.mu.Lock()
		switch {
		case x.number == 0 || !x.verdict.openssl():
		case x.exact:
			version = x.stack
		default:
			libssl = append(libssl, x)
		}
		f.mu.Unlock()
	}
	if version == "" {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range libssl {
		x.stack = version
	}
}

// fileOf finds what was judged behind a mapping. News and proc may tell a file by different inodes.
func (f *Finder) fileOf(m *mapping) *file {
	f.mu.Lock()
	s := f.sighting(m)
	x := s.file
	f.mu.Unlock()
	if x != nil {
		return x
	}
	o, err := openMapped(f.cfg.ProcRoot, m)
	if err != nil {
		return nil
	}
	defer o.Close()
	if x = f.known(o, m); x != nil {
		f.mu.Lock()
		s.file, s.judged = x, time.Now()
		f.mu.Unlock()
	}
	return x
}
