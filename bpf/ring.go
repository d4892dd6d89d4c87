package bpf

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ring reads a ring buffer without ever waiting, for one goroutine. It maps the data once: what maps it twice, as libraries do to have samples that go
// over its end in one piece, has all of it twice in its resident memory.
type ring struct {
	consumer []byte // a page that begins with how far was read
	producer []byte // a page that begins with how far was written, and the data
	page     int
	sample   []byte // the last one
}

const (
	ringHeader  = 8 // of a sample: its length and flags, and what the kernel needs
	ringBusy    = 1 << 31
	ringDiscard = 1 << 30
)

var errRing = errors.New("a ring buffer holds what cannot be")

func newRing(m *ebpf.Map) (*ring, error) {
	r := &ring{page: os.Getpagesize()}
	var err error
	if r.consumer, err = unix.Mmap(m.FD(), 0, r.page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("map what was read of a ring buffer: %w", err)
	}
	if r.producer, err = unix.Mmap(m.FD(), int64(r.page), r.page+int(m.MaxEntries()), unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return nil, errors.Join(fmt.Errorf("map a ring buffer: %w", err), unix.Munmap(r.consumer))
	}
	return r, nil
}

// drain gives the samples that are there. Each is valid until the next, and may be written to.
func (r *ring) drain(yield func([]byte, error) bool) {
	if r.producer == nil {
		yield(nil, os.ErrClosed)
		return
	}
	data := r.producer[r.page:]
	consumed, produced := (*uint64)(unsafe.Pointer(&r.consumer[0])), (*uint64)(unsafe.Pointer(&r.producer[0]))
	at, size := atomic.LoadUint64(consumed), uint64(len(data))
	for at < atomic.LoadUint64(produced) {
		head := atomic.LoadUint32((*uint32)(unsafe.Pointer(&data[at%size])))
		if head&ringBusy != 0 { // it is being written; those behind it wait
			return
		}
		length := uint64(head &^ (ringBusy | ringDiscard))
		if length > size-ringHeader {
			yield(nil, errRing)
			return
		}
		begin := (at + ringHeader) % size
		if head&ringDiscard == 0 {
			first := min(length, size-begin)
			r.sample = append(append(r.sample[:0], data[begin:begin+first]...), data[:length-first]...)
		}
		at += (ringHeader + length + 7) &^ 7
		atomic.StoreUint64(consumed, at)
		if head&ringDiscard == 0 && !yield(r.sample, nil) {
			return
		}
	}
}

// Close may be called more than once.
func (r *ring) Close() error {
	if r == nil || r.producer == nil {
		return nil
	}
	err := errors.Join(unix.Munmap(r.producer), unix.Munmap(r.consumer))
	r.producer, r.consumer = nil, nil
	return err
}
