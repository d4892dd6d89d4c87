package e2e

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
	"github.com/ambit-nhi/ambit/internal/testenv/node"
)

// A node with 200 pods of 40 service accounts, and 20,000 connections between them, while pods end and others get their addresses: every connection is
// told with the right identity on both ends, by the count of the programs that made them.
func TestKernelKubernetes(t *testing.T) {
	testenv.OwnNetwork(t, func(t *testing.T) {
		const connections = 20000
		cluster := testenv.Kubernetes(t)
		w := newTown(t, node.New(t, cluster, node.Config{}))
		cluster.Apply("../../deploy/rbac/agent.yaml")
		if err := w.found(t.Context()); err != nil {
			t.Fatal(err)
		}
		// Half of the pods are there before the agent is.
		began := time.Now()
		w.populate(t, w.groups[:len(w.groups)/2])
		seen := watchNode(t, w.node.Name(), cluster.KubeconfigFor("ambit", "ambit-agent"))
		w.populate(t, w.groups[len(w.groups)/2:])
		t.Logf("%d pods after %s", len(w.pods), time.Since(began).Round(time.Millisecond))

		began = time.Now()
		l := w.live(t, connections)
		outbound := w.truth.sum(func(e end) bool { return e.direction == event.Outbound })
		inbound := w.truth.sum(func(e end) bool { return e.direction == event.Inbound })
		t.Logf("%d connections in %s; meanwhile %d pods ended and others were started, and %d jobs ran; %d addresses changed hands within %s to %s", outbound,
			time.Since(began).Round(time.Millisecond), l.replaced.Load(), l.jobs.Load(), len(l.idle), l.idle[0].Round(time.Millisecond), l.idle[len(l.idle)-1].Round(time.Millisecond))
		if outbound != inbound || outbound < connections {
			t.Fatalf("the pods contradict each other: %d connections were made, %d served", outbound, inbound)
		}
		truth := outbound + inbound
		took := eventually(t, 40*time.Second, func() string { return seen.atLeast(truth) })
		t.Logf("all told %s after the last", took.Round(time.Millisecond))
		seen.end(t)
		compare(w.truth, seen.tally).check(t)
		if h := seen.beat.Load(); t.Failed() && h != nil {
			t.Logf("the agent's latest heartbeat: lost %v, gauges %v", h.Lost, h.Gauges)
		}
	})
}

// populate fills groups with pods.
func (w *town) populate(t *testing.T, groups []*group) {
	t.Helper()
	work, ctx := errgroup.WithContext(t.Context())
	work.SetLimit(6)
	for _, g := range groups {
		work.Go(func() error { return w.move(ctx, g) })
	}
	if err := work.Wait(); err != nil {
		t.Fatal(err)
	}
}

// life is what the pods of a town did.
type life struct {
	connections, replaced, jobs, changing atomic.Int64

	mu   sync.Mutex
	idle []time.Duration // for how long addresses that changed hands were nobody's
}

const (
	workers      = 8
	replacers    = 3
	replacements = 20 // by each
	jobs         = 40
	pace         = 60 // meetings of 20 connections a second; more would only wear out the machine while pods change
)

// live has the pods connect, end, and be replaced, until there were enough connections and all changes are made, and then end in order.
func (w *town) live(t *testing.T, connections int64) *life {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	draw := func(n int) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(n))) }
	l := &life{}
	work, ctx := errgroup.WithContext(t.Context())
	limit := rate.NewLimiter(pace, workers)
	l.changing.Store(replacers + 1)
	for n := range workers {
		d := draw(n)
		work.Go(func() error {
			for l.changing.Load() > 0 || l.connections.Load() < connections {
				if err := limit.Wait(ctx); err != nil {
					return err
				}
				made, err := w.mingle(d)
				if err != nil {
					return err
				}
				if l.connections.Add(int64(made)) >= connections {
					limit.SetLimit(pace / 10) // only until all changes are made
				}
			}
			return nil
		})
	}
	for n := range replacers {
		d := draw(workers + n)
		work.Go(func() error {
			defer l.changing.Add(-1)
			for done := 0; done < replacements && ctx.Err() == nil; {
				ok, err := w.replace(ctx, d, l)
				if err != nil {
					return err
				}
				if ok {
					done++
				}
			}
			return nil
		})
	}
	work.Go(func() error {
		defer l.changing.Add(-1)
		d := draw(workers + replacers)
		for n := 0; n < jobs && ctx.Err() == nil; n++ {
			if err := w.job(ctx, w.groups[n%10*5+4], d); err != nil {
				return err
			}
			l.jobs.Add(1)
		}
		return nil
	})
	if err := work.Wait(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(l.idle)
	var last errgroup.Group
	last.SetLimit(4)
	for _, r := range w.pods {
		last.Go(func() error { return w.ask(r) })
	}
	if err := last.Wait(); err != nil {
		t.Fatal(err)
	}
	return l
}
