package handshake

import (
	"crypto/sha256"
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/agent/tlswire"
)

// sent names a hello by its random, as who sent it knows it.
type sent struct {
	random [32]byte
	client bool // a client's
}

// retry is the random of a server's hello that asks for another one of the client's (RFC 8446, section 4.1.3): it is everybody's.
var retry = sha256.Sum256([]byte("HelloRetryRequest"))

// wired is what the wire told of a socket's handshake.
type wired struct {
	pending
	cookie, cgroup uint64
	tgid           uint32 // of who sent from this end, 0 if not known
	local, remote  netip.AddrPort
	at             time.Duration

	client    *tlswire.Client
	server    *tlswire.Server
	answered  time.Duration // when the server spoke
	asClient  bool          // this end began it; known with any hello
	peer, own *certificate  // of TLS 1.2

	hello sent // that this end sent, if it did
	sends bool
	twin  *wired // another socket that sent the same hello: a proxy's
	crowd bool   // and there are more
}

// Wire takes a hello, or a certificate, that stood on the wire.
func (t *Tracker) Wire(ev *tlswire.Event) {
	t.now = max(t.now, ev.At)
	if ev.Cookie == 0 {
		return
	}
	if _, ok := t.told.sockets[ev.Cookie]; ok {
		return
	}
	w := t.wires[ev.Cookie]
	if w == nil {
		w = &wired{cookie: ev.Cookie, cgroup: ev.Cgroup, at: ev.At}
		w.wired = w
		t.wires[ev.Cookie] = w
		t.admit(&w.pending)
	}
	t.news(&w.pending, ev.Edge)
	if ev.Local.IsValid() {
		w.local, w.remote = ev.Local, ev.Remote
	}
	if ev.Out && ev.TGID != 0 {
		w.tgid = ev.TGID
	}
	known := w.client != nil || w.server != nil
	switch {
	case ev.Client != nil && w.client == nil && (!known || w.asClient == ev.Out):
		w.client, w.asClient = ev.Client, ev.Out
		t.sends(w, ev.Out, sent{ev.Client.Random, true})
	case ev.Server != nil && w.server == nil && !ev.Server.HelloRetry && (!known || w.asClient == !ev.Out):
		w.server, w.asClient, w.answered = ev.Server, !ev.Out, ev.At
		t.sends(w, ev.Out, sent{ev.Server.Random, false})
	}
	if len(ev.Certificates) > 0 {
		side := &w.peer
		if ev.Out {
			side = &w.own
		}
		if *side == nil {
			*side = t.certificates.get(ev.Certificates[0], len(ev.Certificates[0]), w.cgroup, t.now)
		}
	}
	if p := t.bound[w.cookie]; p != nil {
		t.soon(p)
	}
	if w.client != nil && w.server != nil { // it may have been looked at before the server spoke, and not be due for long
		t.queue.wait(&w.pending, t.now+quiet)
	}
}

// maxTwins bounds how many sockets are known to have sent the same hello.
const maxTwins = 4

func (t *Tracker) sends(w *wired, out bool, hello sent) {
	if !out || w.sends || hello.random == retry {
		return
	}
	first := t.hellos[hello]
	n := 0
	for x := first; x != nil; x = x.twin {
		n++
	}
	if n >= maxTwins {
		first.crowd = true // as long as one of them is there
		return
	}
	w.hello, w.sends = hello, true
	w.twin, w.crowd = first, first != nil && first.crowd
	t.hellos[hello] = w
}

// lookWired tells of a handshake that no probe told of, once both sides have spoken or nobody does any more.
func (t *Tracker) lookWired(w *wired, pressed bool) {
	if !pressed && t.claimed(w) && t.now-w.last < patience+quiet {
		t.setActive(&w.pending, t.now-w.last < quiet)
		t.queue.wait(&w.pending, t.now+settle)
		return
	}
	if spoken := w.client != nil && w.server != nil && t.now-w.last >= quiet; !spoken && t.idle(&w.pending, pressed) {
		return
	}
	t.forgetWired(w)
	if p := t.bound[w.cookie]; p != nil && pressed {
		return // what the probes know is told later, without this
	}
	mark(t.blind, w.tgid)
	t.tellWired(w)
}

// claimed says whether a probe told of a handshake that is this one, and is not over.
func (t *Tracker) claimed(w *wired) bool {
	if t.bound[w.cookie] != nil {
		return true
	}
	return t.sought(w)
}

// sought says whether a program whose hello it is waits.
func (t *Tracker) sought(w *wired) bool {
	p := t.seeking[w.hello]
	return w.sends && p != nil && p.sentBy(w)
}

func (t *Tracker) forgetWired(w *wired) {
	t.remove(&w.pending)
	delete(t.wires, w.cookie)
	if !w.sends {
		return
	}
	first := t.hellos[w.hello]
	if first == w {
		if w.twin == nil {
			delete(t.hellos, w.hello)
		} else {
			w.twin.crowd = w.twin.crowd || w.crowd
			t.hellos[w.hello] = w.twin
		}
		return
	}
	for x := first; x != nil; x = x.twin {
		if x.twin == w {
			x.twin = w.twin
			return
		}
	}
}

// resumes says whether the hellos agree on a session that was before. It is not known of TLS 1.2 servers that do not repeat the client's id.
func (w *wired) resumes() bool {
	if w == nil || w.client == nil || w.server == nil {
		return false
	}
	if w.server.Version >= tls13 {
		return w.server.Resumed
	}
	return len(w.server.SessionID) > 0 && string(w.server.SessionID) == string(w.client.SessionID) && w.peer == nil && w.own == nil
}
