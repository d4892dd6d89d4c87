package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"
)

const (
	headBytes = 48
	maxBody   = 512 << 10
)

var zeros [headBytes]byte

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// head is the fixed part of a record.
type head struct {
	sum               uint32 // of the body
	length            uint32
	subject, id, boot uint16
	observations      uint32
	position          uint64
	from, until       int64
}

var errDamaged = errors.New("damaged")

func (m *Message) check() error {
	const most = math.MaxUint16
	if n := len(m.Subject) + len(m.ID) + len(m.Boot) + len(m.Data); n > maxBody || len(m.Subject) > most || len(m.ID) > most || len(m.Boot) > most {
		return fmt.Errorf("message %s of %d bytes is too large for the spool", m.ID, n)
	}
	return nil
}

func (m *Message) size() int64 {
	return headBytes + int64(len(m.Subject)+len(m.ID)+len(m.Boot)+len(m.Data))
}

// appendRecord adds a message that passed check.
func appendRecord(b []byte, position uint64, m *Message) []byte {
	start := len(b)
	b = append(b, zeros[:]...)
	b = append(b, m.Subject...)
	b = append(b, m.ID...)
	b = append(b, m.Boot...)
	b = append(b, m.Data...)
	h, body, le := b[start:start+headBytes], b[start+headBytes:], binary.LittleEndian
	le.PutUint32(h[4:], checksum(body))
	le.PutUint32(h[8:], uint32(len(body)))
	le.PutUint16(h[12:], uint16(len(m.Subject)))
	le.PutUint16(h[14:], uint16(len(m.ID)))
	le.PutUint16(h[16:], uint16(len(m.Boot)))
	le.PutUint32(h[20:], m.Observations)
	le.PutUint64(h[24:], position)
	le.PutUint64(h[32:], uint64(m.From.UnixNano()))
	le.PutUint64(h[40:], uint64(m.Until.UnixNano()))
	le.PutUint32(h, checksum(h[4:]))
	return b
}

// readHead reads the head of the record that must stand at a position.
func readHead(b []byte, position uint64) (h head, err error) {
	le := binary.LittleEndian
	if len(b) < headBytes || le.Uint32(b) != checksum(b[4:headBytes]) {
		return h, errDamaged
	}
	h = head{
		sum: le.Uint32(b[4:]), length: le.Uint32(b[8:]), subject: le.Uint16(b[12:]), id: le.Uint16(b[14:]), boot: le.Uint16(b[16:]),
		observations: le.Uint32(b[20:]), position: le.Uint64(b[24:]), from: int64(le.Uint64(b[32:])), until: int64(le.Uint64(b[40:])),
	}
	if h.position != position || h.length > maxBody || uint32(h.subject)+uint32(h.id)+uint32(h.boot) > h.length {
		return head{}, errDamaged
	}
	return h, nil
}

// message makes the message of a body, which it keeps.
func (h *head) message(body []byte) (*Message, error) {
	if uint32(len(body)) != h.length || checksum(body) != h.sum {
		return nil, errDamaged
	}
	text := func(n uint16) string {
		s := string(body[:n])
		body = body[n:]
		return s
	}
	m := &Message{Observations: h.observations, From: time.Unix(0, h.from), Until: time.Unix(0, h.until)}
	m.Subject, m.ID, m.Boot = text(h.subject), text(h.id), text(h.boot)
	m.Data = body
	return m, nil
}
