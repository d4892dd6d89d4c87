package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/event"
)

// mark is how far a lane is. It is written after the receiver has taken what is before it.
type mark struct {
	Stream   time.Time        `json:"stream"`            // when the stream was made: in another one, sequences mean something else
	Sequence uint64           `json:"sequence"`          // all up to it is done
	Window   window           `json:"window,omitzero"`   //
	Summary  *window          `json:"summary,omitempty"` // that is not told yet
	Lifts    []event.Decision `json:"lifts,omitempty"`   // decisions that were told, whose end will be
}

// errNotOwned ends the work of a lane that another collector works now.
var errNotOwned = errors.New("another collector works the feed")

// book keeps the mark and the ledger of a lane in the bucket.
type book struct {
	bucket   jetstream.KeyValue
	lane     string
	revision uint64 // of the mark
	saved    uint64 // as of which message the ledger was written
	ledgered time.Time
}

func (b *book) markKey() string   { return "mark." + b.lane }
func (b *book) ledgerKey() string { return "ledger." + b.lane }

// load gives the mark, nil if there is none.
func (b *book) load(ctx context.Context) (*mark, error) {
	e, err := b.bucket.Get(ctx, b.markKey())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		b.revision = 0
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read how far the feed is: %w", err)
	}
	b.revision = e.Revision()
	var m mark
	if err := json.Unmarshal(e.Value(), &m); err != nil {
		return nil, fmt.Errorf("read how far the feed is: %w; to begin anew, delete %s in the bucket %s", err, b.markKey(), b.bucket.Bucket())
	}
	return &m, nil
}

// save writes the mark, unless another collector has written it meanwhile.
func (b *book) save(ctx context.Context, m *mark) error {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("write how far the feed is: %w", err)
	}
	revision, err := b.bucket.Update(ctx, b.markKey(), data, b.revision)
	if err != nil {
		if errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) { // replicated buckets say only the latter
			return b.reread(ctx, data)
		}
		return fmt.Errorf("write how far the feed is: %w", err)
	}
	b.revision = revision
	return nil
}

// reread looks whether a mark that could not be written is there all the same: the answer to an earlier try may have been lost.
func (b *book) reread(ctx context.Context, wrote []byte) error {
	e, err := b.bucket.Get(ctx, b.markKey())
	if err != nil {
		return fmt.Errorf("read how far the feed is: %w", err)
	}
	if string(e.Value()) != string(wrote) {
		return errNotOwned
	}
	b.revision = e.Revision()
	return nil
}

// loadLedger gives the ledger; it is not known where there is none that can be read, and findings are created again.
func (b *book) loadLedger(ctx context.Context) (l *ledger, known bool, err error) {
	e, err := b.bucket.Get(ctx, b.ledgerKey())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return newLedger(), false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read what the feed has told: %w", err)
	}
	l, sequence, err := decodeLedger(e.Value())
	if err != nil { // of another version
		return newLedger(), false, nil
	}
	b.saved, b.ledgered = sequence, time.Now()
	return l, true, nil
}

// saveLedger writes the ledger, which is as of the mark's message.
func (b *book) saveLedger(ctx context.Context, l *ledger, sequence uint64) error {
	if _, err := b.bucket.Put(ctx, b.ledgerKey(), l.encode(sequence)); err != nil {
		return fmt.Errorf("write what the feed has told: %w", err)
	}
	b.saved, b.ledgered = sequence, time.Now()
	return nil
}
