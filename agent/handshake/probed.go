package handshake

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/bpf"
)

// TLS versions as they are written.
const (
	tls10 = 0x0301
	tls12 = 0x0303
	tls13 = 0x0304
)

// connection names a program's connection by its address. It is used again.
type connection struct {
	tgid    uint32
	address uint64
}

// probed is what probes told of one handshake of a connection, in the order it happened.
type probed struct {
	pending
	connection
	tid           uint32
	target        uint32
	cgroup        uint64
	cookie        uint64 // of the socket; 0 while not known
	local, remote netip.AddrPort

	hello   sent // that it sent, if that is known
	seeks   bool
	several bool // somebody else sent the same
	moved   bool // the connection was on another socket before, and nobody said that it was given up
	second  bool // the socket has a handshake already
	holed   bool // records were lost, maybe of this

	golang       bool
	client       bool // of Go
	resumed      bool // likewise
	verified     bool // likewise
	version      uint16
	protocol     string // that was agreed, ALPN
	server       string // name, of Go
	shown        shown
	session      *certificate // of a session that was taken up again
	hasSession   bool
	sessionHolds bool // the program's rules had held
	tried        bool // it returned without having completed
	done, ok     bool
	doneAt       time.Duration
	freed        bool // nobody can ask it for anything any more
}

// Record takes what a probe told. It keeps nothing of the payload, and wipes that of sessions, which have keys.
func (t *Tracker) Record(r *bpf.TLSRecord) {
	if r.Kind == bpf.RecordSession {
		defer clear(r.Payload)
	}
	t.now = max(t.now, r.At)
	key := connection{r.TGID, r.Connection}
	p := t.connections[key]
	switch {
	case p == nil:
		p = t.begin(key, r)
	case p.seeks && r.Kind == bpf.RecordBound:
		t.carry(p, r)
		return
	case p.done && !t.after(p, r):
		if r.Cookie != 0 && r.Cookie == p.cookie {
			t.news(&p.pending, r.Edge) // the same connection goes on: tickets, a second handshake within the first
			return
		}
		t.detach(p)
		p = t.begin(key, r)
	case !p.done && p.left(r):
		moved := r.Kind != bpf.RecordRandom && p.cookie != 0
		t.detach(p)
		if p = t.begin(key, r); p != nil {
			p.moved = moved
		}
	}
	if p == nil {
		return
	}
	if r.Cookie != 0 && p.cookie == 0 {
		t.bind(p, r.Cookie)
	}
	edge := r.Edge
	if r.Cookie != p.cookie {
		edge = 0
	} else if r.Local.IsValid() {
		p.local, p.remote = r.Local, r.Remote
	}
	t.news(&p.pending, edge)
	if r.Target != 0 {
		p.target = r.Target
	}
	switch r.Kind {
	case bpf.RecordPeerCertificate:
		p.shown.peer(t.certificates.get(r.Payload, r.Length, r.Cgroup, t.now), r)
	case bpf.RecordOwnCertificate:
		if r.Index == 0 {
			p.shown.own(t.certificates.get(r.Payload, r.Length, r.Cgroup, t.now), r.At)
		}
	case bpf.RecordVerified:
		p.shown.verdict(r)
	case bpf.RecordSession:
		t.takeSession(p, r)
	case bpf.RecordRandom:
		t.seek(p, r)
	case bpf.RecordALPN:
		p.protocol = text(r.Payload, maxProtocol)
		t.soon(p)
	case bpf.RecordDone:
		if p.tried = p.tried || !r.OK; r.OK {
			t.finish(p, true, r)
		}
	case bpf.RecordGoDone:
		p.golang, p.client, p.resumed, p.verified, p.version = true, r.Client, r.Resumed, r.Verified, r.Version
		protocol, server, _ := bytes.Cut(r.Payload, []byte{0})
		p.protocol, p.server = text(protocol, maxProtocol), hostname(string(server))
		t.finish(p, r.OK, r)
	case bpf.RecordFreed:
		if !p.done {
			t.finish(p, false, r)
		}
		p.freed = true
		t.soon(p)
		delete(t.connections, key)
	}
}

