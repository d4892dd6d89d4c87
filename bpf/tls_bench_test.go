package bpf

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// BenchmarkKernelTLSElsewhere carries 64 bytes over a TCP connection of a process that does no TLS, in turn without and with what watches TLS.
func BenchmarkKernelTLSElsewhere(b *testing.B) {
	k, err := Load(testConfig(b))
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	tls, err := k.LoadTLS()
	if err != nil {
		b.Fatal(err)
	}
	l := listenTCP(0, 0, 8)
	defer unix.Close(l)
	c, s := pair(l, 0, here4(boundPort(l)))
	defer unix.Close(c)
	defer unix.Close(s)
	buf := make([]byte, 64)
	round := func() float64 {
		const operations = 20000
		start := time.Now()
		for range operations {
			must(unix.Write(c, buf))
			must(unix.Read(s, buf))
		}
		return float64(time.Since(start).Nanoseconds()) / operations
	}
	var without, with, ratios []float64
	for b.Loop() {
		for _, l := range tls.links {
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
		}
		tls.links = nil
		without = append(without, round())
		tls.attachSockets(k.cfg)
		with = append(with, round())
		ratios = append(ratios, with[len(with)-1]/without[len(without)-1])
	}
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Fatal(err)
	}
	defer stats.Close()
	round()
	for _, pair := range socketHooks {
		for _, h := range pair {
			if p := tls.collection.Programs[h.program]; p != nil {
				s, err := p.Stats()
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(s.Runtime.Nanoseconds())/float64(max(s.RunCount, 1)), "ns-"+h.program+"/run")
			}
		}
	}
	b.ReportMetric(quantile(with, .5), "ns/op")
	b.ReportMetric(quantile(without, .5), "ns-without/op")
	b.ReportMetric(quantile(ratios, .25), "ratio-q1")
	b.ReportMetric(quantile(ratios, .5), "ratio")
	b.ReportMetric(quantile(ratios, .75), "ratio-q3")
}
