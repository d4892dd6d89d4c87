package event

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

// Batch carries the observations of one node's interval, for one partition. Workloads and peers stand in it once; observations refer to
// them. A workload that no observation refers to was running, and that is all that is known of it.
//
// A batch also proves that its node was watched without a break from the agent's start (or the last batch with the same Boot) to Time.
type Batch struct {
	Node      string
	Boot      string    // one start of the agent; a new one means that watching was interrupted
	Sequence  uint64    // number of the message since that start
	Number    uint64    // likewise, counting those of its partition only; 0 where the agent does not tell
	Started   time.Time // when the agent started
	Time      time.Time // end of the interval
	Workloads []Workload

	peers   []Peer
	records []record
	tls     []TLS
}

// batchVersion is that of batches: since 2, peers and records are columns. Batches of version 1 are still read.
const batchVersion = 2

// The form of a batch on the wire (RFC 8949, integer keys). Numbers are never reused.
type wireBatch struct {
	Version   uint8      `cbor:"1,keyasint"`
	Node      string     `cbor:"2,keyasint"`
	Boot      string     `cbor:"3,keyasint"`
	Sequence  uint64     `cbor:"4,keyasint"`
	Started   int64      `cbor:"5,keyasint"` // ns since 1970, as all times here
	Time      int64      `cbor:"6,keyasint"`
	Workloads []Workload `cbor:"7,keyasint,omitempty"`
	Peers     []Peer     `cbor:"8,keyasint,omitempty"` // of version 1
	TLS       []TLS      `cbor:"9,keyasint,omitempty"`
	Records   []record   `cbor:"10,keyasint,omitempty"` // of version 1
	Number    uint64     `cbor:"11,keyasint,omitempty"`
	Templates []Peer     `cbor:"12,keyasint,omitempty"`
	Columns   columns    `cbor:"13,keyasint,omitzero"`
}

type record struct {
	Workload uint32 `cbor:"1,keyasint,omitempty"` // index in Workloads
	Peer     uint32 `cbor:"2,keyasint,omitempty"` // index in Peers
	TLS      uint32 `cbor:"3,keyasint,omitempty"` // index in TLS plus 1; 0 is none
	Inbound  bool   `cbor:"4,keyasint,omitempty"`
	UDP      bool   `cbor:"5,keyasint,omitempty"`
	First    int64  `cbor:"6,keyasint,omitempty"` // ns before Time
	Age      int64  `cbor:"7,keyasint,omitempty"` // ns from the observation's time to Time
	Counts   Counts `cbor:"8,keyasint,omitzero"`
	Error    string `cbor:"9,keyasint,omitempty"`
}

// Len is the number of observations.
func (b *Batch) Len() int { return len(b.records) }

// Observations gives the observations in the order they were added. The Observation is reused: it is valid until the next one.
func (b *Batch) Observations() iter.Seq[*Observation] {
	return func(yield func(*Observation) bool) {
		var o Observation
		for i := range b.records {
			r := &b.records[i]
			o = Observation{
				Time:      b.Time.Add(-time.Duration(r.Age)),
				FirstTime: b.Time.Add(-time.Duration(r.First)),
				Node:      b.Node,
				Workload:  b.Workloads[r.Workload],
				Direction: Outbound,
				Protocol:  TCP,
				Peer:      b.peers[r.Peer],
				Counts:    r.Counts,
				Error:     r.Error,
			}
			if r.Inbound {
				o.Direction = Inbound
			}
			if r.UDP {
				o.Protocol = UDP
			}
			if r.TLS > 0 {
				o.TLS = &b.tls[r.TLS-1]
			}
			if !yield(&o) {
				return
			}
		}
	}
}

// DropWorkloads removes the workloads that drop says true for, and their observations, and gives the numbers of both.
func (b *Batch) DropWorkloads(drop func(*Workload) bool) (workloads, observations int) {
	const gone = ^uint32(0)
	var moved []uint32 // new index by the old one; nil while nothing goes
	kept := b.Workloads[:0]
	for i := range b.Workloads {
		dropped := drop(&b.Workloads[i])
		if dropped && moved == nil {
			moved = make([]uint32, len(b.Workloads))
			for j := range i {
				moved[j] = uint32(j)
			}
		}
		if dropped {
			moved[i] = gone
			continue
		}
		if moved != nil {
			moved[i] = uint32(len(kept))
		}
		kept = append(kept, b.Workloads[i])
	}
	if moved == nil {
		return 0, 0
	}
	workloads, observations = len(b.Workloads)-len(kept), len(b.records)
	b.Workloads = kept
	b.records = slices.DeleteFunc(b.records, func(r record) bool { return moved[r.Workload] == gone })
	for i := range b.records {
		b.records[i].Workload = moved[b.records[i].Workload]
	}
	return workloads, observations - len(b.records)
}

