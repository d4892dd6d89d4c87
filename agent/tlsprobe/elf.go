package tlsprobe

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Bounds of what is read of a file that somebody else wrote.
const (
	pageSize    = 64 << 10 // held per window
	maxSegments = 256
	maxSections = 1024
	maxReads    = 1 << 30 // bytes, per file
)

var errReadsTooMuch = errors.New("it makes the reader read more than 1 GiB")

// elfFile is a 64-bit little-endian ELF file, of which only the headers are held. It reads at most maxReads in its life; not safe for
// concurrent use.
type elfFile struct {
	r        *metered
	machine  elf.Machine
	loads    []segment // what is mapped
	dynamic  segment
	sections []section // none when the table is missing or absurd
	pages    *window
}

type segment struct {
	flags                         elf.ProgFlag
	offset, address, size, memory uint64
}

type section struct {
	name                  string
	kind                  elf.SectionType
	flags                 elf.SectionFlag
	address, offset, size uint64
}

// metered ends a reader that hostile tables lead in circles.
type metered struct {
	r    io.ReaderAt
	left int64
}

func (m *metered) ReadAt(p []byte, off int64) (int, error) {
	if m.left -= int64(len(p)); m.left < 0 {
		return 0, errReadsTooMuch
	}
	return m.r.ReadAt(p, off)
}

// window holds one page of a file, for reading forward.
type window struct {
	r      io.ReaderAt
	page   []byte
	offset uint64
}

func newWindow(r io.ReaderAt) *window {
	return &window{r: r, page: make([]byte, 0, pageSize)}
}

// at returns n bytes of the file, at most pageSize, which are valid until the next call.
func (w *window) at(offset uint64, n int) ([]byte, error) {
	b, err := w.upTo(offset, n)
	if err == nil && len(b) < n {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// upTo is at, with fewer bytes at the end of the file.
func (w *window) upTo(offset uint64, n int) ([]byte, error) {
	if n < 0 || n > pageSize || offset > math.MaxInt64-pageSize {
		return nil, io.ErrUnexpectedEOF
	}
	if offset < w.offset || offset+uint64(n) > w.offset+uint64(len(w.page)) {
		got, err := w.r.ReadAt(w.page[:pageSize], int64(offset))
		if err != nil && !errors.Is(err, io.EOF) {
			w.page = w.page[:0]
			return nil, err
		}
		w.page, w.offset = w.page[:got], offset
	}
	b := w.page[offset-w.offset:]
	return b[:min(n, len(b))], nil
}

func newELF(r io.ReaderAt) (*elfFile, error) {
	f := &elfFile{r: &metered{r, maxReads}}
	f.pages = newWindow(f.r)
	h, err := f.pages.at(0, 64)
	if err != nil || !bytes.HasPrefix(h, []byte(elf.ELFMAG)) {
		return nil, errors.New("not an ELF file")
	}
	if h[elf.EI_CLASS] != byte(elf.ELFCLASS64) || h[elf.EI_DATA] != byte(elf.ELFDATA2LSB) {
		return nil, errors.New("not 64 bits, little-endian")
	}
	le := binary.LittleEndian
	f.machine = elf.Machine(le.Uint16(h[18:]))
	phoff, shoff := le.Uint64(h[32:]), le.Uint64(h[40:])
	phsize, phnum, shsize, shnum, shstrndx := le.Uint16(h[54:]), le.Uint16(h[56:]), le.Uint16(h[58:]), le.Uint16(h[60:]), le.Uint16(h[62:])
	if phsize != 56 || phnum > maxSegments {
		return nil, fmt.Errorf("%d program headers of %d bytes", phnum, phsize)
	}
	for i := range uint64(phnum) {
		p, err := f.pages.at(phoff+56*i, 56)
		if err != nil {
			return nil, fmt.Errorf("read program headers: %w", err)
		}
		s := segment{flags: elf.ProgFlag(le.Uint32(p[4:])), offset: le.Uint64(p[8:]), address: le.Uint64(p[16:]), size: le.Uint64(p[32:]), memory: le.Uint64(p[40:])}
		if s.offset+s.size < s.offset || s.address+max(s.size, s.memory) < s.address {
			return nil, errors.New("a segment wraps around")
		}
		switch elf.ProgType(le.Uint32(p)) {
		case elf.PT_LOAD:
			f.loads = append(f.loads, s)
		case elf.PT_DYNAMIC:
			f.dynamic = s
		}
	}
	if shsize == 64 && shnum <= maxSections && shstrndx < shnum {
		f.readSections(shoff, uint64(shnum), uint64(shstrndx))
	}
	return f, nil
}

// readSections leaves out what cannot be read: sections only help, what runs is told by segments.
func (f *elfFile) readSections(shoff, count, names uint64) {
	le := binary.LittleEndian
	table := newWindow(f.r)
	h, err := table.at(shoff+64*names, 64)
	if err != nil {
		return
	}
	strings, length := le.Uint64(h[24:]), le.Uint64(h[32:])
	for i := range count {
		h, err := table.at(shoff+64*i, 64)
		if err != nil {
			return
		}
		s := section{kind: elf.SectionType(le.Uint32(h[4:])), flags: elf.SectionFlag(le.Uint64(h[8:])), address: le.Uint64(h[16:]), offset: le.Uint64(h[24:]), size: le.Uint64(h[32:])}
		if s.offset+s.size < s.offset || s.address+s.size < s.address {
			continue
		}
		if at := uint64(le.Uint32(h)); at < length {
			name, err := f.pages.upTo(strings+at, int(min(64, length-at)))
			if err != nil {
				return
			}
			name, _, _ = bytes.Cut(name, []byte{0})
			s.name = string(name)
		}
		f.sections = append(f.sections, s)
	}
}

// section finds one by name.
func (f *elfFile) section(names ...string) (section, bool) {
	for _, s := range f.sections {
		for _, n := range names {
			if s.name == n {
				return s, true
			}
		}
	}
	return section{}, false
}

// offset says where in the file an address lies, and the segment that maps it.
func (f *elfFile) offset(address uint64) (uint64, segment, bool) {
	for _, s := range f.loads {
		if address >= s.address && address-s.address < s.size {
			return s.offset + address - s.address, s, true
		}
	}
	return 0, segment{}, false
}

// search calls found with each address in the segment whose bytes begin with what, at multiples of align, until it answers true or fails.
func (f *elfFile) search(s segment, what []byte, align uint64, found func(address uint64) (bool, error)) (bool, error) {
	w := newWindow(f.r)
	for at := uint64(0); at < s.size; {
		b, err := w.upTo(s.offset+at, int(min(pageSize, s.size-at)))
		if err != nil {
			return false, err
		}
		if len(b) < len(what) {
			return false, nil
		}
		for i := 0; ; i++ {
			j := bytes.Index(b[i:], what)
			if j < 0 {
				break
			}
			if i += j; (s.address+at+uint64(i))%align == 0 {
				if done, err := found(s.address + at + uint64(i)); done || err != nil {
					return done, err
				}
			}
		}
		at += uint64(len(b) - len(what) + 1)
	}
	return false, nil
}
