package event

import (
	"errors"
	"fmt"
	"sync"

	"github.com/fxamacker/cbor/v2"
	"github.com/klauspost/compress/zstd"
)

// Bounds of what travels. The uncompressed bound is what one message may make a receiver allocate.
const (
	MaxMessageBytes = 256 << 10 // one NATS message, compressed
	maxPlainBytes   = 4 << 20
	maxTable        = 16384 // workloads, peers or records in one batch: some times what a builder fits in, since empty ones cost a receiver much and a sender nothing
)

// Errors of decoding, for those who count refusals by cause.
var (
	ErrTooLarge  = errors.New("message is too large")
	ErrVersion   = errors.New("unknown version")
	ErrMalformed = errors.New("malformed message")
)

// wireVersion is the first field of every message. It changes when an old reader would misread a new message; new optional fields need no
// new version.
const wireVersion = 1

type codec struct {
	encode cbor.EncMode
	decode cbor.DecMode
	zip    *zstd.Encoder
	unzip  *zstd.Decoder
}

// theCodec is made once: its parts are safe for concurrent use and expensive to make.
var theCodec = sync.OnceValue(func() codec {
	enc, err := cbor.EncOptions{
		Sort:          cbor.SortCoreDeterministic,
		Time:          cbor.TimeUnix, // certificates' dates are whole seconds
		TextMarshaler: cbor.TextMarshalerTextString,
	}.EncMode()
	must(err)
	dec, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:  8,
		MaxArrayElements: maxTable,
		MaxMapPairs:      4096,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		TextUnmarshaler:  cbor.TextUnmarshalerTextString,
	}.DecMode()
	must(err)
	// A single goroutine each: messages are small, and the agent should not start one per core.
	zip, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	must(err)
	unzip, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPlainBytes))
	must(err)
	return codec{enc, dec, zip, unzip}
})

// must guards options that are constants above.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func pack(v any) ([]byte, error) {
	c := theCodec()
	plain, err := c.encode.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode CBOR: %w", err)
	}
	if len(plain) > maxPlainBytes {
		return nil, fmt.Errorf("encode %d bytes: %w", len(plain), ErrTooLarge)
	}
	out := c.zip.EncodeAll(plain, make([]byte, 0, len(plain)/2))
	if len(out) > MaxMessageBytes {
		return nil, fmt.Errorf("compress %d bytes to %d: %w", len(plain), len(out), ErrTooLarge)
	}
	return out, nil
}

func unpack(data []byte, v any) error {
	if len(data) > MaxMessageBytes {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, len(data))
	}
	c := theCodec()
	plain, err := c.unzip.DecodeAll(data, make([]byte, 0, min(8*len(data)+512, maxPlainBytes)))
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	if err != nil {
		return fmt.Errorf("%w: zstd: %w", ErrMalformed, err)
	}
	if err := c.decode.Unmarshal(plain, v); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}
