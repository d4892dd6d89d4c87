package cli

import (
	"log/slog"
	"os"
	"regexp"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/collector/natsauth"
	"github.com/ambit-nhi/ambit/internal/svid"
)

// described collects the names of all metrics that are registered, also of those that have no value yet.
type described map[string]bool

var nameOf = regexp.MustCompile(`fqName: "([^"]+)"`)

func (d described) Register(c prometheus.Collector) error {
	all := make(chan *prometheus.Desc)
	go func() {
		defer close(all)
		c.Describe(all)
	}()
	for desc := range all {
		d[nameOf.FindStringSubmatch(desc.String())[1]] = true
	}
	return nil
}

func (d described) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		_ = d.Register(c)
	}
}

func (d described) Unregister(prometheus.Collector) bool { return false }

// TestMonitoringNames checks that the alerts and the dashboard ask for metrics that there are.
func TestMonitoringNames(t *testing.T) {
	known := described{}
	if _, err := collector.New(collector.Default(), nil, nil, known, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	known.MustRegister(certificateMetrics(&svid.Source{})...)
	known.MustRegister(natsAuthMetrics(&natsauth.Service{}))
	text, err := os.ReadFile("../../collector/decision/metrics.go") // they need a service that runs
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`NewDesc\("(ambit_[a-z_]+)"`).FindAllStringSubmatch(string(text), -1) {
		known[name[1]] = true
	}
	for _, file := range []string{"alerts.yaml", "dashboard.json"} {
		text, err := os.ReadFile("../../deploy/chart/files/monitoring/" + file)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`\bambit_[a-z0-9_]+`).FindAllString(string(text), -1)
		if len(names) < 8 {
			t.Errorf("%s: %d names", file, len(names))
		}
		for _, name := range names {
			if plain := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, ""); !known[name] && !known[plain] {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
	}
}
