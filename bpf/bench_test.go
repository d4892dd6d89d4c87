package bpf

import (
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// The benchmarks do the same with and without the programs attached, in turn, and report the median ratio of neighbours with its quartiles:
// machines drift more than the programs cost. ns/op is with the programs,
// ns-own/op what they say themselves.

// BenchmarkKernelConnect makes a connection over loopback and ends it, both ends in one thread.
func BenchmarkKernelConnect(b *testing.B) {
	f := func(name string, ports int) {
		b.Run(name, func(b *testing.B) {
			var listeners []int
			var to []unix.Sockaddr
			for range ports {
				l := listenTCP(0, 0, 8)
				b.Cleanup(func() { unix.Close(l) })
				listeners, to = append(listeners, l), append(to, here4(boundPort(l)))
			}
			next := 0
			compare(b, 1000, func() {
				next = (next + 1) % ports
				c, s := pair(listeners[next], 0, to[next])
				check(unix.Close(s)) // first, or the client runs out of ports
				check(unix.Close(c))
			})
		})
	}
	f("one edge", 1)
	f("1000 edges", 1000)
}

// BenchmarkKernelDatagram sends 64 bytes over loopback and receives them.
func BenchmarkKernelDatagram(b *testing.B) {
	s := socketUDP(unix.AF_INET, here4(0))
	defer unix.Close(s)
	to, buf := here4(boundPort(s)), make([]byte, 64)
	arrive := func() {
		if _, _, err := unix.Recvfrom(s, buf, 0); err != nil {
			panic(err)
		}
	}
	b.Run("unconnected", func(b *testing.B) {
		c := socketUDP(unix.AF_INET, nil)
		defer unix.Close(c)
		compare(b, 10000, func() {
			check(unix.Sendto(c, buf, 0, to))
			arrive()
		})
	})
	b.Run("connected", func(b *testing.B) {
		c := connectedUDP(to)
		defer unix.Close(c)
		compare(b, 10000, func() {
			must(unix.Write(c, buf))
			arrive()
		})
	})
	b.Run("new socket each", func(b *testing.B) {
		compare(b, 5000, func() {
			c := connectedUDP(to)
			must(unix.Write(c, buf))
			arrive()
			check(unix.Close(c))
		})
	})
}

// BenchmarkKernelStream carries 64 KiB over a connection that stays.
func BenchmarkKernelStream(b *testing.B) {
	l := listenTCP(0, 0, 8)
	defer unix.Close(l)
	c, s := pair(l, 0, here4(boundPort(l)))
	defer unix.Close(c)
	defer unix.Close(s)
	buf := make([]byte, 64<<10)
	b.SetBytes(int64(len(buf)))
	compare(b, 2000, func() {
		must(unix.Write(c, buf))
		for n := 0; n < len(buf); {
			n += must(unix.Read(s, buf))
		}
	})
}

// compare times rounds of one operation, in turn without and with the programs.
func compare(b *testing.B, operations int, do func()) {
	w := watch(b, testConfig(b))
	detach := func() {
		for _, l := range w.links {
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
		}
		w.links = nil
	}
	round := func() float64 {
		for range operations / 10 { // warms up
			do()
		}
		start := time.Now()
		for range operations {
			do()
		}
		return float64(time.Since(start).Nanoseconds()) / float64(operations)
	}
	detach()
	var without, with, ratios []float64
	for b.Loop() {
		without = append(without, round())
		w.links = attachAll(b, w.Kernel)
		with = append(with, round())
		detach()
		ratios = append(ratios, with[len(with)-1]/without[len(without)-1])
		w.poll()
	}
	w.links = attachAll(b, w.Kernel)
	b.ReportMetric(w.own(b, operations, do), "ns-own/op")
	b.ReportMetric(quantile(with, .5), "ns/op")
	b.ReportMetric(quantile(without, .5), "ns-without/op")
	b.ReportMetric(quantile(ratios, .25), "ratio-q1")
	b.ReportMetric(quantile(ratios, .5), "ratio")
	b.ReportMetric(quantile(ratios, .75), "ratio-q3")
}

// own measures what the programs themselves take, by the kernel's clock: it includes some 50 ns a run for reading that clock, and all else that
// happens on the machine meanwhile.
func (w *watcher) own(b *testing.B, operations int, do func()) float64 {
	b.Helper()
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Fatal(err)
	}
	defer stats.Close()
	took := func() (total time.Duration) {
		for _, p := range w.collection.Programs {
			s, err := p.Stats()
			if err != nil {
				b.Fatal(err)
			}
			total += s.Runtime
		}
		return total
	}
	before := took()
	for range operations {
		do()
	}
	return float64((took() - before).Nanoseconds()) / float64(operations)
}

func attachAll(b *testing.B, k *Kernel) (links []link.Link) {
	b.Helper()
	for _, h := range hooks {
		if h.attach == nil || h.beside != 0 {
			continue
		}
		l, err := h.attach(k.collection.Programs[h.program], testConfig(b))
		if err != nil {
			b.Fatal(err)
		}
		links = append(links, l)
	}
	return links
}

func quantile(v []float64, q float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[int(q*float64(len(v)-1))]
}
