package e2e

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

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
		made, replaced, idle := w.live(t, connections)
		outbound := w.truth.sum(func(e end) bool { return e.direction == event.Outbound })
		inbound := w.truth.sum(func(e end) bool { return e.direction == event.Inbound })
		t.Logf("%d connections in %s, while %d pods ended and others got their addresses, after %s (median) to %s", made, time.Since(began).Round(time.Millisecond),
			replaced, idle[len(idle)/2].Round(time.Millisecond), idle[len(idle)-1].Round(time.Millisecond))
		if outbound != inbound || outbound < connections {
			t.Fatalf("the pods contradict each other: %d connections were made, %d served", outbound, inbound)
		}
		truth := outbound + inbound
		took := eventually(t, 40*time.Second, func() string { return seen.atLeast(truth) })
		t.Logf("all told %s after the last", took.Round(time.Millisecond))
		compare(w.truth, seen.tally).check(t)
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

// live has the pods connect, end, and be replaced, and gives what was done: connections, replaced pods, and for how long addresses that changed
// hands directly were nobody's, in order.
func (w *town) live(t *testing.T, connections int64) (made int64, replaced int, idle []time.Duration) {
	t.Helper()
	const (
		workers      = 8
		replacements = 60
		jobs         = 40
	)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	draw := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }
	var count atomic.Int64
	var changes sync.WaitGroup
	changes.Add(2)
	over := make(chan struct{})
	go func() {
		defer close(over)
		changes.Wait()
	}()
	work, ctx := errgroup.WithContext(t.Context())
	for n := range workers {
		work.Go(func() error {
			return w.bustle(ctx, draw(uint64(n)), func(made int) bool {
				select {
				case <-over:
					return count.Add(int64(made)) < connections
				default:
					count.Add(int64(made))
					return true
				}
			})
		})
	}
	work.Go(func() error {
		defer changes.Done()
		for d := draw(100); replaced < replacements && ctx.Err() == nil; {
			took, err := w.replace(ctx, d)
			if err != nil {
				return err
			}
			if took > 0 {
				idle = append(idle, took)
			}
			if took != 0 {
				replaced++
			}
		}
		return nil
	})
	work.Go(func() error {
		defer changes.Done()
		d := draw(101)
		for n := 0; n < jobs && ctx.Err() == nil; n++ {
			if err := w.job(ctx, w.groups[n%10*5+4], d); err != nil {
				return err
			}
		}
		return nil
	})
	if err := work.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	slices.Sort(idle)
	var last errgroup.Group
	last.SetLimit(4)
	for _, r := range w.pods {
		last.Go(func() error { return w.ask(r) })
	}
	if err := last.Wait(); err != nil {
		t.Fatal(err)
	}
	return count.Load(), replaced, idle
}
