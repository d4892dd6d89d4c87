package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv/node"
	talk "github.com/ambit-nhi/ambit/internal/testenv/traffic"
)

// target is something to connect to, held against its end until release is called.
type target struct {
	dial    talk.Dial
	at      netip.AddrPort
	peer    event.Identity
	name    string
	release func()
}

// aim draws a target: a service, or a pod's own address. It is nil if what was drawn is about to change.
func (w *town) aim(draw *rand.Rand, times int) *target {
	r, release := w.anyone(draw)
	if r == nil {
		return nil
	}
	family, network := draw.IntN(2), []string{"tcp", "tcp", "tcp", "udp"}[draw.IntN(4)]
	x := &target{peer: r.identity, release: release}
	g := r.group
	switch {
	case g.kind == "Deployment" && draw.IntN(2) == 0:
		release()
		if !g.busy.TryRLock() {
			return nil
		}
		x.release = g.busy.RUnlock
		if len(g.members) == 0 {
			x.release()
			return nil
		}
		s := g.services[0]
		if s.Protocol() != network {
			s = g.services[1]
		}
		x.at, x.name = s.At(family), s.Name+"."+s.Namespace+".svc"
	case len(r.Programs) > 1 && draw.IntN(2) == 0:
		network = "tcp"
		x.at = netip.AddrPortFrom(r.Addresses[family], proxyPort)
	default:
		x.at = netip.AddrPortFrom(r.Addresses[family], g.port)
	}
	x.dial = talk.Dial{Network: network, Address: x.at.String(), Times: times}
	return x
}

// connect has a program connect to targets, and counts.
func (w *town) connect(r *resident, program *node.Program, targets []*target) (int, error) {
	dials := make([]talk.Dial, len(targets))
	for i, x := range targets {
		dials[i] = x.dial
	}
	results, err := program.Dial(dials...)
	if err != nil {
		return 0, err
	}
	made := 0
	for i, x := range targets {
		if results[i].Failed > 0 {
			return 0, fmt.Errorf("%s cannot connect to %s of %s: %s", program.Name, x.dial.Address, x.peer, results[i].Error)
		}
		made += results[i].Done
		w.truth.add(end{
			who: r.identity, pod: program.Name, direction: event.Outbound, protocol: event.Protocol(x.dial.Network), at: x.at, peer: x.peer, name: x.name,
		}, results[i].Done)
	}
	return made, nil
}

// bustle has pods connect to each other, many at a time, until enough connections were made or there is an error.
func (w *town) bustle(ctx context.Context, draw *rand.Rand, more func(made int) bool) error {
	for made := 0; ctx.Err() == nil && more(made); {
		made = 0
		r, release := w.anyone(draw)
		if r == nil {
			continue
		}
		n, err := w.meet(r, draw, 4, 5)
		release()
		if err != nil {
			return err
		}
		made = n
	}
	return nil
}

// meet has one container of a pod connect to some others.
func (w *town) meet(r *resident, draw *rand.Rand, others, times int) (int, error) {
	var targets []*target
	defer func() {
		for _, x := range targets {
			x.release()
		}
	}()
	for range others {
		if x := w.aim(draw, times); x != nil {
			targets = append(targets, x)
		}
	}
	return w.connect(r, r.Programs[draw.IntN(len(r.Programs))], targets)
}

// replace ends a pod of one group, and starts one of another at its addresses. The new pod connects, and is connected to, before the API knows that
// it has them. It says how long the addresses were nobody's.
func (w *town) replace(ctx context.Context, draw *rand.Rand) (time.Duration, error) {
	w.mu.Lock()
	r := w.pods[draw.IntN(len(w.pods))]
	w.mu.Unlock()
	if r.group.kind != "Deployment" || r.group.size() < 3 {
		return 0, nil
	}
	next := w.groups[draw.IntN(len(w.groups))]
	for next.kind != "Deployment" || next.account == r.group.account {
		next = w.groups[draw.IntN(len(w.groups))]
	}
	r.busy.Lock() // for good
	if err := w.leave(ctx, r); err != nil {
		return 0, err
	}
	ended := time.Now()
	if err := r.Remove(ctx); err != nil {
		return 0, err
	}
	n, err := w.create(ctx, next)
	if err == nil {
		err = w.start(n)
	}
	if err != nil {
		return 0, err
	}
	nobodys := time.Since(ended)
	if _, err := w.meet(n, draw, 3, 2); err != nil {
		return 0, err
	}
	if other, release := w.anyone(draw); other != nil {
		family := draw.IntN(2)
		x := &target{at: netip.AddrPortFrom(n.Addresses[family], next.port), peer: n.identity}
		x.dial = talk.Dial{Network: "tcp", Address: x.at.String(), Times: 2}
		_, err = w.connect(other, other.Programs[0], []*target{x})
		release()
	}
	if n.Addresses != r.Addresses {
		nobodys = -1 // another pod was faster
	}
	return nobodys, errors.Join(err, w.join(ctx, n))
}

// job runs a pod that lives for 200 ms. The API is told of it only when it is over, with its address for the first time, as kubelet does with such pods.
func (w *town) job(ctx context.Context, g *group, draw *rand.Rand) error {
	r, err := w.create(ctx, g)
	if err == nil {
		err = w.start(r)
	}
	if err != nil {
		return err
	}
	life := time.NewTimer(200 * time.Millisecond)
	defer life.Stop()
	if _, err := w.meet(r, draw, 3, 3); err != nil {
		return err
	}
	select {
	case <-life.C:
	case <-ctx.Done():
	}
	if err := errors.Join(w.ask(r), r.Kill()); err != nil {
		return err
	}
	defer r.Release()
	return r.ReportEnd(ctx)
}
