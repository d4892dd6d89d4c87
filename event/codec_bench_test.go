package event_test

import (
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/pipelinebench/town"
)

var townStart = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// townBatches are the messages of a busy node's interval.
func townBatches(tb testing.TB, active int) (observations []event.Observation, messages [][]byte) {
	tb.Helper()
	town.NewNode(1, active).Observe(townStart, func(o *event.Observation) { observations = append(observations, *o) })
	encodeTown(tb, builders(), observations, func(m []byte) { messages = append(messages, m) })
	return observations, messages
}

func builders() (b [event.DefaultPartitions]*event.BatchBuilder) {
	for i := range b {
		b[i] = event.NewBatchBuilder("n1", "boot", townStart.Add(-time.Hour))
	}
	return b
}

func encodeTown(tb testing.TB, b [event.DefaultPartitions]*event.BatchBuilder, observations []event.Observation, message func([]byte)) {
	for i := range observations {
		o := &observations[i]
		b[event.Partition(o.Workload.Identity, len(b))].Add(o)
	}
	for i := range b {
		data, err := b[i].Encode(uint64(i), 1, townStart)
		if err != nil {
			tb.Fatal(err)
		}
		b[i].Reset()
		message(data)
	}
}

func BenchmarkEncode(b *testing.B) {
	observations, _ := townBatches(b, 5000)
	builders := builders()
	bytes := 0
	b.ReportAllocs()
	for b.Loop() {
		encodeTown(b, builders, observations, func(m []byte) { bytes += len(m) })
	}
	n := float64(len(observations)) * float64(b.N)
	b.ReportMetric(n/b.Elapsed().Seconds(), "observations/s")
	b.ReportMetric(float64(bytes)/n, "bytes/observation")
}

func BenchmarkDecode(b *testing.B) {
	observations, messages := townBatches(b, 5000)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		for _, m := range messages {
			batch, err := event.DecodeBatch(m)
			if err != nil {
				b.Fatal(err)
			}
			for range batch.Observations() {
				n++
			}
		}
	}
	if n != b.N*len(observations) {
		b.Fatalf("%d observations, want %d", n, b.N*len(observations))
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "observations/s")
}
