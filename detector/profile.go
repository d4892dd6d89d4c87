package detector

import (
	"slices"

	"github.com/ambit-nhi/ambit/event"
)

// profile is how an identity behaves, besides what it reaches. It is built from observations alone, and every part of it is bounded.
type profile struct {
	since      int64      // first observation that it was made of, µs; 0: none yet
	last       int64      // latest use, µs
	hour       int64      // hours since 1970 of that
	day        int64      // days since 1970 of that
	hours      int        // distinct hours with a use
	days       int        // distinct days with a use
	longest    int64      // pause between two uses, µs, the longest so far
	second     int64      // the second longest
	executable uses       // programs that it ran
	image      uses       // image digests
	holder     uses       // who carried it: see holderOf
	terminal   use        // sessions with a terminal
	week       [168]uint8 // by hour of the week (UTC, from Sunday), the weeks in which it was active then, up to 255
	weeks      int64      // of the latest use, since 1970
	acted      int64      // hour of the latest outbound use, since 1970
	active     int        // distinct weeks with a use
	novelty    novelty
	fan        fan
	own        credential
	created    int64 // by the inventory, µs; 0: not known
	gone       int64 // likewise
	restored   int64 // latest use that the store knows of, µs, where the profile is not known any more
}

// use is when something was first and last seen, and on how many days.
type use struct {
	first, last int64 // µs
	days        uint16
}

func (u *use) note(first, last int64) {
	switch {
	case u.days == 0:
		u.first, u.last, u.days = first, last, 1
		return
	case dayOf(last) > dayOf(u.last) && u.days < 1<<15:
		u.days++
	}
	u.first, u.last = min(u.first, first), max(u.last, last)
}

// maxUses bounds a set of uses. Images come and go; of those that are full, the one that was used longest ago is forgotten.
const maxUses = 16

type namedUse struct {
	name string
	use
}

// uses is a small set, the latest first, because it is the next one nearly always.
type uses []namedUse

// note notes a use, and says whether the name was not in the set.
func (s *uses) note(name string, first, last int64) (fresh bool) {
	if len(*s) > 0 && (*s)[0].name == name {
		(*s)[0].use.note(first, last)
		return false
	}
	i := slices.IndexFunc(*s, func(u namedUse) bool { return u.name == name })
	fresh = i < 0
	switch {
	case !fresh:
	case len(*s) < maxUses:
		*s = append(*s, namedUse{name: name})
		i = len(*s) - 1
	default:
		i = len(*s) - 1
		(*s)[i] = namedUse{name: name}
	}
	u := (*s)[i]
	u.use.note(first, last)
	copy((*s)[1:i+1], (*s)[:i])
	(*s)[0] = u
	return fresh
}

// longest is the one that was used on most days, but for one.
func (s uses) longest(but string) *namedUse {
	var found *namedUse
	for i := range s {
		if s[i].name != but && (found == nil || s[i].days > found.days) {
			found = &s[i]
		}
	}
	return found
}

func (s uses) names() []string {
	var out []string
	for _, u := range s {
		out = append(out, u.name)
	}
	slices.Sort(out)
	return out
}

// news is what an observation changed in the profile of its identity.
type news struct {
	first         bool  // the very first use
	pause         int64 // since the use before, µs; 0 for the first
	longest       int64 // pause before this one
	newHour       bool  // the first act in this hour
	newExecutable bool
	newImage      bool
	newHolder     bool
	firstTerminal bool // or the first one after a long time
}

// note takes in an observation. It does not allocate where nothing is new.
func (p *profile) note(o *event.Observation, first, last int64) news {
	var s news
	w := &o.Workload
	if w.Executable != "" {
		s.newExecutable = p.executable.note(w.Executable, first, last)
	}
	if w.Image != "" {
		s.newImage = p.image.note(w.Image, first, last)
	}
	if w.Interactive {
		s.firstTerminal = p.terminal.days == 0
		p.terminal.note(first, last)
	}
	if h := holderOf(w); h != "" {
		s.newHolder = p.holder.note(h, first, last)
	}
	if p.since == 0 {
		p.since, s.first = first, true
	} else if pause := first - p.last; pause > 0 && p.last != 0 {
		s.pause, s.longest = pause, p.longest
		if pause > p.longest {
			p.longest, p.second = pause, p.longest
		} else if pause > p.second {
			p.second = pause
		}
	}
	p.since, p.last = min(p.since, first), max(p.last, last)
	p.occasion(first)
	if o.Direction == event.Outbound {
		s.newHour = p.act(first)
	}
	return s
}

// occasion notes a time at which the identity was active.
func (p *profile) occasion(at int64) {
	hour := at / hourMicros
	if hour == p.hour && p.hours > 0 {
		return
	}
	p.hours++
	p.hour = max(p.hour, hour)
	if d := hour / 24; d != p.day || p.days == 0 {
		p.days++
		p.day = max(p.day, d)
	}
}

// act notes a time at which the identity reached something by itself, and says whether that began a new hour. To be probed and scraped is no habit of its own.
func (p *profile) act(at int64) (fresh bool) {
	hour := at / hourMicros
	if hour == p.acted && p.active > 0 {
		return false
	}
	p.acted = max(p.acted, hour)
	of := &p.week[weekday(hour)*24+hour%24]
	*of = min(*of, 254) + 1
	if week := (hour/24 + 4) / 7; week != p.weeks || p.active == 0 {
		p.active++
		p.weeks = max(p.weeks, week)
	}
	return true
}

// weekday of an hour since 1970, a Thursday.
func weekday(hour int64) int64 { return (hour/24 + 4) % 7 }

// holderOf says who carries an identity: an SVID belongs to one service account or unit, and it is somebody else's hand when another one shows it.
// The pod and the node change all the time and say nothing.
func holderOf(w *event.Workload) string {
	switch {
	case w.ServiceAccount != "":
		return w.ServiceAccount // the namespace goes with it: see holderName
	case w.Unit != "":
		return w.Unit
	}
	return w.Container
}

// rhythm is how long a pause of the identity is normal: its longest so far, and more while it has been seen rarely.
func (p *profile) rhythm(longest int64) int64 {
	normal := longest + longest/2
	if p.days < 5 {
		normal = longest * 3
	}
	return normal
}
