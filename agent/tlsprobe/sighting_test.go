package tlsprobe

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ambit-nhi/ambit/bpf"
)

func newFinder(t testing.TB, change func(*Config)) *Finder {
	t.Helper()
	cfg := Default()
	cfg.Attach = func(string, bpf.Target) (io.Closer, error) { return nil, errors.New("nothing is attached here") }
	if change != nil {
		change(&cfg)
	}
	f, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestValidate(t *testing.T) {
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "attach: ") || !strings.Contains(err.Error(), "proc root: ") {
		t.Errorf("%v", err)
	}
}

// goneMapping is one of a process that is not there.
func goneMapping(number uint64) mapping {
	return mapping{pid: 1 << 22, start: 0x1000, end: 0x2000, inode: inode{254, 1, number}, path: "/usr/bin/brief"}
}

// A file is looked into when a process had it for a second; one that only short processes have, when it was so three times.
func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFinder(t, nil)
		m := goneMapping(1)
		for i := range maxBrief {
			f.see(&m, false)
			f.see(&m, false)
			if s, _, wait := f.next(time.Now()); s != nil || wait != f.cfg.Delay {
				t.Fatalf("round %d: %v, %v", i, s, wait)
			}
			time.Sleep(f.cfg.Delay)
			s, _, _ := f.next(time.Now())
			if s == nil || s.brief != i {
				t.Fatalf("round %d: %+v", i, s)
			}
			if err := f.lookInto(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			if s.file != nil || s.queued || len(s.recent) != 0 {
				t.Fatalf("round %d: %+v", i, s)
			}
		}
		f.see(&m, false)
		if s, _, _ := f.next(time.Now()); s == nil {
			t.Error("the next is waited for")
		}
		if s, _, wait := f.next(time.Now()); s != nil || wait != time.Hour {
			t.Errorf("%+v, %v", s, wait)
		}
		m = goneMapping(2)
		f.see(&m, true) // it was there before
		if s, _, _ := f.next(time.Now()); s == nil {
			t.Error("an old process is waited for")
		}
	})
}

// A number that is used again is another file.
func TestGeneration(t *testing.T) {
	f := newFinder(t, nil)
	m := goneMapping(1)
	m.generation = 5
	first := f.sighting(&m)
	m.generation = 0
	if f.sighting(&m) != first {
		t.Error("proc's list tells of another file")
	}
	m.generation = 6
	if f.sighting(&m) == first {
		t.Error("another generation is the same file")
	}
}

func TestWaitingIsBounded(t *testing.T) {
	f := newFinder(t, func(c *Config) { c.MaxWaiting, c.MaxJudged = 10, 20 })
	for i := range uint64(1000) {
		m := goneMapping(i + 1)
		f.see(&m, i%2 == 0)
	}
	if n := f.Counters()[lostWaiting]; n != 990 {
		t.Errorf("%d did not fit", n)
	}
	if n := f.Gauges()["tls-files-waiting"]; n != 10 {
		t.Errorf("%d wait", n)
	}
	if n := f.judged.Len(); n > 20 {
		t.Errorf("%d are remembered", n)
	}
	for i := range uint32(2 * maxRequests) {
		f.Blind(i + 1)
	}
	if n := len(f.requests); n != maxRequests {
		t.Errorf("%d requests", n)
	}
}

// Nobody waits for ever, and few hang at a time.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFinder(t, nil)
		hold := make(chan struct{})
		late := 0
		for i := range maxStuck + 2 {
			began := time.Now()
			_, err := patiently(t.Context(), f, func() int { <-hold; return 1 }, func(n int) { late += n })
			if want := f.patience; !errors.Is(err, errStuck) || i < maxStuck && time.Since(began) != want || i >= maxStuck && time.Since(began) != 0 {
				t.Errorf("%d: %v after %v", i, err, time.Since(began))
			}
		}
		if n := f.Counters()[lostStuck]; n != maxStuck {
			t.Errorf("%d are counted", n)
		}
		for range maxStuck {
			hold <- struct{}{}
			synctest.Wait()
		}
		if n, err := patiently(t.Context(), f, func() int { return 2 }, nil); late != maxStuck || n != 2 || err != nil {
			t.Errorf("%d came late, then %d, %v", late, n, err)
		}
	})
}

// However much there is to tell, it stays short.
func TestReportIsBounded(t *testing.T) {
	f := newFinder(t, nil)
	for i := range 1000 {
		f.report.blind(fmt.Sprintf("go2.%d", i), "its layout is not known", "/app")
		f.report.refuse(fmt.Errorf("error %d", i))
		f.attached[uint32(i+1)] = &file{number: uint32(i + 1), stack: fmt.Sprintf("openssl-9.%d", i)}
	}
	if n := len(f.Missing()); n > 3*maxLines {
		t.Errorf("%d lines", n)
	}
	gauges := f.Gauges()
	sum := uint64(0)
	for name, n := range gauges {
		if strings.HasPrefix(name, "tls-stack:") {
			sum += n
		}
	}
	if len(gauges) > maxStacks+5 || sum != 2000 {
		t.Errorf("%d gauges of %d files", len(gauges), sum)
	}
	f.report.blind("", "files on fuse: reading them may block", "/mnt/x\ny")
	f.report.blind("boringssl", "it does not parse certificates as OpenSSL does", "/usr/bin/envoy")
}

func TestMissing(t *testing.T) {
	f := newFinder(t, nil)
	f.report.blind("", "files on fuse: reading them may block", "/mnt/x\ny")
	f.report.blind("boringssl", "it does not parse certificates as OpenSSL does", "/usr/bin/envoy")
	f.report.blind("boringssl", "it does not parse certificates as OpenSSL does", "/usr/bin/bun")
	f.report.refuse(errors.New("read /x: nonsense"))
	want := []string{
		"TLS of boringssl: it does not parse certificates as OpenSSL does, beyond what the wire shows (/usr/bin/envoy and 1 more)",
		`TLS of files on fuse: reading them may block, beyond what the wire shows ("/mnt/x\ny")`,
		"TLS of one file: read /x: nonsense",
	}
	if got := f.Missing(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if g := f.Gauges(); g["tls-stack:boringssl"] != 2 || len(g) != 4 {
		t.Errorf("gauges %v", g)
	}
}