// DropBefore removes the observations that reach back before a time, and gives their number.
func (b *Batch) DropBefore(t time.Time) int {
	before := len(b.records)
	b.records = slices.DeleteFunc(b.records, func(r record) bool { return b.Time.Add(-time.Duration(r.First)).Before(t) })
	return before - len(b.records)
}

// DecodeBatch reads a batch that came from outside. Its errors are [ErrTooLarge], [ErrVersion] or [ErrMalformed].
func DecodeBatch(data []byte) (*Batch, error) {
	var w wireBatch
	if err := unpack(data, &w); err != nil {
		return nil, fmt.Errorf("decode batch: %w", err)
	}
	err := w.expand()
	if err == nil {
		err = w.check()
	}
	switch {
	case errors.Is(err, ErrVersion):
		return nil, fmt.Errorf("decode batch: %w", err)
	case errors.Is(err, ErrTooLarge):
		return nil, fmt.Errorf("decode batch: %w", err)
	case err != nil:
		return nil, fmt.Errorf("decode batch: %w: %w", ErrMalformed, err)
	}
	return &Batch{
		Node: w.Node, Boot: w.Boot, Sequence: w.Sequence, Number: w.Number, Started: time.Unix(0, w.Started).UTC(), Time: time.Unix(0, w.Time).UTC(),
		Workloads: w.Workloads, peers: w.Peers, tls: w.TLS, records: w.Records,
	}, nil
}

// expand brings a batch of any version to the form of the first one.
func (w *wireBatch) expand() (err error) {
	switch w.Version {
	case 1:
		return nil
	case batchVersion:
		if w.Peers, err = w.Columns.peers(w.Templates); err != nil {
			return err
		}
		w.Records, err = w.Columns.records()
		return err
	}
	return fmt.Errorf("%w %d", ErrVersion, w.Version)
}

func (w *wireBatch) check() error {
	if err := checkSource(w.Node, w.Boot); err != nil {
		return err
	}
	if w.Time < earliest.UnixNano() || w.Time > latest.UnixNano() || w.Started < earliest.UnixNano() || w.Started > w.Time {
		return errors.New("times are not plausible")
	}
	for i := range w.Workloads {
		if w.Workloads[i].Identity.IsZero() {
			return fmt.Errorf("workload %d has no identity", i)
		}
	}
	for i := range w.TLS {
		for _, c := range []*Certificate{w.TLS[i].PeerCertificate, w.TLS[i].OwnCertificate} {
			if c != nil && !c.normalise() {
				return fmt.Errorf("certificate of TLS %d has implausible dates", i)
			}
		}
	}
	for i := range w.Records {
		r := &w.Records[i]
		if int64(r.Workload) >= int64(len(w.Workloads)) || int64(r.Peer) >= int64(len(w.Peers)) || int64(r.TLS) > int64(len(w.TLS)) {
			return fmt.Errorf("record %d refers to nothing", i)
		}
		if r.Age < 0 || r.First < r.Age || r.First > w.Time-earliest.UnixNano() {
			return fmt.Errorf("record %d has implausible times", i)
		}
		if !r.Counts.plausible() {
			return fmt.Errorf("record %d counts more than %d", i, uint64(maxCount))
		}
		if p := &w.Peers[r.Peer]; !p.Address.IsValid() && p.Name == "" && p.Identity.IsZero() {
			return fmt.Errorf("record %d has a peer without address, name and identity", i)
		}
	}
	return w.checkWritten()
}

// checkWritten bounds what the records stand for, written out: a message of a few hundred bytes can mean gigabytes.
func (w *wireBatch) checkWritten() error {
	workloads, peers, tls := make([]int, len(w.Workloads)), make([]int, len(w.Peers)), make([]int, len(w.TLS))
	var err error
	for i := range w.Workloads {
		if workloads[i], err = w.Workloads[i].textBytes(); err != nil {
			return fmt.Errorf("workload %d: %w", i, err)
		}
	}
	for i := range w.Peers {
		if peers[i], err = w.Peers[i].textBytes(); err != nil {
			return fmt.Errorf("peer %d: %w", i, err)
		}
	}
	for i := range w.TLS {
		if tls[i], err = w.TLS[i].textBytes(); err != nil {
			return fmt.Errorf("TLS %d: %w", i, err)
		}
	}
	written := 0
	for i := range w.Records {
		r := &w.Records[i]
		n, err := textBytes(r.Error)
		if err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
		written += n + workloads[r.Workload] + peers[r.Peer]
		if r.TLS > 0 {
			written += tls[r.TLS-1]
		}
		if written > maxWritten {
			return fmt.Errorf("%w: its records stand for more than %d bytes", ErrTooLarge, maxWritten)
		}
	}
	return nil
}
