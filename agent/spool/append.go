package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// chunkBytes is how much is written at once.
const chunkBytes = 256 << 10

// ErrHeld says that there is room for no more, and that the oldest messages must stay for now.
var ErrHeld = errors.New("the spool is full of messages that are under way")

// Append adds messages, the first of which gets the position first; n says how many were taken before an error. Where there is no room within
// MaxBytes, the oldest go, but none from keep on, if that is not 0.
func (s *Spool) Append(messages []*Message, keep uint64) (first uint64, n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first = s.next
	for n < len(messages) {
		some, err := s.write(messages[n:], keep)
		n += some
		if err != nil {
			return first, n, err
		}
	}
	return first, n, nil
}

// write writes a few messages at once, of which either all or none are taken.
func (s *Spool) write(messages []*Message, keep uint64) (n int, err error) {
	if s.active != nil && time.Since(s.began) > s.cfg.MaxAge/64 {
		s.roll()
	}
	buffer, position, size := s.buffer[:0], s.next, int64(0)
	if s.active != nil {
		size = s.segments[len(s.segments)-1].size
		if size+messages[0].size() > s.cfg.segmentBytes() {
			s.roll()
		}
	}
	var g *segment
	if s.active == nil {
		g = &segment{first: s.next, before: s.observations, from: messages[0].From.UnixNano(), newest: s.newest}
		size, buffer = 0, append(buffer, g.header(s.cfg.Node)...)
	}
	observations, newest := s.observations, s.newest
	for _, m := range messages {
		if err := m.check(); err != nil {
			return 0, err
		}
		if n > 0 && (size+int64(len(buffer))+m.size() > s.cfg.segmentBytes() || len(buffer) > chunkBytes) {
			break
		}
		buffer = appendRecord(buffer, position, m)
		position++
		n++
		observations += uint64(m.Observations)
		newest = max(newest, m.Until.UnixNano())
	}
	s.buffer = buffer
	if err := s.makeRoom(int64(len(buffer)), keep); err != nil {
		return 0, err
	}
	if g == nil && s.active == nil { // what was to be added to has gone
		return 0, nil
	}
	if err := s.put(g, buffer); err != nil {
		return 0, err
	}
	s.next, s.observations, s.newest = position, observations, newest
	return n, nil
}

// makeRoom drops the oldest until some bytes more fit.
func (s *Spool) makeRoom(bytes int64, keep uint64) error {
	for s.bytes+bytes > s.cfg.MaxBytes && len(s.segments) > 0 {
		if keep != 0 && s.end(0) > keep {
			return ErrHeld
		}
		if err := s.dropOldest(Full); err != nil {
			return err
		}
	}
	return nil
}

// put writes to the end of the active segment, or to a new one. After an error nothing of it is there.
func (s *Spool) put(g *segment, buffer []byte) error {
	f, fresh := s.active, g != nil
	if fresh {
		var err error
		if f, err = os.OpenFile(filepath.Join(s.cfg.Dir, g.name()), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
			return fmt.Errorf("write the spool: %w", err)
		}
	} else {
		g = s.segments[len(s.segments)-1]
	}
	if _, err := f.WriteAt(buffer, g.size); err != nil {
		err = fmt.Errorf("write the spool: %w", err)
		if fresh {
			f.Close()
			return errors.Join(err, s.remove(g))
		}
		if cut := f.Truncate(g.size); cut != nil { // its end is no end any more
			s.roll()
		}
		return err
	}
	if fresh {
		s.active, s.began = f, time.Now()
		s.segments = append(s.segments, g)
	}
	g.size += int64(len(buffer))
	s.bytes += int64(len(buffer))
	s.dirty = true
	return nil
}

// roll ends the active segment.
func (s *Spool) roll() {
	if s.dirty {
		_ = s.active.Sync() // of a disk that fails, writing tells
	}
	s.active.Close()
	s.active = nil
}

// Sync waits until what was appended would outlive a loss of power. It costs nothing if nothing was.
func (s *Spool) Sync() error {
	s.mu.Lock()
	if !s.dirty {
		s.mu.Unlock()
		return nil
	}
	s.dirty = false
	var file *os.File
	if s.active != nil { // a handle of its own: others may go on meanwhile, and end the segment
		file, _ = os.Open(s.active.Name())
	}
	s.mu.Unlock()
	var err error
	if file != nil {
		err = errors.Join(file.Sync(), file.Close())
	}
	if dir, e := os.Open(s.cfg.Dir); e == nil {
		err = errors.Join(err, dir.Sync(), dir.Close())
	}
	if err != nil {
		return fmt.Errorf("sync the spool: %w", err)
	}
	return nil
}
