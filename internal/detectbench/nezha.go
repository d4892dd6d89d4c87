package main

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/sim"
)

// The traces of Nezha (Online Boutique and Train Ticket, with operational faults) as recordings: one file of calm minutes and one of a day with faults for each
// system. There is one calm minute or two, so they are told again and again to learn from, right before the day with faults, whose own times are kept.
const (
	calmFor   = 14 * 24 * time.Hour // long enough for all contestants
	calmEvery = 10 * time.Minute
	traceNode = "nezha"
)

var traceSystems = []string{"online-boutique", "train-ticket"}

// trace is what became of one system.
type trace struct {
	system       string
	calm, faults int // observations
	told         [contestants][]alert
}

func runTraces(folder string) ([]*trace, error) {
	var list []*trace
	for _, system := range traceSystems {
		calm, err := readRecording(filepath.Join(folder, system+"-calm.jsonl.gz"))
		if err != nil {
			return nil, err
		}
		faults, err := readRecording(filepath.Join(folder, system+"-fault-day-1.jsonl.gz"))
		if err != nil {
			return nil, err
		}
		if len(calm) == 0 || len(faults) == 0 {
			return nil, fmt.Errorf("read traces of %s: there are none in %s", system, folder)
		}
		list = append(list, runTrace(system, calm, faults))
	}
	return list, nil
}

// readRecording reads observations as JSON Lines.
func readRecording(path string) (list []event.Observation, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open recording: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	plain, err := gzip.NewReader(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	list, err = readObservations(plain)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return list, nil
}

const maxLine = 1 << 20

func readObservations(r io.Reader) ([]event.Observation, error) {
	var list []event.Observation
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		o, err := event.ParseObservation(lines.Bytes())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", len(list)+1, err)
		}
		o.Node = traceNode
		list = append(list, o)
	}
	return list, lines.Err()
}

// runTrace has all contestants learn the calm minutes and then see the day with faults.
func runTrace(system string, calm, faults []event.Observation) *trace {
	t := &trace{system: system, calm: len(calm), faults: len(faults)}
	begin := faults[0].First()
	learn := tile(calm, begin)
	started := begin.Add(-calmFor - time.Hour)
	for i, c := range newContestants() {
		c.take(recordsOf(learn, started), func(alert) {})
		seen := map[string]int{}
		c.take(recordsOf(faults, started), func(a alert) {
			if n := severities[a.severity]; a.counts() && n > seen[a.key] {
				if seen[a.key] == 0 {
					t.told[i] = append(t.told[i], a)
				}
				seen[a.key] = n
			}
		})
	}
	return t
}

// tile repeats the minutes of calm in turn, up to a time.
func tile(calm []event.Observation, until time.Time) []event.Observation {
	var minutes [][]event.Observation
	for _, o := range calm {
		if n := len(minutes); n == 0 || !minutes[n-1][0].Time.Equal(o.Time) {
			minutes = append(minutes, nil)
		}
		minutes[len(minutes)-1] = append(minutes[len(minutes)-1], o)
	}
	var out []event.Observation
	n := 0
	for at := until.Add(-calmFor); at.Before(until); at = at.Add(calmEvery) {
		minute := minutes[n%len(minutes)]
		n++
		shift := at.Sub(minute[0].Time)
		for _, o := range minute {
			first := o.First().Add(shift)
			o.Time, o.FirstTime = o.Time.Add(shift), first
			out = append(out, o)
		}
	}
	return out
}

// recordsOf says that the only node was watched all the time since it started.
func recordsOf(list []event.Observation, started time.Time) []sim.Record {
	slices.SortStableFunc(list, func(a, b event.Observation) int { return a.Time.Compare(b.Time) })
	out := make([]sim.Record, 0, 2*len(list))
	for i := range list {
		o := &list[i]
		if i == 0 || !list[i-1].Time.Equal(o.Time) {
			out = append(out, sim.Record{At: o.Time, Watch: &sim.Watch{Node: traceNode, Boot: "1", Started: started, Until: o.Time}})
		}
		out = append(out, sim.Record{At: o.Time, Observation: o})
	}
	return out
}
