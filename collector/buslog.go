package collector

import (
	"fmt"
	"log/slog"
	"sync"
)

// serverLog passes on what the embedded NATS server complains about, and remembers the last of it for an error.
type serverLog struct {
	logger *slog.Logger

	mu   sync.Mutex
	last string
}

func (l *serverLog) reason() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == "" {
		return "not ready in time"
	}
	return l.last
}

func (l *serverLog) keep(format string, v []any) string {
	s := fmt.Sprintf(format, v...)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = s
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
