package kube

import (
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Silence is a span in which the API did not answer, so that pods and addresses were told as they were before.
type Silence struct {
	From, Until time.Time
	Over        bool // false: it goes on
}

// maxSilences bounds how many are remembered for who asks. Then the first ones are told as one.
const maxSilences = 32

// Silences gives those that ended since the last call, and the one that goes on. What is as short as a connection that is made anew is none.
func (w *Watcher) Silences() []Silence { return w.status.tellSilences(time.Now()) }

func unanswered(err error) bool { return !apierrors.IsForbidden(err) }

// weighSilence keeps when the API was silent. The caller holds the lock.
func (s *status) weighSilence(now time.Time) {
	_, err := s.failing(unanswered)
	switch {
	case err != nil && s.silent.IsZero():
		s.silent = now
	case err == nil && !s.silent.IsZero():
		if now.Sub(s.silent) >= blip {
			s.silences = append(s.silences, Silence{s.silent, now, true})
		}
		s.silent = time.Time{}
		if len(s.silences) > maxSilences {
			s.silences[0].Until = s.silences[1].Until
			s.silences = slices.Delete(s.silences, 1, 2)
		}
	}
}

func (s *status) tellSilences(now time.Time) []Silence {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.weigh(now)
	told := s.silences
	s.silences = nil
	if !s.silent.IsZero() && now.Sub(s.silent) >= blip {
		told = append(told, Silence{From: s.silent, Until: now})
	}
	return told
}
