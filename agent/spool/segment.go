package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const (
	segmentMagic = "ambspool"
	headerBytes  = 512
	suffix       = ".seg"
)

// segment is one file. Its end is where the next one begins.
type segment struct {
	first  uint64 // position
	before uint64 // observations in all before it
	from   int64  // of its first message
	newest int64  // Until of all before it
	size   int64
}

func (g *segment) name() string { return fmt.Sprintf("%016x-%016x%s", g.first, g.before, suffix) }

// parseName reads what name writes, and nothing else.
func parseName(name string) (g *segment, ok bool) {
	g = new(segment)
	if n, err := fmt.Sscanf(name, "%016x-%016x"+suffix, &g.first, &g.before); n != 2 || err != nil {
		return nil, false
	}
	return g, name == g.name() && g.first > 0
}

func (g *segment) header(node string) []byte {
	b, le := make([]byte, headerBytes), binary.LittleEndian
	copy(b, segmentMagic)
	le.PutUint16(b[8:], version)
	le.PutUint16(b[10:], uint16(len(node)))
	le.PutUint64(b[16:], uint64(g.from))
	le.PutUint64(b[24:], uint64(g.newest))
	copy(b[32:], node)
	le.PutUint32(b[headerBytes-4:], checksum(b[:headerBytes-4]))
	return b
}

// readHeader takes over the times, and gives the node. A damaged header costs no message, only times.
func (g *segment) readHeader(b []byte) (node string, err error) {
	le := binary.LittleEndian
	if len(b) < headerBytes || string(b[:8]) != segmentMagic || le.Uint32(b[headerBytes-4:]) != checksum(b[:headerBytes-4]) {
		return "", errDamaged
	}
	if v := le.Uint16(b[8:]); v != version {
		return "", &otherVersion{v}
	}
	n := int(le.Uint16(b[10:]))
	if n > maxNode {
		return "", errDamaged
	}
	g.from, g.newest = int64(le.Uint64(b[16:])), int64(le.Uint64(b[24:]))
	return string(b[32 : 32+n]), nil
}

// cursor reads a segment from its beginning, record by record, and remembers where they stand.
type cursor struct {
	g      *segment
	f      *os.File
	places []place // of the messages from the first on
	end    place   // behind them
}

type place struct {
	offset       int64
	observations uint64 // in all before it
	until        int64  // newest before it, in this segment
}

func openCursor(dir string, g *segment) (*cursor, error) {
	f, err := os.Open(filepath.Join(dir, g.name()))
	if err != nil {
		return nil, err
	}
	return &cursor{g: g, f: f, end: place{offset: headerBytes, observations: g.before, until: g.from}}, nil
}

func (c *cursor) position() uint64 { return c.g.first + uint64(len(c.places)) }

// head reads the head at end. It gives io.EOF at the end of the file, errDamaged where there is something else.
func (c *cursor) head() (h head, err error) {
	var b [headBytes]byte
	switch n, err := c.f.ReadAt(b[:], c.end.offset); {
	case n == 0 && errors.Is(err, io.EOF):
		return h, io.EOF
	case n < headBytes:
		return h, errDamaged
	}
	return readHead(b[:], c.position())
}

// step goes on behind the record at end.
func (c *cursor) step(h *head) {
	c.places = append(c.places, c.end)
	c.end = place{c.end.offset + headBytes + int64(h.length), c.end.observations + uint64(h.observations), max(c.end.until, h.until)}
}

// read reads the message at a place. h is set where its head is whole, and then its body may be damaged.
func (c *cursor) read(position uint64) (m *Message, h head, err error) {
	at := c.places[position-c.g.first].offset
	b := make([]byte, headBytes)
	if _, err := c.f.ReadAt(b, at); err != nil {
		return nil, h, errDamaged
	}
	if h, err = readHead(b, position); err != nil {
		return nil, h, err
	}
	body := make([]byte, h.length)
	if _, err := c.f.ReadAt(body, at+headBytes); err != nil {
		return nil, h, errDamaged
	}
	m, err = h.message(body)
	return m, h, err
}
