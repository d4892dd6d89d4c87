package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// windows are the times that pages can look back over.
var windows = []string{"24h", "7d", "30d", "90d"}

// window is what a request wants to look back over.
func window(r *http.Request, standard string) (string, time.Duration, error) {
	text := r.URL.Query().Get("window")
	if text == "" {
		text = standard
	}
	d, err := report.ParseWindow(text)
	if err != nil {
		return "", 0, faultf(http.StatusBadRequest, "%v", err)
	}
	if !slices.Contains(windows, text) {
		text = report.FormatWindow(d)
	}
	return text, d, nil
}

type overviewView struct {
	*report.Overview
	Window  string
	Windows []string
	Latest  []event.Finding
	Drawn   string // what the chart draws, as JSON
}

// latestFindings is how many findings the overview lists.
const latestFindings = 10

func (s *Site) overviewPages() {
	s.page("overview", "/{$}", Reader, func(r *http.Request, _ Viewer) (any, error) {
		text, d, err := window(r, "7d")
		if err != nil {
			return nil, err
		}
		o, err := s.Reports.Overview(r.Context(), s.now(), d)
		if err != nil {
			return nil, err
		}
		latest, err := s.Reports.Findings(r.Context(), store.FindingFilter{Status: event.StatusNew, Limit: latestFindings})
		if err != nil {
			return nil, err
		}
		drawn, err := json.Marshal(map[string]any{"findings": o.Findings})
		if err != nil {
			return nil, fmt.Errorf("encode a chart: %w", err)
		}
		return overviewView{o, text, windows, latest.Items, string(drawn)}, nil
	})
}
