package spool

import (
	"errors"
	"io"
	"sort"
	"time"
)

// Read gives the first message at or behind a position that is not settled, and its position. ok is false if there is none. What turns out to
// be damaged or too old on the way is given up.
func (s *Spool) Read(position uint64, now time.Time) (m *Message, at uint64, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := now.Add(-s.cfg.MaxAge).UnixNano()
	for {
		position = max(position, s.state.settled)
		for _, done := s.done[position]; done; _, done = s.done[position] {
			position++
		}
		if position >= s.next {
			return nil, position, false, nil
		}
		i := sort.Search(len(s.segments), func(i int) bool { return s.segments[i].first > position }) - 1
		h, err := s.find(i, position)
		if err == nil {
			m, h, err = s.reader.read(position)
		}
		switch {
		case err == nil && h.until < oldest:
			l := Loss{Cause: Age, From: time.Unix(0, h.from), Until: time.Unix(0, h.until), Observations: uint64(h.observations)}
			if err := s.giveUp(l, position, position+1); err != nil {
				return nil, position, false, err
			}
		case err == nil:
			return m, position, true, nil
		case h.position == position: // only its body is damaged
			l := Loss{Cause: Damaged, From: time.Unix(0, h.from), Until: time.Unix(0, h.until), Observations: uint64(h.observations)}
			if err := s.giveUp(l, position, position+1); err != nil {
				return nil, position, false, err
			}
		default:
			if err := s.skip(i, position); err != nil {
				return nil, position, false, err
			}
		}
	}
}

// find walks the segment as far as a position.
func (s *Spool) find(i int, position uint64) (h head, err error) {
	g := s.segments[i]
	if s.reader == nil || s.reader.g != g {
		if s.reader != nil {
			s.reader.f.Close()
			s.reader = nil
		}
		if s.reader, err = openCursor(s.cfg.Dir, g); err != nil {
			return h, errDamaged
		}
	}
	for s.reader.position() <= position {
		h, err := s.reader.head()
		if errors.Is(err, io.EOF) {
			err = errDamaged
		}
		if err != nil {
			return head{}, err
		}
		s.reader.step(&h)
	}
	return h, nil
}

// skip gives up what is left of a segment.
func (s *Spool) skip(i int, position uint64) error {
	l := Loss{Cause: Damaged, From: time.Unix(0, s.segments[i].from), Until: time.Unix(0, s.endNewest(i))}
	before := s.segments[i].before
	if s.reader != nil {
		before = s.reader.end.observations
		l.From = time.Unix(0, s.reader.end.until)
	} else if s.state.settled > s.segments[i].first {
		before = s.state.observations
	}
	l.Observations = less(s.endObservations(i), before)
	if i == len(s.segments)-1 && s.active != nil { // what is added behind it would not be found
		s.roll()
	}
	return s.giveUp(l, position, s.end(i))
}
