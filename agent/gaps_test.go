package agent

import (
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/agent/spool"
	"github.com/ambit-nhi/ambit/event"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func TestGapsMerge(t *testing.T) {
	at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
	g := newGaps()
	g.note("ring", at(0), at(1), 5)
	g.note("ring", at(1), at(2), 6)  // adjacent
	g.note("other", at(1), at(2), 1) // not the same
	g.note("ring", at(5), at(6), 7)  // not adjacent
	g.during(causeAPI, at(0), at(3), false)
	g.during(causeAPI, at(0), at(4), true)
	want := []event.Gap{
		{Cause: "ring", From: at(0), Until: at(2), Lost: 11}, {Cause: "other", From: at(1), Until: at(2), Lost: 1},
		{Cause: "ring", From: at(5), Until: at(6), Lost: 7}, {Cause: causeAPI, From: at(0), Until: at(4)},
	}
	if got := g.tell(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	g.stored(want[:2])
	if got := g.tell(); !slices.Equal(got, want[2:]) {
		t.Errorf("got %v, want %v", got, want[2:])
	}
	g.note("ring", at(0), at(1), 3) // it has been told of another from then on
	if got := g.tell(); got[len(got)-1].From.Equal(at(0)) || got[len(got)-1].Lost != 3 {
		t.Errorf("got %v", got)
	}
}

// What goes on is told until it is over, and has been told as it was at the end.
func TestGapThatGoesOn(t *testing.T) {
	g := newGaps()
	for i := range 5 {
		g.during(causeAPI, noon, noon.Add(time.Duration(i)*time.Minute), false)
		told := g.tell()
		if len(told) != 1 || !told[0].From.Equal(noon) {
			t.Fatalf("got %v", told)
		}
		g.stored(told)
	}
	before := g.tell()
	g.during(causeAPI, noon, noon.Add(6*time.Minute), true)
	g.stored(before)
	last := g.tell()
	if len(last) != 1 || !last[0].Until.Equal(noon.Add(6*time.Minute)) {
		t.Fatalf("got %v", last)
	}
	if g.stored(last); len(g.tell()) > 0 {
		t.Errorf("left %v", g.tell())
	}
}

// Gaps that receivers refuse would cost the heartbeat.
func TestGapsArePlausible(t *testing.T) {
	g := newGaps()
	g.note(causeClock, time.Unix(0, 0), noon, 0) // a clock without a battery
	g.lose(spool.Damaged, time.Unix(0, 0), noon, 1)
	g.note("ring", noon, noon.Add(-time.Hour), 1)
	h := &event.Heartbeat{Node: "n1", Boot: "b1", Started: noon, Time: noon, Gaps: g.tell()}
	data, err := h.Encode()
	check(t, err)
	got, err := event.DecodeHeartbeat(data)
	check(t, err)
	if !slices.Equal(got.Gaps, h.Gaps) || len(got.Gaps) != 3 {
		t.Errorf("got %v, want %v", got.Gaps, h.Gaps)
	}
}

// Whatever becomes of heartbeats and processes, receivers add up what was lost: once, by the largest number that they have of each gap.
func TestGapsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type key struct {
			cause string
			from  int64
			boot  int
		}
		g, boot := newGaps(), 0
		received := map[key]uint64{}
		deliver := func(told []event.Gap) {
			for _, x := range told {
				k := key{x.Cause, x.From.UnixNano(), boot}
				received[k] = max(received[k], x.Lost)
			}
		}
		lost := map[string]uint64{}
		counted := map[string]uint64{} // by processes that were killed
		at := noon
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			default:
				cause := rapid.SampledFrom(publishCauses[:3]).Draw(t, "cause")
				n := rapid.Uint64Range(1, 100).Draw(t, "lost")
				at = at.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "later")) * time.Second)
				g.lose(cause, at.Add(-time.Second), at, n)
				lost[cause] += n
			case 0:
				told := g.tell()
				if len(told) > event.MaxGaps {
					t.Fatalf("%d gaps", len(told))
				}
				deliver(told)
				g.stored(told)
			case 1:
				told := g.tell()
				deliver(told) // later, but surely
				g.spooled(told)
			case 2: // the process is killed
				note := g.keep()
				if len(note) > spool.MaxNote {
					t.Fatalf("a note of %d bytes", len(note))
				}
				before := g.counters()
				g = newGaps()
				if err := g.restore(note); err != nil {
					t.Fatal(err)
				}
				for cause, n := range before {
					counted[cause] += n - g.counters()[cause]
				}
				boot++
			}
		}
		told := g.tell()
		deliver(told)
		if g.stored(told); len(g.tell()) > 0 || g.keep() != nil {
			t.Fatalf("left %v", g.tell())
		}
		sum := map[string]uint64{}
		for k, n := range received {
			sum[k.cause] += n
		}
		for cause, n := range g.counters() {
			if counted[cause] += n; counted[cause] == 0 {
				delete(counted, cause)
			}
		}
		if !maps.Equal(sum, lost) || !maps.Equal(counted, lost) {
			t.Fatalf("gaps tell of %v, counters of %v, want %v", sum, counted, lost)
		}
	})
}

