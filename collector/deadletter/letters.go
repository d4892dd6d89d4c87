// Package deadletter keeps messages that the collector refuses, with the reason, in a small stream, so that somebody can look why. It is a sample:
// the metrics count all that is refused, the stream keeps the newest of each cause.
package deadletter

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/ambit-nhi/ambit/event"
)

// Bounds of the stream. One cause takes half of it at most.
const (
	MaxBytes = 64 << 20
	MaxAge   = 14 * 24 * time.Hour

	maxBody     = event.MaxMessageBytes
	maxPerCause = MaxBytes / 2 / maxBody
)

// Bounds of writing: a flood of refusals must not become one of letters.
const (
	perSecond = 1
	burst     = 32
	maxCauses = 32
	maxError  = 1024        // bytes
	maxWait   = time.Second // for the stream's answer
	maxPause  = 10 * time.Second
)

// Headers of a letter.
const (
	HeaderSubject  = "Ambit-Subject"  // where the message was published
	HeaderSequence = "Ambit-Sequence" // of the message in its stream
	HeaderCause    = "Ambit-Cause"
	HeaderError    = "Ambit-Error"
	HeaderTime     = "Ambit-Time"   // when the message came into its stream, RFC 3339
	HeaderLength   = "Ambit-Length" // of the message in bytes, where the letter holds the beginning only
)

// Stream is the configuration of the stream of letters. Message ids are remembered for longer than a crash and what follows take.
func Stream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: event.StreamDead, Subjects: []string{event.SubjectDead},
		Description: "messages that were refused", Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: jetstream.FileStorage,
		MaxBytes: MaxBytes, MaxAge: MaxAge, MaxMsgsPerSubject: maxPerCause, Duplicates: time.Hour,
	}
}

// Refused is a message that is not taken.
type Refused struct {
	Cause    string // a word of a small fixed set
	Subject  string
	Sequence uint64
	Time     time.Time // when it came into the stream
	Err      error
	Data     []byte
}

// Letters writes letters. It is safe for concurrent use.
type Letters struct {
	js      jetstream.JetStream
	written *prometheus.CounterVec // cause
	left    *prometheus.CounterVec // why

	mu     sync.Mutex
	limits map[string]*rate.Limiter // by cause
	after  time.Time                // no letter is tried before, since one has failed
}

// New makes Letters that publish through js, whose stream is there. It starts nothing.
func New(js jetstream.JetStream, metrics prometheus.Registerer) *Letters {
	l := &Letters{
		js: js, limits: map[string]*rate.Limiter{},
		written: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "ambit", Subsystem: "collector", Name: "dead_letters_total", Help: "Refused messages that were kept for looking at, by cause of the refusal.",
		}, []string{"cause"}),
		left: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "ambit", Subsystem: "collector", Name: "dead_letters_left_total", Help: "Refused messages that were not kept for looking at, by why not.",
		}, []string{"why"}),
	}
	metrics.MustRegister(l.written, l.left)
	for _, why := range []string{leftRate, leftAway} {
		l.left.WithLabelValues(why)
	}
	return l
}

// Why a refused message is not kept.
const (
	leftRate = "rate" // too many of its cause
	leftAway = "away" // the stream does not take it
)

// Put keeps a refused message, if there were not too many like it of late. It waits a second at most, and after a failure it does not try for a
// while, so that refusing goes on at its pace. What is not kept is counted. A repetition makes no second letter.
func (l *Letters) Put(ctx context.Context, r Refused) {
	cause := token(r.Cause)
	why := l.admit(&cause, time.Now())
	if why == "" {
		ctx, cancel := context.WithTimeout(ctx, maxWait)
		defer cancel()
		if _, err := l.js.PublishMsg(ctx, letter(cause, r), jetstream.WithRetryAttempts(0)); err != nil {
			l.pause(time.Now())
			why = leftAway
		}
	}
	if why != "" {
		l.left.WithLabelValues(why).Inc()
		return
	}
	l.written.WithLabelValues(cause).Inc()
}

// admit says why a letter should not be written now, if so. Causes past the bound become one.
func (l *Letters) admit(cause *string, now time.Time) (why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := l.limits[*cause]
	if limit == nil && len(l.limits) >= maxCauses {
		*cause = "other"
		limit = l.limits[*cause]
	}
	if limit == nil {
		limit = rate.NewLimiter(perSecond, burst)
		l.limits[*cause] = limit
	}
	switch {
	case now.Before(l.after):
		return leftAway
	case !limit.AllowN(now, 1):
		return leftRate
	}
	return ""
}

func (l *Letters) pause(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.after = now.Add(maxPause)
}

func letter(cause string, r Refused) *nats.Msg {
	m := nats.NewMsg("ambit.v1.dead." + cause)
	m.Data = r.Data
	if len(m.Data) > maxBody {
		m.Data = m.Data[:maxBody]
		m.Header.Set(HeaderLength, strconv.Itoa(len(r.Data)))
	}
	if r.Err == nil {
		r.Err = errors.New(r.Cause)
	}
	m.Header.Set(nats.MsgIdHdr, fmt.Sprintf("%s/%d", cause, r.Sequence))
	m.Header.Set(HeaderSubject, line(r.Subject))
	m.Header.Set(HeaderSequence, strconv.FormatUint(r.Sequence, 10))
	m.Header.Set(HeaderCause, cause)
	m.Header.Set(HeaderError, line(r.Err.Error()))
	m.Header.Set(HeaderTime, r.Time.UTC().Format(time.RFC3339Nano))
	return m
}

// token makes one token of a subject of a cause.
func token(cause string) string {
	out := []byte(cause)
	for i, c := range out {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			out[i] = '-'
		}
	}
	if len(out) == 0 {
		return "unknown"
	}
	return string(out[:min(len(out), 64)])
}

// line makes one line of printable text, for a header: what is refused may hold anything.
func line(s string) string {
	if len(s) > maxError {
		s = s[:maxError]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
