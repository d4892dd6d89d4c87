package main

import (
	"fmt"
	"runtime"
	"time"

	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/pipelinebench/town"
)

// rates are observations for each second of a processor, all that the Go runtime does among it.
type rates struct{ encode, detect float64 }

// measuring is how long each rate is measured at least, in seconds of a processor.
const measuring = 3 * time.Second

func measureRates(z sizes) (r rates, err error) {
	const intervals = 4
	start := time.Now().Truncate(time.Second).Add(-time.Hour)
	var builders [event.DefaultPartitions]*event.BatchBuilder
	for i := range builders {
		builders[i] = event.NewBatchBuilder("n1", "bench", start)
	}
	var observed [intervals][]event.Observation
	node := town.NewNode(1, z.active)
	all := 0
	for i := range observed {
		node.Observe(start.Add(time.Duration(i+1)*town.Interval), func(o *event.Observation) { observed[i] = append(observed[i], *o) })
		all += len(observed[i])
	}
	var messages [][]byte
	encode := func() (n int, err error) {
		messages = messages[:0]
		for i, list := range observed {
			for j := range list {
				o := &list[j]
				builders[event.Partition(o.Workload.Identity, len(builders))].Add(o)
			}
			for p, b := range builders {
				m, err := b.Encode(uint64(i), uint64(i), start.Add(time.Duration(i+1)*town.Interval))
				if err != nil {
					return 0, fmt.Errorf("partition %d: %w", p, err)
				}
				messages = append(messages, m)
				b.Reset()
			}
		}
		return all, nil
	}
	if r.encode, err = rateOf(encode); err != nil {
		return r, err
	}
	var detectors [event.DefaultPartitions]*detector.Detector
	for i := range detectors {
		detectors[i] = detector.New(detector.Default())
	}
	var findings []event.Finding
	r.detect, err = rateOf(func() (n int, err error) {
		for i, m := range messages {
			b, err := event.DecodeBatch(m)
			if err != nil {
				return 0, err
			}
			d := detectors[i%len(detectors)]
			d.Cover(b.Node, b.Boot, b.Started, b.Time)
			for i := range b.Workloads {
				d.Sight(&b.Workloads[i], b.Node, b.Time)
			}
			for o := range b.Observations() {
				findings = d.Observe(o, findings[:0])
				n++
			}
		}
		return n, nil
	})
	return r, err
}

func rateOf(do func() (int, error)) (float64, error) {
	if _, err := do(); err != nil { // warm
		return 0, err
	}
	runtime.GC()
	n := 0
	for begin := cpuTime(); ; {
		done, err := do()
		if err != nil {
			return 0, err
		}
		n += done
		if took := cpuTime() - begin; took >= measuring {
			return float64(n) / took.Seconds(), nil
		}
	}
}

// wireBytes is what an observation of a node takes on the wire, by how many edges it uses in an interval: those with few say little at once.
func wireBytes(active int) (float64, error) {
	s := newSource(1, active, 4*active, time.Now().Truncate(time.Second).Add(-time.Hour))
	bytes, n := 0, 0
	for s.left > 0 {
		err := s.interval(func(m message) error {
			bytes, n = bytes+len(m.data), n+m.observations
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return float64(bytes) / float64(n), nil
}
