package tlsprobe

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// resident is what this process holds of the machine's memory, in KiB, without files that are only mapped.
func resident(t *testing.T) (anonymous int) {
	t.Helper()
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &anonymous); err == nil {
			return anonymous
		}
	}
	t.Fatal("no RssAnon is told")
	return 0
}

// peakResident is the most that this process held since the peak was forgotten, in KiB.
func peakResident(t *testing.T) (peak int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &peak); err == nil {
			return peak
		}
	}
	t.Fatal("no VmHWM is told")
	return 0
}

// A hundred TLS programs and libraries that differ take little memory: at the end, and while they are read.
func TestFinderMemory(t *testing.T) {
	requireRoot(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var inodes []fileID
	for from, n := range map[string]int{library(t, "libssl.so.3"): 40, library(t, "libcrypto.so.3"): 40, self: 20} {
		dir := t.TempDir()
		for i := range n {
			path := filepath.Join(dir, fmt.Sprint(i))
			inodes = append(inodes, copyFile(t, from, path))
			mapFile(t, path)
		}
	}
	r := &recorder{}
	cfg := Default()
	cfg.Attach, cfg.Attaches, cfg.Burst = r.attach, 1000, 1000
	before := resident(t)
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
	low := peakResident(t)
	f := run(t, cfg, r)
	waitFor(t, "the attachment to all", func() bool { return attachedOf(f, inodes) == len(inodes) })
	peak := peakResident(t) - low
	grown := resident(t) - before
	t.Logf("%d targets: %d KiB more, %d KiB at the peak", f.Gauges()["tls-targets"], grown, peak)
	if grown > 8<<10 || peak > 32<<10 {
		t.Errorf("%d KiB more, %d KiB at the peak", grown, peak)
	}
	if lost := f.Counters(); lost[lostRefused]+lost[lostMalformed] > 0 {
		t.Errorf("lost %v, missing %q", lost, f.Missing())
	}
}

// attachedOf says to how many files of some inodes a Finder attached.
func attachedOf(f *Finder, inodes []fileID) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range f.attached {
		if slices.Contains(inodes, fileID{unix.Mkdev(x.major, x.minor), x.identity.number}) {
			n++
		}
	}
	return n
}
