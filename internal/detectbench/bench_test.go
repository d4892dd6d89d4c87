package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/sim"
)

func smallOptions() *options {
	o := &options{params: sim.Default(), seeds: 2}
	o.params.Identities, o.params.Days, o.params.Repeat = 120, 8, 1
	return o
}

// The same seeds give the same report, but for the times.
func TestBenchIsRepeatable(t *testing.T) {
	timing := regexp.MustCompile(`(?m)^\| thousand observations a second.*$|Making the records took [0-9.]+ s`)
	page := func() string {
		var out bytes.Buffer
		if err := bench(t.Context(), smallOptions(), &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		return timing.ReplaceAllString(out.String(), "")
	}
	first := page()
	if second := page(); second != first {
		t.Errorf("the reports differ\n%s\n%s", first, second)
	}
	for _, want := range []string{"## Targets", "attacks found", "lateral movement", "poisoned-start", "The real traces were not run"} {
		if !strings.Contains(first, want) {
			t.Errorf("the report lacks %q", want)
		}
	}
}

func TestBenchWritesReport(t *testing.T) {
	o := smallOptions()
	o.seeds, o.out = 1, filepath.Join(t.TempDir(), "report")
	if err := bench(t.Context(), o, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(o.out, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"findings.svg", "families.svg", "delays.svg"} {
		if !strings.Contains(string(page), "("+name+")") {
			t.Errorf("the page does not show %s", name)
		}
		plot, err := os.ReadFile(filepath.Join(o.out, name))
		if err != nil {
			t.Fatal(err)
		}
		for d := xml.NewDecoder(bytes.NewReader(plot)); ; {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if bytes.Contains(plot, []byte("NaN")) || bytes.Contains(plot, []byte("Inf")) {
			t.Errorf("%s has points that are none", name)
		}
	}
}

func TestBenchRefuses(t *testing.T) {
	f := func(want string, change func(*options)) {
		t.Helper()
		o := smallOptions()
		o.seeds = 1
		change(o)
		if err := bench(t.Context(), o, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v instead of %q", err, want)
		}
	}
	f("seeds is 0", func(o *options) { o.seeds = 0 })
	f("identities is 3", func(o *options) { o.params.Identities = 3 })
	f("open recording", func(o *options) { o.nezha = filepath.Join(t.TempDir(), "away") })
}

func TestBenchStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := bench(ctx, smallOptions(), io.Discard, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// met follows the rows of the table.
func TestTargets(t *testing.T) {
	r := &results{params: sim.Default(), runs: []*run{{}}}
	for c := range contestants {
		r.runs[0].scores[c] = &score{params: r.params, days: make([]int, r.params.Days)}
	}
	r.runs[0].scores[theFirstSeen].falses = 100
	scenario := &sim.Scenario{Name: "x", Family: "f"}
	s := r.runs[0].scores[theDetector]
	for _, other := range r.runs[0].scores {
		other.attacks, other.found = []sim.Attack{{Scenario: scenario}}, make([]found, 1)
	}
	s.found[0] = found{ok: true, delay: interval}
	s.falses = 12
	if !r.met() {
		t.Errorf("not met: %+v", r.targets())
	}
	f := func(spoil, mend func()) {
		t.Helper()
		spoil()
		if r.met() {
			t.Errorf("met: %+v", r.targets())
		}
		mend()
	}
	f(func() { s.falses = 13 }, func() { s.falses = 12 })
	f(func() { s.found[0].delay = interval + 1 }, func() { s.found[0].delay = interval })
	f(func() { s.found[0].ok = false }, func() { s.found[0].ok = true })
	f(func() { s.days[30] = 415 }, func() { s.days[30] = 0 })
	f(func() { r.traces = []*trace{{system: "x"}}; r.traces[0].told[theDetector] = make([]alert, 1) }, func() { r.traces = nil })
	if !r.met() {
		t.Errorf("not met: %+v", r.targets())
	}
}

func recording(t *testing.T, path string, list ...event.Observation) {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	enc := json.NewEncoder(z)
	for i := range list {
		if err := enc.Encode(&list[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(z.Close(), os.WriteFile(path, b.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// The calm minutes come before the day with faults, whatever their own time; what is new on that day is told by the plain rule.
func TestTraces(t *testing.T) {
	folder := t.TempDir()
	one := func(after time.Duration, name string) event.Observation {
		o := *reach(t, after, "", "10.0.0.1", name).Observation
		o.Node, o.Peer.NameSource = "", ""
		return o
	}
	for _, system := range traceSystems {
		recording(t, filepath.Join(folder, system+"-calm.jsonl.gz"), one(100*hours, "db"), one(100*hours, "cache"), one(127*hours, "queue"))
		recording(t, filepath.Join(folder, system+"-fault-day-1.jsonl.gz"), one(0, "db"), one(time.Minute, "queue"), one(2*time.Minute, "new"), one(3*time.Minute, "new"))
	}
	traces, err := runTraces(folder)
	if err != nil {
		t.Fatal(err)
	}
	if len(traces) != 2 || traces[0].calm != 3 || traces[0].faults != 4 {
		t.Fatalf("traces %+v", traces)
	}
	told := traces[0].told[theFirstSeen]
	if len(told) != 1 || told[0].resource.String() != "dns:new:443/tcp" || !told[0].at.Equal(noon.Add(2*time.Minute)) {
		t.Errorf("first-seen told %+v", told)
	}
	if told := traces[0].told[theDetector]; len(told) > 1 {
		t.Errorf("the detector told %+v", told)
	}
}

func TestReadObservations(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if _, err := readObservations(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v instead of %q", text, err, want)
		}
	}
	const good = `{"time":"2026-11-21T22:00:10Z","workload":{"identity":"spiffe://a/b"},"direction":"outbound","protocol":"tcp","peer":{"name":"a","port":1}}` + "\n"
	f(good+"{}\n", "line 2: parse observation: time is missing")
	f(good+good+"x", "line 3")
	f(strings.Repeat("x", maxLine+1), "too long")
	list, err := readObservations(strings.NewReader(good))
	if err != nil || len(list) != 1 || list[0].Node != traceNode {
		t.Errorf("%+v, %v", list, err)
	}
}

// The real traces, where they are at hand: the plain rule sees the one edge that is new on Train Ticket's day, or it is in the calm minutes.
func TestRealTraces(t *testing.T) {
	folder := os.Getenv("AMBIT_NEZHA")
	if folder == "" {
		t.Skip("AMBIT_NEZHA names no folder with the traces of Nezha")
	}
	traces, err := runTraces(folder)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][2]int{"online-boutique": {13, 559}, "train-ticket": {95, 3982}}
	for _, x := range traces {
		if got := [2]int{x.calm, x.faults}; got != want[x.system] {
			t.Errorf("%s has %v observations", x.system, got)
		}
	}
}
