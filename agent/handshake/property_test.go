package handshake

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/event"
)

// drawTalk draws a handshake. Certificates are distinct among those of a run, so that swapped ones show.
func drawTalk(t *rapid.T, number int, process string) *talk {
	c := casts()
	k := &talk{
		number: number, stack: process, client: rapid.Bool().Draw(t, "client"),
		version: rapid.SampledFrom([]uint16{tls12, tls13}).Draw(t, "version"), takenUp: rapid.IntRange(0, 4).Draw(t, "resumed") == 0,
		fails: rapid.IntRange(0, 5).Draw(t, "fails") == 0, holds: rapid.Bool().Draw(t, "holds"), freed: true, // else its address is not used again
		looksAtPeer: rapid.IntRange(0, 3).Draw(t, "looks at the peer") == 0, proxied: rapid.IntRange(0, 3).Draw(t, "proxied") == 0,
		windows: rapid.IntRange(0, 2).Draw(t, "windows"),
	}
	if k.dear = process == "dear"; k.dear {
		k.stack = rapid.SampledFrom([]string{"openssl", "memory"}).Draw(t, "stack")
	}
	mutual := rapid.Bool().Draw(t, "mutual")
	if k.client || mutual {
		k.peer = append(k.peer, c.workloads[2*number%people].Certificate)
		if rapid.Bool().Draw(t, "chain") {
			k.peer = append(k.peer, c.ca.Certificate)
		}
	}
	if !k.client || mutual {
		k.own = append(k.own, c.workloads[(2*number+1)%people].Certificate)
	}
	k.readsOwn = k.stack != "go" && !k.client && rapid.IntRange(0, 3).Draw(t, "reads its own") == 0
	if k.takenUp {
		k.own = nil
		if k.stack != "go" && k.client {
			k.peer = nil
		}
		k.fails = false
	}
	if k.stack == "openssl" && k.client && !k.takenUp {
		k.falseHits = rapid.SampledFrom([]int{0, 0, 2, 4}).Draw(t, "false hits")
	}
	return k
}

// world has handshakes of some processes, whose connections take turns in using few addresses.
type world struct {
	talks []*talk
	steps []step // by time
	given []step // what was not lost of them
}

func drawWorld(t *rapid.T) *world {
	w := &world{}
	lines := rapid.IntRange(1, 8).Draw(t, "at a time")
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	queues := make([][]step, lines)
	processes := make([]string, lines)
	for i := range processes {
		processes[i] = rapid.SampledFrom([]string{"openssl", "dear", "go", "other"}).Draw(t, "process")
		if i%2 == 1 {
			processes[i] = processes[i-1]
		}
	}
	n := rapid.IntRange(1, people/2).Draw(t, "handshakes")
	for i := range n {
		line := r.IntN(lines)
		k := drawTalk(t, i, processes[line])
		k.tgid, k.address = uint32(100+line/2), uint64(0xc000+line)
		w.talks = append(w.talks, k)
		steps := k.steps()
		for j := range steps {
			steps[j].talk = k
		}
		queues[line] = append(queues[line], steps...)
	}
	at := time.Second
	for {
		queues = slices.DeleteFunc(queues, func(q []step) bool { return len(q) == 0 })
		if len(queues) == 0 {
			return w
		}
		i := r.IntN(len(queues))
		s := queues[i][0]
		queues[i] = queues[i][1:]
		at += time.Duration(r.IntN(300)) * time.Microsecond
		s.at = at
		if s.record != nil {
			s.record.At = at
		} else {
			s.wire.At = at
		}
		w.steps = append(w.steps, s)
	}
}

// turns is how many handshakes the address had before.
func (w *world) turns(k *talk) (n int) {
	for _, o := range w.talks[:k.number] {
		if o.tgid == k.tgid && o.address == k.address {
			n++
		}
	}
	return n
}

