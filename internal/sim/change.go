package sim

import (
	"time"
)

// addLives draws who comes late, who leaves, and who falls silent.
func (w *world) addLives() {
	all := time.Duration(w.Days) * day
	for _, m := range w.members {
		if m.kind != kindService || m.function == "gateway" || m.team == "telemetry" || m.team == "platform" || m.wide {
			continue
		}
		d := newDice(m.hash, 3)
		switch x := d.Float64(); {
		case x < w.BornLate:
			m.born = time.Duration(d.between(.08, .9) * float64(all))
		case x < w.BornLate+w.Deleted:
			m.gone, m.deleted = time.Duration(d.between(.2, .5)*float64(all)), true
		case x < w.BornLate+w.Deleted+w.Dormant:
			m.gone = time.Duration(d.between(.12, .28) * float64(all))
		case x < w.BornLate+w.Deleted+w.Dormant+w.Paused:
			from := time.Duration(d.between(.1, .5) * float64(all)).Truncate(time.Hour)
			m.rest = span{from, workingHour(d, from+time.Duration(d.between(8, 25)*float64(day))).Truncate(time.Hour)}
		}
	}
}

// settleEdges has callers begin with a service that comes late by one of their own deploys, and leave one that goes: most before it is gone.
func (w *world) settleEdges() {
	for _, m := range w.members {
		for _, e := range m.edges {
			if e.to == nil {
				continue
			}
			if born := e.to.born; born > e.from && born > 0 && e.to.kind != kindUnit {
				e.from = max(e.from, born+time.Hour)
				if n := m.version(e.from); n < len(m.deploys) {
					e.from = m.deploys[n] + time.Minute
				}
			}
			if e.to.gone != never && e.hash%8 > 0 {
				e.until = min(e.until, e.to.gone-time.Hour)
			}
		}
	}
}

// addDeploys draws when new versions come, in working hours, and what they reach that is new.
func (w *world) addDeploys() {
	end := time.Duration(w.Days) * day
	for _, m := range w.members {
		if m.kind != kindService && m.kind != kindJob {
			continue
		}
		d := newDice(m.hash, 4)
		perWeek := w.DeploysPerWeek * d.between(.3, 1.7)
		if m.env != "prod" {
			perWeek *= 1.5
		}
		if perWeek <= 0 {
			continue
		}
		for at := m.born; ; {
			at += time.Duration(d.ExpFloat64() * float64(7*day) / perWeek)
			when := workingHour(d, at)
			if when >= min(end, m.gone) {
				break
			}
			if n := len(m.deploys); when <= m.born || n > 0 && when <= m.deploys[n-1] {
				continue
			}
			if m.rests(when) {
				continue
			}
			if n := len(m.deploys); m.rest.until > 0 && when > m.rest.until && (n == 0 || m.deploys[n-1] < m.rest.from) {
				m.deploys = append(m.deploys, m.rest.until)
			}
			m.deploys = append(m.deploys, when)
			for n := d.poisson(w.EdgesPerDeploy); n > 0; n-- {
				w.growEdge(d, m, when)
			}
		}
		if n := len(m.deploys); m.rest.until > 0 && (n == 0 || m.deploys[n-1] < m.rest.from) {
			m.deploys = append(m.deploys, m.rest.until)
		}
	}
}

// workingHour moves a time to between 9 and 17 o'clock, and a Saturday or Sunday to Monday.
func workingHour(d *dice, at time.Duration) time.Duration {
	days := at.Truncate(day)
	switch days / day % 7 {
	case 5:
		days += 2 * day
	case 6:
		days += day
	}
	return days + time.Duration(d.between(9, 17)*float64(time.Hour)).Truncate(time.Second)
}

// growEdge adds one that begins with a deploy: soon after it, or when the new code comes to it.
func (w *world) growEdge(d *dice, m *member, at time.Duration) {
	sent, received := w.bytes(d)
	rate := w.rate(d)
	if m.env != "prod" {
		rate /= 4
	}
	var e *edge
	before := len(m.edges)
	switch x := d.Float64(); {
	case x < .40: // within the team
		if to := w.find(m.env, m.team, pick(d, []string{"cache", "api-1", "api-2", "api-3", "db", "gateway"})); to != nil && to != m && to.alive(at) {
			e = w.call(m, to, rate, sent, received)
		}
	case x < .60: // another team
		if to := pick(d, w.members); to.kind == kindService && to.env == m.env && to != m && to.alive(at) && to.function == "gateway" {
			e = w.call(m, to, rate, sent, received)
		}
	case x < .75:
		if to := w.find(m.env, pick(d, []string{"data", "telemetry"}), pick(d, []string{"kafka", "collector"})); to != nil {
			e = w.call(m, to, rate, sent, received)
		}
	default:
		e = w.connect(m, pick(d, w.saas), rate, sent, received)
	}
	if e != nil && len(m.edges) > before {
		e.from = at + time.Duration(d.ExpFloat64()*float64(20*time.Minute))
	}
}

// addOutages draws when dependencies are away.
func (w *world) addOutages() {
	draw := func(hash uint64) (out []span) {
		d := newDice(hash, 5)
		if w.Outages <= 0 {
			return nil
		}
		for at := time.Duration(0); ; {
			at += time.Duration(d.ExpFloat64() * float64(30*day) / w.Outages)
			if at >= time.Duration(w.Days)*day {
				return out
			}
			s := span{at, at + time.Duration(d.ExpFloat64()*w.OutageMinutes*float64(time.Minute))}
			out = append(out, s)
			at = s.until
		}
	}
	for _, m := range w.members {
		if m.kind == kindService || m.kind == kindStore {
			m.outages = draw(m.hash)
		}
	}
	for _, p := range w.saas {
		p.outages = draw(p.hash)
	}
}
