package sim

import (
	"math"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// What happens in minutes, not all the time: it is told as the agent does, the first use at once and the rest at the end of the interval.

// run is one run of a job: each run has a pod of its own.
func (h *hour) run(m *member, at time.Duration) {
	m.pods = m.pods[:0]
	p, _ := h.cached(m, 0, at)
	p.since = at
	h.sight(p, at)
	for _, e := range m.edges {
		if h.cause = CauseJob; e.from > 0 {
			h.cause = CauseDeploy
		}
		if e.from > at {
			continue
		}
		if k := h.dice.count(e.rate*h.dice.between(.7, 1.3), e.dispersion); k > 0 {
			first := at + time.Duration(h.dice.between(1, 60)*float64(time.Second)).Truncate(time.Millisecond)
			u := h.usage(p, e, first, k)
			h.brief(u, first)
		}
	}
}

// brief tells of what is over in seconds.
func (h *hour) brief(u *usage, first time.Duration) {
	at := first + 250*time.Millisecond
	u.tell(at, first, event.Counts{Connections: 1, Failed: min(1, u.failed)})
	rest := event.Counts{Connections: u.connections - 1, Failed: u.failed - min(1, u.failed), BytesSent: u.sent, BytesReceived: u.received}
	if rest != (event.Counts{}) {
		u.tell(at+tick, at, rest)
	}
}

// reachOut has a wide identity reach some of its many names. Few are new, but some every day.
func (h *hour) reachOut(m *member, p *pod) {
	const regulars = 40
	known := regulars + h.NewNamesPerDay*float64(h.number)/24
	name := func(n int) *place { return h.customers[mix(m.hash, uint64(n))%uint64(len(h.customers))] }
	reach := func(to *place) {
		h.cause = CauseWide
		e := &edge{there: to, sent: 2500, received: 600, hash: mix(m.hash, to.hash)}
		first := max(h.from+time.Duration(h.dice.Float64()*float64(59*time.Minute)).Truncate(time.Millisecond), p.since+2*time.Second)
		if first < h.until-time.Minute {
			h.brief(h.usage(p, e, first, 1+h.dice.poisson(2)), first)
		}
	}
	for range 4 {
		reach(name(int(h.dice.Float64() * known)))
	}
	for n := h.dice.poisson(h.NewNamesPerDay / 24); n > 0; n-- {
		reach(name(int(math.Ceil(known))))
	}
}

// pipelines are a runner's builds of an hour.
func (h *hour) pipelines(m *member) {
	builds := h.dice.poisson(1.5 * h.factor[m.season])
	if builds == 0 {
		return
	}
	m.pods = m.pods[:0]
	p, _ := h.cached(m, 0, h.from+time.Second)
	h.sight(p, h.from+time.Second)
	reach := func(e *edge, exe string, at time.Duration) {
		p.workload.Executable, h.cause = exe, CausePipeline
		h.brief(h.usage(p, e, at, 1+h.dice.count(4, 4)), at)
	}
	for range builds {
		at := h.from + time.Duration(h.dice.between(1, 50)*float64(time.Minute)).Truncate(time.Millisecond)
		for _, e := range m.edges {
			reach(e, m.exe, at)
		}
		for range 3 { // most builds need the same packages
			n := int(math.Pow(h.dice.Float64(), 4) * float64(len(h.mirrors)))
			e := &edge{there: h.mirrors[n], sent: 1000, received: 600_000, hash: mix(m.hash, uint64(n))}
			reach(e, pick(h.dice, []string{"/usr/bin/npm", "/usr/bin/pip", "/usr/local/go/bin/go"}), at+20*time.Second)
		}
		if to := pick(h.dice, h.members); (to.env == "dev" || to.env == "staging") && to.kind == kindService && to.alive(at) && to.function == "gateway" {
			e := &edge{to: to, sent: 3000, received: 9000, hash: mix(m.hash, to.hash)}
			reach(e, "/usr/bin/kubectl", at+60*time.Second)
		}
	}
	p.workload.Executable = m.exe
}

// debug has people look into pods, in working time: mostly outside of production, mostly at what the pod uses anyway.
func (h *hour) debug() {
	d := h.dice
	d.pcg.Seed(mix(h.Seed, hashText("debug")), uint64(h.number))
	for n := d.poisson(h.DebugPerDay / 24 * float64(h.Identities) / 1000 * h.factor[seasonStrict]); n > 0; n-- {
		env := []string{"dev", "dev", "dev", "staging", "staging", "prod"}[d.IntN(6)]
		if env == "prod" && d.chance(.5) {
			env = "dev"
		}
		m := pick(d, h.members)
		for range 500 {
			if m.kind == kindService && m.env == env && m.alive(h.from) && m.alive(h.until) && len(m.edges) > 0 {
				break
			}
			m = pick(d, h.members)
		}
		if m.kind != kindService || m.env != env {
			continue
		}
		h.session(m)
	}
}

func (h *hour) session(m *member) {
	d := h.dice
	at := h.from + time.Duration(d.between(1, 40)*float64(time.Minute)).Truncate(time.Millisecond)
	p := h.podAt(m, 0, at)
	p.workload.Interactive = true
	for n := 1 + d.IntN(4); n > 0; n-- {
		e := pick(d, m.edges)
		if e.from > at {
			continue
		}
		p.workload.Executable = "/usr/bin/curl"
		switch {
		case e.to != nil && e.to.port == 5432:
			p.workload.Executable = "/usr/bin/psql"
		case e.to == h.dns:
			p.workload.Executable = "/usr/bin/nslookup"
		case d.chance(.15):
			e = &edge{there: h.packages, sent: 900, received: 300_000, hash: mix(m.hash, h.packages.hash)}
			p.workload.Executable = "/usr/lib/apt/methods/http"
		}
		h.cause = CauseDebug
		h.brief(h.usage(&p, e, at, 1+d.poisson(1)), at)
		at += time.Duration(d.between(10, 200) * float64(time.Second)).Truncate(time.Millisecond)
	}
}

// declare tells of accounts as their source does.
func (h *hour) declare(m *member) {
	if m.kind == kindUnit || m.namespace == "" {
		return
	}
	created := m.born - 10*time.Minute
	if m.kind == kindIdle || created < 0 {
		created = 0
	}
	tell := func(at time.Duration, gone bool) {
		if at < h.from || at >= h.until {
			return
		}
		d := event.Declaration{
			Identity: m.id, Kind: "service-account", Source: event.SourceKubernetes, SourceName: "cluster", Namespace: m.namespace, Name: m.account, Owner: m.team,
			Environment: m.env, Domain: event.DomainService, FirstDeclared: h.Start.Add(created), LastDeclared: h.Start.Add(at), Created: h.Start.Add(created),
		}
		if m.kind == kindRunner {
			d.Domain = event.DomainCI
		}
		if created == 0 {
			d.Created = h.Start.Add(-200 * day)
		}
		if m.registry {
			d.Source, d.Kind, d.SourceName = event.SourceSPIRE, "registration-entry", "spire"
		}
		if gone {
			d.Gone = h.Start.Add(at)
		}
		h.items = append(h.items, item{at, whatDeclaration, len(h.declarations), nil, CauseUsual})
		h.declarations = append(h.declarations, d)
	}
	tell(created, false)
	if m.deleted {
		tell(m.gone+20*time.Minute, true)
	}
}
