package api

import (
	"net/http"
	"net/url"
	"time"

	"github.com/ambit-nhi/ambit/collector/report"
)

// defaultWindow is how far reports look back.
const defaultWindow = "90d"

func window(r *http.Request) (time.Duration, error) {
	values, err := query(r, "window")
	if err != nil {
		return 0, err
	}
	return windowOf(values)
}

func windowOf(values url.Values) (time.Duration, error) {
	text := defaultWindow
	if values.Has("window") {
		text = values.Get("window")
	}
	d, err := report.ParseWindow(text)
	if err != nil {
		return 0, problem(http.StatusBadRequest, "%v", err)
	}
	return d, nil
}

func (s *Server) getUnused(w http.ResponseWriter, r *http.Request) error {
	d, err := window(r)
	if err != nil {
		return err
	}
	list, err := s.Reports.Unused(r.Context(), s.now().UTC(), d)
	if err != nil {
		return storeError(err)
	}
	return writeJSON(w, list)
}

func (s *Server) getCoverage(w http.ResponseWriter, r *http.Request) error {
	d, err := window(r)
	if err != nil {
		return err
	}
	list, err := s.Reports.Coverage(r.Context(), s.now().UTC(), d)
	if err != nil {
		return storeError(err)
	}
	return writeJSON(w, list)
}
