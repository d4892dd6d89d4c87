package agent

import (
	"maps"
	"testing"
	"time"
)

func TestClockSteps(t *testing.T) {
	start := moment{time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), time.Hour}
	for name, tc := range map[string]struct {
		wall, monotonic, want time.Duration
	}{
		"an hour passes":           {time.Hour, time.Hour, 0},
		"read at different times":  {time.Hour + 20*time.Millisecond, time.Hour, 0},
		"a step too small to tell": {time.Minute - time.Second, time.Minute, 0},
		"set ahead":                {25 * time.Hour, time.Hour, 24 * time.Hour},
		"set back":                 {-24 * time.Hour, time.Hour, -25 * time.Hour},
		"asleep for a night":       {8*time.Hour + time.Second, time.Second, 8 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			var c clock
			c.set(start)
			now := moment{start.wall.Add(tc.wall), start.monotonic + tc.monotonic}
			if got := c.stepped(now); got != tc.want {
				t.Errorf("stepped by %s, want %s", got, tc.want)
			}
			if c.set(now); c.stepped(now) != 0 {
				t.Error("stepped once more")
			}
		})
	}
}

func TestMomentsDoNotStep(t *testing.T) {
	var c clock
	for i := range 100 {
		now, err := readMoment()
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			c.set(now)
		}
		if step := c.stepped(now); step != 0 {
			t.Fatalf("stepped by %s", step)
		}
	}
}

func TestLossesOfABoot(t *testing.T) {
	var l losses
	same := func(got, want map[string]uint64) {
		t.Helper()
		if !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	same(l.tell(map[string]uint64{"a": 1, "b": 0}, map[string]uint64{"a": 2, "c": 3}), map[string]uint64{"a": 3, "c": 3})
	l.restart()
	same(l.tell(map[string]uint64{"a": 3, "c": 3}), map[string]uint64{})
	same(l.tell(map[string]uint64{"a": 5, "c": 3, "d": 1}), map[string]uint64{"a": 2, "d": 1})
	l.restart()
	same(l.tell(map[string]uint64{"a": 6, "c": 3, "d": 1}), map[string]uint64{"a": 1})
}
