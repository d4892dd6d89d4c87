package collector

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The minds of judges are saved now and then, and when a partition is given to another collector: who takes it over reads the stream from there. Where
// nothing of use is saved, the detector is made again from the store, which does not hold the statistics.

const (
	saveInterval = 5 * time.Minute
	saveShare    = 100                // saving takes at most such a part of the time
	saveWait     = 30 * time.Second   // to write one
	statesAge    = 7 * 24 * time.Hour // older ones are of a stream that has passed
	pieceBytes   = 512 << 10          // each is synced to the disk
)

// What became of states, which are label values.
const (
	stateSaved     = "saved"
	stateUnsaved   = "not_saved"
	stateLoaded    = "loaded"
	stateKept      = "kept"      // in memory, while the lease was lost
	stateMissing   = "missing"   // the detector was made from the store
	stateRefused   = "refused"   // likewise: it was damaged, or of another version
	stateTooOld    = "too_old"   // likewise: the stream does not go back so far
	statePrescient = "prescient" // likewise: the stream does not go so far, it went back
)

var stateOutcomes = []string{stateSaved, stateUnsaved, stateLoaded, stateKept, stateMissing, stateRefused, stateTooOld, statePrescient}

// A state is in a bucket in pieces, in one of two places; its head says in which. So one that is cut off while it is written leaves the former as it is,
// and nothing has to be deleted.

// statePieces are the keys of a state in one of its places.
func statePiece(partition, place, n int) string {
	return strconv.Itoa(partition) + "." + strconv.Itoa(place) + "." + strconv.Itoa(n)
}

func stateKey(partition int) string { return strconv.Itoa(partition) + ".head" }

// statePlace says where a state is, and what it is made of.
type statePlace struct {
	Place  int    `json:"place"` // 0 or 1
	Pieces int    `json:"pieces"`
	Bytes  int    `json:"bytes"`
	Hash   string `json:"sha256"`
}

// stateBucket has the states of all partitions.
type stateBucket struct{ jetstream.KeyValue }

func (b stateBucket) find(ctx context.Context, partition int) (at statePlace, err error) {
	entry, err := b.Get(ctx, stateKey(partition))
	if err != nil {
		return at, err
	}
	if err := json.Unmarshal(entry.Value(), &at); err != nil || at.Pieces < 0 || at.Pieces > statesBytes/pieceBytes || at.Bytes > statesBytes {
		return statePlace{}, fmt.Errorf("%w: its head is damaged", errState)
	}
	return at, nil
}

// put writes a state in place of the one before.
func (b stateBucket) put(ctx context.Context, partition int, data []byte) error {
	was, err := b.find(ctx, partition)
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) && !errors.Is(err, errState) {
		return err
	}
	sum := sha256.Sum256(data)
	at := statePlace{Place: 1 - was.Place&1, Bytes: len(data), Hash: hex.EncodeToString(sum[:])}
	for piece := range slices.Chunk(data, pieceBytes) {
		if _, err := b.Put(ctx, statePiece(partition, at.Place, at.Pieces), piece); err != nil {
			return err
		}
		at.Pieces++
	}
	head, err := json.Marshal(&at)
	if err != nil {
		return err
	}
	_, err = b.Put(ctx, stateKey(partition), head)
	return err
}

// get reads a state. An error that is neither errState nor that there is none is that the bucket does not answer.
func (b stateBucket) get(ctx context.Context, partition int) ([]byte, error) {
	at, err := b.find(ctx, partition)
	if err != nil {
		return nil, err
	}
	var data []byte
	for n := range at.Pieces {
		piece, err := b.Get(ctx, statePiece(partition, at.Place, n))
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return nil, fmt.Errorf("%w: a piece is missing", errState)
		}
		if err != nil {
			return nil, err
		}
		data = append(data, piece.Value()...)
	}
	if sum := sha256.Sum256(data); len(data) != at.Bytes || hex.EncodeToString(sum[:]) != at.Hash {
		return nil, fmt.Errorf("%w: it is not what was written", errState)
	}
	return data, nil
}

// written is a state on its way to the bucket.
type written struct {
	asOf uint64
	data []byte
}

