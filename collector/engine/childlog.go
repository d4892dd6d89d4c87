package engine

import (
	"bytes"
	"context"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	maxLine        = 4 << 10 // bytes of a line that are kept
	maxLinesPerSec = 50      // lines that are logged in one second
	lastLines      = 3       // lines that an error quotes
)

// childLog takes what a child writes, logs it line by line, and remembers the
// last lines. It is an io.Writer for one writer; last may be called beside.
type childLog struct {
	log *slog.Logger

	mu      sync.Mutex
	partial []byte
	recent  []string
	second  time.Time // in which lines were logged
	lines   int       // logged in that second
	dropped int       // since the last line that was logged
}

func (s *childLog) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for rest := data; len(rest) > 0; {
		line, after, complete := bytes.Cut(rest, []byte("\n"))
		s.partial = append(s.partial, line[:min(len(line), maxLine-len(s.partial))]...)
		if complete {
			s.line()
		}
		rest = after
	}
	return len(data), nil
}

// close logs a last line without an end.
func (s *childLog) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line()
	if s.dropped > 0 {
		s.log.Warn("clickhouse wrote too many lines", "dropped_lines", s.dropped)
	}
}

func (s *childLog) line() {
	text := strings.TrimSpace(string(s.partial))
	s.partial = s.partial[:0]
	if text == "" {
		return
	}
	level, text, ours := lineLevel(text)
	// What an error quotes is what the child complained about.
	if !ours || level >= slog.LevelWarn {
		if s.recent = append(s.recent, text); len(s.recent) > lastLines {
			s.recent = s.recent[1:]
		}
	}
	if now := time.Now(); now.Sub(s.second) >= time.Second {
		s.second, s.lines = now, 0
	}
	if s.lines++; s.lines > maxLinesPerSec {
		s.dropped++
		return
	}
	if s.dropped > 0 {
		s.log.Warn("clickhouse wrote too many lines", "dropped_lines", s.dropped)
		s.dropped = 0
	}
	s.log.Log(context.Background(), level, "clickhouse: "+text)
}

// last quotes the last lines, for an error.
func (s *childLog) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.recent) == 0 {
		return ""
	}
	return ": " + strings.Join(s.recent, "; ")
}

var (
	// slogLine is what slog's text and default handlers write before the message.
	slogLine = regexp.MustCompile(`^(?:time=\S+ level=(\w+)\S* msg=|\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (\w+) )`)
	// engineLine is the level in a line of ClickHouse's own log.
	engineLine = regexp.MustCompile(`<(Fatal|Critical|Error|Warning)>`)
)

// lineLevel finds the level of a line, drops what our log says anyway, and
// tells whether the line is one that Ambit's own logger wrote.
func lineLevel(line string) (level slog.Level, text string, ours bool) {
	if m := slogLine.FindStringSubmatch(line); m != nil && level.UnmarshalText([]byte(m[1]+m[2])) == nil {
		return level, line[len(m[0]):], true
	}
	switch m := engineLine.FindStringSubmatch(line); {
	case m == nil:
		return slog.LevelInfo, line, false
	case m[1] == "Warning":
		return slog.LevelWarn, line, false
	default:
		return slog.LevelError, line, false
	}
}
