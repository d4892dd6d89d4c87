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

// The states, in the order in which an identity goes through them.
const (
	Warming  State = "warming"  // less than a tenth of the learning time was observed
	Learning State = "learning" // what it reaches is taken as normal
	Stable   State = "stable"   // what it reaches for the first time is a finding
)

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
	switch {
	case p.Observed >= p.Learn:
		p.State, since = Stable, w.stable
		p.Reason = fmt.Sprintf("It was watched for %s, which is past the learning time of %s; a new resource is a finding.", spell(p.Observed), learn)
	case p.Observed >= p.Learn/10:
		p.State, since = Learning, w.warm
		p.Reason = fmt.Sprintf("It was watched for %s of the %s that learning takes (%d %%); until then a new resource is taken as normal.",
			spell(p.Observed), learn, percent(p.Observed, p.Learn))
	default:
		p.State = Warming
		p.Reason = fmt.Sprintf("It was watched for %s of the %s that learning takes (%d %%), too little to say what is normal.",
			spell(p.Observed), learn, percent(p.Observed, p.Learn))
	}
	if int(who.edges) >= d.config.MaxResources {
		p.Reason += fmt.Sprintf(" It reaches %d resources, as many as are kept of one identity; further ones are not judged.", who.edges)
	}
	if len(who.seen) > 0 {
		p.Since = time.UnixMicro(since).UTC()
	}
	return p, true
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
