package sim

import (
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// kind is what an identity does for a living.
type kind uint8

const (
	kindService kind = iota
	kindStore        // a database or cache: it is reached
	kindJob          // runs by a timetable
	kindRunner       // of pipelines
	kindUnit         // a systemd unit of one machine
	kindIdle         // declared, and never seen
)

// never is later than all that happens.
const never = time.Duration(1 << 62)

// member is one identity.
type member struct {
	id        event.Identity
	derived   event.Identity // by namespace and account; the same for most
	hash      uint64
	kind      kind
	team, env string
	function  string // what it is in its team: the same in all environments
	namespace string
	account   string
	owner     string
	exe       string
	image     string // without the digest
	season    season
	replicas  int // at night; by day as many more as scale says
	scale     int
	mesh      bool // its connections carry SVIDs
	wide      bool
	canary    bool // its last replica is of a deployment of its own
	prod      bool // runs on machines of production
	registry  bool // its SVID is named by a registration entry

	born, gone time.Duration // when it acts; gone is never for most
	deleted    bool          // its account went with it
	rest       span          // when it does nothing, and has no pods
	deploys    []time.Duration
	edges      []*edge
	runs       func(hour int) (at time.Duration, ok bool) // of a job, in an hour
	machine    *machine                                   // of a unit

	service   string // what it is reached as
	clusterIP netip.Addr
	port      uint16
	podPort   uint16
	outages   []span

	partners []partner

	pods []pod // the cache of slots, as of the last look
}

// span is a stretch of time.
type span struct{ from, until time.Duration }

// edge is one identity's use of something.
type edge struct {
	hash       uint64
	to         *member // nil where it is not an identity of ours
	there      *place
	rate       float64 // connections an hour at the mean of the week; for a job: of a run
	dispersion float64
	sent       float64 // bytes of a connection
	received   float64
	from       time.Duration
	until      time.Duration
	renamed    *place        // what it is called later
	renameAt   time.Duration //
	told       []uint64      // per replica: the pod that has used it
}

// place is something outside of the identities: other people's services, the API server, the metadata service.
type place struct {
	name      string
	source    event.NameSource
	addresses []netip.Addr
	dialled   netip.Addr // before translation
	port      uint16
	dialPort  uint16
	protocol  event.Protocol
	tls       bool
	hash      uint64
	outages   []span

	certificate *event.Certificate // the cache of what it shows
}

// alive says whether an identity acts at a time.
func (m *member) alive(t time.Duration) bool { return t >= m.born && t < m.gone && !m.rests(t) }

// away says that a service is there, and nobody stands behind it.
func (m *member) away(t time.Duration) bool { return t >= m.gone || m.rests(t) }

func (m *member) rests(t time.Duration) bool { return t >= m.rest.from && t < m.rest.until }

// version is the number of deploys until a time.
func (m *member) version(t time.Duration) int {
	n := 0
	for n < len(m.deploys) && m.deploys[n] <= t {
		n++
	}
	return n
}

// replicasAt is how many pods there are at a time.
func (m *member) replicasAt(t time.Duration) int {
	if h := int(t/time.Hour) % 24; m.scale > 0 && h >= 8 && h < 20 {
		return m.replicas + m.scale
	}
	return m.replicas
}

// place is what an edge leads to at a time, where that is outside.
func (e *edge) place(t time.Duration) *place {
	if e.renamed != nil && t >= e.renameAt {
		return e.renamed
	}
	return e.there
}

// rareRate is that of edges that are used less than once in two days.
const rareRate = 1. / 48

func (e *edge) cause() Cause {
	switch {
	case e.from > 0:
		return CauseDeploy
	case e.rate < rareRate:
		return CauseRare
	}
	return CauseUsual
}

func (e *edge) outages() []span {
	if e.to != nil {
		return e.to.outages
	}
	return e.there.outages
}

// overlap is the share of an hour that is in one of the spans.
func overlap(spans []span, from, until time.Duration) float64 {
	for _, s := range spans {
		if a, b := max(s.from, from), min(s.until, until); a < b {
			return float64(b-a) / float64(until-from)
		}
	}
	return 0
}
