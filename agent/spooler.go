package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ambit-nhi/ambit/agent/spool"
)

// How the disk is used. What the stream takes at once is never written. What it has not taken after spoolAfter is, so that it outlives this
// process from then on. It outlives a loss of power syncEvery later.
const (
	spoolAfter   = 400 * time.Millisecond
	syncEvery    = 5 * time.Second
	expireEvery  = time.Minute
	firstTry     = 200 * time.Millisecond // again, where the disk takes nothing
	lastTry      = 5 * time.Second
	spoolAtOnce  = 256     // messages
	hurryPercent = 50      // of the memory: what is younger goes to the disk, too
	forever      = 1 << 62 // ns
)

// spooler brings what waits for long from memory to disk.
type spooler struct {
	*outbox
	note    string    // as the spool keeps it
	synced  time.Time // when there was something to sync, or when it was
	dirty   bool
	expired time.Time
	try     time.Duration // 0: the disk works
	notTill time.Time
}

// run spools until ctx ends, then all that is left.
func (s *spooler) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.finish()
		case <-timer.C:
		case <-s.fresh:
		}
		timer.Reset(s.step(time.Now()))
	}
}

// step does what is due, and says when to come again.
func (s *spooler) step(now time.Time) time.Duration {
	wait := time.Duration(forever)
	if now.Before(s.notTill) {
		return s.notTill.Sub(now)
	}
	if err := s.keepNote(); err != nil { // first: it needs no room
		return s.failed(now, err)
	}
	for {
		batch, due := s.due(now)
		if len(batch) == 0 {
			wait = min(wait, due)
			break
		}
		if err := s.write(batch); err != nil {
			return s.failed(now, err)
		}
	}
	if err := s.keepNote(); err != nil {
		return s.failed(now, err)
	}
	if s.try > 0 {
		slog.Info("the spool takes observations again")
		s.try = 0
	}
	if s.dirty {
		if left := syncEvery - now.Sub(s.synced); left > 0 {
			wait = min(wait, left)
		} else {
			s.dirty = false
			if err := s.spool.Sync(); err != nil {
				slog.Warn("what is spooled may not outlive a loss of power", "error", err)
			}
		}
	}
	if messages, _, _ := s.spool.Waiting(); messages > 0 {
		if left := expireEvery - now.Sub(s.expired); left > 0 {
			wait = min(wait, left)
		} else {
			s.expired = now
			if err := s.spool.Expire(s.now(), s.lowest()); err != nil {
				return s.failed(now, err)
			}
			wait = min(wait, expireEvery)
		}
	}
	return wait
}

// failed tells that the disk does not work, once, and when to try again.
func (s *spooler) failed(now time.Time, err error) time.Duration {
	if errors.Is(err, spool.ErrHeld) { // a matter of seconds
		s.notTill = now.Add(firstTry)
		return firstTry
	}
	if s.try == 0 {
		slog.Warn("the spool takes no more: observations wait in memory, and the oldest go when that is full", "error", err)
		s.try = firstTry
	} else {
		s.try = min(2*s.try, lastTry)
	}
	s.notTill = now.Add(s.try)
	return s.try
}

// due gives the messages that are to be written now, oldest first, or when there will be some.
func (s *spooler) due(now time.Time) (batch []*message, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hurry := s.bytes > s.limit/100*hurryPercent
	for _, m := range s.queue {
		if age := now.Sub(m.handed); age < spoolAfter && !hurry {
			return batch, spoolAfter - age
		}
		if len(batch) == spoolAtOnce {
			return batch, 0
		}
		m.spooling = true
		batch = append(batch, m)
	}
	return batch, forever
}

// write moves messages from memory to disk.
func (s *spooler) write(batch []*message) error {
	records := make([]*spool.Message, len(batch))
	for i, m := range batch {
		records[i] = &spool.Message{
			Subject: m.subject, ID: m.id, Boot: m.boot, Data: m.data, Observations: uint32(m.observations), From: m.from, Until: m.until,
		}
	}
	first, n, err := s.spool.Append(records, s.lowest())
	s.spooled.Add(uint64(n))
	if n > 0 && !s.dirty {
		s.dirty, s.synced = true, time.Now()
	}
	err = errors.Join(err, s.moved(batch, first, n))
	if err != nil {
		return err
	}
	return nil
}

// moved takes the first n messages of a batch out of memory, since they are in the spool from a position on.
func (s *spooler) moved(batch []*message, first uint64, n int) error {
	var settled []*message
	s.mu.Lock()
	follow := s.next >= s.end // all that was in the spool is in flight, so what is in flight is a beginning of the batch
	for i, m := range batch {
		m.spooling = false
		if i >= n {
			continue
		}
		m.position = first + uint64(i)
		s.end = m.position + 1
		switch {
		case m.settled:
			settled = append(settled, m)
		case m.inFlight:
			s.flying[m.position] = struct{}{}
		default:
			follow = false
		}
		if follow {
			s.next = s.end
		}
		if m.told != nil {
			s.gaps.spooled(m.told)
		}
	}
	kept := s.queue[:0]
	for _, m := range s.queue {
		if m.position > 0 {
			s.bytes -= m.size()
		} else {
			kept = append(kept, m)
		}
	}
	clear(s.queue[len(kept):])
	s.queue = kept
	s.mu.Unlock()
	var err error
	for _, m := range settled {
		err = errors.Join(err, s.spool.Settle(m.position, uint32(m.observations), m.until))
	}
	return err
}

// lowest is the first position in flight, or 0.
func (s *spooler) lowest() (position uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.flying {
		if position == 0 || p < position {
			position = p
		}
	}
	return position
}

// keepNote writes down what was lost and is not told yet.
func (s *spooler) keepNote() error {
	note := s.gaps.keep()
	if string(note) == s.note {
		return nil
	}
	s.note = string(note)
	return s.spool.Keep(note)
}

// finish spools all that is left.
func (s *spooler) finish() error {
	for {
		batch, _ := s.due(time.Now().Add(spoolAfter))
		if len(batch) == 0 {
			break
		}
		if err := s.write(batch); err != nil {
			return fmt.Errorf("spool what is left: %w", err)
		}
	}
	if err := s.keepNote(); err != nil {
		return err
	}
	return s.spool.Sync()
}
