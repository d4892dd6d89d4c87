package sim

import (
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// hour collects what is told in one hour.
type hour struct {
	*world
	number      int
	from, until time.Duration
	factor      [seasons]float64
	dice        *dice
	cause       Cause // of what is told now

	items        []item
	observations []event.Observation
	sights       []Sight
	declarations []event.Declaration
}

// item is one thing that is told; index is where.
type item struct {
	at    time.Duration
	what  what
	index int
	on    *machine
	cause Cause
}

type what uint8

const (
	whatDeclaration what = iota
	whatSight
	whatObservation
)

func (h *hour) begin(number int) {
	h.number, h.from, h.until = number, time.Duration(number)*time.Hour, time.Duration(number+1)*time.Hour
	for s := range seasons {
		h.factor[s] = weeks[s][number%hoursPerWeek]
	}
	h.items, h.observations, h.sights, h.declarations = h.items[:0], h.observations[:0], h.sights[:0], h.declarations[:0]
}

// fill makes all that is normal in an hour.
func (h *hour) fill() {
	for _, m := range h.members {
		h.declare(m)
		if m.born >= h.until || m.gone <= h.from || m.kind == kindIdle || m.rests(h.from) {
			continue
		}
		h.dice.pcg.Seed(m.hash, uint64(h.number))
		switch m.kind {
		case kindJob:
			if at, ok := m.runs(h.number); ok && m.alive(at) {
				h.run(m, at)
			}
		case kindRunner:
			h.pipelines(m)
		default:
			h.serve(m)
		}
	}
	h.debug()
}

// moment of a pod's regular telling in this hour: near its end, each machine at its own time.
func (h *hour) flush(on *machine) time.Duration { return h.from + 59*time.Minute + on.phase }

// serve is what a member that runs all the time does in an hour.
func (h *hour) serve(m *member) {
	look := min(h.until, m.gone) - time.Second
	n := m.replicasAt(look)
	for r := range n {
		p, fresh := h.cached(m, r, look)
		if at := max(p.since, h.from); fresh || (h.number+r)%6 == int(m.hash%6) {
			h.sight(p, at)
		}
	}
	for _, e := range m.edges {
		if e.from >= h.until || e.until <= h.from || e.to != nil && e.to.rests(h.from) {
			continue
		}
		share := float64(min(h.until, m.gone, e.until)-max(h.from, m.born, e.from)) / float64(time.Hour)
		factor := h.factor[m.season]
		if factor == 0 && h.dice.chance(h.OffHours) { // somebody works late
			factor = .2
		}
		h.cause = e.cause()
		if k := h.dice.count(e.rate*factor*share, e.dispersion); k > 0 {
			h.use(m, &m.pods[int(mix(e.hash, uint64(h.number))%uint64(n))], e, k, max(h.from, m.born, e.from))
		}
	}
	if m.wide {
		h.reachOut(m, &m.pods[0])
	}
	h.cause = CauseUsual
	for i := range m.partners {
		h.visit(m, &m.partners[i])
	}
}

// use tells of an edge's connections in an hour. The first ever of a pod is told at its time, all else at the end.
func (h *hour) use(m *member, p *pod, e *edge, connections uint64, begin time.Duration) {
	replica := 0
	for i := range m.pods {
		if p == &m.pods[i] {
			replica = i
		}
	}
	begin = max(begin, p.since+2*time.Second)
	end := min(h.flush(p.machine), m.gone-time.Second)
	if begin >= end {
		return // counted as none: a pod that started in the last minute
	}
	first := (begin + time.Duration(h.dice.earliest(connections)*float64(end-begin))).Truncate(time.Millisecond)
	for len(e.told) <= replica {
		e.told = append(e.told, 0)
	}
	u := h.usage(p, e, first, connections)
	if e.told[replica] != p.hash {
		e.told[replica] = p.hash
		at := first + 200*time.Millisecond
		if m.mesh && e.to != nil && e.to.mesh {
			at += 100 * time.Millisecond // for the handshake
		}
		u.tell(at, first, event.Counts{Connections: 1, Failed: min(1, u.failed)})
		if connections--; connections == 0 {
			if u.failed == 0 {
				u.tell(at+tick, at, event.Counts{BytesSent: u.sent, BytesReceived: u.received})
			}
			return
		}
		first += 5 * time.Second
	}
	u.tell(end, min(first, end), event.Counts{Connections: u.connections - u.toldConnections, Failed: u.failed - min(u.failed, u.toldFailed), BytesSent: u.sent, BytesReceived: u.received})
}

// usage is what an edge's connections of one hour have in common.
type usage struct {
	h *hour
	p *pod
	e *edge

	connections, failed, sent, received uint64
	toldConnections, toldFailed         uint64
	err                                 string
	peer                                event.Peer
	tls                                 *event.TLS
	callee                              *pod
	unseen                              bool // one connection's handshake is missed
}

func (h *hour) usage(p *pod, e *edge, at time.Duration, connections uint64) *usage {
	d := h.dice
	u := &usage{h: h, p: p, e: e, connections: connections}
	if x := overlap(e.outages(), h.from, h.until); x > 0 { // what fails is tried again
		lost := uint64(float64(connections)*x + .5)
		u.failed = 3 * lost
		u.connections += 2 * lost
		u.err = pick(d, []string{"timeout", "refused", "unreachable"})
	} else if d.chance(h.Failures * float64(connections)) {
		u.failed, u.err = 1, pick(d, []string{"timeout", "refused", "reset"})
	}
	if e.to != nil && e.to.away(at) {
		h.cause = CauseGone
		u.failed, u.err = u.connections, "refused"
	}
	if good := float64(u.connections - u.failed); good > 0 {
		noise := d.spread(1, h.BytesSpread)
		if share(mix(e.hash, 11)) < h.Bulk && d.chance(1./(12*24)) {
			noise *= d.between(10, 40)
		}
		u.sent, u.received = uint64(e.sent*good*noise), uint64(e.received*good*noise)
	}
	if e.renamed != nil && at >= e.renameAt && h.cause != CauseJob {
		h.cause = CauseRename
	}
	u.peer, u.tls, u.callee = h.peerOf(p, e, at)
	u.unseen = u.tls != nil && d.chance(h.Unseen)
	if !u.peer.Identity.IsZero() || e.to != nil || !h.forgets(p, at) {
		return u
	}
	if u.peer.NameSource == event.NameDNS && d.chance(h.Forgotten) {
		u.peer.Name, u.peer.NameSource, u.tls = "", "", nil
		h.cause = CauseForgot
	}
	return u
}

// forgets says whether the agent has started within the hour before.
func (h *hour) forgets(p *pod, at time.Duration) bool {
	b := p.machine.watched(at)
	return b != nil && b.from > p.machine.from && at-b.from < time.Hour
}

// tell tells of both sides, where the other is an identity.
func (u *usage) tell(at, first time.Duration, c event.Counts) {
	u.toldConnections += c.Connections
	u.toldFailed += c.Failed
	tls := u.tls
	if c.Connections > 0 && c.Failed == c.Connections || c.Connections == 0 && u.toldConnections == u.toldFailed {
		tls = nil
	}
	u.h.observe(u.p, at, first, event.Outbound, u.e.protocol(), u.peer, tls, u.miss(at, first, tls, c), u.err)
	if good := c.Connections - c.Failed; u.callee != nil && (good > 0 || c.Connections == 0) && u.e.to != u.h.dns {
		u.inbound(at, first, c)
	}
}

// miss tells of a connection whose handshake was missed by itself, and gives the rest: the agent knows the peer by its address, and no more.
func (u *usage) miss(at, first time.Duration, tls *event.TLS, c event.Counts) event.Counts {
	if !u.unseen || tls == nil || c.Connections-c.Failed < 2 {
		return c
	}
	u.unseen = false
	peer := u.peer
	if u.e.to != nil {
		peer.Identity, peer.Evidence = u.e.to.derived, event.EvidenceKubernetes
	}
	cause := u.h.cause
	u.h.cause = CauseMissed
	u.h.observe(u.p, at, first, event.Outbound, u.e.protocol(), peer, nil, event.Counts{Connections: 1}, "")
	u.h.cause = cause
	c.Connections--
	return c
}

// inbound is the same, seen by the one who is reached.
func (u *usage) inbound(at, first time.Duration, c event.Counts) {
	from := event.Peer{Address: u.p.address, Port: u.e.to.podPort, Identity: u.p.workload.Identity, Evidence: u.p.workload.Evidence}
	if u.tls == nil && from.Evidence == event.EvidenceSVID {
		from.Identity, from.Evidence = u.p.derived, event.EvidenceKubernetes // by its address
	}
	tls := u.tls
	if tls != nil {
		other := *tls
		other.SNI, other.PeerCertificate, other.OwnCertificate = tls.SNI, tls.OwnCertificate, tls.PeerCertificate
		other.Verified = tls.OwnCertificate != nil
		tls = &other
	}
	c = event.Counts{Connections: c.Connections - c.Failed, BytesSent: c.BytesReceived, BytesReceived: c.BytesSent}
	u.h.observe(u.callee, at, first, event.Inbound, u.e.protocol(), from, tls, c, "")
}

func (e *edge) protocol() event.Protocol {
	switch {
	case e.to == nil:
		return e.there.protocol
	case e.to.port == 53:
		return event.UDP
	}
	return event.TCP
}

// observe adds one observation, if the machine was watched then.
func (h *hour) observe(p *pod, at, first time.Duration, way event.Direction, protocol event.Protocol, peer event.Peer, tls *event.TLS, c event.Counts, err string) {
	at = min(at, h.until-time.Microsecond)
	b := p.machine.watched(at)
	if b == nil || at > p.machine.until {
		return
	}
	if c.Failed == 0 {
		err = ""
	}
	h.items = append(h.items, item{at, whatObservation, len(h.observations), p.machine, h.cause})
	h.observations = append(h.observations, event.Observation{
		Time: h.Start.Add(at), FirstTime: h.Start.Add(min(max(first, b.from), at)), Node: p.machine.name, Workload: p.workload, Direction: way, Protocol: protocol,
		Peer: peer, TLS: tls, Counts: c, Error: err,
	})
}

func (h *hour) sight(p *pod, at time.Duration) {
	if p.machine.watched(at) == nil {
		return
	}
	h.items = append(h.items, item{at, whatSight, len(h.sights), p.machine, CauseUsual})
	running := p.workload // the pod in this place may be another by the time that it is told
	h.sights = append(h.sights, Sight{&running, p.machine.name})
}

// peerOf says what the other end of an edge is called, and what handshakes on it say.
func (w *world) peerOf(p *pod, e *edge, at time.Duration) (event.Peer, *event.TLS, *pod) {
	if e.to == nil {
		peer, tls := w.peerOutside(e.place(at), at)
		w.seenOf(p.member, e.hash, tls)
		return peer, tls, nil
	}
	to := e.to
	if to.away(at) { // the service is there, nobody stands behind it
		return event.Peer{
			Address: to.clusterIP, Port: to.port, Name: to.service, NameSource: event.NameService,
		}, nil, nil
	}
	callee, _ := w.cached(to, int(mix(e.hash, p.hash)%uint64(to.replicasAt(at))), max(at, to.born))
	peer, tls := w.peerMember(p, to, callee, at)
	return peer, tls, callee
}

func (w *world) peerMember(p *pod, to *member, callee *pod, at time.Duration) (event.Peer, *event.TLS) {
	peer := event.Peer{
		Address: callee.address, Port: to.podPort, Dialled: netip.AddrPortFrom(to.clusterIP, to.port), Name: to.service, NameSource: event.NameService,
		Identity: to.derived, Evidence: event.EvidenceKubernetes,
	}
	if p.workload.Evidence != event.EvidenceSVID || !to.mesh {
		return peer, nil
	}
	peer.Identity, peer.Evidence = to.id, event.EvidenceSVID
	return peer, &event.TLS{
		Version: "1.3", SNI: to.service, ALPN: "h2", Mutual: true, Verified: true, Provenance: "full",
		PeerCertificate: w.certificate(callee, at), OwnCertificate: w.certificate(p, at),
	}
}

// addressHours is how long a place answers with an address.
const addressHours = 5

func (w *world) peerOutside(to *place, at time.Duration) (event.Peer, *event.TLS) {
	address := to.addresses[mix(to.hash, uint64(at/(addressHours*time.Hour)))%uint64(len(to.addresses))]
	peer := event.Peer{Address: address, Port: to.port, Name: to.name, NameSource: to.source}
	if to.dialled.IsValid() {
		peer.Dialled = netip.AddrPortFrom(to.dialled, to.dialPort)
	}
	if !to.tls {
		return peer, nil
	}
	version := "1.3"
	if to.hash%7 == 0 {
		version = "1.2"
	}
	return peer, &event.TLS{
		Version: version, SNI: to.name, ALPN: "h2", Verified: true, Provenance: "full",
		PeerCertificate: to.certificateAt(w, at),
	}
}

// seenOf cuts what handshakes say down to what can be seen of a member's program, and of how an edge is used.
func (w *world) seenOf(m *member, e uint64, tls *event.TLS) {
	switch {
	case tls == nil:
	case w.blind(m):
		tls.Verified, tls.PeerCertificate, tls.OwnCertificate, tls.Provenance = false, nil, nil, "wire-only"
	case share(mix(e, 12)) < w.Unverified:
		tls.Verified = false
	}
}

// blind says that nobody can see the certificates of a member's program. Those on the mesh are all seen.
func (w *world) blind(m *member) bool { return !m.mesh && share(mix(m.hash, 13)) < w.WireOnly }
