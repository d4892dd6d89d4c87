package event

import (
	"fmt"
	"net/netip"
	"time"
)

// BatchBuilder collects observations until they fill a message. It is for one goroutine.
type BatchBuilder struct {
	node, boot string
	started    time.Time

	workloads []Workload
	templates []Peer // what peers have in common
	peers     []builtPeer
	tls       []TLS
	records   []record // with the absolute times, ns since 1970, in First and Age until Encode knows the end of the interval
	size      int      // upper estimate of the encoded size, bytes

	workloadIndex map[Workload]uint32
	templateIndex map[Peer]uint32
	peerIndex     map[builtPeer]uint32
	tlsIndex      map[tlsKey]uint32

	ended  []record
	writer columnWriter
}

// builtPeer is a peer: a template, and the address that it stands for.
type builtPeer struct {
	template uint32
	address  netip.Addr // zero: as in the template
}

// tlsKey is a [TLS] that can be compared.
type tlsKey struct {
	facts     TLS // without the certificates
	peer, own Certificate
	both      uint8 // which of them there are
}

// NewBatchBuilder makes an empty builder for one agent's messages. node and boot are not empty.
func NewBatchBuilder(node, boot string, started time.Time) *BatchBuilder {
	b := &BatchBuilder{node: node, boot: boot, started: started}
	b.Reset()
	return b
}

// Reset empties the builder.
func (b *BatchBuilder) Reset() {
	clear(b.workloads) // or their strings would be held
	clear(b.templates)
	clear(b.tls)
	b.workloads, b.templates, b.peers, b.tls, b.records, b.ended = b.workloads[:0], b.templates[:0], b.peers[:0], b.tls[:0], b.records[:0], b.ended[:0]
	b.workloadIndex, b.templateIndex, b.peerIndex, b.tlsIndex = empty(b.workloadIndex), empty(b.templateIndex), empty(b.peerIndex), empty(b.tlsIndex)
	b.size = 512 + len(b.node) + len(b.boot)
}

// empty gives an empty map: the same one, but where it has grown large.
func empty[K comparable](m map[K]uint32) map[K]uint32 {
	if m == nil || len(m) > 1024 {
		return map[K]uint32{}
	}
	clear(m)
	return m
}

// Empty says whether there is nothing to send.
func (b *BatchBuilder) Empty() bool { return len(b.records) == 0 && len(b.workloads) == 0 }

// fullBytes leaves room for one more observation of the largest size below the bound of a message, even if nothing compresses.
const fullBytes = MaxMessageBytes - 48<<10

// Full says that the batch should be encoded and reset before more is added.
func (b *BatchBuilder) Full() bool {
	return b.size >= fullBytes || len(b.records) >= maxTable-1 || len(b.workloads) >= maxTable-1
}

// Add adds an observation of the builder's node. Its strings are not copied. Times are carried to the millisecond.
func (b *BatchBuilder) Add(o *Observation) {
	b.records = append(b.records, record{
		Workload: b.Sight(&o.Workload), Peer: b.peer(&o.Peer), TLS: b.handshake(o.TLS),
		Inbound: o.Direction == Inbound, UDP: o.Protocol == UDP, First: o.First().UnixNano(), Age: o.Time.UnixNano(), Counts: o.Counts, Error: o.Error,
	})
	b.size += 80 + len(o.Error)
}

// Sight notes that a workload is running, and gives its index.
func (b *BatchBuilder) Sight(w *Workload) uint32 {
	n, known := b.workloadIndex[*w]
	if !known {
		n = uint32(len(b.workloads))
		b.workloads = append(b.workloads, *w)
		b.workloadIndex[*w] = n
		b.size += 96 + len(w.Identity.uri) + len(w.Namespace) + len(w.Pod) + len(w.Container) + len(w.Image) + len(w.ServiceAccount) +
			len(w.Owner) + len(w.Unit) + len(w.Executable) + len(w.Cgroup)
	}
	return n
}

func (b *BatchBuilder) peer(p *Peer) uint32 {
	common, built := *p, builtPeer{address: p.Address}
	if p.Address.Zone() == "" {
		common.Address = netip.Addr{}
	} else {
		built.address = netip.Addr{}
	}
	var known bool
	if built.template, known = b.templateIndex[common]; !known {
		built.template = uint32(len(b.templates))
		b.templates = append(b.templates, common)
		b.templateIndex[common] = built.template
		b.size += 96 + len(p.Name) + len(p.Identity.uri)
	}
	n, known := b.peerIndex[built]
	if !known {
		n = uint32(len(b.peers))
		b.peers = append(b.peers, built)
		b.peerIndex[built] = n
		b.size += 24
	}
	return n
}

// handshake gives the index of a handshake plus 1; 0 is none.
func (b *BatchBuilder) handshake(t *TLS) uint32 {
	if t == nil {
		return 0
	}
	key := tlsKey{facts: *t}
	key.facts.PeerCertificate, key.facts.OwnCertificate = nil, nil
	if t.PeerCertificate != nil {
		key.peer, key.both = *t.PeerCertificate, 1
	}
	if t.OwnCertificate != nil {
		key.own, key.both = *t.OwnCertificate, key.both|2
	}
	n, known := b.tlsIndex[key]
	if !known {
		b.tls = append(b.tls, *t)
		n = uint32(len(b.tls))
		b.tlsIndex[key] = n
		b.size += 512 + len(t.SNI) + len(t.ALPN)
		for _, c := range []*Certificate{t.PeerCertificate, t.OwnCertificate} {
			if c != nil {
				b.size += len(c.Issuer) + len(c.Serial)
			}
		}
	}
	return n
}

// Encode makes the message of what was added, with its numbers, and with the interval ending at end. It leaves the builder as it is.
func (b *BatchBuilder) Encode(sequence, number uint64, end time.Time) ([]byte, error) {
	b.ended = append(b.ended[:0], b.records...)
	at := end.UnixNano()
	for i := range b.ended {
		r := &b.ended[i]
		r.Age = max(at-r.Age, 0)
		r.First = max(at-r.First, r.Age)
	}
	out, err := pack(&wireBatch{
		Version: batchVersion, Node: b.node, Boot: b.boot, Sequence: sequence, Number: number, Started: b.started.UnixNano(), Time: at,
		Workloads: b.workloads, TLS: b.tls, Templates: b.templates, Columns: b.writer.write(b.peers, b.ended),
	})
	if err != nil {
		return nil, fmt.Errorf("encode batch: %w", err)
	}
	return out, nil
}
