package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/ambit-nhi/ambit/collector/health"
)

// Health is the answer of a health check that went well.
type Health struct {
	Status string         `json:"status"`           // ok
	Checks []health.Check `json:"checks,omitempty"` // of readiness
}

// notReady is a problem that also says what is wrong by parts.
type notReady struct {
	Problem
	Checks []health.Check `json:"checks"`
}

// getHealth says that the process answers, and nothing more: who restarts it because the disk is full makes it worse.
func (s *Server) getHealth(w http.ResponseWriter, r *http.Request) error {
	return writeJSON(w, Health{Status: "ok"})
}

// getReady says whether observations flow, with one line for each thing that they need: as text, unless JSON is asked for.
func (s *Server) getReady(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "format")
	if err != nil {
		return err
	}
	format, err := oneOf(values, "format", "text", "json")
	if err != nil {
		return err
	}
	checks := s.Live.Health(r.Context())
	if s.Exposed && principal(r).Role < Viewer { // beyond this machine, details are for those who may read
		checks = slices.Clone(checks) // others are given them, too
		for i := range checks {
			checks[i].Detail = ""
		}
	}
	status := http.StatusOK
	if !health.Ready(checks) {
		status = http.StatusServiceUnavailable
	}
	if format == "" && strings.Contains(r.Header.Get("Accept"), "json") {
		format = "json"
	}
	if format != "json" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		for _, c := range checks {
			fmt.Fprintln(w, c)
		}
		return nil
	}
	if status == http.StatusOK {
		return writeJSON(w, Health{Status: "ok", Checks: checks})
	}
	var faults []string
	for _, c := range checks {
		if c.State == health.Failed {
			faults = append(faults, strings.TrimSuffix(c.Name+": "+c.Detail, ": "))
		}
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(notReady{*problem(status, "%s", strings.Join(faults, "; ")), checks})
	return nil
}