// run gives the tracker what two rings had, each in order, but read at different times. Where a burst of losses began, the tracker is told.
func (w *world) run(t *rapid.T, tr *Tracker, lost func(*step) bool, tell bool) (out []Handshake) {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "polls"), 2))
	var records, wires []step
	var losses []time.Duration
	for _, s := range w.steps {
		if lost(&s) {
			if s.record != nil {
				losses = append(losses, s.at)
			}
			continue
		}
		w.given = append(w.given, s)
		if s.record != nil {
			records = append(records, s)
		} else {
			wires = append(wires, s)
		}
	}
	take := func(ring *[]step, until time.Duration) {
		for len(*ring) > 0 && (*ring)[0].at <= until {
			(*ring)[0].give(tr)
			*ring = (*ring)[1:]
		}
	}
	end := w.steps[len(w.steps)-1].at
	for now := time.Second; now < end+30*time.Second; now += 20 * time.Millisecond {
		first, second := now-time.Duration(r.IntN(3000))*time.Microsecond, now
		if r.IntN(2) == 0 {
			take(&records, first)
			take(&wires, second)
		} else {
			take(&wires, first)
			take(&records, second)
		}
		for tell && len(losses) > 0 && losses[0] <= now {
			tr.Lost()
			losses = losses[1:]
		}
		out = append(out, tr.Due(now)...)
		if now > end+3*time.Second {
			now += time.Second
		}
	}
	return out
}

// Whatever is lost, nothing is told that is not so: of the wire anything, of the probes' records one of a handshake.
func TestLossesOnlyTakeAway(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "losses"), 3))
		rate := rapid.SampledFrom([]int{2, 5, 20, 100}).Draw(t, "one is lost of")
		type line struct {
			tgid    uint32
			address uint64
		}
		had := map[line]int{} // the last handshake that something was lost of: two of one address's in turn are a burst
		tr := casts().tracker()
		for _, h := range w.run(t, tr, func(s *step) bool {
			at := line{s.talk.tgid, s.talk.address}
			last, before := had[at]
			switch {
			case r.IntN(rate) > 0:
				return false
			case s.record == nil:
				return true
			case before && w.turns(s.talk)-last < 2:
				return false
			}
			had[at] = w.turns(s.talk)
			return true
		}, false) {
			w.verify(t, &h)
		}
		tr.verifyEmpty(t)
	})
}

// Likewise if many records are lost at a time, as when a ring is full, which the kernel counts.
func TestBurstsOfLossesOnlyTakeAway(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "losses"), 3))
		left := 0
		tr := casts().tracker()
		for _, h := range w.run(t, tr, func(s *step) bool {
			if left == 0 && r.IntN(40) == 0 {
				left = r.IntN(60)
			}
			if left == 0 {
				return false
			}
			left--
			return r.IntN(4) > 0 // some find room
		}, true) {
			w.verify(t, &h)
		}
		tr.verifyEmpty(t)
	})
}

// Where nothing is lost, all is told.
func TestAllIsTold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		tr := casts().tracker()
		told := map[uint64]*Handshake{}
		for _, h := range w.run(t, tr, func(*step) bool { return false }, false) {
			w.verify(t, &h)
			if told[h.Cookie] != nil {
				t.Fatalf("%d is told twice", h.Cookie)
			}
			told[h.Cookie] = &h
		}
		for _, k := range w.talks {
			h := told[k.cookie()]
			if h == nil {
				t.Fatalf("%+v is not told; %v", k, tr.Counters())
			}
			if want := k.provenance(); h.TLS.Provenance != want {
				t.Fatalf("%+v is told as %s, want %s; %v", k, h.TLS.Provenance, want, tr.Counters())
			}
			if h.OK == (k.fails && k.stack != "other") || h.TLS.SNI != k.server() || h.TLS.Version != versionText(k.version) || h.Edge != k.edge() {
				t.Fatalf("%+v is told as %+v", k, h)
			}
			if k.stack == "other" || k.fails {
				continue
			}
			if len(k.peer) > 0 && (h.TLS.PeerCertificate == nil || h.Peer.IsZero() || !h.TLS.Verified || !h.TLS.PeerCertificate.Proven) {
				t.Fatalf("the peer of %+v is not told: %+v, %v", k, h, tr.Counters())
			}
			if len(k.own) > 0 && (h.TLS.OwnCertificate == nil || h.Own.IsZero()) {
				t.Fatalf("the own certificate of %+v is not told: %+v", k, h)
			}
			if h.TLS.Mutual != (len(k.own) > 0 && len(k.peer) > 0 || !k.client && len(k.peer) > 0) {
				t.Fatalf("%+v is told as mutual=%t", k, h.TLS.Mutual)
			}
		}
		tr.verifyEmpty(t)
	})
}

