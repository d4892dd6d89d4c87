package tlsprobe

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Bounds of a function table that is believed: the largest programs have a million functions.
const (
	maxFunctions = 8 << 20
	maxFunction  = 256 << 10 // bytes of code
	pclntabMagic = 0xfffffff1
	pclntabSize  = 72 // of its header
	functionSize = 8  // of an entry of its function table, and of what is read of a function's record
)

var errNoPclntab = errors.New("find its function table: no .gopclntab of Go 1.20 or later")

// pclntab is where the parts of a Go program's function table lie. Offsets are the file's.
type pclntab struct {
	address      uint64
	functions    uint64
	names        uint64
	namesSize    uint64
	table        uint64 // of pairs: where the code begins, where the function's record is
	tableLength  uint64 // with the records that follow
	textInHeader uint64
}

// goFunction is the code of a function, by address.
type goFunction struct {
	start, end uint64
}

// findPclntab takes the section of that name, or what looks like its header where sections are gone.
func findPclntab(f *elfFile) (*pclntab, error) {
	if s, ok := f.section(".gopclntab", ".data.rel.ro.gopclntab"); ok {
		if t := readPclntab(f, s.address, segment{offset: s.offset, address: s.address, size: s.size}); t != nil {
			return t, nil
		}
	}
	var found *pclntab
	magic := []byte{0xf1, 0xff, 0xff, 0xff, 0, 0}
	for _, s := range f.loads {
		_, err := f.search(s, magic, 8, func(address uint64) (bool, error) {
			found = readPclntab(f, address, s)
			return found != nil, nil
		})
		if err != nil {
			return nil, err
		}
		if found != nil {
			return found, nil
		}
	}
	return nil, errNoPclntab
}

// readPclntab reads the header at an address inside s, nil if there is none that holds together.
func readPclntab(f *elfFile, address uint64, s segment) *pclntab {
	le := binary.LittleEndian
	room := s.size - (address - s.address)
	h, err := f.pages.at(s.offset+address-s.address, pclntabSize)
	if err != nil || room < pclntabSize || le.Uint32(h) != pclntabMagic || h[4] != 0 || h[5] != 0 || h[6] != 1 && h[6] != 4 || h[7] != 8 {
		return nil
	}
	functions, text, names, units, table := le.Uint64(h[8:]), le.Uint64(h[24:]), le.Uint64(h[32:]), le.Uint64(h[40:]), le.Uint64(h[64:])
	if functions == 0 || functions > maxFunctions || names < pclntabSize || units <= names || units > room || table > room || room-table < functions*functionSize+4 {
		return nil
	}
	base := s.offset + address - s.address
	return &pclntab{address: address, functions: functions, names: base + names, namesSize: units - names, table: base + table, tableLength: room - table, textInHeader: text}
}

// functionNames finds where the wanted names stand in the table of names.
func functionNames(f *elfFile, t *pclntab, wanted map[string]bool) (map[uint32]string, error) {
	const prefix = "\x00crypto/tls.("
	names := make(map[uint32]string, len(wanted))
	area := segment{offset: t.names, size: t.namesSize}
	_, err := f.search(area, []byte(prefix), 1, func(at uint64) (bool, error) {
		b, err := f.pages.upTo(t.names+at+1, int(min(64, t.namesSize-at-1)))
		if err != nil || at >= math.MaxInt32 {
			return true, err
		}
		name, _, whole := bytes.Cut(b, []byte{0})
		if whole && wanted[string(name)] {
			names[uint32(at+1)] = string(name)
		}
		return len(names) == len(wanted), nil
	})
	return names, err
}

// findFunctions finds the code of the wanted functions that the program has, in two passes over the table, of which no more than pages are held.
func findFunctions(f *elfFile, wanted map[string]bool) (map[string]goFunction, error) {
	t, err := findPclntab(f)
	if err != nil {
		return nil, err
	}
	names, err := functionNames(f, t, wanted)
	if err != nil {
		return nil, fmt.Errorf("read function names: %w", err)
	}
	if len(names) == 0 {
		return nil, nil
	}
	text, etext, err := goText(f, t.address, t.functions)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	functions := make(map[string]goFunction, len(names))
	table, records := newWindow(f.r), newWindow(f.r)
	for i := uint64(0); i < t.functions && len(functions) < len(names); i++ {
		entry, err := table.at(t.table+i*functionSize, functionSize+4)
		if err != nil {
			return nil, fmt.Errorf("read function table: %w", err)
		}
		start, record, end := le.Uint32(entry), uint64(le.Uint32(entry[4:])), le.Uint32(entry[8:])
		if record+functionSize > t.tableLength {
			return nil, errors.New("read function table: a record lies outside")
		}
		r, err := records.at(t.table+record, functionSize)
		if err != nil {
			return nil, fmt.Errorf("read function table: %w", err)
		}
		name, ok := names[le.Uint32(r[4:])]
		if !ok {
			continue
		}
		if end <= start || end-start > maxFunction || uint64(end) > etext-text {
			return nil, fmt.Errorf("%s has code from %#x to %#x", name, start, end)
		}
		functions[name] = goFunction{text + uint64(start), text + uint64(end)}
	}
	return functions, nil
}

// code reads a function's instructions and where in the file they begin.
func (f *elfFile) code(fn goFunction) (code []byte, offset uint64, err error) {
	offset, s, ok := f.offset(fn.start)
	if !ok || s.flags&elf.PF_X == 0 || fn.end-fn.start > maxFunction || fn.end-s.address > s.size {
		return nil, 0, errors.New("its code is not mapped from the file")
	}
	code = make([]byte, fn.end-fn.start)
	if _, err := f.r.ReadAt(code, int64(offset)); err != nil {
		return nil, 0, err
	}
	return code, offset, nil
}
