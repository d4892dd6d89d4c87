package api

import "net/http"

func (s *Server) getOverview(w http.ResponseWriter, r *http.Request) error {
	d, err := window(r)
	if err != nil {
		return err
	}
	o, err := s.Reports.Overview(r.Context(), s.now().UTC(), d)
	return writeReport(w, o, err)
}
