package collector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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
	statesAge    = 7 * 24 * time.Hour // older ones are of a stream that has passed; what a crash left half written goes, too
	chunkBytes   = 256 << 10          // each is synced to the disk
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

// ensureStates makes the object store.
func ensureStates(ctx context.Context, js jetstream.JetStream, cfg BusConfig, own bool) error {
	want := jetstream.ObjectStoreConfig{
		Bucket: statesBucket, Description: "what detectors know", MaxBytes: statesBytes, TTL: statesAge, Storage: jetstream.FileStorage, Replicas: max(cfg.Replicas, 1),
	}
	_, err := js.ObjectStore(ctx, want.Bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		_, err = js.CreateObjectStore(ctx, want)
		if errors.Is(err, jetstream.ErrBucketExists) {
			_, err = js.ObjectStore(ctx, want.Bucket)
		}
	} else if err == nil && own {
		_, err = js.UpdateObjectStore(ctx, want)
	}
	if err != nil {
		return fmt.Errorf("make the object store %s: %w; %s", want.Bucket, err, streamRemedy(err, cfg.Replicas))
	}
	return nil
}

func stateName(partition int) string { return "partition-" + strconv.Itoa(partition) }

// written is a state on its way to the object store.
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

// saveDue has the mind saved if it is time. It is the judge's.
func (w *worker) saveDue(ctx context.Context, now bool) {
	if w.mind.asOf <= w.savedAsOf || !now && time.Since(w.savedAt) < max(saveInterval, saveShare*w.saveTook) {
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
	if w.asOf <= w.savedAsOf || len(w.untold) > 0 {
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
	_, err := w.states.Put(ctx, jetstream.ObjectMeta{Name: stateName(w.partition), Opts: &jetstream.ObjectMetaOptions{ChunkSize: chunkBytes}}, bytes.NewReader(s.data))
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
	object, err := s.states.Get(ctx, stateName(partition))
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, stateMissing, nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read what the detector of partition %d knew: %w", partition, err)
	}
	defer object.Close()
	found, err = decodeState(object, s.shareOf(), s.created, partition, s.cfg.Partitions)
	if err == nil {
		_, err = io.Copy(io.Discard, object)
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
