package event

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// maxRefusal is what refusing one message may allocate. A collector decodes one message at a time for each partition that it works.
const maxRefusal = 20 << 20

// array is a CBOR array that repeats one element.
func array(n int, element ...byte) []byte {
	head := binary.BigEndian.AppendUint32([]byte{0x9a}, uint32(n))
	return append(head, bytes.Repeat(element, n)...)
}

// fields is a CBOR map of consecutive keys from the first one.
func fields(first byte, values ...[]byte) []byte {
	out := []byte{0xb8, byte(len(values))}
	for i, v := range values {
		out = append(append(out, 0x18, first+byte(i)), v...)
	}
	return out
}

// skippable is a zstd frame that decoders pass over.
func skippable(n int) []byte {
	return append(binary.LittleEndian.AppendUint32([]byte{0x50, 0x2a, 0x4d, 0x18}, uint32(n)), make([]byte, n)...)
}

// TestRefusalsAreCheap measures what messages allocate that were made to cost as much as possible.
func TestRefusalsAreCheap(t *testing.T) {
	zip, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(zstd.MaxWindowSize))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { zip.Close() })
	pressed := func(plain []byte) []byte { return zip.EncodeAll(plain, nil) }
	text := append([]byte{0x7a, 0, 0x30, 0, 0}, make([]byte, 0x300000)...)
	invalid := append([]byte{0xa1, 0x02, 0x7a, 0, 0x30, 0, 0}, bytes.Repeat([]byte{0xff}, 0x300000)...)
	many := []byte{0xb9, 0x10, 0x00} // 4096 pairs that nobody knows
	for i := range uint16(4096) {
		many = append(binary.BigEndian.AppendUint16(append(many, 0x19), 1000+i), 0xf6)
	}
	empties := fields(7, array(maxTable, 0xa0), array(maxTable, 0xa0), array(maxTable, 0xa0), array(maxTable, 0xa0))
	all := append([]byte{0xa7, 0x01, 0x02}, fields(7, array(maxTable, 0xa0), array(maxTable, 0xa0), array(maxTable, 0xa2, 0x05, 0xa0, 0x06, 0xa0), array(maxTable, 0xa0))[2:]...)
	all = append(append(all, 0x0c), array(maxTable, 0xa0)...)
	all = append(all, 0x0d, 0xa2, 0x01, 0x19, maxTable>>8, 0, 0x05, 0x19, maxTable>>8, 0) // as many peers and records in columns
	// A frame whose header claims a window of 2 GiB, and one block of zeros.
	window := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x03, 0x00, 0x20, 0x00}
	// The header claims 2^62 bytes.
	size := append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0}, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x03, 0x00, 0x20, 0x00)
	var small []byte
	for frame := zip.EncodeAll([]byte{0xa0}, nil); len(small)+len(frame) <= MaxMessageBytes; {
		small = append(small, frame...)
	}
	for name, message := range map[string][]byte{
		"window of 2 GiB":      window,
		"size of 2^62":         size,
		"skippable frames":     bytes.Repeat(skippable(0), MaxMessageBytes/8),
		"one skippable frame":  skippable(MaxMessageBytes - 8),
		"skippable, then data": append(skippable(1000), pressed([]byte{0xa0})...),
		"thousands of frames":  small,
		"zeros":                pressed(make([]byte, 64<<20)),
		"empty entries":        pressed(empties),
		"all tables":           pressed(all),
		"wide map":             pressed(many),
		"many wide maps":       pressed(bytes.Repeat(many, 100)),
		"unknown array":        pressed(fields(99, array(maxTable, 0x81, 0x80))),
		"nested":               pressed(fields(10, array(maxTable, 0x81, 0x81, 0x81, 0x81, 0x80))),
		"huge text":            pressed(append([]byte{0xa1, 0x02}, text...)),
		"huge unknown text":    pressed(append([]byte{0xa1, 0x18, 0x63}, text...)),
		"invalid UTF-8":        pressed(invalid),
		"texts as identities":  pressed(fields(7, array(maxTable, 0xa1, 0x01, 0x61, 'a'))),
		"certificates":         pressed(fields(9, array(maxTable, 0xa2, 0x05, 0xa0, 0x06, 0xa0))),
		"noise":                bytes.Repeat([]byte{0x28, 0xb5, 0x2f, 0xfd}, MaxMessageBytes/4),
	} {
		t.Run(name, func(t *testing.T) {
			if len(message) > MaxMessageBytes {
				t.Fatalf("%d bytes are no message", len(message))
			}
			for kind, decode := range map[string]func([]byte) error{
				"batch":     func(b []byte) error { _, err := DecodeBatch(b); return err },
				"heartbeat": func(b []byte) error { _, err := DecodeHeartbeat(b); return err },
			} {
				if err := decode(message); !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrVersion) {
					t.Errorf("%s: %.200v", kind, err)
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				_ = decode(message)
				runtime.ReadMemStats(&after)
				n := after.TotalAlloc - before.TotalAlloc
				t.Logf("%s of %d bytes allocates %d KiB", kind, len(message), n>>10)
				if n > maxRefusal {
					t.Errorf("%s: that is more than %d MiB", kind, maxRefusal>>20)
				}
			}
		})
	}
}

// FuzzDecodeCBOR looks for plain messages whose errors nobody knows.
func FuzzDecodeCBOR(f *testing.F) {
	f.Add(fields(7, array(100, 0xa0), array(100, 0xa0), array(100, 0xa0), array(100, 0xa0)))
	f.Add(fields(9, array(50, 0xa2, 0x05, 0xa0, 0x06, 0xa0)))
	f.Add(fields(10, array(50, 0x81, 0x81, 0x80)))
	f.Add([]byte{0xa2, 0x02, 0x62, 'a', 0x00, 0x02, 0x61, 0xff})                                                                                // a key twice, NUL, no UTF-8
	f.Add([]byte{0xa2, 0x05, 0x3b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x06, 0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) // times
	full, o := fullBatch(f)
	message, err := full.Encode(7, 7, o.Time)
	if err != nil {
		f.Fatal(err)
	}
	columnar, err := theCodec().unzip.DecodeAll(message, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(columnar)
	f.Fuzz(func(t *testing.T, plain []byte) {
		if len(plain) > maxPlainBytes {
			return
		}
		message := theCodec().zip.EncodeAll(plain, nil)
		for kind, decode := range map[string]func([]byte) error{
			"batch":     func(b []byte) error { _, err := DecodeBatch(b); return err },
			"heartbeat": func(b []byte) error { _, err := DecodeHeartbeat(b); return err },
		} {
			err := decode(message)
			if err != nil && !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrVersion) {
				t.Errorf("%s: no known error: %v", kind, err)
			}
		}
	})
}
