package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Open takes the folder for this process, and what waits there. A tail that was cut short is cut off and told to cfg.Lost.
func Open(cfg Config) (*Spool, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Spool{cfg: cfg, done: map[uint64]settled{}}
	if err := s.open(); err != nil {
		for _, f := range []*os.File{s.stateFile, s.lock} {
			if f != nil {
				f.Close()
			}
		}
		return nil, fmt.Errorf("open the spool %s: %w", cfg.Dir, err)
	}
	return s, nil
}

func (s *Spool) open() (err error) {
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(s.cfg.Dir, 0o700); err != nil { // it says who talks to whom
		return err
	}
	if err := s.takeLock(); err != nil {
		return err
	}
	var known bool
	if s.stateFile, s.state, known, s.sparse, err = openState(s.cfg.Dir); err != nil {
		return s.explain(err)
	}
	if !known || s.state.node != s.cfg.Node {
		s.state = state{generation: s.state.generation, node: s.cfg.Node}
	}
	if s.cfg.Kept != nil && len(s.state.note) > 0 {
		s.cfg.Kept(s.state.note)
	}
	s.bytes = 2 * slotBytes
	if err := s.list(); err != nil {
		return s.explain(err)
	}
	return s.adopt()
}

func (s *Spool) takeLock() (err error) {
	if s.lock, err = os.OpenFile(filepath.Join(s.cfg.Dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock it: %w", err)
		}
		holder := "another process"
		if pid, err := io.ReadAll(io.LimitReader(s.lock, 20)); err == nil && len(pid) > 0 {
			holder = "pid " + strings.TrimSpace(string(pid))
		}
		return fmt.Errorf("it is in use by %s: stop that, or choose another data folder", holder)
	}
	// Who it is helps people only, and a disk may be full.
	if s.lock.Truncate(0) == nil {
		_, _ = fmt.Fprintf(s.lock, "%d\n", os.Getpid())
	}
	return nil
}

func (s *Spool) explain(err error) error {
	var other *otherVersion
	if errors.As(err, &other) {
		return fmt.Errorf("its format is %d, and this program knows %d: start the version of ambit that wrote it, or move the folder away", other.version, version)
	}
	return err
}

// list finds the segments, and refuses those of others.
func (s *Spool) list() error {
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		g, ok := parseName(e.Name())
		if !ok || g.first > math.MaxInt64 || g.before > math.MaxInt64 || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		g.size = info.Size()
		node, err := s.headerOf(g)
		var other *otherVersion
		switch {
		case errors.As(err, &other):
			return err
		case err != nil: // its records have checksums of their own; the times are somewhere in between
			g.from, g.newest = s.state.until, info.ModTime().UnixNano()
		case node != s.cfg.Node:
			return fmt.Errorf("it holds messages of node %q, and this is %q: start the agent as that node once, or move the folder away", node, s.cfg.Node)
		}
		s.segments = append(s.segments, g)
		s.bytes += g.size
	}
	slices.SortFunc(s.segments, func(a, b *segment) int { return cmp.Compare(a.first, b.first) })
	return nil
}

func (s *Spool) headerOf(g *segment) (node string, err error) {
	f, err := os.Open(filepath.Join(s.cfg.Dir, g.name()))
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, headerBytes)
	if _, err := io.ReadFull(f, b); err != nil {
		return "", errDamaged
	}
	return g.readHeader(b)
}

// adopt makes the books agree with the segments.
func (s *Spool) adopt() error {
	s.next, s.observations, s.newest = max(s.state.settled, 1), s.state.observations, s.state.until
	if n := len(s.segments); n > 0 {
		last := s.segments[n-1]
		end, torn, lost := s.cut(last)
		s.newest = max(last.newest, end.until)
		if end.position > s.next {
			s.next, s.observations = end.position, end.observations
		}
		if torn && end.position >= s.state.settled {
			lost.From, lost.Until = time.Unix(0, end.until), time.Unix(0, max(end.until, end.written))
			s.tell(lost)
		}
		if end.position == last.first { // the next one has its name
			s.segments = s.segments[:n-1]
			s.bytes -= last.size
			if err := s.remove(last); err != nil {
				return err
			}
		}
	}
	if len(s.segments) > 0 {
		first := s.segments[0]
		switch missing := less(first.first, s.state.settled); {
		case s.state.settled == 0:
			s.state.settled, s.state.observations = first.first, first.before
		case missing > 0: // somebody removed files
			s.tell(Loss{
				Cause: Damaged, Messages: missing, Observations: less(first.before, s.state.observations),
				From: time.Unix(0, s.state.until), Until: time.Unix(0, max(first.from, s.state.until)),
			})
			s.state.settled, s.state.observations = first.first, first.before
		}
	}
	s.state.settled = max(s.state.settled, 1)
	for i := 0; i+1 < len(s.segments); i++ { // of two of the same beginning, nothing stands in the first
		if s.segments[i+1].first <= s.segments[i].first {
			s.bytes -= s.segments[i].size
			if err := s.remove(s.segments[i]); err != nil {
				return err
			}
			s.segments = slices.Delete(s.segments, i, i+1)
			i--
		}
	}
	s.unwritten = settleEvery
	if err := s.advance(); err != nil && !noRoom(err) {
		return err
	}
	return nil
}

type tail struct {
	place
	position uint64
	written  int64 // when, as the file says
}

// cut removes what was not written completely from the end of the last segment, and gives that end.
func (s *Spool) cut(g *segment) (end tail, torn bool, lost Loss) {
	lost = Loss{Cause: Damaged, Messages: 1, Observations: 1}
	c, err := openCursor(s.cfg.Dir, g)
	if err != nil {
		return tail{place{0, g.before, g.newest}, g.first, g.newest}, true, lost
	}
	defer c.f.Close()
	end.written = g.newest
	if info, err := c.f.Stat(); err == nil {
		end.written = info.ModTime().UnixNano()
	}
	for {
		h, err := c.head()
		if errors.Is(err, io.EOF) && g.size >= headerBytes {
			break
		}
		if err == nil && c.end.offset+headBytes+int64(h.length) <= g.size {
			c.step(&h)
			continue
		}
		if err == nil {
			lost.Observations = uint64(h.observations)
		}
		torn = true
		break
	}
	if torn { // if that fails, reading ends there all the same
		if os.Truncate(c.f.Name(), min(c.end.offset, g.size)) == nil {
			s.bytes -= g.size - min(c.end.offset, g.size)
			g.size = min(c.end.offset, g.size)
		}
	}
	end.place, end.position = c.end, c.position()
	return end, torn, lost
}
