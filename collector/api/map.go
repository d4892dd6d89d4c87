package api

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/collector/report"
)

// defaultActivity is how far activity looks back: four of each day of the week.
const defaultActivity = 28 * 24 * time.Hour

func (s *Server) getActivity(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "window")
	if err != nil {
		return err
	}
	d := defaultActivity
	if values.Has("window") {
		if d, err = windowOf(values); err != nil {
			return err
		}
	}
	id, err := pathIdentity(r)
	if err != nil {
		return err
	}
	found, err := s.Reports.Activity(r.Context(), id, s.now().UTC(), d)
	return writeReport(w, found, err)
}

func (s *Server) getMap(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "center", "depth", "namespace", "window", "limit")
	if err != nil {
		return err
	}
	q := report.MapQuery{Center: values.Get("center"), Namespace: values.Get("namespace")}
	if q.Center != "" && q.Namespace != "" {
		return problem(http.StatusBadRequest, "give either center or namespace")
	}
	if q.Window, err = windowOf(values); err != nil {
		return err
	}
	if values.Has("depth") {
		if q.Depth, err = number(values, "depth", 1, report.MaxMapDepth); err != nil {
			return err
		}
	}
	if values.Has("limit") {
		if q.Limit, err = number(values, "limit", 1, report.MaxMapEdges); err != nil {
			return err
		}
	}
	found, err := s.Reports.Map(r.Context(), s.now().UTC(), q)
	if errors.Is(err, report.ErrTarget) {
		return problem(http.StatusBadRequest, "%v", err)
	}
	return writeReport(w, found, err)
}

func (s *Server) getDirectory(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, append([]string{"q", "sort", "limit", "cursor"}, report.Facets...)...)
	if err != nil {
		return err
	}
	q := report.DirectoryQuery{Text: values.Get("q"), Cursor: values.Get("cursor"), Facets: chosen(values)}
	var sorts []string
	for _, name := range report.Sorts {
		sorts = append(sorts, name, "-"+name)
	}
	if q.Sort, err = oneOf(values, "sort", sorts...); err != nil {
		return err
	}
	if q.Limit, err = limit(values); err != nil {
		return err
	}
	found, err := s.Reports.Directory(r.Context(), s.now().UTC(), q)
	return writeReport(w, found, err)
}

// chosen are the facets of a query; one that is empty asks for what is not known.
func chosen(values url.Values) map[string]string {
	out := map[string]string{}
	for name := range values {
		if slices.Contains(report.Facets, name) {
			out[name] = values.Get(name)
		}
	}
	return out
}