// Lost says that probes' records were lost since the last call of Due, at least one. Those of two handshakes at one address may look like one then, so
// that what waits is not told by its probes. Call it after the records that were read meanwhile, and before Due.
func (t *Tracker) Lost() {
	for _, x := range t.queue {
		if x.probed != nil {
			x.probed.holed = true
		}
	}
}

// begin begins a handshake, if a record can be the first of one that is worth it.
func (t *Tracker) begin(key connection, r *bpf.TLSRecord) *probed {
	switch {
	case r.Kind == bpf.RecordFreed, r.Kind == bpf.RecordALPN, r.Kind == bpf.RecordVerified, r.Kind == bpf.RecordDone && !r.OK:
		return nil
	case r.Cookie != 0:
		if as, ok := t.told.sockets[r.Cookie]; ok && !as.wireOnly {
			return nil // of a connection that was told
		}
	}
	p := &probed{connection: key, cgroup: r.Cgroup, tid: r.TID}
	p.probed = p
	t.connections[key] = p
	t.admit(&p.pending)
	return p
}

// left says whether a record is of another handshake, though nobody told that the connection was given up.
func (p *probed) left(r *bpf.TLSRecord) bool {
	if r.Kind == bpf.RecordRandom {
		again := p.seeks && (r.Client != p.hello.client || !bytes.Equal(r.Payload, p.hello.random[:])) && !bytes.Equal(r.Payload, retry[:])
		return again || !p.seeks && r.Client && p.shown.order > 0 // a client's hello comes first
	}
	switch {
	case r.Cookie == p.cookie || r.Cookie == 0 && r.Kind == bpf.RecordGoDone:
		return false
	case p.seeks: // another one would begin with another hello; its thread may have been at work with any socket meanwhile
		return false
	case p.cookie != 0: // which is with all records as soon as it is known
		return true
	}
	sameSocket := p.local.IsValid() && p.local == r.Local && p.remote == r.Remote // its cookie was not known yet
	return p.shown.order > 0 && !sameSocket                                       // certificates come over the socket
}

// after says whether a record that comes after the end of a handshake belongs to it.
func (t *Tracker) after(p *probed, r *bpf.TLSRecord) bool {
	switch r.Kind {
	case bpf.RecordALPN, bpf.RecordFreed:
		return true
	case bpf.RecordDone, bpf.RecordGoDone:
		return false
	case bpf.RecordPeerCertificate, bpf.RecordOwnCertificate:
		return p.golang && r.TID == p.tid && r.Cookie == p.cookie && r.At-p.doneAt < sameCall
	}
	return false
}

// detach lets a connection's address be used by another handshake. What is known of this one stays until it is told.
func (t *Tracker) detach(p *probed) {
	if t.connections[p.connection] == p {
		delete(t.connections, p.connection)
	}
	if !p.done { // nothing will say how it ended
		t.queue.wait(&p.pending, t.now)
		p.last = t.now - patience
	}
}

// carry takes note of a socket that was at work while a connection was whose hello is known. It need not be the one that carries the connection: programs
// that carry it themselves, over memory BIOs, may write to any socket while OpenSSL calls them back. Which one it is, the hello says.
func (t *Tracker) carry(p *probed, r *bpf.TLSRecord) {
	if r.Cookie != 0 && (!p.done || p.cookie == 0) && t.bound[p.cookie] != p {
		p.cookie, p.local, p.remote = r.Cookie, r.Local, r.Remote
	}
	edge := r.Edge
	if r.Cookie != p.cookie {
		edge = 0
	}
	t.news(&p.pending, edge)
}

func (t *Tracker) bind(p *probed, cookie uint64) {
	p.cookie = cookie
	if p.seeks {
		return
	}
	if other := t.bound[cookie]; other != nil {
		p.second = true
		return
	}
	t.bound[cookie] = p
}

