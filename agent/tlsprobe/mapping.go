package tlsprobe

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
)

// inode is a file as the kernel tells it with a mapping. A number may be used again for another file.
type inode struct {
	major, minor uint32
	number       uint64
}

// mapping is executable memory of a process that comes from a file.
type mapping struct {
	pid        uint32
	start, end uint64
	inode      inode
	generation uint64 // of the inode's number; 0 where it is not told
	path       string // as the process sees it
}

const maxPath = 4096

// fromFile leaves out what is no file with a name: the vdso, shared anonymous memory, devices, memory files.
func (m *mapping) fromFile() bool {
	if m.pid == 0 || m.inode.number == 0 || m.end <= m.start || !strings.HasPrefix(m.path, "/") || len(m.path) > maxPath {
		return false
	}
	for _, prefix := range []string{"//", "/memfd:", "/dev/", "/SYSV", "/anon_hugepage", "/[aio]"} {
		if strings.HasPrefix(m.path, prefix) {
			return false
		}
	}
	return true
}

// parseRecord reads what follows the header of a PERF_RECORD_MMAP2.
func parseRecord(b []byte) (mapping, bool) {
	const fixed = 64
	if len(b) < fixed {
		return mapping{}, false
	}
	le := binary.LittleEndian
	start, length := le.Uint64(b[8:]), le.Uint64(b[16:])
	name, _, ok := bytes.Cut(b[fixed:], []byte{0})
	m := mapping{
		pid: le.Uint32(b), start: start, end: start + length, path: string(name),
		inode: inode{le.Uint32(b[32:]), le.Uint32(b[36:]), le.Uint64(b[40:])}, generation: le.Uint64(b[48:]),
	}
	return m, ok && m.end >= start && int32(m.pid) > 0 && m.fromFile()
}

// parseLine reads a line of proc's maps: "7f10-7f20 r-xp 00001000 fd:01 1234   /usr/lib/libssl.so.3". It is not ok for what is not executable, or no file.
func parseLine(pid uint32, line string) (mapping, bool) {
	addresses, rest, _ := strings.Cut(line, " ")
	permissions, rest, _ := strings.Cut(rest, " ")
	if len(permissions) < 3 || permissions[2] != 'x' {
		return mapping{}, false
	}
	_, rest, _ = strings.Cut(rest, " ") // offset
	device, rest, _ := strings.Cut(rest, " ")
	number, path, _ := strings.Cut(rest, " ")
	from, to, _ := strings.Cut(addresses, "-")
	major, minor, _ := strings.Cut(device, ":")
	m := mapping{pid: pid, path: strings.TrimSuffix(strings.TrimLeft(strings.TrimSuffix(path, "\n"), " "), " (deleted)")}
	var err error
	for _, p := range []struct {
		to   *uint64
		text string
		base int
	}{{&m.start, from, 16}, {&m.end, to, 16}, {&m.inode.number, number, 10}} {
		if *p.to, err = strconv.ParseUint(p.text, p.base, 64); err != nil {
			return mapping{}, false
		}
	}
	a, err := strconv.ParseUint(major, 16, 32)
	b, err2 := strconv.ParseUint(minor, 16, 32)
	if err != nil || err2 != nil {
		return mapping{}, false
	}
	m.inode.major, m.inode.minor = uint32(a), uint32(b)
	m.path = strings.ReplaceAll(m.path, `\012`, "\n")
	return m, m.fromFile()
}

// executable says that a line of proc's maps is about code. Most are not.
func executable(line []byte) bool {
	i := bytes.IndexByte(line, ' ')
	return i >= 0 && len(line) > i+4 && line[i+3] == 'x'
}
