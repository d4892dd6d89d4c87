package collector

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// serverLog passes on what the embedded NATS server complains about, and remembers the last of it for an error. It notices when the server
// gives up writing: that is told nowhere else.
type serverLog struct {
	logger *slog.Logger
	broken chan struct{} // closed when the server has given up writing a file

	mu    sync.Mutex
	last  string
	cause string // why broken is closed
}

func newServerLog(logger *slog.Logger) *serverLog {
	return &serverLog{logger: logger, broken: make(chan struct{})}
}

func (l *serverLog) reason() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == "" {
		return "not ready in time"
	}
	return l.last
}

// fault says why the server has given up writing a file; empty if it has not.
func (l *serverLog) fault() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// What the server says, once, when it will not write a stream's file any more, or no file.
const (
	writeGivenUp  = "Critical write error: "
	streamsGiveUp = "will be DISABLED"
)

func (l *serverLog) keep(format string, v []any) string {
	s := fmt.Sprintf(format, v...)
	_, cause, givenUp := strings.Cut(s, writeGivenUp)
	if !givenUp && strings.Contains(s, streamsGiveUp) {
		cause, givenUp = s, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = s
	if givenUp && l.cause == "" {
		l.cause = cause
		close(l.broken)
	}
	return s
}

func (l *serverLog) Noticef(format string, v ...any) {
	l.logger.Debug("NATS server: " + fmt.Sprintf(format, v...))
}
func (l *serverLog) Debugf(string, ...any) {}
func (l *serverLog) Tracef(string, ...any) {}
func (l *serverLog) Warnf(format string, v ...any) {
	l.logger.Info("NATS server: " + fmt.Sprintf(format, v...))
}
func (l *serverLog) Errorf(format string, v ...any) {
	l.logger.Warn("NATS server: " + l.keep(format, v))
}
func (l *serverLog) Fatalf(format string, v ...any) {
	l.logger.Error("NATS server: " + l.keep(format, v))
}
