package sim

import (
	"fmt"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// partner is a client outside that shows a certificate without a SPIFFE ID.
type partner struct {
	id   event.Identity
	at   *place // where it connects from, and what it shows
	rate float64
}

func (w *world) addPartners() {
	for _, m := range w.members {
		if m.function != "gateway" || m.env != "prod" {
			continue
		}
		d := newDice(m.hash, 7)
		for i := range int(d.poisson(w.Partners)) {
			name := fmt.Sprintf("CN=client-%d,O=Partner of %s", i+1, m.team)
			m.partners = append(m.partners, partner{event.CertificateIdentity([]byte("partner CA"), name), w.outside("client of "+m.team+name, 443, 2), w.rate(d)})
		}
	}
}

// visit is what a partner does in an hour.
func (h *hour) visit(m *member, x *partner) {
	k := h.dice.count(x.rate*h.factor[m.season], 6)
	p := &m.pods[int(mix(x.at.hash, uint64(h.number))%uint64(m.replicas))]
	end := h.flush(p.machine)
	begin := max(h.from, p.since+2*time.Second, m.born)
	if k == 0 || begin >= end {
		return
	}
	first := (begin + time.Duration(h.dice.earliest(k)*float64(end-begin))).Truncate(time.Millisecond)
	from, _ := h.peerOutside(x.at, first)
	peer := event.Peer{Address: from.Address, Port: m.podPort, Identity: x.id, Evidence: event.EvidenceSVID}
	tls := &event.TLS{
		Version: "1.3", SNI: m.account + ".example", Mutual: true, Verified: true, Provenance: "full",
		PeerCertificate: h.serverCertificate(x.at.hash, "CN=Partner CA", first),
	}
	noise := h.dice.spread(1, h.BytesSpread) * float64(k)
	h.observe(p, end, first, event.Inbound, event.TCP, peer, tls, event.Counts{Connections: k, BytesSent: uint64(6000 * noise), BytesReceived: uint64(1500 * noise)}, "")
}
