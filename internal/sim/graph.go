package sim

import (
	"fmt"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// connect adds an edge to a place outside. Rate is in connections an hour, sent and received in bytes of one.
func (w *world) connect(m *member, to *place, rate, sent, received float64) *edge {
	e := &edge{there: to, rate: rate, sent: sent, received: received, until: never, hash: mix(m.hash, to.hash)}
	return w.join(m, e)
}

// call adds an edge to another identity.
func (w *world) call(m, to *member, rate, sent, received float64) *edge {
	e := &edge{to: to, rate: rate, sent: sent, received: received, until: never, hash: mix(m.hash, to.hash)}
	return w.join(m, e)
}

func (w *world) join(m *member, e *edge) *edge {
	for _, known := range m.edges {
		if known.hash == e.hash {
			return known
		}
	}
	d := newDice(e.hash, 1)
	e.dispersion = d.between(w.Dispersion[0], w.Dispersion[1])
	m.edges = append(m.edges, e)
	return e
}

func (w *world) resolves(m *member) { w.call(m, w.dns, 30, 60, 140) }

// rate draws that of an edge.
func (w *world) rate(d *dice) float64 { return min(d.spread(w.MedianRate, w.RateSpread), 20_000) }

// bytes draws the sizes of a connection.
func (w *world) bytes(d *dice) (sent, received float64) {
	return d.spread(1500, 1), d.spread(4000, 1.3)
}

// plan is one function of a team, the same in all of its environments.
type plan struct {
	function string
	kind     kind
	season   season
	replicas int
	scale    int
	mesh     bool
	registry bool
	wide     bool
	job      timetable
	calls    []call
}

// call is an edge of a plan.
type call struct {
	team, function string // of an identity, in the same environment
	there          *place // or outside
	rate           float64
	sent, received float64
}

// addTeams makes teams until there are identities enough: each has a gateway, services, stores and jobs, in production, the same in staging, and half of
// it for development.
func (w *world) addTeams() {
	wide := int(w.Wide*float64(w.Identities) + .5)
	for t := 0; ; t++ {
		team := fmt.Sprintf("team%02d", t+1)
		plans := w.planTeam(t, team, &wide)
		for _, env := range []string{"prod", "staging", "dev"} {
			if !w.instantiate(team, env, plans) {
				return
			}
		}
	}
}

// instantiate makes a team's identities in an environment, as far as there is room.
func (w *world) instantiate(team, env string, plans []plan) bool {
	var made []*member
	room := w.Identities - w.initial()
	for i := range plans {
		p := &plans[i]
		if env == "dev" && (i > len(plans)/2 || p.kind == kindJob) || env != "prod" && p.wide {
			continue
		}
		if len(made) == room {
			break
		}
		made = append(made, w.instance(team, env, p))
	}
	for i := range plans {
		if m := w.find(env, team, plans[i].function); m != nil {
			w.wire(m, &plans[i])
			if m.kind != kindStore {
				w.resolves(m)
			}
			if to := w.find("prod", "team01", "gateway"); m.kind == kindService && env != "prod" && to != nil && share(mix(m.hash, 15)) < w.Crossing {
				w.call(m, to, w.MedianRate/2, 1500, 4000)
			}
		}
	}
	return len(made) < room
}

func (w *world) instance(team, env string, p *plan) *member {
	m := w.add(p.kind, env, team, p.function)
	m.season, m.wide, m.mesh = p.season, p.wide, p.mesh && env != "dev"
	if p.registry && m.mesh {
		w.register(m)
	}
	switch p.kind {
	case kindStore:
		m.owner, m.replicas = "StatefulSet/"+p.function, 1
		m.port, m.podPort, m.exe = 5432, 5432, "/usr/lib/postgresql/bin/postgres"
		if p.function == "cache" {
			m.port, m.podPort, m.exe = 6379, 6379, "/usr/bin/redis-server"
		}
	case kindJob:
		m.owner, m.runs = "CronJob/"+p.function, p.job.at(mix(m.hash, 9))
	}
	if p.kind == kindService && env == "prod" {
		m.replicas, m.scale = p.replicas, p.scale
		m.canary = m.replicas > 1 && share(mix(m.hash, 14)) < w.Canaries
	}
	if env == "dev" {
		m.season = seasonOffice
	}
	return m
}

// wire makes the edges of a plan real. Outside of production there is less traffic.
func (w *world) wire(m *member, p *plan) {
	scale := map[string]float64{"prod": 1, "staging": .25, "dev": .12}[m.env]
	for _, c := range p.calls {
		rate := c.rate * scale
		if m.kind == kindJob {
			rate = c.rate // of a run
		}
		switch to := w.find(m.env, c.team, c.function); {
		case c.there != nil:
			e := w.connect(m, c.there, rate, c.sent, c.received)
			if d := newDice(e.hash, 2); c.there.source == event.NameDNS && d.chance(w.DNSChanges) && e.renamed == nil {
				e.renamed = w.outside("eu."+c.there.name, c.there.port, w.SaaSAddresses)
				e.renameAt = time.Duration(d.between(.2, .95) * float64(w.Days) * float64(day))
			}
		case to != nil && to != m:
			w.call(m, to, rate, c.sent, c.received)
		}
	}
}

// planTeam draws what a team consists of.
func (w *world) planTeam(number int, team string, wide *int) []plan {
	d := newDice(mix(w.Seed, hashText("team")), uint64(number))
	plans := []plan{{function: "gateway"}, {function: "db", kind: kindStore}, {function: "cache", kind: kindStore}}
	for i := range 3 + d.IntN(4) {
		plans = append(plans, plan{function: fmt.Sprintf("api-%d", i+1)})
	}
	plans = append(plans, plan{function: "worker"})
	if *wide > 0 {
		*wide--
		plans = append(plans, plan{function: "webhooks", wide: true})
	}
	for i := range 1 + d.IntN(3) {
		plans = append(plans, plan{function: fmt.Sprintf("job-%d", i+1), kind: kindJob})
	}
	office := []season{seasonUsers, seasonUsers, seasonFlat, seasonOffice}[d.IntN(4)]
	for i := range plans {
		w.planService(d, number, team, &plans[i], plans, office)
	}
	return plans
}

func (w *world) planService(d *dice, number int, team string, p *plan, all []plan, usual season) {
	p.season, p.replicas = usual, 1+d.IntN(3)
	p.mesh = d.chance(w.Mesh) && p.kind != kindStore
	p.registry = d.chance(w.Registered)
	if d.chance(w.Scaling) {
		p.scale = 1 + d.IntN(3)
	}
	if p.function == "worker" {
		p.season = pick(d, []season{seasonFlat, seasonNight, seasonStrict})
	}
	inside := func(team, function string, rate float64) {
		sent, received := w.bytes(d)
		p.calls = append(p.calls, call{team: team, function: function, rate: rate, sent: sent, received: received})
	}
	outside := func(there *place, rate float64) {
		sent, received := w.bytes(d)
		p.calls = append(p.calls, call{there: there, rate: rate, sent: sent, received: received})
	}
	switch p.kind {
	case kindStore:
		return
	case kindJob:
		p.job = drawTimetable(d)
		inside(team, "db", d.between(1, 40))
		if d.chance(.5) {
			outside(pick(d, w.saas), d.between(1, 20))
		}
		if d.chance(.3) {
			inside("data", "kafka", d.between(1, 10))
		}
		return
	}
	if p.function == "gateway" {
		for i := range all {
			if all[i].kind == kindService && all[i].function != "gateway" && d.chance(.8) {
				inside(team, all[i].function, w.rate(d)*3)
			}
		}
	} else {
		inside(team, "db", w.rate(d)*2)
		if d.chance(.5) {
			inside(team, "cache", w.rate(d)*2)
		}
		for range d.IntN(3) {
			if to := pick(d, all); to.kind == kindService && to.function != p.function {
				inside(team, to.function, w.rate(d))
			}
		}
	}
	for range d.IntN(3) {
		if number > 0 {
			inside(fmt.Sprintf("team%02d", 1+d.IntN(number)), "gateway", w.rate(d))
		}
	}
	w.planShared(d, p, inside, outside)
}

// planShared draws the use of what all teams use, and what is seldom used.
func (w *world) planShared(d *dice, p *plan, inside func(string, string, float64), outside func(*place, float64)) {
	if d.chance(.3) {
		inside("data", "kafka", w.rate(d))
	}
	if d.chance(.25) {
		inside("vault", "vault", d.between(.5, 4))
	}
	if d.chance(.4) {
		inside("telemetry", "collector", 30)
	}
	for n := d.IntN(3); n > 0; n-- {
		outside(pick(d, w.saas), w.rate(d)/2)
	}
	if d.chance(.06) {
		outside(w.apiserver, w.rate(d))
	}
	if d.chance(.02) {
		outside(w.metadata, d.between(.5, 4))
	}
	for n := d.poisson(w.RareEdges); n > 0; n-- {
		rate := float64(time.Hour) / d.between(float64(w.RareEvery[0]), float64(w.RareEvery[1]))
		if d.chance(.5) {
			outside(pick(d, w.saas), rate)
		} else {
			inside(fmt.Sprintf("team%02d", 1+d.IntN(max(1, w.Identities/35))), pick(d, []string{"gateway", "api-1", "api-2", "cache"}), rate)
		}
	}
}
