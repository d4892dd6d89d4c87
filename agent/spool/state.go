package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// version of segments and state.
const version = 1

const (
	stateName  = "state"
	slotBytes  = 4096
	stateMagic = "ambstate"
	stateFixed = 48

	// MaxNote is how long a note may be, in bytes.
	MaxNote = slotBytes - stateFixed - maxNode - 4
)

// state is what is known besides the segments.
type state struct {
	node         string
	generation   uint64
	settled      uint64 // position of the first that is not
	observations uint64 // before that
	until        int64
	note         []byte
}

func (s *state) encode() []byte {
	b, le := make([]byte, slotBytes), binary.LittleEndian
	copy(b, stateMagic)
	le.PutUint16(b[8:], version)
	le.PutUint16(b[10:], uint16(len(s.node)))
	le.PutUint32(b[12:], uint32(len(s.note)))
	le.PutUint64(b[16:], s.generation)
	le.PutUint64(b[24:], s.settled)
	le.PutUint64(b[32:], s.observations)
	le.PutUint64(b[40:], uint64(s.until))
	copy(b[stateFixed:], s.node)
	copy(b[stateFixed+len(s.node):], s.note)
	le.PutUint32(b[slotBytes-4:], checksum(b[:slotBytes-4]))
	return b
}

func decodeState(b []byte) (s state, err error) {
	le := binary.LittleEndian
	if len(b) != slotBytes || string(b[:8]) != stateMagic || le.Uint32(b[slotBytes-4:]) != checksum(b[:slotBytes-4]) {
		return s, errDamaged
	}
	if v := le.Uint16(b[8:]); v != version {
		return s, &otherVersion{v}
	}
	node, note := int(le.Uint16(b[10:])), int(le.Uint32(b[12:]))
	if node > maxNode || note > MaxNote {
		return s, errDamaged
	}
	rest := b[stateFixed:]
	return state{
		node: string(rest[:node]), generation: le.Uint64(b[16:]), settled: le.Uint64(b[24:]), observations: le.Uint64(b[32:]),
		until: int64(le.Uint64(b[40:])), note: append([]byte(nil), rest[node:node+note]...),
	}, nil
}

type otherVersion struct{ version uint16 }

func (e *otherVersion) Error() string { return fmt.Sprintf("version %d", e.version) }

// openState gives the file and the newer of its slots that are whole; ok is false where there is none. The file has its full length afterwards,
// so that it can be written on a full disk; sparse says that there was no room.
func openState(dir string) (f *os.File, s state, ok, sparse bool, err error) {
	f, err = os.OpenFile(filepath.Join(dir, stateName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, s, false, false, err
	}
	b := make([]byte, 2*slotBytes)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		f.Close()
		return nil, s, false, false, err
	}
	for slot := range 2 {
		got, err := decodeState(b[slot*slotBytes : (slot+1)*slotBytes])
		var other *otherVersion
		if errors.As(err, &other) {
			f.Close()
			return nil, s, false, false, err
		}
		if err == nil && (!ok || got.generation > s.generation) {
			s, ok = got, true
		}
	}
	if n < len(b) {
		_, err := f.WriteAt(b[n:], int64(n))
		if err != nil && !noRoom(err) {
			f.Close()
			return nil, s, false, false, err
		}
		sparse = err != nil
	}
	return f, s, ok, sparse, nil
}

// noRoom says that a disk may work again by itself.
func noRoom(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// writeState writes the slot that is older; both, as long as the disk has not given room to them.
func (s *Spool) writeState() error {
	s.state.generation++
	s.unwritten = 0
	b, at := s.state.encode(), int64(s.state.generation%2)*slotBytes
	if s.sparse {
		b, at = append(b, b...), 0
	}
	if _, err := s.stateFile.WriteAt(b, at); err != nil {
		return fmt.Errorf("write the state of the spool: %w", err)
	}
	s.sparse = false
	return nil
}
