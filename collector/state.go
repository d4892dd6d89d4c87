package collector

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
)

// mind is what the judge of a partition knows, as of a message: all that concern the partition were judged up to that one, and none behind it.
type mind struct {
	detector *detector.Detector
	quota    *quota
	asOf     uint64
	taken    uint64          // the last message of the partition's observations up to there
	untold   []event.Finding // of that message, which were to be told when the work ended
	unshared []byte          // notes on their way to other partitions
}

// stateFormat changes whenever the form of a state does, but for that of the detector, which has a number of its own.
const stateFormat = "ambit-state-1\n"

// maxStateHead bounds what stands before the detector in a state: numbers of messages of each node, mostly.
const maxStateHead = 256 << 20

// stateHead stands before the detector.
type stateHead struct {
	Stream     time.Time      `json:"stream"` // when it was made
	Partitions int            `json:"partitions"`
	Partition  int            `json:"partition"`
	AsOf       uint64         `json:"as_of"`
	Taken      uint64         `json:"taken"`
	Hour       int64          `json:"hour"`
	Spent      []writtenQuota `json:"spent,omitempty"`
	Unknown    time.Time      `json:"unknown"` // of the tracker
	Nodes      []writtenNode  `json:"nodes,omitempty"`
}

type writtenQuota struct {
	Node  string `json:"node"`
	Hour  int64  `json:"hour"`
	Spent int    `json:"spent"`
}

// state is a mind and a tracker, of the same moment.
type state struct {
	mind
	tracker *tracker
}

// encodeState writes a state down, compressed.
func encodeState(to io.Writer, stream time.Time, partitions int, s *state) error {
	head := stateHead{
		Stream: stream, Partitions: partitions, Partition: s.tracker.partition, AsOf: s.asOf, Taken: s.taken, Hour: s.quota.hour,
		Unknown: s.tracker.unknown, Nodes: s.tracker.writtenNodes(),
	}
	for k, n := range s.quota.spent {
		head.Spent = append(head.Spent, writtenQuota{k.node, k.hour, n})
	}
	data, err := json.Marshal(&head)
	if err != nil {
		return fmt.Errorf("encode a state: %w", err)
	}
	if len(data) > maxStateHead {
		return fmt.Errorf("encode a state: what came of agents takes %d bytes", len(data))
	}
	z, err := zstd.NewWriter(to, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("encode a state: %w", err)
	}
	buffered := append([]byte(stateFormat), binary.BigEndian.AppendUint32(nil, uint32(len(data)))...)
	if _, err = z.Write(append(buffered, data...)); err == nil {
		err = s.detector.Save(z)
	}
	if err = errors.Join(err, z.Close()); err != nil {
		return fmt.Errorf("encode a state: %w", err)
	}
	return nil
}

// errState means that a state is of no use here: the detector is made again from the store.
var errState = errors.New("the saved state is of no use")

// decodeState reads what encodeState wrote for a partition of a stream. What it gives is right only if from turns out to be whole in the end.
func decodeState(from io.Reader, config detector.Config, stream time.Time, partition, partitions int) (*state, error) {
	z, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<30))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errState, err)
	}
	defer z.Close()
	start := make([]byte, len(stateFormat)+4)
	if _, err := io.ReadFull(z, start); err != nil {
		return nil, fmt.Errorf("%w: %w", errState, err)
	}
	size := binary.BigEndian.Uint32(start[len(stateFormat):])
	if string(start[:len(stateFormat)]) != stateFormat || size > maxStateHead {
		return nil, fmt.Errorf("%w: it has another form", errState)
	}
	var data bytes.Buffer // grows with what there is, whatever the size says
	if n, err := io.CopyN(&data, z, int64(size)); err != nil {
		return nil, fmt.Errorf("%w: after %d bytes: %w", errState, n, err)
	}
	var head stateHead
	if err := json.Unmarshal(data.Bytes(), &head); err != nil {
		return nil, fmt.Errorf("%w: %w", errState, err)
	}
	if !head.Stream.Equal(stream) || head.Partition != partition || head.Partitions != partitions {
		return nil, fmt.Errorf("%w: it is of partition %d of %d, in the stream of %s", errState, head.Partition, head.Partitions, head.Stream.Format(time.RFC3339))
	}
	s := &state{tracker: newTracker(partition), mind: mind{quota: newQuota(partitions), asOf: head.AsOf, taken: head.Taken}}
	s.tracker.unknown = head.Unknown
	s.tracker.read(head.Nodes)
	s.quota.hour = head.Hour
	for _, q := range head.Spent {
		s.quota.spent[hourOf{q.Node, q.Hour}] = q.Spent
	}
	if s.detector, err = detector.Load(z, config); err != nil {
		return nil, fmt.Errorf("%w: %w", errState, err)
	}
	if _, err := io.Copy(io.Discard, from); err != nil { // only the end tells whether it is whole
		return nil, fmt.Errorf("%w: %w", errState, err)
	}
	return s, nil
}
