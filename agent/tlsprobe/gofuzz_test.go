package tlsprobe

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"os"
	"runtime"
	"testing"
	"time"
)

// sparse is a file that is small but for a hole.
type sparse struct {
	head []byte
	size int64
}

func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	if off >= s.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), s.size-off))
	clear(p[:n])
	if off < int64(len(s.head)) {
		copy(p[:n], s.head[off:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// held measures by how much the memory grows at most while f runs.
func held(f func()) uint64 {
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&now)
	return now.TotalAlloc - before.TotalAlloc
}

// hugeGo is a hostile program: one segment of 500 MiB, a function table with 8 million functions, whose records lie where each read is a new page.
func hugeGo() *sparse {
	const size = 500 << 20
	le := binary.LittleEndian
	head := make([]byte, 128<<20)
	copy(head, "\x7fELF\x02\x01\x01")
	le.PutUint16(head[16:], uint16(elf.ET_EXEC))
	le.PutUint16(head[18:], uint16(elf.EM_X86_64))
	le.PutUint64(head[32:], 64)
	le.PutUint16(head[54:], 56)
	le.PutUint16(head[56:], 2)
	for i, flags := range []elf.ProgFlag{elf.PF_R | elf.PF_W, elf.PF_R | elf.PF_X} {
		p := head[64+56*i:]
		le.PutUint32(p, uint32(elf.PT_LOAD))
		le.PutUint32(p[4:], uint32(flags))
		le.PutUint64(p[16:], uint64(i)<<32)
		le.PutUint64(p[32:], size)
		le.PutUint64(p[40:], size)
	}
	copy(head[4096:], buildInfoMagic)
	head[4096+15] = 2
	copy(head[4096+32:], "\x08go1.22.3")

	const table, functions, records = 8192, maxFunctions - 1, 110 << 20
	h := head[table:]
	le.PutUint32(h, pclntabMagic)
	h[6], h[7] = 1, 8
	le.PutUint64(h[8:], functions)
	le.PutUint64(h[32:], 128)
	le.PutUint64(h[40:], 4096)
	le.PutUint64(h[64:], 4096)
	copy(h[128:], "\x00crypto/tls.(*Conn).clientHandshake\x00")
	for i := range functions {
		e := h[4096+8*i:]
		le.PutUint32(e, uint32(i))
		at := uint32(records + i%2<<20)
		le.PutUint32(e[4:], at)
	}
	m := head[64<<10+96<<20:]
	le.PutUint64(m, table)
	le.PutUint64(m[moduleFtabLen:], functions+1)
	le.PutUint64(m[moduleText:], 1<<32)
	le.PutUint64(m[moduleMinPC:], 1<<32)
	le.PutUint64(m[moduleEtext:], 1<<32+maxFunctions)
	return &sparse{head, size}
}

func TestGoTargetIsBounded(t *testing.T) {
	f := func(name string, r io.ReaderAt, want string) {
		t.Helper()
		var err error
		began := time.Now()
		if n := held(func() { _, err = readGo(r) }); n > 32<<20 {
			t.Errorf("%s: %d MiB were allocated", name, n>>20)
		}
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("%s: it took %v", name, d)
		}
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	f("records all over the place", hugeGo(), "read function table: "+errReadsTooMuch.Error())
	data, err := os.ReadFile(buildGo(t, runtime.Version(), goLinks[0]))
	if err != nil {
		t.Fatal(err)
	}
	f("a large hole", &sparse{withoutSections(data)[:4096], 500 << 20}, errNotGo.Error())
	if n := held(func() {
		if _, err := readGo(bytes.NewReader(data)); err != nil {
			t.Error(err)
		}
	}); n > 2<<20 {
		t.Errorf("an ordinary program takes %d KiB", n>>10)
	}
}

func FuzzGoTarget(f *testing.F) {
	// A whole program is too large to be changed in good places: the corpus is a small one with all the tables that are read.
	f.Add(tinyGo(false), uint16(0), uint64(0))
	f.Add(tinyGo(true), uint16(0), uint64(0))
	f.Add(tinyGo(true), uint16(tinyTable+8), uint64(1<<40))
	f.Add(tinyGo(true), uint16(tinyTable+64), uint64(1<<63))
	f.Fuzz(func(t *testing.T, data []byte, at uint16, value uint64) {
		if int(at)+8 <= len(data) {
			data = bytes.Clone(data)
			binary.LittleEndian.PutUint64(data[at:], binary.LittleEndian.Uint64(data[at:])^value)
		}
		got, err := readGo(bytes.NewReader(data))
		if err == nil && (got.layout == nil || got.version == "") {
			t.Fatalf("%+v without an error", got)
		}
		for fn, at := range got.functions {
			for _, a := range at {
				if err == nil && a >= uint64(len(data)) {
					t.Fatalf("function %d is at %#x of %#x", fn, a, len(data))
				}
			}
		}
	})
}

const tinyTable = 0x400

// tinyGo is a program of one function, which only returns; as a PIE its module data is relocated.
func tinyGo(pie bool) []byte {
	const info, dynamic, rela, module, text, size = 0x200, 0x280, 0x300, 0x600, 0x800, 0x900
	le := binary.LittleEndian
	b := make([]byte, size)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], uint16(elf.ET_EXEC))
	le.PutUint16(b[18:], uint16(elf.EM_X86_64))
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 3)
	for i, s := range []struct {
		kind         elf.ProgType
		flags        elf.ProgFlag
		offset, size uint64
	}{{elf.PT_LOAD, elf.PF_R | elf.PF_W, 0, text}, {elf.PT_LOAD, elf.PF_R | elf.PF_X, text, size - text}, {elf.PT_DYNAMIC, elf.PF_R, dynamic, 0x40}} {
		p := b[64+56*i:]
		le.PutUint32(p, uint32(s.kind))
		le.PutUint32(p[4:], uint32(s.flags))
		le.PutUint64(p[8:], s.offset)
		le.PutUint64(p[16:], s.offset)
		le.PutUint64(p[32:], s.size)
		le.PutUint64(p[40:], s.size)
	}
	copy(b[info:], buildInfoMagic)
	b[info+15] = 2
	copy(b[info+32:], "\x08go1.22.3")
	h := b[tinyTable:]
	le.PutUint32(h, pclntabMagic)
	h[6], h[7] = 1, 8
	le.PutUint64(h[8:], 1)
	le.PutUint64(h[32:], 72)
	le.PutUint64(h[40:], 0x90)
	le.PutUint64(h[64:], 0x90)
	copy(h[72:], "\x00crypto/tls.(*Conn).clientHandshake\x00")
	le.PutUint32(h[0x90:], 0)
	le.PutUint32(h[0x94:], 16)
	le.PutUint32(h[0x98:], 2)
	le.PutUint32(h[0xa4:], 1)
	values := map[uint64]uint64{0: tinyTable, moduleText: text, moduleMinPC: text, moduleEtext: size}
	le.PutUint64(b[module+moduleFtabLen:], 2)
	at := rela
	for field, v := range values {
		if !pie {
			le.PutUint64(b[module+field:], v)
			continue
		}
		le.PutUint64(b[at:], module+field)
		le.PutUint64(b[at+8:], uint64(elf.R_X86_64_RELATIVE))
		le.PutUint64(b[at+16:], v)
		at += 24
	}
	if pie {
		for i, v := range []uint64{uint64(elf.DT_RELA), rela, uint64(elf.DT_RELASZ), uint64(at - rela), 0, 0} {
			le.PutUint64(b[dynamic+8*i:], v)
		}
	}
	copy(b[text:], []byte{0x90, 0xc3})
	return b
}

func TestGoTargetTiny(t *testing.T) {
	for _, pie := range []bool{false, true} {
		got, err := readGo(bytes.NewReader(tinyGo(pie)))
		if err != nil || got.version != "go1.22.3" || len(got.functions) != 2 {
			t.Errorf("pie %v: %+v, %v", pie, got, err)
		}
	}
}
