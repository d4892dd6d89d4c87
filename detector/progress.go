package detector

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// State is how far an identity is learned.
type State string

// The states, in the order in which an identity goes through them. Partial stands in the place of the first two.
const (
	Warming  State = "warming"  // less than a tenth of the learning time was observed
	Learning State = "learning" // what it reaches is taken as normal
	Partial  State = "partial"  // likewise, of an identity of whose life so far most was not watched
	Stable   State = "stable"   // what it reaches for the first time is a finding
	Unstable State = "unstable" // likewise, but it reaches so much that is new that a finding of it says little
)

// States gives all of them.
func States() []State { return []State{Warming, Learning, Partial, Stable, Unstable} }

// unstableDaily is how many new resources a day are too many to judge each.
const unstableDaily = 4.0

// Progress says how far an identity is learned, as of the last time that its nodes were watched.
type Progress struct {
	State    State
	Observed time.Duration // how long it was watched
	Learn    time.Duration // how long it must be
	Since    time.Time     // when it came into this state
	Reason   string        // a sentence with the numbers
}

// Progress gives the learning state of an identity that was seen.
func (d *Detector) Progress(id event.Identity) (Progress, bool) {
	i, known := d.idIndex[id]
	if !known {
		return Progress{}, false
	}
	who := &d.identities[i]
	w := d.watched(who, math.MaxInt64)
	p := Progress{Observed: w.total, Learn: d.config.Learn}
	since := w.first
	learn := spell(p.Learn)
	progress := fmt.Sprintf("It was watched for %s of the %s that learning takes (%d %%)", spell(p.Observed), learn, percent(p.Observed, p.Learn))
	// A copy, since to ask changes it: that would make findings depend on who looks.
	novelty := who.profile.novelty
	daily := novelty.expected(who.profile.last)
	switch older := who.older(w); {
	case p.Observed >= p.Learn && daily >= unstableDaily:
		p.State, since = Unstable, w.stable
		p.Reason = fmt.Sprintf("It reaches about %s new resources a day (%s and more are too many to judge each), so that only what is blatant is a finding of medium severity or more.",
			decimal(daily), decimal(unstableDaily))
	case p.Observed >= p.Learn:
		p.State, since = Stable, w.stable
		p.Reason = fmt.Sprintf("It was watched for %s, which is past the learning time of %s; a new resource is a finding.", spell(p.Observed), learn)
	case older != "":
		p.State = Partial
		p.Reason = progress + "; " + older
	case p.Observed >= p.Learn/10:
		p.State, since = Learning, w.warm
		p.Reason = progress + "; until then a new resource is taken as normal."
	default:
		p.State = Warming
		p.Reason = progress + ", too little to say what is normal."
	}
	if int(who.edges) >= d.config.MaxResources {
		p.Reason += fmt.Sprintf(" It reaches %d resources, as many as are kept of one identity; further ones are not judged.", who.edges)
	}
	if n := d.approvals(who); n > 0 {
		p.Reason += fmt.Sprintf(" %s normal by a person's word or its scope.", isAre(n, "resource"))
	}
	if len(who.seen) > 0 {
		p.Since = time.UnixMicro(since).UTC()
	}
	return p, true
}

// older says why most of an identity's life so far is not known; empty where it is.
func (id *identity) older(w watch) string {
	if born := id.profile.created; born != 0 && w.first != 0 {
		if before := span64(born, w.first); before > max(w.total, time.Hour) {
			return fmt.Sprintf("it is in the inventory since %s, %s before it was first watched, and what it reached then is not known.", clockMicros(born), spell(before))
		}
	}
	lived := span64(w.first, max(id.profile.last, w.first))
	if gap := lived - w.total; gap > w.total && gap >= time.Minute {
		return fmt.Sprintf("it was not watched for %s of the %s since it was first seen, and what it reached then is not known.", spell(gap), spell(lived))
	}
	return ""
}

func percent(part, whole time.Duration) int { return int(part * 100 / whole) }

// spell writes a duration as a person would, in the two largest units: 3d4h, 26h, 1h30m, 45s.
func spell(d time.Duration) string {
	switch {
	case d >= 72*time.Hour:
		d = d.Round(time.Hour)
		if days, hours := d/(24*time.Hour), d%(24*time.Hour)/time.Hour; hours > 0 {
			return fmt.Sprintf("%dd%dh", days, hours)
		}
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d >= time.Hour:
		d = d.Round(time.Minute)
	case d >= time.Second:
		d = d.Round(time.Second)
	default:
		return d.Round(time.Millisecond).String()
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}
