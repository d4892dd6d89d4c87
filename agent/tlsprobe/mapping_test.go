package tlsprobe

import (
	"bytes"
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

func TestParseLine(t *testing.T) {
	f := func(line string, want mapping, ok bool) {
		t.Helper()
		got, gotOK := parseLine(7, line)
		if gotOK != ok || ok && got != want {
			t.Errorf("%q: %+v, %v", line, got, gotOK)
		}
		if ok && !executable([]byte(line)) {
			t.Errorf("%q is not taken for code", line)
		}
	}
	want := mapping{pid: 7, start: 0x7f31d83ac000, end: 0x7f31d8502000, inode: inode{0xfe, 1, 326269}, path: "/usr/lib/libc.so.6"}
	f("7f31d83ac000-7f31d8502000 r-xp 00026000 fe:01 326269                     /usr/lib/libc.so.6", want, true)
	f("7f31d83ac000-7f31d8502000 rwxs 00026000 fe:01 326269                     /usr/lib/libc.so.6\n", want, true)
	f("7f31d83ac000-7f31d8502000 r-xp 00026000 fe:01 326269                     /usr/lib/libc.so.6 (deleted)", want, true)
	want.path = "/a b\nc"
	f(`7f31d83ac000-7f31d8502000 r-xp 00026000 fe:01 326269                     /a b\012c`, want, true)
	f("7f31d83ac000-7f31d8502000 r--p 00026000 fe:01 326269                     /usr/lib/libc.so.6", mapping{}, false)
	f("7f31d83ac000-7f31d8502000 r-xp 00000000 00:00 0 ", mapping{}, false)
	f("7ffd1b7f2000-7ffd1b7f4000 r-xp 00000000 00:00 0                          [vdso]", mapping{}, false)
	f("7f31d83ac000-7f31d8502000 r-xp 00026000 00:01 326269                     /memfd:runc (deleted)", mapping{}, false)
	f("7f31d83ac000-7f31d8502000 r-xp 00026000 00:05 326269                     /dev/zero", mapping{}, false)
	f("7f31d8502000-7f31d83ac000 r-xp 00026000 fe:01 326269                     /backwards", mapping{}, false)
	f("x-y r-xp 00026000 fe:01 326269 /a", mapping{}, false)
	f("1-2 r-xp 0 g:01 326269 /a", mapping{}, false)
	f("1-2 r-xp 0 fe:01 -1 /a", mapping{}, false)
	f("1-2 r-xp", mapping{}, false)
	f("", mapping{}, false)
}

func FuzzLine(f *testing.F) {
	f.Add("7f31d83ac000-7f31d8502000 r-xp 00026000 fe:01 326269                     /usr/lib/libc.so.6 (deleted)")
	f.Fuzz(func(t *testing.T, line string) {
		m, ok := parseLine(1, line)
		if ok && (m.inode.number == 0 || m.end <= m.start || !strings.HasPrefix(m.path, "/") || !executable([]byte(line))) {
			t.Errorf("%q: %+v", line, m)
		}
	})
}

// record builds what follows the header of a PERF_RECORD_MMAP2.
func record(m mapping) []byte {
	b := make([]byte, 64, 64+len(m.path)+8)
	le := binary.LittleEndian
	le.PutUint32(b, m.pid)
	le.PutUint32(b[4:], m.pid+1)
	le.PutUint64(b[8:], m.start)
	le.PutUint64(b[16:], m.end-m.start)
	le.PutUint32(b[32:], m.inode.major)
	le.PutUint32(b[36:], m.inode.minor)
	le.PutUint64(b[40:], m.inode.number)
	le.PutUint64(b[48:], m.generation)
	b = append(append(b, m.path...), 0)
	return append(b, make([]byte, (8-len(b)%8)%8)...)
}

func TestParseRecord(t *testing.T) {
	want := mapping{pid: 7, start: 0x1000, end: 0x3000, inode: inode{254, 1, 99}, generation: 5, path: "/bin/true"}
	if got, ok := parseRecord(record(want)); !ok || got != want {
		t.Errorf("%+v, %v", got, ok)
	}
	f := func(change func(*mapping)) {
		t.Helper()
		m := want
		change(&m)
		if got, ok := parseRecord(record(m)); ok {
			t.Errorf("%+v", got)
		}
	}
	f(func(m *mapping) { m.path = "[vdso]" })
	f(func(m *mapping) { m.path = "//anon" })
	f(func(m *mapping) { m.path = "/memfd:x (deleted)" })
	f(func(m *mapping) { m.inode.number = 0 })
	f(func(m *mapping) { m.pid = 0xffffffff })
	f(func(m *mapping) { m.end = m.start })
	f(func(m *mapping) { m.path = "/" + strings.Repeat("a", maxPath) })
	for n := range len(record(want)) - 6 {
		if got, ok := parseRecord(record(want)[:n]); ok {
			t.Errorf("%d bytes: %+v", n, got)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(record(mapping{pid: 7, start: 0x1000, end: 0x3000, inode: inode{254, 1, 99}, path: "/bin/true"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, ok := parseRecord(b); ok && (m.inode.number == 0 || m.end <= m.start || m.pid == 0 || strings.Contains(m.path, "\x00")) {
			t.Errorf("%x: %+v", b, m)
		}
	})
}

func TestParseCPUs(t *testing.T) {
	f := func(list string, want ...int) {
		t.Helper()
		if got, err := parseCPUs(list); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", list, got, err)
		}
	}
	f("0", 0)
	f("0-3,5,8-9", 0, 1, 2, 3, 5, 8, 9)
	for _, bad := range []string{"", "a", "3-1", "0-", "-1", "0-99999999", "0,,1"} {
		if got, err := parseCPUs(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}

// Records that go round the end of the ring, losses and nonsense.
func TestNewsRing(t *testing.T) {
	const size = 512
	page := &unix.PerfEventMmapPage{}
	n := &news{rings: []ring{{page: page, data: make([]byte, size)}}}
	write := func(kind uint32, body []byte) {
		b := binary.LittleEndian.AppendUint32(nil, kind)
		b = binary.LittleEndian.AppendUint16(b, 0)
		b = binary.LittleEndian.AppendUint16(b, uint16(8+len(body)))
		for _, c := range append(b, body...) {
			n.rings[0].data[page.Data_head%size] = c
			page.Data_head++
		}
	}
	read := func() (paths []string, lost bool) {
		lost = n.Read(func(m mapping) { paths = append(paths, m.path) })
		if page.Data_tail != page.Data_head {
			t.Errorf("read up to %d of %d", page.Data_tail, page.Data_head)
		}
		return paths, lost
	}
	m := mapping{pid: 7, start: 0x1000, end: 0x3000, inode: inode{254, 1, 99}}
	for i := range 100 { // every place in the ring
		m.path = "/" + strings.Repeat("a", i%40)
		write(unix.PERF_RECORD_MMAP2, record(m))
		write(unix.PERF_RECORD_EXIT, bytes.Repeat([]byte{1}, 24))
		if paths, lost := read(); lost || !slices.Equal(paths, []string{m.path}) {
			t.Fatalf("%q, %v, want %q", paths, lost, m.path)
		}
	}
	write(unix.PERF_RECORD_LOST, make([]byte, 16))
	write(unix.PERF_RECORD_MMAP2, record(m))
	if paths, lost := read(); !lost || len(paths) != 1 {
		t.Errorf("%q, %v", paths, lost)
	}
	write(unix.PERF_RECORD_MMAP2, nil)
	binary.LittleEndian.PutUint16(n.rings[0].data[(page.Data_tail+6)%size:], 0) // of no length
	if paths, lost := read(); !lost || len(paths) != 0 {
		t.Errorf("%q, %v", paths, lost)
	}
}

// The kernel's news and its list agree about a file.
func TestKernelNews(t *testing.T) {
	testenv.RequireKernel(t)
	n, err := openNews()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	path := t.TempDir() + "/a b\nc"
	number := tlsLibrary(t, path, false).inode
	mapFile(t, path)
	var told []mapping
	waitFor(t, "news", func() bool {
		n.Read(func(m mapping) {
			if m.pid == uint32(os.Getpid()) && m.inode.number == number {
				told = append(told, m)
			}
		})
		return len(told) > 0
	})
	i := slices.IndexFunc(readMaps("/proc/self/maps", uint32(os.Getpid())), func(m mapping) bool {
		m.generation = told[0].generation
		return m == told[0]
	})
	if len(told) != 1 || told[0].path != path || i < 0 {
		t.Errorf("told of %+v, and proc lists it otherwise", told)
	}
	if n.Changed() {
		t.Error("CPUs changed")
	}
}
