package tlsprobe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// newsSize is how much of the kernel's news a CPU holds until they are read, in bytes: about a hundred starts of programs.
const newsSize = 64 << 10

// news tells of executable mappings of files from now on, in all processes: those that exec and dlopen make. It is for one goroutine.
type news struct {
	cpus  string // that are online, as the kernel lists them
	rings []ring
	buf   []byte
}

// ring is one CPU's.
type ring struct {
	fd   int
	page *unix.PerfEventMmapPage
	all  []byte
	data []byte
}

// openNews asks the kernel for news of all CPUs that are online.
func openNews() (*news, error) {
	online, err := onlineCPUs()
	if err != nil {
		return nil, err
	}
	n := &news{cpus: online}
	cpus, err := parseCPUs(online)
	if err != nil {
		return nil, err
	}
	for _, cpu := range cpus {
		r, err := openRing(cpu)
		if errors.Is(err, unix.ENODEV) { // it went off line
			continue
		}
		if err != nil {
			n.Close()
			return nil, err
		}
		n.rings = append(n.rings, r)
	}
	return n, nil
}

func openRing(cpu int) (ring, error) {
	attr := unix.PerfEventAttr{
		Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_DUMMY, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Bits: unix.PerfBitMmap | unix.PerfBitMmap2 | unix.PerfBitExcludeKernel | unix.PerfBitWatermark, Wakeup: newsSize, // nobody waits for it
	}
	fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return ring{}, fmt.Errorf("open perf event for mappings: %w", err)
	}
	size := os.Getpagesize()
	all, err := unix.Mmap(fd, 0, size+max(size, newsSize), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		unix.Close(fd)
		return ring{}, fmt.Errorf("map perf event for mappings: %w", err)
	}
	return ring{fd, (*unix.PerfEventMmapPage)(unsafe.Pointer(&all[0])), all, all[size:]}, nil
}

// Read hands over what came since the last call, without waiting, and says whether some was lost.
func (n *news) Read(found func(mapping)) (lost bool) {
	for i := range n.rings {
		lost = n.read(&n.rings[i], found) || lost
	}
	return lost
}

func (n *news) read(r *ring, found func(mapping)) (lost bool) {
	const header = 8
	size := uint64(len(r.data))
	head, tail := atomic.LoadUint64(&r.page.Data_head), r.page.Data_tail
	for head-tail >= header {
		n.buf = r.copy(n.buf[:0], tail, header)
		kind, length := binary.LittleEndian.Uint32(n.buf), uint64(binary.LittleEndian.Uint16(n.buf[6:]))
		if length < header || length > head-tail || length > size { // not the kernel's
			tail, lost = head, true
			break
		}
		switch kind {
		case unix.PERF_RECORD_MMAP2:
			n.buf = r.copy(n.buf[:0], tail+header, length-header)
			if m, ok := parseRecord(n.buf); ok {
				found(m)
			}
		case unix.PERF_RECORD_LOST, unix.PERF_RECORD_LOST_SAMPLES:
			lost = true
		}
		tail += length
	}
	atomic.StoreUint64(&r.page.Data_tail, tail)
	return lost
}

// copy takes bytes out of the ring, from a position that only grows.
func (r *ring) copy(to []byte, from, n uint64) []byte {
	from %= uint64(len(r.data))
	first := min(n, uint64(len(r.data))-from)
	to = append(to, r.data[from:from+first]...)
	return append(to, r.data[:n-first]...)
}

// Changed says that other CPUs are online than there were: then what the new ones did is not known.
func (n *news) Changed() bool {
	online, err := onlineCPUs()
	return err == nil && online != n.cpus
}

func (n *news) Close() error {
	var errs []error
	for _, r := range n.rings {
		errs = append(errs, unix.Munmap(r.all), unix.Close(r.fd))
	}
	n.rings = nil
	return errors.Join(errs...)
}

func onlineCPUs() (string, error) {
	b, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return "", fmt.Errorf("list CPUs: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// parseCPUs reads a list such as "0-3,5".
func parseCPUs(list string) (cpus []int, err error) {
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, err := strconv.Atoi(from)
		b, err2 := strconv.Atoi(to)
		if err != nil || err2 != nil || a < 0 || b < a || b >= 1<<16 {
			return nil, fmt.Errorf("list CPUs: %q is no list", list)
		}
		for cpu := a; cpu <= b; cpu++ {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}
