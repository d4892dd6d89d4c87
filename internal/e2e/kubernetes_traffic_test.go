package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/event"
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

// aim draws a target for a pod: a service, or a pod's own address. It is nil if what was drawn is about to change. A pod leaves its own service alone:
// kube-proxy sends what comes back to its sender on by the node's address.
func (w *town) aim(from *resident, draw *rand.Rand, times int) *target {
	r, release := w.anyone(draw)
	if r == nil {
		return nil
	}
	family, network := draw.IntN(2), []string{"tcp", "tcp", "tcp", "udp"}[draw.IntN(4)]
	x := &target{peer: r.identity, release: release}
	g := r.group
	switch {
	case g.kind == "Deployment" && g != from.group && draw.IntN(2) == 0:
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

// connect has a container connect to targets, and counts.
func (w *town) connect(r *resident, container int, targets []*target) (int, error) {
	program := r.Programs[container]
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
			who: r.identity, pod: r.name(), direction: event.Outbound, protocol: event.Protocol(x.dial.Network), at: x.at, peer: x.peer, name: x.name,
		}, r.Spec.Containers[container], results[i].Done)
	}
	return made, nil
}

// mingle has some pod connect to others, and says how often.
func (w *town) mingle(draw *rand.Rand) (int, error) {
	r, release := w.anyone(draw)
	if r == nil {
		return 0, nil
	}
	defer release()
	return w.meet(r, draw, 4, 5)
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
		if x := w.aim(r, draw, times); x != nil {
			targets = append(targets, x)
		}
	}
	return w.connect(r, draw.IntN(len(r.Programs)), targets)
}

// replace ends a pod of one Deployment, and starts one of another, most often at its addresses. The new pod connects, and is connected to, before the API
// knows that it has them. It says whether the pod that was drawn could be replaced.
func (w *town) replace(ctx context.Context, draw *rand.Rand, l *life) (bool, error) {
	w.mu.Lock()
	old := w.pods[draw.IntN(len(w.pods))]
	w.mu.Unlock()
	next := w.groups[draw.IntN(len(w.groups))]
	if old.group.kind != "Deployment" || old.group.size() < 4 || next.kind != "Deployment" || next.account == old.group.account || !old.busy.TryLock() {
		return false, nil // else the lock is kept for good
	}
	if err := w.leave(ctx, old); err != nil {
		return false, err
	}
	ended := time.Now()
	if err := old.Remove(ctx); err != nil {
		return false, err
	}
	r, err := w.create(ctx, next)
	if err == nil {
		err = w.start(r)
	}
	if err != nil {
		return false, err
	}
	if r.Addresses == old.Addresses {
		l.mu.Lock()
		l.idle = append(l.idle, time.Since(ended))
		l.mu.Unlock()
	}
	if _, err := w.meet(r, draw, 3, 2); err != nil {
		return false, err
	}
	if other, release := w.anyone(draw); other != nil {
		x := &target{at: netip.AddrPortFrom(r.Addresses[draw.IntN(2)], next.port), peer: r.identity}
		x.dial = talk.Dial{Network: "tcp", Address: x.at.String(), Times: 2}
		_, err = w.connect(other, 0, []*target{x})
		release()
	}
	l.replaced.Add(1)
	return true, errors.Join(err, w.join(ctx, r))
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
