package sim

import (
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
