package agent

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/bpf"
)

// BenchmarkPollNewEdges is a poll of an agent whose node opens 10,000 edges a second, all of which wait for handshakes.
func BenchmarkPollNewEdges(b *testing.B) {
	const perPoll = 200
	for _, wait := range []time.Duration{helloWait, handshakeWait} {
		b.Run(fmt.Sprintf("waiting %s", wait), func(b *testing.B) {
			w := newTraffic()
			busy := underWay{}
			w.ledger.handshakes = busy
			next, now := 0, time.Duration(0)
			poll := func() {
				now += 20 * time.Millisecond
				numbers := make([]bpf.Number, perPoll)
				for i := range numbers {
					n := bpf.Number(1<<16 | next%bpf.Edges)
					next++
					if x := w.ledger.entries[n.Index()]; x != nil { // as if it had been let go of long ago
						w.ledger.entries[n.Index()] = nil
					}
					w.edges[n] = bpf.Edge{Number: n, Cgroup: 42, Protocol: unix.IPPROTO_TCP, Port: 443, Address: addressOf(n), FirstMonotonic: after(now).monotonic}
					w.counters[n] = bpf.Counters{Opened: 1}
					busy[n] = wait == handshakeWait
					numbers[i] = n
				}
				if _, err := w.ledger.announced(after(now), numbers); err != nil {
					b.Fatal(err)
				}
				if err := w.ledger.retry(after(now)); err != nil {
					b.Fatal(err)
				}
				w.ledger.living, w.told = w.ledger.living[:0], w.told[:0]
			}
			for now < 3*time.Second {
				poll()
			}
			for b.Loop() {
				poll()
			}
			b.ReportMetric(float64(len(w.ledger.held)), "waiting")
		})
	}
}
