package bpf

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"sync"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Edges is how many edges a node can hold at a time.
const Edges = 1 << 16

// Number names an edge as long as it lives: index in the low 16 bits, above it the generation of the index, never zero.
type Number uint32

// Index is below [Edges].
func (n Number) Index() int { return int(n & (Edges - 1)) }

func (n Number) next() Number {
	generation := uint32(n)>>16 + 1
	if generation == 0xffff { // with the last index it would be the C side's NO_EDGE
		generation = 1
	}
	return Number(generation<<16 | uint32(n.Index()))
}

// Edge is who reaches what: what does not change while the edge lives.
type Edge struct {
	Number         Number
	Cgroup         uint64 // ID: inode number of its directory
	Inbound        bool
	Overflow       bool // stands for all edges of its cgroup above the quota; has neither address nor port
	Protocol       uint8
	Port           uint16 // of the service
	Address        netip.Addr
	Process        Process       // who connected, or who listens; File 0 if not known
	FirstMonotonic time.Duration // on the monotonic clock
}

// Turned is where an edge really leads, as far as it is known: both may become known later in its life, and are the zero AddrPort until then.
type Turned struct {
	Dialled netip.AddrPort // what the program asked for, where another BPF program turned it elsewhere
	Local   netip.AddrPort // own end of the first established outbound TCP connection, toward [Kernel.SetServiceRanges] only
}

// Process is a process and its executable file.
type Process struct {
	File        uint64 // number of the executable file; 0 if not known
	Inode       uint64
	Device      uint64 // as the kernel has it: major << 20 | minor
	UID         uint32
	TGID        uint32 // the first one that made the edge
	Interactive bool   // a terminal is attached
}

// Counters are what happened on an edge. They only grow while it lives; take differences.
type Counters struct {
	Opened    uint64 // connections tried or accepted
	Inherited uint64 // connections found open by the inventory
	Failed    uint64
	Closed    uint64
	Sent      uint64 // payload bytes
	Received  uint64
	Last      time.Duration // monotonic, as of the last Tick before
	Error     unix.Errno    // of the last failed connect
}

// Open is how many connections are open now. It drifts up where the kernel skips a program (see recursion in [Kernel.Losses]).
func (c *Counters) Open() uint64 {
	begun, ended := c.Opened+c.Inherited, c.Failed+c.Closed
	if ended > begun {
		return 0
	}
	return begun - ended
}

// The arrays are read as the C structs are laid out; the generated types guarantee it.
const (
	edgeBytes   = int64(unsafe.Sizeof(ambitEdge{}))
	originBytes = int64(unsafe.Sizeof(ambitOrigin{}))
)

// Tick tells the kernel side the time. Call it whenever you poll.
func (k *Kernel) Tick() error {
	now, err := Monotonic()
	if err != nil {
		return err
	}
	return k.tick.Set(uint64(now))
}

// Monotonic reads the clock that the kernel side uses.
func Monotonic() (time.Duration, error) {
	z, err := goZero()
	if err != nil {
		return 0, err
	}
	return z.monotonic + time.Since(z.at), nil
}

// zero is one instant as Go's clock and the kernel's have it. Both are CLOCK_MONOTONIC, but Go does not tell its reading, only differences; those
// take no system call, while asking the kernel does.
type zero struct {
	at        time.Time
	monotonic time.Duration
}

// goZero takes the reading that took the least time of a few: this process may pause within one.
var goZero = sync.OnceValues(func() (best zero, err error) {
	const tries = 20
	least := time.Duration(math.MaxInt64)
	for range tries {
		var t unix.Timespec
		before := time.Now()
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
			return zero{}, fmt.Errorf("read the monotonic clock: %w", err)
		}
		if took := time.Since(before); took < least {
			least, best = took, zero{before.Add(took / 2), time.Duration(t.Nano())}
		}
	}
	return best, nil
})

// NewEdges gives the numbers of the edges made since the last call, without waiting.
func (k *Kernel) NewEdges() iter.Seq2[Number, error] {
	return func(yield func(Number, error) bool) {
		k.newEdges.drain(func(sample []byte, err error) bool {
			if err == nil && len(sample) < 4 {
				err = fmt.Errorf("new edge of %d bytes", len(sample))
			}
			if err != nil {
				return yield(0, err)
			}
			return yield(Number(*(*uint32)(unsafe.Pointer(&sample[0]))), nil)
		})
	}
}

// Answer is a DNS message that a workload had asked for: a datagram's, or, over TCP, a part of the stream. Parts come as they came over the network:
// maybe twice, overlapping or out of order, and with holes where they were longer than is kept.
type Answer struct {
	Cgroup   uint64
	Flow     uint64 // cookie of the socket
	TCP      bool
	Sequence uint32 // TCP: how many bytes the server sent on the connection before these, modulo 2^32
	Length   int    // of the payload, of which the first bytes are kept
	Payload  []byte // valid until the next one
}

// Answers gives the DNS answers received since the last call, without waiting.
func (k *Kernel) Answers() iter.Seq2[Answer, error] {
	return func(yield func(Answer, error) bool) {
		k.answers.drain(func(sample []byte, err error) bool {
			if err == nil && len(sample) < int(unsafe.Sizeof(ambitAnswer{})) {
				err = fmt.Errorf("answer of %d bytes", len(sample))
			}
			if err != nil {
				return yield(Answer{}, err)
			}
			a := (*ambitAnswer)(unsafe.Pointer(&sample[0]))
			return yield(Answer{a.Cgroup, a.Flow, a.Tcp != 0, a.Sequence, int(a.Length), a.Payload[:min(int(a.Length), len(a.Payload))]}, nil)
		})
	}
}

