package collector

import (
	"sync"
	"time"
)

// stage is how far a worker is with its messages. It is safe for concurrent use.
type stage struct {
	mu     sync.Mutex
	begun  int       // messages that were taken and are not done
	behind uint64    // messages that were behind the last one, when it came
	oldest time.Time // when the oldest that is not done came into the stream, or one before it; zero if there is none
}

// begin notes that a message was taken.
func (s *stage) begin(m message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun == 0 && s.oldest.IsZero() {
		s.oldest = m.stored
	}
	s.begun++
}

// finish notes that a message is done, which is the only one that was begun.
func (s *stage) finish(m message) { s.done(1, m.stored) }

// done notes that some messages are done, the last of which came at a time.
func (s *stage) done(messages int, stored time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun -= messages
	s.oldest = stored
	if s.begun == 0 && s.behind == 0 {
		s.oldest = time.Time{}
	}
}

// lag is how many messages are not done, and since when the oldest of them waits.
func (s *stage) lag(now time.Time) (messages uint64, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.oldest.IsZero() {
		wait = max(now.Sub(s.oldest), 0)
	}
	return s.behind + uint64(max(s.begun, 0)), wait
}
