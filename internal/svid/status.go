package svid

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// fault is why there are no updates, empty while there are.
type fault struct {
	words  string // "away", …
	reason string
	since  time.Time
}

// Ready says why the source can carry no new connection, nil if it can: also while the Workload API is away, until the certificate ends.
func (s *Source) Ready() error {
	if m := s.current(); m == nil || m.check(s.now()) != nil {
		return errors.New(s.Status())
	}
	return nil
}

// Missing says what is wrong at the moment, also while there is still a valid certificate: for a heartbeat. It is nil when all is well. The words are the
// same for the same, as those who gather them need.
func (s *Source) Missing() []string {
	s.mu.RLock()
	m, fault := s.material, s.fault.words
	s.mu.RUnlock()
	now := s.now()
	switch {
	case fault != "":
		fault = "is " + fault
	case m == nil:
		fault = "has given none yet"
	case m.check(now) != nil, m.overdue(now):
		fault = "does not renew it"
	default:
		return nil
	}
	return []string{"own certificate: the " + s.origin() + " " + fault}
}

// Status says in one line what there is.
func (s *Source) Status() string {
	s.mu.RLock()
	m, f := s.material, s.fault
	s.mu.RUnlock()
	now := s.now()
	if f.words == "" {
		switch {
		case m == nil:
			return "waiting for the " + s.origin()
		case now.After(m.leaf().NotAfter):
			return fmt.Sprintf("%s ended %s ago, and the %s gave no other", m.name(), span(now.Sub(m.leaf().NotAfter)), s.origin())
		case now.Before(m.leaf().NotBefore):
			return fmt.Sprintf("%s is not valid before %s; is the clock right?", m.name(), m.leaf().NotBefore.UTC().Format(time.RFC3339))
		case m.overdue(now):
			return fmt.Sprintf("%s ends in %s, and the %s has not renewed it yet", m.name(), span(m.leaf().NotAfter.Sub(now)), s.origin())
		}
		return m.name() + " valid until " + m.leaf().NotAfter.UTC().Format(time.RFC3339)
	}
	text := fmt.Sprintf("%s %s since %s", s.origin(), f.words, f.since.UTC().Format(time.RFC3339))
	switch {
	case m == nil:
		return text + ", no SVID yet: " + f.reason
	case now.After(m.leaf().NotAfter):
		return fmt.Sprintf("%s, %s ended %s ago: %s", text, m.name(), span(now.Sub(m.leaf().NotAfter)), f.reason)
	}
	return fmt.Sprintf("%s, %s ends in %s: %s", text, m.name(), span(m.leaf().NotAfter.Sub(now)), f.reason)
}

// origin is where certificates come from.
func (s *Source) origin() string {
	if s.cfg.Socket != "" {
		return "Workload API at " + s.cfg.Socket
	}
	return "certificate file " + s.cfg.Cert
}

func span(d time.Duration) string {
	if d >= time.Minute {
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return d.Round(time.Second).String()
}

// maxReason bounds what is told of foreign bytes.
const maxReason = 200

// oneLine is an error without what would break a line, or flood it.
func oneLine(err error) string {
	text := strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, err.Error())
	if r := []rune(text); len(r) > maxReason {
		text = string(r[:maxReason]) + "…"
	}
	return text
}