// Edge reads what an edge is. ok is false if the number was given away meanwhile.
func (k *Kernel) Edge(n Number) (e Edge, ok bool, err error) {
	o, err := k.origin(n)
	if err != nil {
		return Edge{}, false, err
	}
	return edgeOf(&o), Number(o.Number) == n, nil
}

// Turned reads what is known of where an edge leads; nothing if its number was given away meanwhile.
func (k *Kernel) Turned(n Number) (t Turned, err error) {
	o, err := k.origin(n)
	if err != nil || Number(o.Number) != n {
		return Turned{}, err
	}
	if o.DialledPort != 0 {
		t.Dialled = netip.AddrPortFrom(addressOf(&o.Dialled), o.DialledPort)
	}
	if o.LocalPort != 0 {
		t.Local = netip.AddrPortFrom(addressOf(&o.Local), o.LocalPort)
	}
	return t, nil
}

func (k *Kernel) origin(n Number) (o ambitOrigin, err error) {
	b := unsafe.Slice((*byte)(unsafe.Pointer(&o)), originBytes)
	if _, err := k.origins.ReadAt(b, int64(n.Index())*originBytes); err != nil {
		return o, fmt.Errorf("read origin of edge %d: %w", n.Index(), err)
	}
	return o, nil
}

func edgeOf(o *ambitOrigin) Edge {
	const inbound, overflow = 1, 4
	return Edge{
		Number: Number(o.Number), Cgroup: o.Key.Cgroup, Inbound: o.Key.Flags&inbound != 0, Overflow: o.Key.Flags&overflow != 0,
		Protocol: o.Key.Protocol, Port: o.Key.Port, Address: addressOf(&o.Key.Address), FirstMonotonic: time.Duration(o.First),
		Process: Process{
			File: o.Process.File, Inode: o.Process.Inode, Device: uint64(o.Process.Device), UID: o.Process.Uid, TGID: o.Process.Tgid,
			Interactive: o.Process.Interactive != 0,
		},
	}
}

func addressOf(a *[2]uint64) netip.Addr {
	return netip.AddrFrom16(*(*[16]byte)(unsafe.Pointer(a))).Unmap()
}

// Counters reads the counters of a living edge.
func (k *Kernel) Counters(n Number) (Counters, error) {
	var e ambitEdge
	b := unsafe.Slice((*byte)(unsafe.Pointer(&e)), edgeBytes)
	if _, err := k.edges.ReadAt(b, int64(n.Index())*edgeBytes); err != nil {
		return Counters{}, fmt.Errorf("read edge %d: %w", n.Index(), err)
	}
	return Counters{e.Opened, e.Inherited, e.Failed, e.Closed, e.Sent, e.Received, time.Duration(e.Last), unix.Errno(e.Error)}, nil
}

// Living gives the number that stands at each index, for a scan after announcements were lost. Numbers that were retired stand there still.
func (k *Kernel) Living() iter.Seq2[Number, error] {
	return func(yield func(Number, error) bool) {
		const chunk = 512
		buf := make([]ambitEdge, chunk)
		b := unsafe.Slice((*byte)(unsafe.Pointer(&buf[0])), chunk*edgeBytes)
		for at := 0; at < Edges; at += chunk {
			if _, err := k.edges.ReadAt(b, int64(at)*edgeBytes); err != nil {
				yield(0, fmt.Errorf("scan edges: %w", err))
				return
			}
			for i := range buf {
				if n := buf[i].Number; n != 0 && !yield(Number(n), nil) {
					return
				}
			}
		}
	}
}

// Unlink makes the kernel forget an edge's key: the next connection makes a new edge. The number stays valid for the sockets that hold it
// until [Kernel.Release].
func (k *Kernel) Unlink(n Number) error {
	o, err := k.origin(n)
	if err != nil {
		return err
	}
	if Number(o.Number) != n {
		return nil
	}
	var now uint32
	err = k.collection.Maps["numbers"].Lookup(&o.Key, &now)
	if errors.Is(err, ebpf.ErrKeyNotExist) || err == nil && Number(now) != n { // unlinked before; the key may have a new edge
		return nil
	}
	if err == nil {
		err = k.collection.Maps["numbers"].Delete(&o.Key)
	}
	if err != nil {
		return fmt.Errorf("unlink edge %d: %w", n.Index(), err)
	}
	return nil
}

// Release gives an unlinked edge's index back, under a new number. Sockets that still hold the old one are counted as stale when they end.
func (k *Kernel) Release(n Number) error {
	if err := k.collection.Maps["unused"].Put(nil, uint32(n.next())); err != nil {
		return fmt.Errorf("release edge %d: %w", n.Index(), err)
	}
	return nil
}

// SetQuotaUsed tells how many edges of a cgroup are alive, after some were released.
func (k *Kernel) SetQuotaUsed(cgroup uint64, used uint32) error {
	if err := k.collection.Maps["quota"].Put(cgroup, used); err != nil {
		return fmt.Errorf("set quota of cgroup %d: %w", cgroup, err)
	}
	return nil
}

func (k *Kernel) giveNumbers() error {
	for i := range uint32(Edges) {
		if err := k.collection.Maps["unused"].Put(nil, uint32(1<<16|i)); err != nil {
			return fmt.Errorf("give edge %d to the kernel: %w", i, err)
		}
	}
	return nil
}
