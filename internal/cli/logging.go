package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"sync"
	"time"
)

func (c *config) validateLog() error {
	var fault error
	if c.Log.Format != "text" && c.Log.Format != "json" {
		fault = fmt.Errorf("log.format %q is not text or json", c.Log.Format)
	}
	_, err := c.level()
	return errors.Join(err, fault)
}

func (c *config) level() (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.Log.Level)); err != nil {
		return 0, fmt.Errorf("log.level %q is not debug, info, warn or error", c.Log.Level)
	}
	return l, nil
}

// logger writes what matters to w: the same words not without end, and no passwords.
func (c *config) logger(w io.Writer) *slog.Logger {
	level, _ := c.level() // validated
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr { return withoutPassword(a) }}
	var h slog.Handler = slog.NewTextHandler(w, options)
	if c.Log.Format == "json" {
		h = slog.NewJSONHandler(w, options)
	}
	return slog.New(&calm{next: h, said: &said{}})
}

// userInfo is what may be a password in a URL, or in an error of a library that shows one.
var userInfo = regexp.MustCompile(`://[^/\s"'@]+@`)

func withoutPassword(a slog.Attr) slog.Attr {
	var text string
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindString:
		text = v.String()
	case slog.KindAny:
		switch v := v.Any().(type) {
		case error:
			text = v.Error()
		case fmt.Stringer:
			text = v.String()
		default:
			return a
		}
	default:
		return a
	}
	if userInfo.MatchString(text) {
		return slog.String(a.Key, userInfo.ReplaceAllString(text, "://xxxxx@"))
	}
	return a
}

// Bounds of what is logged, but for debugging.
const (
	sameWords  = 10 // records of the same level and words, in
	sameTime   = time.Minute
	knownWords = 512 // words that are told apart; the rest count as one
)

// calm is a handler that lets the same words pass only so often. The next record of them that passes says how many were left out.
type calm struct {
	next slog.Handler
	said *said // shared by those that were made of this one
}

type said struct {
	mu    sync.Mutex
	words map[words]*saying
}

type words struct {
	level   slog.Level
	message string
}

type saying struct {
	since    time.Time
	passed   int
	withheld uint64
}

// Enabled implements [slog.Handler].
func (c *calm) Enabled(ctx context.Context, l slog.Level) bool { return c.next.Enabled(ctx, l) }

// Handle implements [slog.Handler].
func (c *calm) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		withheld, pass := c.said.note(words{r.Level, r.Message}, r.Time)
		if !pass {
			return nil
		}
		if withheld > 0 {
			r = r.Clone()
			r.AddAttrs(slog.Uint64("withheld", withheld))
		}
	}
	return c.next.Handle(ctx, r)
}

// note counts a record. It says how many were withheld before it, and whether it passes.
func (s *said) note(w words, now time.Time) (withheld uint64, pass bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.words == nil {
		s.words = map[words]*saying{}
	}
	if s.words[w] == nil && len(s.words) >= knownWords {
		w = words{level: w.level}
	}
	x := s.words[w]
	if x == nil {
		x = &saying{since: now}
		s.words[w] = x
	}
	if age := now.Sub(x.since); age >= sameTime || age < 0 {
		withheld = x.withheld
		*x = saying{since: now}
	}
	if x.passed >= sameWords {
		x.withheld++
		return 0, false
	}
	x.passed++
	return withheld, true
}

// WithAttrs implements [slog.Handler].
func (c *calm) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &calm{c.next.WithAttrs(attrs), c.said}
}

// WithGroup implements [slog.Handler].
func (c *calm) WithGroup(name string) slog.Handler { return &calm{c.next.WithGroup(name), c.said} }
