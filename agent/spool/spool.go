package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Spool is a queue on disk. Messages have positions, which are dense and grow by one. It is safe for concurrent use.
type Spool struct {
	cfg       Config
	lock      *os.File
	stateFile *os.File

	mu           sync.Mutex // guards all below
	state        state
	sparse       bool               // its file has not the room it needs
	unwritten    int                // messages settled since the state was written
	done         map[uint64]settled // messages behind state.settled that are settled
	segments     []*segment         // oldest first; those with something that is not settled, and the last one
	active       *os.File           // the last of segments; nil: the next message begins another
	began        time.Time          // when active did
	next         uint64             // position of the next message
	observations uint64             // in all before next
	newest       int64              // Until of all before next
	bytes        int64
	dirty        bool // something was written since Sync
	reader       *cursor
	buffer       []byte // for Append
}

type settled struct {
	observations uint64
	until        int64
}

// Waiting gives the number of messages and observations that are not settled, and the bytes that all files take.
func (s *Spool) Waiting() (messages, observations uint64, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, o, _ := s.doneWithin(s.state.settled, s.next)
	return s.next - s.state.settled - n, less(s.observations, s.state.observations+o), s.bytes
}

// Next is the position that the next message will have.
func (s *Spool) Next() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

// Note gives what was kept with Keep, or by Config.Lost.
func (s *Spool) Note() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.note
}

// Keep writes down a note of at most MaxNote bytes, in place of the one before.
func (s *Spool) Keep(note []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setNote(note)
	return s.writeState()
}

func (s *Spool) setNote(note []byte) {
	if len(note) <= MaxNote {
		s.state.note = note
	}
}

// Settle says that a message needs no further care. Messages may be settled in any order.
func (s *Spool) Settle(position uint64, observations uint32, until time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if position < s.state.settled || position >= s.next { // it was given up meanwhile
		return nil
	}
	s.done[position] = settled{uint64(observations), until.UnixNano()}
	return s.advance()
}

// How many messages may be settled without that being written down: so many come again after this process was killed.
const settleEvery = 64

// advance takes over what is settled without a break, and removes segments that are over.
func (s *Spool) advance() error {
	for {
		d, ok := s.done[s.state.settled]
		if !ok {
			break
		}
		delete(s.done, s.state.settled)
		s.state.settled++
		s.state.observations += d.observations
		s.state.until = max(s.state.until, d.until)
		s.unwritten++
	}
	var over []*segment
	for len(s.segments) > 0 && s.end(0) <= s.state.settled {
		s.state.observations = s.endObservations(0)
		over = append(over, s.segments[0])
		s.forget()
	}
	if len(over) == 0 && s.unwritten < settleEvery {
		return nil
	}
	err := s.writeState() // first: what is removed was settled, and not lost
	for _, g := range over {
		err = errors.Join(err, s.remove(g))
	}
	return err
}

// forget takes the oldest segment out of the books.
func (s *Spool) forget() {
	g := s.segments[0]
	s.segments = s.segments[1:]
	s.bytes -= g.size
	if len(s.segments) == 0 && s.active != nil {
		s.active.Close()
		s.active = nil
	}
	if s.reader != nil && s.reader.g == g {
		s.reader.f.Close()
		s.reader = nil
	}
}

func (s *Spool) remove(g *segment) error {
	if err := os.Remove(filepath.Join(s.cfg.Dir, g.name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove from the spool: %w", err)
	}
	return nil
}

// end is the position behind a segment.
func (s *Spool) end(i int) uint64 {
	if i+1 < len(s.segments) {
		return s.segments[i+1].first
	}
	return s.next
}

func (s *Spool) endObservations(i int) uint64 {
	if i+1 < len(s.segments) {
		return s.segments[i+1].before
	}
	return s.observations
}

func (s *Spool) endNewest(i int) int64 {
	if i+1 < len(s.segments) {
		return s.segments[i+1].newest
	}
	return s.newest
}

// doneWithin adds up what is settled within some positions.
func (s *Spool) doneWithin(first, end uint64) (messages, observations uint64, until int64) {
	for position, d := range s.done {
		if position >= first && position < end {
			messages++
			observations += d.observations
			until = max(until, d.until)
		}
	}
	return messages, observations, until
}

func less(a, b uint64) uint64 {
	if a < b {
		return 0
	}
	return a - b
}

// giveUp settles messages as lost, after telling that. observations are those up to end that the caller knows of, settled ones among them.
func (s *Spool) giveUp(l Loss, first, end uint64) error {
	n, o, _ := s.doneWithin(first, end)
	l.Messages, l.Observations = less(end-first, n), less(l.Observations, o)
	if l.Until.Before(l.From) {
		l.Until = l.From
	}
	if l.Messages > 0 {
		s.tell(l)
	}
	for position := first; position < end; position++ {
		if _, ok := s.done[position]; !ok {
			s.done[position] = settled{until: l.Until.UnixNano()}
			if position == first {
				s.done[position] = settled{l.Observations, l.Until.UnixNano()}
			}
		}
	}
	s.unwritten = settleEvery // the note goes with it
	return s.advance()
}

func (s *Spool) tell(l Loss) {
	if s.cfg.Lost != nil {
		s.setNote(s.cfg.Lost(l))
	}
}

// dropOldest gives up the oldest segment.
func (s *Spool) dropOldest(cause string) error {
	g := s.segments[0]
	l := Loss{Cause: cause, From: time.Unix(0, g.from), Until: time.Unix(0, s.endNewest(0))}
	first, before := g.first, g.before
	if s.state.settled > first {
		first, before = s.state.settled, s.state.observations
		l.From = time.Unix(0, max(g.from, s.state.until))
	}
	l.Observations = less(s.endObservations(0), before)
	return s.giveUp(l, first, s.end(0))
}

// Expire gives up segments whose messages are all older than MaxAge. keep is the first position that must stay; 0: none.
func (s *Spool) Expire(now time.Time, keep uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := now.Add(-s.cfg.MaxAge).UnixNano()
	for len(s.segments) > 0 && s.endNewest(0) < oldest && (keep == 0 || s.end(0) <= keep) {
		if err := s.dropOldest(Age); err != nil {
			return err
		}
	}
	return nil
}

// Close writes everything down and gives the folder free. Files that it held open do not keep others from working.
func (s *Spool) Close() error {
	err := s.Sync()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reader != nil {
		s.reader.f.Close()
		s.reader = nil
	}
	if s.active != nil {
		err = errors.Join(err, s.active.Close())
		s.active = nil
	}
	if s.unwritten > 0 {
		err = errors.Join(err, s.writeState())
	}
	return errors.Join(err, s.stateFile.Close(), s.lock.Close())
}
