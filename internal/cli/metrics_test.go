package cli

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"

	"github.com/ambit-nhi/ambit/event"
)

// knownLabels are the labels that metrics of ours may have, and how many values at most. None names a node, an identity or a resource.
var knownLabels = map[string]int{
	"cause": 160, "kind": 8, "operation": 24, "table": 24, "severity": 5, "attributed": 2, "reason": 16, "provenance": 8, "state": 4, "le": 24, "stage": 12, "partition": 65,
}

var seriesLine = regexp.MustCompile(`^(ambit_[a-z0-9_]+)(?:\{(.*)\})? \S+$`)
var labelPair = regexp.MustCompile(`([a-z_]+)="((?:[^"\\]|\\.)*)"`)

// lintMetrics checks a scrape: each metric has words that explain it and a name as is usual, few labels that we know, and few series in all.
func lintMetrics(t *testing.T, scrape string, mostSeries int) {
	t.Helper()
	problems, err := promlint.New(strings.NewReader(scrape)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "ambit_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	series := 0
	values := map[string]map[string]bool{}
	for line := range strings.Lines(scrape) {
		m := seriesLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		series++
		for _, pair := range labelPair.FindAllStringSubmatch(m[2], -1) {
			key := m[1] + " " + pair[1]
			if _, known := knownLabels[pair[1]]; !known {
				t.Errorf("%s: the label %s is not among those that are allowed", m[1], pair[1])
			}
			if values[key] == nil {
				values[key] = map[string]bool{}
			}
			values[key][pair[2]] = true
		}
	}
	for key, of := range values {
		if _, label, _ := strings.Cut(key, " "); len(of) > knownLabels[label] {
			t.Errorf("%s has %d values, of at most %d", key, len(of), knownLabels[label])
		}
	}
	if series == 0 || series > mostSeries {
		t.Errorf("%d series, want some, and at most %d", series, mostSeries)
	}
}

// TestMetricsOfUp scrapes a real collector after agents that nobody should believe told it something.
func TestMetricsOfUp(t *testing.T) {
	m := newMachine(t)
	stop := m.up()
	m.publish(1, time.Minute, 5432)
	var scrape string
	await(t, "the rows in the metrics", func() bool {
		scrape = m.get("/metrics")
		return strings.Contains(scrape, `ambit_collector_rows_total{table="observations"} 1`)
	})
	lintMetrics(t, scrape, 500)
	if code, out, errs := stop(); code != exitGood {
		t.Errorf("ambit up ended with %d: %s%s", code, out, errs)
	}
}

// TestMetricsOfAgent: an agent alone tells what it sent, lost and keeps.
func TestMetricsOfAgent(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	c := defaultConfig()
	var out bytes.Buffer
	u := &up{config: &c, log: slog.New(slog.DiscardHandler), parts: newParts(&out)}
	var last atomic.Pointer[event.Heartbeat]
	if err := u.startMetrics(t.Context(), last.Load); err != nil || len(u.parts.list) != 0 {
		t.Fatalf("they are off by default: %v, %d parts", err, len(u.parts.list))
	}
	c.Metrics = "127.0.0.1:0"
	if err := u.startMetrics(t.Context(), last.Load); err != nil {
		t.Fatal(err)
	}
	address := strings.TrimSpace(out.String()[strings.LastIndex(out.String(), " "):])
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	scrape := func() string {
		t.Helper()
		answer, err := client.Get("http://" + address + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != 200 {
			t.Fatalf("%d %v: %s", answer.StatusCode, err, body)
		}
		return string(body)
	}
	has := func(text, line string) {
		t.Helper()
		if !slices.Contains(strings.Split(text, "\n"), line) {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
	has(scrape(), `ambit_nodes{state="watched"} 0`)
	started := time.Now()
	last.Store(&event.Heartbeat{Node: "n1", Boot: "a", Started: started, Time: started, Lost: map[string]uint64{"spool-full": 3},
		Gauges: map[string]uint64{"publish-acknowledged": 7, "spool-bytes": 4096}})
	for range 2 { // it is counted once, however often it is asked for
		has(scrape(), "ambit_agent_acknowledged_messages_total 7")
	}
	text := scrape()
	has(text, `ambit_agent_lost_total{cause="spool-full"} 3`)
	has(text, "ambit_agent_spool_bytes 4096")
	lintMetrics(t, text, 100)
	if err := u.stop(); err != nil {
		t.Error(err)
	}
}
