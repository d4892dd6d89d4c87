package api

import (
	_ "embed"
	"net/http"
	"slices"
	"strings"
)

// route is one path with its methods. An error that its function returns becomes a problem document.
type route struct {
	path    string
	methods map[string]func(w http.ResponseWriter, r *http.Request) error
}

func (s *Server) table() []route {
	type methods = map[string]func(w http.ResponseWriter, r *http.Request) error
	return []route{
		{"/api/v1/identities", methods{"GET": s.getIdentities}},
		{"/api/v1/identities/{id}", methods{"GET": s.getIdentity}},
		{"/api/v1/identities/{id}/reach", methods{"GET": s.getReach}},
		{"/api/v1/inventory", methods{"GET": s.getInventory, "POST": s.postInventory}},
		{"/api/v1/findings", methods{"GET": s.getFindings}},
		{"/api/v1/findings/{id}", methods{"GET": s.getFinding, "PATCH": s.patchFinding}},
		{"/api/v1/reports/unused", methods{"GET": s.getUnused}},
		{"/api/v1/reports/coverage", methods{"GET": s.getCoverage}},
		{"/api/v1/coverage", methods{"GET": s.getCoverage}},
		{"/api/v1/events", methods{"GET": s.getEvents}},
		{"/api/v1/openapi.yaml", methods{"GET": s.getOpenAPI}},
		{"/openapi.yaml", methods{"GET": s.getOpenAPI}},
		{"/healthz", methods{"GET": s.getHealth}},
		{"/readyz", methods{"GET": s.getReady}},
		{"/metrics", methods{"GET": s.getMetrics}},
	}
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for _, route := range s.table() {
		mux.HandleFunc(route.path, func(w http.ResponseWriter, r *http.Request) {
			method := r.Method
			if method == http.MethodHead {
				method = http.MethodGet
			}
			handle, ok := route.methods[method]
			if !ok {
				var allowed []string
				for m := range route.methods {
					allowed = append(allowed, m)
				}
				slices.Sort(allowed)
				allow := strings.Join(allowed, ", ")
				w.Header().Set("Allow", allow)
				s.writeError(w, r, problem(http.StatusMethodNotAllowed, "method %s is not allowed here; allowed: %s", r.Method, allow))
				return
			}
			if method != http.MethodGet && !s.authorized(r) {
				w.Header().Set("WWW-Authenticate", "Bearer")
				s.writeError(w, r, problem(http.StatusUnauthorized, "to change something, send Authorization: Bearer and the token, which is in the file `token` of Ambit's data folder"))
				return
			}
			if err := handle(w, r); err != nil {
				s.writeError(w, r, err)
			}
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.writeError(w, r, problem(http.StatusNotFound, "there is nothing at %s; /api/v1/openapi.yaml says what there is", r.URL.Path))
	})
	return mux
}

//go:embed openapi.yaml
var openAPI []byte

func (s *Server) getOpenAPI(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(openAPI)
	return nil
}

func (s *Server) getMetrics(w http.ResponseWriter, r *http.Request) error {
	s.metrics.ServeHTTP(w, r)
	return nil
}
