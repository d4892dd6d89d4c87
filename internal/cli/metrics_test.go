package cli

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"

	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/event"
)

// knownLabels are the labels that metrics of ours may have, and how many values at most. None names a node, an identity or a resource.
var knownLabels = map[string]int{
	"cause": 160, "kind": 8, "operation": 24, "table": 24, "severity": 5, "attributed": 2, "reason": 16, "provenance": 8, "state": 4, "le": 24, "stage": 12, "partition": 65, "why": 8,
	"outcome": 12, "mode": 4, "quantile": 4, "point": 16, "verb": 16, "feed": 64,
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

// beat publishes a heartbeat of another node, as from an agent that nobody should believe.
func (m *machine) beat(node string, after time.Duration, change func(*event.Heartbeat)) {
	m.t.Helper()
	nc, err := nats.Connect(m.nats)
	if err != nil {
		m.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		m.t.Fatal(err)
	}
	h := &event.Heartbeat{Node: node, Boot: "boot", Started: m.began, Time: m.began.Add(after), Version: "1", Kernel: "6.1"}
	change(h)
	data, err := h.Encode()
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := js.Publish(m.t.Context(), event.AgentSubject(node), data); err != nil {
		m.t.Fatal(err)
	}
}

// TestMetricsOfUp scrapes a real collector after agents told it of losses and gaps, and reads these in its report.
func TestMetricsOfUp(t *testing.T) {
	m := newMachine(t)
	stop := m.up()
	m.publish(1, time.Minute, 5432)
	gap := event.Gap{Cause: "spool-full", From: m.began.Add(10 * time.Minute), Until: m.began.Add(20 * time.Minute), Lost: 7}
	m.beat("n2", 50*time.Minute, func(h *event.Heartbeat) {
		h.Gaps = []event.Gap{gap, {Cause: "api-away", From: m.began.Add(30 * time.Minute), Until: m.began.Add(40 * time.Minute)}}
		h.Lost, h.Gauges = map[string]uint64{"spool-full": 7}, map[string]uint64{"spool-bytes": 4096}
		for i := range 100 {
			h.Lost[fmt.Sprint("cause-", i)], h.Gauges[fmt.Sprint("gauge-", i)] = 1, 1
		}
	})
	m.beat("n2", 51*time.Minute, func(h *event.Heartbeat) { h.Lost = map[string]uint64{"spool-full": 9} })
	var scrape string
	await(t, "the rows and nodes in the metrics", func() bool {
		scrape = m.get("/metrics")
		return strings.Contains(scrape, `ambit_collector_rows_total{table="observations"} 1`) && strings.Contains(scrape, `ambit_agent_lost_total{cause="spool-full"} 2`)
	})
	if !strings.Contains(scrape, `ambit_nodes{state="watched"} 1`) {
		t.Error("the metrics do not tell of the node")
	}
	lintMetrics(t, scrape, 500)
	await(t, "the gaps in the report", func() bool {
		code, out, errs := ambit(t, "report", "coverage", "--window", "2h", "--spans", "-o", "csv")
		if code != exitGood {
			t.Fatalf("%d %s", code, errs)
		}
		line := func(from, until time.Duration, seconds, rest string) string {
			return "n2," + m.began.Add(from).UTC().Format(time.RFC3339) + "," + m.began.Add(until).UTC().Format(time.RFC3339) + "," + seconds + rest
		}
		return strings.Contains(out, line(10*time.Minute, 20*time.Minute, "600", ",gap,spool,connections,spool-full,7,false\n")) &&
			strings.Contains(out, line(30*time.Minute, 40*time.Minute, "600", ",gap,api-away,identities,api-away,,false\n"))
	})
	for _, path := range []string{"/readyz", "/healthz"} {
		if text := m.get(path); strings.Contains(text, "failed") {
			t.Errorf("%s: %s", path, text)
		}
	}
	if code, out, errs := stop(); code != exitGood {
		t.Errorf("ambit up ended with %d: %s%s", code, out, errs)
	}
}

// TestMetricsOfAgent: an agent alone tells what it sent, lost and keeps.
func TestMetricsOfAgent(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	c := defaultConfig()
	var out bytes.Buffer
	u := newUp(&c, slog.New(slog.DiscardHandler), newParts(&out))
	var last atomic.Pointer[event.Heartbeat]
	u.metrics.MustRegister(&ownMetrics{last: last.Load, fleet: collector.NewFleet()})
	if err := u.startMetrics(t.Context()); err != nil || len(u.parts.list) != 0 {
		t.Fatalf("they are off by default: %v, %d parts", err, len(u.parts.list))
	}
	c.Metrics = "127.0.0.1:0"
	if err := u.startMetrics(t.Context()); err != nil {
		t.Fatal(err)
	}
	address := strings.TrimSpace(out.String()[strings.LastIndex(out.String(), " "):])
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	scrape := func() string {
		t.Helper()
		answer, err := client.Get("http://" + address + "/metrics")
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