func FuzzRestoreGaps(f *testing.F) {
	g := newGaps()
	g.lose(spool.Full, noon, noon.Add(time.Hour), 7)
	f.Add(g.keep())
	f.Add([]byte(`[{"Cause":"spool-age"}]`))
	f.Fuzz(func(t *testing.T, note []byte) {
		g := newGaps()
		if g.restore(note) != nil {
			return
		}
		if got := g.tell(); len(got) > event.MaxGaps {
			t.Errorf("%d gaps", len(got))
		}
	})
}

func TestClocksKnowHowTheyWereSet(t *testing.T) {
	var c clocks
	at := time.Now()
	c.begin("b1", at, at)
	c.begin("b2", at.Add(time.Hour+time.Minute), at.Add(time.Minute)) // set ahead by an hour
	c.begin("b3", at.Add(2*time.Minute), at.Add(3*time.Minute))       // and back, by a minute more
	for boot, want := range map[string]time.Duration{"b1": -time.Minute, "b2": -time.Hour - time.Minute, "b3": 0} {
		if by, ok := c.since(boot); !ok || by != want {
			t.Errorf("since %s, the clock was set by %s, want %s", boot, by, want)
		}
	}
	if _, ok := c.since("b0"); ok {
		t.Error("knows another process's boot")
	}
	for i := range maxClocks {
		c.begin(fmt.Sprint("c", i), at, at)
	}
	if _, ok := c.since("b1"); ok || len(c.boots) != maxClocks {
		t.Errorf("%d boots are remembered", len(c.boots))
	}
}

// What was made while the clock was ahead is sent with the time that it really was, and is not refused.
func TestPublishRestamps(t *testing.T) {
	leaks(t)
	var set atomic.Int64 // by how much the clock is
	now := func() time.Time { return time.Now().Add(time.Duration(set.Load())) }
	p := newPublishing(t, natsServer(t, t.TempDir(), 0), PublisherConfig{Now: now})
	p.createStream(nil)
	set.Store(int64(time.Hour))
	ahead := now().Round(0)
	p.Restart("b2", ahead)
	p.observe(100)
	p.Flush(now())
	p.Heartbeat(&event.Heartbeat{Time: now()})
	set.Store(0)
	at := now().Round(0)
	p.Restart("b3", at)
	p.observe(100)
	p.Heartbeat(&event.Heartbeat{Time: at})
	stop := p.start()
	waitFor(t, "delivery", p.settled)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got, _ := p.boots(); got["b2"] != 100 || got["b3"] != 100 {
		t.Errorf("connections by boot %v", got)
	}
	begins := map[string]time.Time{}
	p.each(func(subject, id string, data []byte) {
		var boot string
		var started, end time.Time
		if subject == event.AgentSubject("n1") {
			h, err := event.DecodeHeartbeat(data)
			check(t, err)
			boot, started, end = h.Boot, h.Started, h.Time
		} else {
			b, err := event.DecodeBatch(data)
			check(t, err)
			boot, started, end = b.Boot, b.Started, b.Time
		}
		want := at
		if boot == "b2" {
			want = ahead.Add(-time.Hour)
		}
		if first, ok := begins[boot]; ok && !started.Equal(first) {
			t.Errorf("%s begins at %s, and another of its boot at %s", id, started, first)
		}
		begins[boot] = started
		if end.After(time.Now()) || started.Sub(want).Abs() > time.Second {
			t.Errorf("%s from %s to %s, want from %s", id, started, end, want)
		}
	})
	if n := p.Gauges()["publish-restamped"]; n < 2 {
		t.Errorf("%d were moved", n)
	}
}
