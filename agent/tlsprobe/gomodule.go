package tlsprobe

import (
	"debug/elf"
	"encoding/binary"
	"errors"
)

// Where runtime.moduledata holds what is needed; the same from Go 1.20 to 1.26.
const (
	moduleFtabLen = 136 // of the function table, one more than there are functions
	moduleMinPC   = 160
	moduleText    = 176
	moduleEtext   = 184
	moduleSize    = 192

	maxModules = 64
)

var errNoModule = errors.New("find its module data: no word points at its function table")

// goText finds where the functions' offsets count from, in moduledata: what pclntab's own header says is 0 since Go 1.26, and not moved when an
// external linker moves the text before.
func goText(f *elfFile, pclntab, functions uint64) (text, etext uint64, err error) {
	var modules []uint64
	add := func(address uint64) (bool, error) {
		if len(modules) < maxModules {
			modules = append(modules, address)
		}
		return len(modules) == maxModules, nil
	}
	relocated := make(map[uint64]uint64) // what the loader will write over the fields that are read
	err = relocations(f, func(address, value uint64) {
		if value == pclntab {
			_, _ = add(address)
		}
	})
	if err != nil {
		return 0, 0, err
	}
	word := binary.LittleEndian.AppendUint64(nil, pclntab)
	for _, s := range f.loads {
		if s.flags&elf.PF_W == 0 {
			continue
		}
		if _, err := f.search(s, word, 8, add); err != nil {
			return 0, 0, err
		}
	}
	if len(modules) == 0 {
		return 0, 0, errNoModule
	}
	err = relocations(f, func(address, value uint64) {
		for _, m := range modules {
			switch address - m {
			case moduleMinPC, moduleText, moduleEtext:
				relocated[address] = value
			}
		}
	})
	if err != nil {
		return 0, 0, err
	}
	for _, m := range modules {
		offset, s, ok := f.offset(m)
		if !ok || s.size-(m-s.address) < moduleSize {
			continue
		}
		b, err := f.pages.at(offset, moduleSize)
		if err != nil {
			return 0, 0, err
		}
		field := func(at uint64) uint64 {
			if v, ok := relocated[m+at]; ok {
				return v
			}
			return binary.LittleEndian.Uint64(b[at:])
		}
		text, etext, minPC := field(moduleText), field(moduleEtext), field(moduleMinPC)
		_, s, ok = f.offset(text)
		if ok && s.flags&elf.PF_X != 0 && field(moduleFtabLen) == functions+1 && text <= minPC && minPC < etext && etext-s.address <= s.size {
			return text, etext, nil
		}
	}
	return 0, 0, errNoModule
}

// relocations calls yield with each word that the loader sets relative to where it put the file, as if that were 0.
func relocations(f *elfFile, yield func(address, value uint64)) error {
	const dynEntry, relaEntry = 16, 24
	le := binary.LittleEndian
	var table, size uint64
	w := newWindow(f.r)
	for at := uint64(0); at+dynEntry <= min(f.dynamic.size, pageSize); at += dynEntry {
		d, err := w.at(f.dynamic.offset+at, dynEntry)
		if err != nil {
			return err
		}
		switch elf.DynTag(le.Uint64(d)) {
		case elf.DT_RELA:
			table = le.Uint64(d[8:])
		case elf.DT_RELASZ:
			size = le.Uint64(d[8:])
		case elf.DT_NULL:
			at = pageSize
		}
	}
	offset, s, ok := f.offset(table)
	if size == 0 || !ok {
		return nil
	}
	size = min(size, s.size-(table-s.address))
	for at := uint64(0); at+relaEntry <= size; at += relaEntry {
		r, err := w.at(offset+at, relaEntry)
		if err != nil {
			return err
		}
		kind := uint32(le.Uint64(r[8:]))
		if f.machine == elf.EM_X86_64 && kind == uint32(elf.R_X86_64_RELATIVE) || f.machine == elf.EM_AARCH64 && kind == uint32(elf.R_AARCH64_RELATIVE) {
			yield(le.Uint64(r), le.Uint64(r[16:]))
		}
	}
	return nil
}
