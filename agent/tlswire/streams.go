package tlswire

import (
	"container/list"
	"net/netip"
	"time"

	"github.com/ambit-nhi/ambit/bpf"
)

// Config bounds what is held. Zero values are replaced by the defaults.
type Config struct {
	Streams      int           // directions of connections; 8192 by default
	Bytes        int           // of all messages that are not complete; 8 MiB by default
	MessageBytes int           // of one message; 16 KiB by default, which is what the kernel side tells
	Age          time.Duration // that a direction may be silent before it is forgotten; a minute by default
}

func (c *Config) setDefaults() {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&c.Streams, 8192)
	set(&c.Bytes, 8<<20)
	set(&c.MessageBytes, 16<<10)
	if c.Age <= 0 {
		c.Age = time.Minute
	}
}

// Event is what a part of a segment has completed. Of one handshake there are several: the client's hello, the server's, and in TLS 1.2 and before the
// certificates of both.
type Event struct {
	At           time.Duration // monotonic, of the part that completed it
	Cookie       uint64        // of the socket
	Edge         bpf.Number    // 0 while not known
	Cgroup       uint64
	TGID         uint32         // of who sent it, where that is known; else 0
	Local        netip.AddrPort // of the socket; not valid where it is not known
	Remote       netip.AddrPort
	Out          bool // sent by the socket's side
	Client       *Client
	Server       *Server
	Certificates [][]byte // DER, leaf first; empty but not nil: a client that was asked has none. They share memory that nobody else holds
}

// Streams puts hellos together. It is for one goroutine.
type Streams struct {
	cfg      Config
	streams  map[key]*list.Element
	order    *list.List // of *stream, the one that was silent longest first
	bytes    int
	counters map[string]uint64
}

type key struct {
	cookie uint64
	out    bool
}

// The causes why something was not told.
const (
	causeMalformed  = "tls-hello-malformed"  // messages
	causeLong       = "tls-hello-long"       // messages that say to be longer than is taken
	causeIncomplete = "tls-hello-incomplete" // streams that ended within a message, or with a hole
	causeCrowded    = "tls-hello-crowded"    // streams or parts that there was no room for
)

// New makes room for streams.
func New(cfg Config) *Streams {
	cfg.setDefaults()
	return &Streams{
		cfg: cfg, streams: map[key]*list.Element{}, order: list.New(),
		counters: map[string]uint64{causeMalformed: 0, causeLong: 0, causeIncomplete: 0, causeCrowded: 0},
	}
}

// Add takes a part of a segment. ok says that it completed something; the event is the caller's. Parts may come twice, overlapping and out of order.
func (t *Streams) Add(h *bpf.Hello, now time.Time) (ev Event, ok bool) {
	t.expire(now)
	if len(h.Payload) == 0 {
		return Event{}, false
	}
	s := t.stream(key{h.Cookie, h.Out})
	s.last = now
	if h.TGID != 0 { // the last segments may be sent when others are acknowledged, by nobody then
		s.tgid = h.TGID
	}
	if h.Edge != 0 {
		s.edge = h.Edge
	}
	ev = Event{At: h.At, Cookie: h.Cookie, Edge: s.edge, Cgroup: h.Cgroup, TGID: s.tgid, Local: h.Local, Remote: h.Remote, Out: h.Out}
	before := s.bytes()
	room := s.add(h.Sequence, h.Payload, t.cfg.MessageBytes, func(kind uint8, body []byte) {
		if t.read(&ev, kind, body) {
			ok = true
		}
	})
	t.bytes += s.bytes() - before
	if !room {
		t.counters[causeCrowded]++
	}
	for t.bytes > t.cfg.Bytes {
		t.crowd()
	}
	return ev, ok
}

func (t *Streams) read(ev *Event, kind uint8, body []byte) bool {
	var err error
	switch kind {
	case messageClientHello:
		var c *Client
		if c, err = parseClient(body); err == nil {
			ev.Client = c
		}
	case messageServerHello:
		var s *Server
		if s, err = parseServer(body); err == nil {
			ev.Server = s
		}
	case messageCertificate:
		var chain [][]byte
		if chain, err = parseCertificates(body); err == nil {
			ev.Certificates = chain
		}
	case tooLong:
		t.counters[causeLong]++
		return false
	}
	if err != nil {
		t.counters[causeMalformed]++
	}
	return err == nil
}

// stream gives a stream, a new one if need be, which is the last to go.
func (t *Streams) stream(k key) *stream {
	if e := t.streams[k]; e != nil {
		t.order.MoveToBack(e)
		return e.Value.(*stream)
	}
	if len(t.streams) >= t.cfg.Streams {
		t.crowd()
	}
	s := &stream{key: k}
	t.streams[k] = t.order.PushBack(s)
	return s
}

func (t *Streams) expire(now time.Time) {
	for e := t.order.Front(); e != nil && now.Sub(e.Value.(*stream).last) > t.cfg.Age; e = t.order.Front() {
		if t.drop(e).unfinished() {
			t.counters[causeIncomplete]++
		}
	}
}

// crowd drops the stream that was silent longest.
func (t *Streams) crowd() {
	if t.drop(t.order.Front()).unfinished() {
		t.counters[causeCrowded]++
	}
}

func (t *Streams) drop(e *list.Element) *stream {
	s := t.order.Remove(e).(*stream)
	delete(t.streams, s.key)
	t.bytes -= s.bytes()
	return s
}

// Counters are what was refused or given up since the start, by cause. Every cause is there. The map is the caller's.
func (t *Streams) Counters() map[string]uint64 {
	out := make(map[string]uint64, len(t.counters))
	for cause, n := range t.counters {
		out[cause] = n
	}
	return out
}

// Gauges are what is held now.
func (t *Streams) Gauges() map[string]uint64 {
	return map[string]uint64{"tls-hello-streams": uint64(len(t.streams)), "tls-hello-bytes": uint64(t.bytes)}
}
