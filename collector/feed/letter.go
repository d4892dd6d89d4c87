package feed

import (
	"context"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Headers of a document that was set aside.
const (
	headerCause    = "Ambit-Cause"
	headerError    = "Ambit-Error"
	headerUID      = "Ambit-Uid"
	headerSequence = "Ambit-Sequence" // of the message in its stream
)

// Why something is set aside; label values.
const (
	causeRefused    = "refused"    // by the receiver, which took others
	causeMalformed  = "malformed"  // in the stream
	causeUnwritable = "unwritable" // in the format
	causeLost       = "not-kept"   // by the stream of findings, before it was read
)

// setAside keeps in the stream of dead letters what is not delivered. It must be there before the feed goes on.
func (l *lane) setAside(ctx context.Context, cause, uid string, sequence uint64, body []byte, why error) error {
	m := nats.NewMsg(letterSubject + l.cfg.Name)
	m.Data = body
	told := l.veil.told(why)
	m.Header.Set(nats.MsgIdHdr, l.name+"/"+uid+"/"+strconv.FormatUint(sequence, 10))
	m.Header.Set(headerCause, cause)
	m.Header.Set(headerError, told)
	m.Header.Set(headerUID, header(uid, 200))
	m.Header.Set(headerSequence, strconv.FormatUint(sequence, 10))
	if _, err := l.js.PublishMsg(ctx, m, jetstream.WithExpectStream(StreamName)); err != nil {
		return fmt.Errorf("set a document aside: %w", err)
	}
	l.metrics.aside.WithLabelValues(l.cfg.Name, cause).Inc()
	l.aside.Do(func() {
		l.log.Warn("a document was set aside: see the stream "+StreamName, "uid", uid, "cause", cause, "error", told)
	})
	l.status.note(func(s *Status) { s.Aside++ })
	return nil
}
