package tlswire

import (
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/bpf"
)

// Content types of records, and types of handshake messages (RFC 8446 appendix B).
const (
	recordChangeCipherSpec = 20
	recordHandshake        = 22

	messageClientHello = 1
	messageServerHello = 2
	messageCertificate = 11
)

const (
	headerBytes = 5
	maxRecord   = 1 << 14
	maxAhead    = 16 // pieces
)

// stream is one direction of a connection. Numbers of bytes are TCP's, and overflow.
type stream struct {
	key   key
	tgid  uint32     // of who sent any of it
	edge  bpf.Number // as soon as it is known
	begun bool
	over  bool   // nothing more is plain
	next  uint32 // where the stream goes on
	taken int    // bytes since it began
	ahead []piece
	held  int // bytes that it costs
	last  time.Time

	head    []byte // of the record that begins
	rest    int    // bytes that are to come of the record under way
	message []byte // under way, with its header
	skip    int    // bytes that are to come of a message that tells nothing
	change  int    // bytes that are to come of a ChangeCipherSpec
	changed bool   // behind one of those only a hello is plain
}

// piece came before what belongs in front of it.
type piece struct {
	at   uint32
	data []byte
}

// looksLikeHello says whether a part begins with a record of a hello. The kernel side has looked closer.
func looksLikeHello(b []byte) bool {
	return len(b) > headerBytes && b[0] == recordHandshake && b[1] == 3 && b[2] <= 4 && (b[5] == messageClientHello || b[5] == messageServerHello)
}

// idle says whether a stream is between two records, and no message is under way.
func (s *stream) idle() bool {
	return len(s.head) == 0 && s.rest == 0 && s.change == 0 && len(s.message) == 0 && s.skip == 0
}

// add takes a part of the stream, and gives the messages that it completes to take. It says whether there was room for it.
func (s *stream) add(at uint32, data []byte, limit int, take func(kind uint8, body []byte)) bool {
	distance := int32(at - s.next)
	hello := looksLikeHello(data)
	if hello && (!s.begun || distance > 0 && s.idle() || distance > int32(limit) || distance < -int32(limit)) {
		*s = stream{key: s.key, tgid: s.tgid, edge: s.edge, begun: true, next: at, ahead: s.ahead, held: s.held, last: s.last} // after a HelloRetryRequest a second one begins, for one
		distance = 0
	}
	if s.over {
		return true
	}
	if !s.begun || distance > 0 {
		return s.keep(at, data, limit)
	}
	s.consume(data, int(-distance), limit, take)
	for i := 0; i < len(s.ahead); {
		p := s.ahead[i]
		d := int32(p.at - s.next)
		if d > 0 && !s.over {
			i++
			continue
		}
		s.ahead = slices.Delete(s.ahead, i, i+1)
		s.held -= len(p.data)
		if !s.over {
			s.consume(p.data, int(-d), limit, take)
			i = 0
		}
	}
	return true
}

func (s *stream) keep(at uint32, data []byte, limit int) bool {
	if len(s.ahead) == maxAhead || s.held+len(data) > limit || s.begun && int32(at-s.next) > int32(limit) {
		return false
	}
	if !slices.ContainsFunc(s.ahead, func(p piece) bool { return p.at == at && len(p.data) >= len(data) }) {
		s.ahead = append(s.ahead, piece{at, slices.Clone(data)})
		s.held += len(data)
	}
	return true
}

// consume takes bytes, of which the first are there already.
func (s *stream) consume(data []byte, again, limit int, take func(uint8, []byte)) {
	if again >= len(data) {
		return
	}
	data = data[again:]
	s.next += uint32(len(data))
	s.taken += len(data)
	if s.taken > 2*limit {
		s.over = true
	}
	for len(data) > 0 && !s.over {
		switch {
		case s.rest > 0:
			n := min(s.rest, len(data))
			s.rest -= n
			s.handshake(data[:n], limit, take)
			data = data[n:]
		case s.change > 0:
			s.change, data = 0, data[1:]
		default:
			n := min(headerBytes-len(s.head), len(data))
			s.head, data = append(s.head, data[:n]...), data[n:]
			if len(s.head) == headerBytes {
				s.record()
			}
		}
	}
}

// record begins a record.
func (s *stream) record() {
	length := int(s.head[3])<<8 | int(s.head[4])
	known := s.head[1] == 3 && s.head[2] <= 4
	switch {
	case known && s.head[0] == recordHandshake && length > 0 && length <= maxRecord:
		s.rest = length
	case known && s.head[0] == recordChangeCipherSpec && length == 1: // a second hello may follow a HelloRetryRequest
		s.change, s.changed = 1, true
	default:
		s.over = true
	}
	s.head = s.head[:0]
}

// handshake takes what a record holds.
func (s *stream) handshake(data []byte, limit int, take func(uint8, []byte)) {
	const header = 4
	for len(data) > 0 && !s.over {
		if s.skip > 0 {
			n := min(s.skip, len(data))
			s.skip, data = s.skip-n, data[n:]
			continue
		}
		if n := min(header-len(s.message), len(data)); n > 0 {
			s.message, data = append(s.message, data[:n]...), data[n:]
		}
		if len(s.message) < header {
			return
		}
		kind, length := s.message[0], int(s.message[1])<<16|int(s.message[2])<<8|int(s.message[3])
		hello := kind == messageClientHello || kind == messageServerHello
		switch {
		case s.changed && !hello:
			s.over, s.message = true, nil
			return
		case !hello && kind != messageCertificate:
			s.skip, s.message = length, nil
			continue
		case length > limit:
			s.over, s.message = true, nil
			take(tooLong, nil)
			return
		}
		s.changed = false
		n := min(header+length-len(s.message), len(data))
		s.message, data = append(s.message, data[:n]...), data[n:]
		if len(s.message) == header+length {
			body := s.message[header:]
			s.message = nil // it is the taker's
			take(kind, body)
		}
	}
}

// tooLong stands for the type of a message that is longer than is taken.
const tooLong = 0xff

func (s *stream) bytes() int { return cap(s.message) + s.held }

// unfinished says whether something was under way.
func (s *stream) unfinished() bool {
	return !s.over && (!s.begun || len(s.message) > 0 || s.rest > 0 || len(s.ahead) > 0)
}
