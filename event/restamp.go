package event

import (
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// Restamp moves the times of an encoded batch or heartbeat of any version: of a clock that was wrong by as much when it was made. Its number and
// all else stay as they are.
func Restamp(message []byte, by time.Duration) ([]byte, error) {
	var fields map[uint64]cbor.RawMessage
	if err := unpack(message, &fields); err != nil {
		return nil, fmt.Errorf("restamp message: %w", err)
	}
	const started, ended = 5, 6 // of both
	c := theCodec()
	for _, key := range []uint64{started, ended} {
		var at int64
		raw, ok := fields[key]
		if !ok {
			return nil, fmt.Errorf("restamp message: %w", errors.Join(ErrMalformed, errors.New("it has no time")))
		}
		if err := c.decode.Unmarshal(raw, &at); err != nil {
			return nil, fmt.Errorf("restamp message: %w: %w", ErrMalformed, err)
		}
		moved, err := c.encode.Marshal(at + int64(by))
		if err != nil {
			return nil, fmt.Errorf("restamp message: %w", err)
		}
		fields[key] = moved
	}
	out, err := pack(fields)
	if err != nil {
		return nil, fmt.Errorf("restamp message: %w", err)
	}
	return out, nil
}
