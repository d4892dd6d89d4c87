package agent

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/ambit-nhi/ambit/agent/handshake"
	"github.com/ambit-nhi/ambit/agent/tlsprobe"
	"github.com/ambit-nhi/ambit/agent/tlswire"
	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

// TLSConfig says how TLS is watched.
type TLSConfig struct {
	Judge   func(chain [][]byte, at time.Time) handshake.Verdict // of certificates that are seen, leaf first
	Missing func() []string                                      // what cannot be judged at the moment, in words; may be nil
}

// tlsWatch sees handshakes: where programs handle them, and on the wire. All but the finder belongs to the agent's loop.
type tlsWatch struct {
	cfg     TLSConfig
	kernel  *bpf.Kernel
	probes  *bpf.TLS // nil where only the wire is watched, as is finder
	streams *tlswire.Streams
	tracker *handshake.Tracker
	finder  *tlsprobe.Finder
	lost    map[string]uint64 // in the probes, as of the last look
	holes   uint64            // records that found no room, as far as the tracker knows

	met func(n bpf.Number, peer, own event.Identity) // told of each handshake that says who the peer is; may be nil
}

// watchTLS loads what is needed. Without the probes only the wire is watched, and the agent says so.
func watchTLS(kernel *bpf.Kernel, cfg TLSConfig, wall func(time.Duration) time.Time) *tlsWatch {
	w := &tlsWatch{cfg: cfg, kernel: kernel, streams: tlswire.New(tlswire.Config{})}
	w.tracker = handshake.New(handshake.Config{Judge: cfg.Judge, Wall: wall})
	if err := w.load(); err != nil {
		slog.Warn("TLS is watched on the wire only", "reason", err)
		w.probes, w.finder = nil, nil
	}
	return w
}

func (w *tlsWatch) load() (err error) {
	if w.probes, err = w.kernel.LoadTLS(); err != nil {
		return fmt.Errorf("load the probes of TLS: %w", err)
	}
	for _, m := range w.probes.Missing() {
		slog.Warn("this kernel refuses a hook", "hook", m.Name, "blind", m.Purpose, "reason", m.Err)
	}
	find, probes := tlsprobe.Default(), w.probes
	find.Attach = func(path string, t bpf.Target) (io.Closer, error) { return probes.Attach(path, t) }
	if w.finder, err = tlsprobe.New(find); err != nil {
		return fmt.Errorf("look for programs that speak TLS: %w", err)
	}
	return nil
}

// Run finds programs until ctx ends.
func (w *tlsWatch) Run(ctx context.Context) error {
	if w.finder == nil {
		<-ctx.Done()
		return nil
	}
	return w.finder.Run(ctx)
}

// take takes what was seen since the last call, and says whether there was anything.
func (w *tlsWatch) take(now moment) (bool, error) {
	some := false
	for hello, err := range w.kernel.Hellos() {
		if err != nil {
			return some, fmt.Errorf("read TLS hellos: %w", err)
		}
		some = true
		if ev, ok := w.streams.Add(&hello, now.wall); ok { // what it refuses, it counts
			w.tracker.Wire(&ev)
		}
	}
	if w.probes == nil {
		return some, nil
	}
	probed := false
	for record, err := range w.probes.Records() {
		if err != nil {
			return some, fmt.Errorf("read TLS records: %w", err)
		}
		some, probed = true, true
		w.tracker.Record(&record)
	}
	if !probed { // a ring that was full holds some
		return some, nil
	}
	n, err := w.probes.Dropped()
	if err != nil {
		return some, err
	}
	if n > w.holes { // what is missing may be the end of one handshake and the begin of the next
		w.holes = n
		w.tracker.Lost()
	}
	return some, nil
}

// tell gives the ledger the handshakes that are over.
func (w *tlsWatch) tell(now moment, l *ledger, p *proven) {
	for _, h := range w.tracker.Due(now.monotonic) {
		if !h.OK {
			continue
		}
		l.handshook(h.Edge, &shaken{tls: h.TLS, peer: h.Peer, own: h.Own})
		if w.met != nil && !h.Peer.IsZero() {
			w.met(h.Edge, h.Peer, h.Own)
		}
		if who := l.workload(h.Edge); who != nil && !h.Own.IsZero() {
			until := now.wall
			if c := h.TLS.OwnCertificate; c != nil {
				until = c.NotAfter
			}
			p.show(who, h.Own, until, now.wall)
		}
	}
	if w.finder == nil {
		return
	}
	w.tracker.Unbound(w.finder.Unbound) // handshakes that need more probes
	w.tracker.Blind(w.finder.Blind)
}

// look takes stock of losses.
func (w *tlsWatch) look() (err error) {
	if w.probes == nil {
		return nil
	}
	if w.lost, err = w.probes.Losses(); err != nil {
		return fmt.Errorf("read losses of TLS: %w", err)
	}
	return nil
}

func (w *tlsWatch) missing() (lines []string) {
	if w.finder == nil {
		lines = append(lines, "TLS of all programs, beyond what the wire shows")
	} else {
		for _, m := range w.probes.Missing() {
			lines = append(lines, m.Purpose+" ("+m.Name+")")
		}
		lines = append(lines, w.finder.Missing()...)
	}
	if w.cfg.Missing != nil {
		lines = append(lines, w.cfg.Missing()...)
	}
	return lines
}

func (w *tlsWatch) gauges() map[string]uint64 {
	out := gather(map[string]uint64{}, w.tracker.Gauges, w.streams.Gauges)
	if w.finder != nil {
		gather(out, w.finder.Gauges)
	}
	return out
}

func (w *tlsWatch) counters() map[string]uint64 {
	out := gather(map[string]uint64{}, w.tracker.Counters, w.streams.Counters)
	if w.finder != nil {
		gather(out, w.finder.Counters)
	}
	return out
}