// writeState encodes what the judge knows now. It is the judge's.
func (w *worker) writeState(ctx context.Context) (*written, error) {
	if err := w.share(ctx, true); err != nil { // what is in the state counts as told to the other partitions
		return nil, err
	}
	var out bytes.Buffer
	w.mu.Lock()
	defer w.mu.Unlock()
	err := encodeState(&out, w.created, w.cfg.Partitions, &state{mind: w.mind, tracker: w.tracker})
	if err != nil {
		return nil, err
	}
	return &written{w.mind.asOf, out.Bytes()}, nil
}

// saveDue has the mind saved if it is time, and the judge has made good all that came before. It is the judge's.
func (w *worker) saveDue(ctx context.Context, now bool) {
	if w.mind.asOf <= w.savedAsOf || w.reached < w.mind.asOf || !now && time.Since(w.savedAt) < max(saveInterval, saveShare*w.saveTook) {
		return
	}
	if len(w.saves) > 0 && !now { // the one before is on its way still
		return
	}
	began := time.Now()
	s, err := w.writeState(ctx)
	w.savedAt, w.saveTook = time.Now(), time.Since(began)
	if err != nil {
		if ctx.Err() == nil {
			w.unsaved(err)
		}
		return
	}
	select {
	case w.saves <- s:
		w.savedAsOf = s.asOf
	case <-ctx.Done():
	}
}

func (w *worker) unsaved(err error) {
	w.metrics.states.WithLabelValues(stateUnsaved).Inc()
	w.complaints.Do(func() {
		w.log.Warn("cannot save what a detector knows; a takeover reads more of the stream, or begins from the store", "partition", w.partition, "error", err)
	})
}

// saveLast saves the mind when the judge has ended.
func (w *worker) saveLast(ctx context.Context) {
	if w.asOf <= w.savedAsOf || w.reached < w.asOf || len(w.untold) > 0 {
		return
	}
	s, err := w.writeState(ctx)
	if err != nil {
		w.unsaved(err)
		return
	}
	w.save(ctx, s)
}

// saveAll writes states as they come, until there are no more.
func (w *worker) saveAll(ctx context.Context) error {
	for s := range w.saves {
		if ctx.Err() == nil {
			w.save(ctx, s)
		}
	}
	return nil
}

// save writes a state. The findings that it counts as told are in the store before.
func (w *worker) save(ctx context.Context, s *written) {
	select {
	case w.saving <- struct{}{}:
		defer func() { <-w.saving }()
	case <-ctx.Done():
		return
	}
	if err := w.flushFindings(ctx); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, saveWait)
	defer cancel()
	err := w.states.put(ctx, w.partition, s.data)
	switch {
	case err == nil:
		w.metrics.states.WithLabelValues(stateSaved).Inc()
		w.metrics.stateBytes.Observe(float64(len(s.data)))
	case !errors.Is(err, context.Canceled):
		w.unsaved(err)
	}
}

// loadState gives the state of a partition as it was saved last, or nil with the reason, which is a label value.
func (s *shift) loadState(ctx context.Context, partition int, first, last uint64) (found *state, why string, err error) {
	data, err := s.states.get(ctx, partition)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return nil, stateMissing, nil
	case err == nil:
		found, err = decodeState(bytes.NewReader(data), s.shareOf(), s.created, partition, s.cfg.Partitions)
	case !errors.Is(err, errState):
		return nil, "", fmt.Errorf("read what the detector of partition %d knew: %w", partition, err)
	}
	switch {
	case ctx.Err() != nil:
		return nil, "", ctx.Err()
	case err != nil:
		s.log.Warn("what a detector knew cannot be read; it is made again from the store", "partition", partition, "error", err)
		return nil, stateRefused, nil
	case found.asOf > last:
		s.log.Warn("what a detector knew is of a future that the stream has lost; it is made again from the store", "partition", partition)
		return nil, statePrescient, nil
	case found.asOf+1 < first:
		s.log.Warn("what a detector knew is older than the stream; it is made again from the store", "partition", partition)
		return nil, stateTooOld, nil
	}
	return found, stateLoaded, nil
}
