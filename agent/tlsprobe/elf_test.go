package tlsprobe

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"slices"
)

const builtBase = 0x400000 // where builtELF's files are mapped

// builtELF describes a small ELF file. Its functions follow each other, 16 bytes each.
type builtELF struct {
	exported []string // functions, in the order of their addresses
	sysv     bool     // with the hash table of old instead of GNU's
	soname   string
	constant string
	local    []string // functions of the symbol table, at further addresses
}

const builtCode = 0x1000

// offset is where the file has a function.
func (b *builtELF) offset(name string) uint64 {
	return builtCode + 16*uint64(slices.Index(slices.Concat(b.exported, b.local), name))
}

func (b *builtELF) bytes() []byte {
	le := binary.LittleEndian
	code := 16 * (len(b.exported) + len(b.local))
	out := make([]byte, builtCode+code)
	put := func(data []byte) uint64 {
		for len(out)%16 != 0 {
			out = append(out, 0)
		}
		out = append(out, data...)
		return uint64(len(out) - len(data))
	}
	stringTable := func(names ...string) (table []byte, at []uint32) {
		table = []byte{0}
		for _, n := range names {
			at = append(at, uint32(len(table)))
			table = append(append(table, n...), 0)
		}
		return table, at
	}
	symbolTable := func(names []string, at []uint32) []byte {
		table := make([]byte, symbolSize)
		for i, n := range names {
			s := make([]byte, symbolSize)
			le.PutUint32(s, at[i])
			s[4], s[6] = byte(elf.ST_INFO(elf.STB_GLOBAL, elf.STT_FUNC)), 1
			le.PutUint64(s[8:], builtBase+b.offset(n))
			le.PutUint64(s[16:], 16)
			table = append(table, s...)
		}
		return table
	}
	sorted := slices.Clone(b.exported)
	const buckets = 3
	slices.SortStableFunc(sorted, func(x, y string) int { return int(gnuHash(x)%buckets) - int(gnuHash(y)%buckets) })
	strings, names := stringTable(append(sorted, b.soname)...)
	dynstr, dynsym := put(strings), uint64(0)
	symbols := symbolTable(sorted, names)
	dynsym = put(symbols)
	hash, hashTag := put(gnuHashTable(sorted, buckets)), elf.DT_GNU_HASH
	if b.sysv {
		hash, hashTag = put(sysvHashTable(sorted, buckets)), elf.DT_HASH
	}
	var dynamic []byte
	for _, e := range []struct {
		tag   elf.DynTag
		value uint64
	}{
		{elf.DT_SYMTAB, builtBase + dynsym}, {elf.DT_STRTAB, builtBase + dynstr}, {elf.DT_STRSZ, uint64(len(strings))}, {hashTag, builtBase + hash},
		{elf.DT_SONAME, uint64(names[len(names)-1])}, {elf.DT_NULL, 0},
	} {
		dynamic = le.AppendUint64(le.AppendUint64(dynamic, uint64(e.tag)), e.value)
	}
	at := put(dynamic)
	constants := put([]byte("\x00" + b.constant + "\x00"))
	localStrings, localNames := stringTable(b.local...)
	localSymbols := symbolTable(b.local, localNames)
	strtab, symtab := put(localStrings), put(localSymbols)
	type header struct {
		name         string
		offset, size uint64
	}
	sections := []header{{}, {".dynsym", dynsym, uint64(len(symbols))}, {".dynstr", dynstr, uint64(len(strings))}, {".rodata", constants, uint64(len(b.constant) + 2)}}
	if len(b.local) > 0 {
		sections = append(sections, header{".symtab", symtab, uint64(len(localSymbols))}, header{".strtab", strtab, uint64(len(localStrings))})
	}
	var sectionNames []string
	for _, s := range append(sections, header{name: ".shstrtab"}) {
		sectionNames = append(sectionNames, s.name)
	}
	table, nameAt := stringTable(sectionNames...)
	sections = append(sections, header{".shstrtab", put(table), uint64(len(table))})
	var headers []byte
	for i, s := range sections {
		h := make([]byte, 64)
		le.PutUint32(h, nameAt[i])
		le.PutUint64(h[16:], builtBase+s.offset)
		le.PutUint64(h[24:], s.offset)
		le.PutUint64(h[32:], s.size)
		headers = append(headers, h...)
	}
	shoff := put(headers)
	copy(out, elf.ELFMAG+string([]byte{byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1}))
	le.PutUint16(out[18:], uint16(elf.EM_X86_64))
	le.PutUint64(out[32:], 64)
	le.PutUint64(out[40:], shoff)
	for i, v := range []uint16{56, 2, 64, uint16(len(sections)), uint16(len(sections) - 1)} {
		le.PutUint16(out[54+2*i:], v)
	}
	for i, p := range []struct {
		kind         elf.ProgType
		offset, size uint64
	}{{elf.PT_LOAD, 0, uint64(len(out))}, {elf.PT_DYNAMIC, at, uint64(len(dynamic))}} {
		h := out[64+56*i:]
		le.PutUint32(h, uint32(p.kind))
		le.PutUint32(h[4:], uint32(elf.PF_R|elf.PF_X))
		le.PutUint64(h[8:], p.offset)
		le.PutUint64(h[16:], builtBase+p.offset)
		le.PutUint64(h[32:], p.size)
		le.PutUint64(h[40:], p.size)
	}
	return out
}

func gnuHashTable(sorted []string, buckets uint32) []byte {
	le := binary.LittleEndian
	first := make([]uint32, buckets)
	var chain []byte
	for i, n := range sorted {
		h := gnuHash(n)
		if first[h%buckets] == 0 {
			first[h%buckets] = uint32(i + 1)
		}
		end := uint32(0)
		if i+1 == len(sorted) || gnuHash(sorted[i+1])%buckets != h%buckets {
			end = 1
		}
		chain = le.AppendUint32(chain, h&^1|end)
	}
	var out []byte
	for _, v := range []uint32{buckets, 1, 1, 6, 0xffffffff, 0xffffffff} { // one word of a bloom filter that lets all through
		out = le.AppendUint32(out, v)
	}
	for _, v := range first {
		out = le.AppendUint32(out, v)
	}
	return append(out, chain...)
}

func sysvHashTable(names []string, buckets uint32) []byte {
	heads, next := make([]uint32, buckets), make([]uint32, len(names)+1)
	for i, n := range names {
		b := sysvHash(n) % buckets
		heads[b], next[i+1] = uint32(i+1), heads[b]
	}
	var out []byte
	for _, v := range slices.Concat([]uint32{buckets, uint32(len(next))}, heads, next) {
		out = binary.LittleEndian.AppendUint32(out, v)
	}
	return out
}

func (b *builtELF) target() (*openssl, error) {
	f, err := newELF(bytes.NewReader(b.bytes()))
	if err != nil {
		return nil, err
	}
	return opensslTarget(f)
}