func (t *Tracker) seek(p *probed, r *bpf.TLSRecord) {
	s := sent{client: r.Client}
	if copy(s.random[:], r.Payload) < len(s.random) || s.random == retry || p.seeks && s == p.hello {
		return
	}
	p.hello, p.seeks = s, true
	if other := t.seeking[s]; other != nil {
		p.several, other.several = true, true
		return
	}
	t.seeking[s] = p
}

func (t *Tracker) takeSession(p *probed, r *bpf.TLSRecord) {
	var s session
	var err error
	if r.Length > 0 {
		s, err = readSession(r.Payload)
	}
	if err != nil {
		t.losses[sessionMalformed]++
	} else {
		p.hasSession, p.sessionHolds, p.session = true, s.verified, nil
		switch {
		case s.certificate != nil:
			p.session = t.certificates.get(s.certificate, len(s.certificate), r.Cgroup, t.now)
			p.hasSession = p.session != nil
		case r.Length > len(r.Payload): // what was cut away may be it
			p.hasSession = false
		}
	}
}

func (t *Tracker) finish(p *probed, ok bool, r *bpf.TLSRecord) {
	p.done, p.ok, p.doneAt, p.tid = true, ok, r.At, r.TID
	t.queue.wait(&p.pending, t.now+settle)
}

// soon looks at a handshake that is over and lacked something.
func (t *Tracker) soon(p *probed) {
	if p.done {
		t.queue.wait(&p.pending, max(p.doneAt+settle, t.now))
	}
}

// unasked says whether a program may still ask for the protocol that was agreed, which nothing else tells.
func (p *probed) unasked(w *wired) bool {
	return p.ok && !p.golang && !p.freed && p.protocol == "" && w != nil && w.client != nil && len(w.client.ALPN) > 0 && w.server != nil && w.server.Version >= tls13
}

// lookProbed tells of a handshake that is over. What the wire has to say about it, it says soon.
func (t *Tracker) lookProbed(p *probed, pressed bool) {
	if !p.done && t.idle(&p.pending, pressed) {
		return
	}
	if pressed {
		t.forgetProbed(p)
		return
	}
	if !p.done {
		t.forgetProbed(p)
		if p.seeks || p.hasSession || p.shown.order > 0 { // else it was only at work with a socket
			t.losses[unfinished]++
		}
		return
	}
	w := t.wireOf(p)
	whole := w != nil && w.client != nil && w.server != nil || p.golang || !p.ok
	if known := p.edge != 0 || w != nil && w.edge != 0; (!whole || !known || p.unasked(w)) && t.now-p.doneAt < quiet {
		t.setActive(&p.pending, t.now-p.last < quiet)
		t.queue.wait(&p.pending, p.doneAt+quiet)
		return
	}
	t.tellProbed(p, w)
	t.forgetProbed(p)
}

func (t *Tracker) forgetProbed(p *probed) {
	t.remove(&p.pending)
	if t.connections[p.connection] == p {
		delete(t.connections, p.connection)
	}
	if t.bound[p.cookie] == p {
		delete(t.bound, p.cookie)
	}
	if t.seeking[p.hello] == p {
		delete(t.seeking, p.hello)
	}
}

// sentBy says whether the hello that a program sent is the one that a socket sent: proxies send it once more.
func (p *probed) sentBy(w *wired) bool {
	if w.tgid != 0 {
		return w.tgid == p.tgid
	}
	return w.cgroup == p.cgroup
}

// wireOf gives what the wire knows of a handshake; nil if nothing.
func (t *Tracker) wireOf(p *probed) *wired {
	if !p.seeks {
		return t.wires[p.cookie]
	}
	var found *wired
	for w := t.hellos[p.hello]; w != nil; w = w.twin {
		if w.crowd || found != nil && p.sentBy(w) {
			return nil
		}
		if p.sentBy(w) {
			found = w
		}
	}
	return found
}
