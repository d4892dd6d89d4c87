package tlsprobe

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

const (
	maxDynamic = 1024    // entries
	maxChain   = 1 << 12 // symbols in one bucket of a hash table
	maxName    = 256
)

// dynamic is what the loader reads of a file: names are looked up in its hash table, so that a few hundred bytes are read of any file.
type dynamic struct {
	f                               *elfFile
	hash, gnuHash, symbols, strings uint64 // addresses
	stringsSize                     uint64
	soname                          string
}

// symbol is a function of the file.
type symbol struct {
	address, size uint64
}

// newDynamic reads the dynamic section. It is not ok if the file has none.
func newDynamic(f *elfFile) (d *dynamic, ok bool, err error) {
	if f.dynamic.size == 0 {
		return nil, false, nil
	}
	table := make([]byte, min(f.dynamic.size, 16*maxDynamic))
	if err := f.readFull(table, f.dynamic.offset); err != nil {
		return nil, false, fmt.Errorf("read dynamic section: %w", err)
	}
	d = &dynamic{f: f}
	var soname uint64
	le := binary.LittleEndian
	for ; len(table) >= 16; table = table[16:] {
		value := le.Uint64(table[8:])
		switch elf.DynTag(le.Uint64(table)) {
		case elf.DT_NULL:
			table = table[:16]
		case elf.DT_HASH:
			d.hash = value
		case elf.DT_GNU_HASH:
			d.gnuHash = value
		case elf.DT_SYMTAB:
			d.symbols = value
		case elf.DT_STRTAB:
			d.strings = value
		case elf.DT_STRSZ:
			d.stringsSize = value
		case elf.DT_SONAME:
			soname = value
		}
	}
	if soname != 0 {
		d.soname, err = d.string(soname, maxName)
	}
	return d, err == nil, err
}

// readFull reads at an offset of the file.
func (f *elfFile) readFull(b []byte, offset uint64) error {
	if offset > math.MaxInt64-uint64(len(b)) {
		return errors.New("an offset is out of the file")
	}
	n, err := f.r.ReadAt(b, int64(offset))
	if n == len(b) {
		return nil
	}
	return err
}

// readAddress reads at an address that is mapped from the file.
func (f *elfFile) readAddress(b []byte, address uint64) error {
	offset, _, ok := f.offset(address)
	if !ok {
		return fmt.Errorf("address %#x is not in the file", address)
	}
	return f.readFull(b, offset)
}

func (d *dynamic) string(at uint64, size int) (string, error) {
	if at >= d.stringsSize || d.strings+at < d.strings {
		return "", errors.New("a name is out of its table")
	}
	b := make([]byte, min(uint64(size), d.stringsSize-at))
	if err := d.f.readAddress(b, d.strings+at); err != nil {
		return "", fmt.Errorf("read name: %w", err)
	}
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b), nil
}

// function finds one that the file defines and lets others call.
func (d *dynamic) function(name string) (s symbol, ok bool, err error) {
	switch {
	case d.symbols == 0 || d.strings == 0:
		return symbol{}, false, nil
	case d.gnuHash != 0:
		s, ok, err = d.inGNUHash(name)
	case d.hash != 0:
		s, ok, err = d.inHash(name)
	}
	if err != nil {
		return symbol{}, false, fmt.Errorf("look up %s: %w", name, err)
	}
	return s, ok, nil
}

func (d *dynamic) inGNUHash(name string) (symbol, bool, error) {
	var header [16]byte
	if err := d.f.readAddress(header[:], d.gnuHash); err != nil {
		return symbol{}, false, err
	}
	le := binary.LittleEndian
	count, first, bloom := uint64(le.Uint32(header[:])), le.Uint32(header[4:]), uint64(le.Uint32(header[8:]))
	if count == 0 {
		return symbol{}, false, nil
	}
	hash := gnuHash(name)
	buckets := d.gnuHash + 16 + 8*bloom
	var word [4]byte
	if err := d.f.readAddress(word[:], buckets+4*(uint64(hash)%count)); err != nil {
		return symbol{}, false, err
	}
	index := le.Uint32(word[:])
	if index == 0 || index < first {
		return symbol{}, false, nil
	}
	chains := buckets + 4*count
	for range maxChain {
		if err := d.f.readAddress(word[:], chains+4*uint64(index-first)); err != nil {
			return symbol{}, false, err
		}
		h := le.Uint32(word[:])
		if h|1 == hash|1 {
			if s, ok, err := d.symbol(index, name); ok || err != nil {
				return s, ok, err
			}
		}
		if h&1 != 0 || index == math.MaxUint32 {
			return symbol{}, false, nil
		}
		index++
	}
	return symbol{}, false, errEndless
}

var errEndless = errors.New("a bucket of the hash table has no end")

func (d *dynamic) inHash(name string) (symbol, bool, error) {
	var header [8]byte
	if err := d.f.readAddress(header[:], d.hash); err != nil {
		return symbol{}, false, err
	}
	le := binary.LittleEndian
	count, symbols := le.Uint32(header[:]), le.Uint32(header[4:])
	if count == 0 {
		return symbol{}, false, nil
	}
	at := d.hash + 8 + 4*uint64(sysvHash(name)%count)
	for range maxChain {
		var word [4]byte
		if err := d.f.readAddress(word[:], at); err != nil {
			return symbol{}, false, err
		}
		index := le.Uint32(word[:])
		if index == 0 || index >= symbols {
			return symbol{}, false, nil
		}
		if s, ok, err := d.symbol(index, name); ok || err != nil {
			return s, ok, err
		}
		at = d.hash + 8 + 4*(uint64(count)+uint64(index))
	}
	return symbol{}, false, errEndless
}

// symbol reads one of the table; it is not ok if it has another name, or is no function of this file.
func (d *dynamic) symbol(index uint32, name string) (symbol, bool, error) {
	var b [symbolSize]byte
	if err := d.f.readAddress(b[:], d.symbols+symbolSize*uint64(index)); err != nil {
		return symbol{}, false, err
	}
	s, at, ok := parseSymbol(b[:])
	if !ok {
		return symbol{}, false, nil
	}
	got, err := d.string(uint64(at), len(name)+1)
	return s, err == nil && got == name, err
}

// parseSymbol reads an entry of a symbol table: a function that is defined there, and where its name is.
func parseSymbol(b []byte) (s symbol, name uint32, ok bool) {
	le := binary.LittleEndian
	s = symbol{le.Uint64(b[8:]), le.Uint64(b[16:])}
	ok = elf.SymType(b[4]&0xf) == elf.STT_FUNC && elf.SectionIndex(le.Uint16(b[6:])) != elf.SHN_UNDEF && s.address != 0
	return s, le.Uint32(b), ok
}

func gnuHash(name string) uint32 {
	h := uint32(5381)
	for i := range len(name) {
		h = h*33 + uint32(name[i])
	}
	return h
}

func sysvHash(name string) uint32 {
	h := uint32(0)
	for i := range len(name) {
		h = h<<4 + uint32(name[i])
		h = (h ^ (h & 0xf0000000 >> 24)) & 0x0fffffff
	}
	return h
}
