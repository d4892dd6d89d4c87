package bpf

import (
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"testing"
)

// memoryRing is a ring in which the test plays the kernel.
type memoryRing struct {
	ring
	at uint64
}

func newMemoryRing(size int) *memoryRing {
	const page = 4096
	return &memoryRing{ring: ring{consumer: make([]byte, page), producer: make([]byte, page+size), page: page}}
}

func (r *memoryRing) put(flags uint32, sample string) {
	le, data := binary.LittleEndian, r.producer[r.page:]
	le.PutUint32(data[r.at%uint64(len(data)):], uint32(len(sample))|flags)
	for i := range len(sample) {
		data[(r.at+ringHeader+uint64(i))%uint64(len(data))] = sample[i]
	}
	r.at += (ringHeader + uint64(len(sample)) + 7) &^ 7
	le.PutUint64(r.producer, r.at)
}

func (r *memoryRing) all(t *testing.T) (got []string) {
	t.Helper()
	r.drain(func(b []byte, err error) bool {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(b))
		clear(b) // it is ours
		return true
	})
	return got
}

func TestRing(t *testing.T) {
	r := newMemoryRing(128)
	want := func(samples ...string) {
		t.Helper()
		if got := r.all(t); !slices.Equal(got, samples) {
			t.Errorf("got %q, want %q", got, samples)
		}
	}
	want()
	for range 20 { // over the end, at all places
		r.put(0, "one")
		r.put(ringDiscard, "nothing")
		r.put(0, "twentyfour bytes are here")
		want("one", "twentyfour bytes are here")
	}
	r.put(0, "")
	r.put(ringBusy, "later")
	busy := r.at - 16
	r.put(0, "behind")
	want("")
	want()
	binary.LittleEndian.PutUint32(r.producer[r.page+int(busy%128):], uint32(len("later")))
	r.put(0, "more")
	n := 0
	r.drain(func(b []byte, _ error) bool { n++; return false }) // it goes on with the next
	if n != 1 {
		t.Errorf("%d samples were given to who wanted one", n)
	}
	want("behind", "more")
}

func TestRingRefuses(t *testing.T) {
	r := newMemoryRing(64)
	r.put(0, "one")
	binary.LittleEndian.PutUint32(r.producer[r.page:], 57)
	f := func(want error) {
		t.Helper()
		n := 0
		r.drain(func(b []byte, err error) bool {
			if n++; !errors.Is(err, want) {
				t.Errorf("%q, %v, want %v", b, err, want)
			}
			return true
		})
		if n != 1 {
			t.Errorf("%d were given", n)
		}
	}
	f(errRing)
	r.producer = nil
	f(os.ErrClosed)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