// provenance is how well a handshake can be known.
func (k *talk) provenance() string {
	switch {
	case k.stack == "other", k.stack != "go" && k.takenUp && k.client: // it took up a session that nobody saw begin
		return "wire-only"
	case k.takenUp:
		return "resumed"
	}
	return "full"
}

// verify holds what was told against what was so.
func (w *world) verify(t *rapid.T, h *Handshake) {
	i := int(h.Cookie) - 1000
	if h.Cookie >= 1<<20 { // the proxy's own connection, of which only the wire tells
		if h.TLS.Provenance != "wire-only" || !h.Peer.IsZero() || !h.Own.IsZero() || h.Edge != w.talks[i-1<<20].edge()+1<<8 {
			t.Fatalf("a proxy's connection is told as %+v", h)
		}
		return
	}
	k := w.talks[i]
	fail := func(what string) { t.Fatalf("%s: %+v is told as %+v, of\n%s", what, k, h, w.story(k)) }
	rank := map[string]int{"wire-only": 0, "inferred": 1, "resumed": 1, "full": 1}
	if h.OK && rank[h.TLS.Provenance] > rank[k.provenance()] || h.OK && rank[h.TLS.Provenance] > 0 && h.TLS.Provenance != k.provenance() {
		fail("provenance")
	}
	if h.Edge != 0 && h.Edge != k.edge() || h.Cgroup != k.cgroup() || h.TGID != 0 && h.TGID != k.tgid {
		fail("place")
	}
	if h.Remote.IsValid() && h.Remote != k.remote() || h.TLS.SNI != "" && h.TLS.SNI != k.server() || h.TLS.Version != "" && h.TLS.Version != versionText(k.version) {
		fail("hello")
	}
	if h.OK && k.fails && k.stack != "other" && h.TLS.Provenance != "wire-only" || h.TLS.Verified && (!h.OK || k.fails) {
		fail("end")
	}
	side := func(what string, told *event.Certificate, id event.Identity, number int, so bool) {
		want := casts().workloads[number%people]
		if told != nil && (!so || told.SHA256 != sumOf(want.Certificate)) {
			fail(what + "'s certificate")
		}
		if !id.IsZero() && (told == nil || !told.Proven || k.fails || id.String() != fmt.Sprintf("spiffe://shop.example/w%d", number%people)) {
			fail(what + "'s identity")
		}
	}
	side("peer", h.TLS.PeerCertificate, h.Peer, 2*k.number, len(k.peer) > 0)
	side("own", h.TLS.OwnCertificate, h.Own, 2*k.number+1, len(k.own) > 0)
}

// story is what was given of a handshake, and of others at the same address.
func (w *world) story(k *talk) string {
	var b strings.Builder
	for _, s := range w.given {
		switch r, ev := s.record, s.wire; {
		case r != nil && r.TGID == k.tgid && r.Connection == k.address:
			fmt.Fprintf(&b, "%s %s cookie %d index %d client %t ok %t\n", s.at, r.Kind, r.Cookie, r.Index, r.Client, r.OK)
		case ev != nil && ev.Cookie == k.cookie():
			fmt.Fprintf(&b, "%s wire out %t client %t server %t\n", s.at, ev.Out, ev.Client != nil, ev.Server != nil)
		}
	}
	return b.String()
}

// verifyEmpty holds that nothing waits any more, in whatever index.
func (t *Tracker) verifyEmpty(rt interface{ Fatalf(string, ...any) }) {
	if n := len(t.queue) + len(t.connections) + len(t.bound) + len(t.seeking) + len(t.wires) + len(t.hellos) + len(t.underWay); n > 0 {
		rt.Fatalf("%d things are left: queue %d, connections %d, bound %d, seeking %d, wires %d, hellos %d, under way %d", n, len(t.queue), len(t.connections),
			len(t.bound), len(t.seeking), len(t.wires), len(t.hellos), len(t.underWay))
	}
}
