package main

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// What is compared with the engine must be what was observed.
func TestSumsAreThoseOfObservations(t *testing.T) {
	for agent := range agents {
		for n := range uint64(40) {
			tick := tick{Number: 1000*n + n, Novel: n%2 == 0}
			var observations, connections uint64
			type edge struct {
				identity event.Identity
				resource event.Resource
			}
			edges := map[edge]bool{}
			tick.observe(agent, time.Unix(1_800_000_000, 0), func(o *event.Observation) {
				if err := o.Validate(); err != nil {
					t.Fatal(err)
				}
				observations++
				connections += o.Counts.Connections
				edges[edge{o.Workload.Identity, event.ResourceOf(o)}] = true
				if o.Counts.BytesSent != tick.Number {
					t.Errorf("tick %d is told as %d", tick.Number, o.Counts.BytesSent)
				}
			})
			wantObservations, wantConnections := tick.sums(agent)
			if observations != wantObservations || connections != wantConnections || uint64(len(edges)) != observations {
				t.Errorf("agent %d, tick %d: %d observations of %d edges, %d connections; want %d, %d", agent, tick.Number, observations, len(edges), connections, wantObservations, wantConnections)
			}
		}
	}
}

func TestTicksAreReadThoughTheLastIsTorn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ticks")
	if err := os.WriteFile(file, []byte("\n{\"n\":1,\"at\":5}\n{\"n\":2,\"a\n\n{\"n\":3,\"at\":7,\"novel\":true}\n{\"n\":4"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readTicks(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := []tick{{Number: 1, At: 5}, {Number: 3, At: 7, Novel: true}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// An account is right if what is missing is exactly what was counted, but for what an agent had just made when it was killed.
func TestAccounts(t *testing.T) {
	f := func(want bool, a account) {
		t.Helper()
		if got := a.ok(); got != want {
			t.Errorf("%+v: %t, want %t", a, got, want)
		}
	}
	lost := func(n uint64) map[string]uint64 { return map[string]uint64{"spool-full": n, "stream": 7} }
	f(true, account{made: 9})
	f(true, account{made: 9, missing: 5, lost: lost(5)})
	f(false, account{made: 9, missing: 5, lost: lost(4)})
	f(false, account{made: 9, missing: 5, lost: lost(6)})
	f(true, account{made: 9, missing: 5, unsure: 2, lost: lost(7)})
	f(false, account{made: 9, missing: 5, unsure: 2, lost: lost(8)})
	f(false, account{made: 9, missing: 5})
	f(false, account{made: 9, doubled: 1})
	f(false, account{made: 9, wrong: 1})
	tick := tick{Number: 8, Novel: true}
	n, connections := tick.sums(0)
	g := func(want account, got there, unsure bool) {
		t.Helper()
		var a account
		a.add(0, tick, got, unsure)
		if want.made = n; !reflect.DeepEqual(a, want) {
			t.Errorf("%+v: %+v, want %+v", got, a, want)
		}
	}
	g(account{there: n}, there{Rows: n, Distinct: n, Connections: connections}, false)
	g(account{there: n, wrong: 1}, there{Rows: n, Distinct: n, Connections: connections + 1}, false)
	g(account{there: n + 1, doubled: 1}, there{Rows: n + 1, Distinct: n, Connections: connections}, false)
	g(account{there: n - 3, missing: 3}, there{Rows: n - 3, Distinct: n - 3}, false)
	g(account{unsure: n}, there{}, true)
}
