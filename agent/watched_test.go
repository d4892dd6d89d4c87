package agent

import (
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/ambit-nhi/ambit/agent/kube"
	"github.com/ambit-nhi/ambit/event"
)

// What drains find out is told with the span between them.
func TestGapsOfAnAgent(t *testing.T) {
	td, err := event.ParseTrustDomain("shop.example")
	check(t, err)
	a, err := New(Config{Node: "n1", TrustDomain: td, CgroupRoot: t.TempDir()}, new(nats.Conn))
	check(t, err)
	defer a.translations.Close()
	at := func(seconds int) moment {
		return moment{noon.Add(time.Duration(seconds) * time.Second), time.Hour + time.Duration(seconds)*time.Second}
	}
	a.begin(at(0))
	a.noteLost(at(10), nil, map[string]uint64{"edge-ring-full": 3, "edges-full": 0})
	a.drained = at(10).monotonic
	a.noteLost(at(20), map[string]uint64{"edge-ring-full": 3}, map[string]uint64{"edge-ring-full": 3, "edges-full": 2})
	a.sources.silences = func() []kube.Silence {
		return []kube.Silence{{From: at(2).wall, Until: at(5).wall, Over: true}, {From: at(50).wall, Until: at(60).wall}}
	}
	a.noteSilences()
	a.noteSet(moment{noon.Add(time.Hour), time.Hour}, time.Hour)
	want := []event.Gap{
		{Cause: "edge-ring-full", From: at(0).wall, Until: at(10).wall, Lost: 3},
		{Cause: "edges-full", From: at(10).wall, Until: at(20).wall, Lost: 2},
		{Cause: causeAPI, From: at(2).wall, Until: at(5).wall},
		{Cause: causeAPI, From: at(50).wall, Until: at(60).wall},
		{Cause: causeClock, From: noon, Until: noon.Add(time.Hour)},
	}
	if got := a.publish.gaps.tell(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}

	a.publish.gaps = newGaps()
	a.noteSet(moment{noon.Add(-time.Hour), time.Hour}, -2*time.Hour)
	want = []event.Gap{{Cause: causeClock, From: noon.Add(-time.Hour), Until: noon.Add(time.Hour)}}
	if got := a.publish.gaps.tell(); !slices.Equal(got, want) {
		t.Errorf("set back: got %v, want %v", got, want)
	}

	a.publish.gaps = newGaps()
	a.asleep -= time.Hour // since then, the machine slept for as long
	a.noteSet(moment{noon.Add(5 * time.Hour), time.Hour}, time.Hour)
	if got := a.publish.gaps.tell(); len(got) > 0 {
		t.Errorf("asleep: got %v", got)
	}
}
