package event

import (
	"cmp"
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

	workloadIndex index[workloadHint]
	templateIndex index[templateHint]
	peerIndex     index[peerHint]
	tlsIndex      index[tlsHint]

	ended  []record
	writer columnWriter
}

// builtPeer is a peer: a template, and the address that it stands for.
type builtPeer struct {
	template uint32
	address  netip.Addr // zero: as in the template
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
	b.workloadIndex.reset()
	b.templateIndex.reset()
	b.peerIndex.reset()
	b.tlsIndex.reset()
	b.size = 512 + len(b.node) + len(b.boot)
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
	hint := workloadHint{w.Identity, w.Pod, w.Executable}
	n, known := b.workloadIndex.find(hint, func(i uint32) bool { return b.workloads[i] == *w })
	if !known {
		n = b.workloadIndex.add(hint)
		b.workloads = append(b.workloads, *w)
		b.size += 96 + len(w.Identity.uri) + len(w.Namespace) + len(w.Pod) + len(w.Container) + len(w.Image) + len(w.ServiceAccount) +
			len(w.Owner) + len(w.Unit) + len(w.Executable) + len(w.Cgroup)
	}
	return n
}

func (b *BatchBuilder) peer(p *Peer) uint32 {
	common, address := *p, p.Address
	if address.Zone() == "" {
		common.Address = netip.Addr{}
	} else {
		address = netip.Addr{}
	}
	hint := peerHint{p.Address, p.Port}
	n, known := b.peerIndex.find(hint, func(i uint32) bool {
		return b.peers[i].address == address && b.templates[b.peers[i].template] == common
	})
	if known {
		return n
	}
	b.peers = append(b.peers, builtPeer{b.template(&common), address})
	b.size += 24
	return b.peerIndex.add(hint)
}

func (b *BatchBuilder) template(p *Peer) uint32 {
	hint := templateHint{cmp.Or(p.Name, p.Identity.uri), p.Port}
	n, known := b.templateIndex.find(hint, func(i uint32) bool { return b.templates[i] == *p })
	if !known {
		n = b.templateIndex.add(hint)
		b.templates = append(b.templates, *p)
		b.size += 96 + len(p.Name) + len(p.Identity.uri)
	}
	return n
}

// handshake gives the index of a handshake plus 1; 0 is none.
func (b *BatchBuilder) handshake(t *TLS) uint32 {
	if t == nil {
		return 0
	}
	hint := tlsHint{sni: t.SNI}
	if c := t.PeerCertificate; c != nil {
		hint.peer = c.SHA256
	}
	if c := t.OwnCertificate; c != nil {
		hint.own = c.SHA256
	}
	n, known := b.tlsIndex.find(hint, func(i uint32) bool { return b.tls[i].same(t) })
	if !known {
		n = b.tlsIndex.add(hint)
		b.tls = append(b.tls, *t)
		b.size += 512 + len(t.SNI) + len(t.ALPN)
		for _, c := range []*Certificate{t.PeerCertificate, t.OwnCertificate} {
			if c != nil {
				b.size += len(c.Issuer) + len(c.Serial)
			}
		}
	}
	return n + 1
}

func (t *TLS) same(other *TLS) bool {
	a, b := *t, *other
	a.PeerCertificate, a.OwnCertificate, b.PeerCertificate, b.OwnCertificate = nil, nil, nil, nil
	return a == b && t.PeerCertificate.same(other.PeerCertificate) && t.OwnCertificate.same(other.OwnCertificate)
}

func (c *Certificate) same(other *Certificate) bool {
	return c == other || c != nil && other != nil && *c == *other
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
