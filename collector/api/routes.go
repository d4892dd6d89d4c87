package api

import (
	_ "embed"
	"net/http"
	"slices"
	"strings"
)

// route is one path with its methods.
type route struct {
	path    string
	methods methods
}

type methods map[string]endpoint

// endpoint is what a method does, and the role that it needs. An error that its function returns becomes a problem document.
type endpoint struct {
	role   Role
	handle func(w http.ResponseWriter, r *http.Request) error
}

func (s *Server) table() []route {
	return []route{
		{"/api/v1/identities", methods{"GET": {Viewer, s.getIdentities}}},
		{"/api/v1/identities/{id}", methods{"GET": {Viewer, s.getIdentity}}},
		{"/api/v1/identities/{id}/reach", methods{"GET": {Viewer, s.getReach}}},
		{"/api/v1/identities/{id}/activity", methods{"GET": {Viewer, s.getActivity}}},
		{"/api/v1/graph", methods{"GET": {Viewer, s.getMap}}},
		{"/api/v1/reports/identities", methods{"GET": {Viewer, s.getDirectory}}},
		{"/api/v1/inventory", methods{"GET": {Viewer, s.getInventory}, "POST": {Admin, s.postInventory}}},
		{"/api/v1/findings", methods{"GET": {Viewer, s.getFindings}}},
		{"/api/v1/findings/counts", methods{"GET": {Viewer, s.getFindingCounts}}},
		{"/api/v1/findings/verdicts", methods{"POST": {Responder, s.postVerdicts}}},
		{"/api/v1/findings/{id}/story", methods{"GET": {Viewer, s.getFindingStory}}},
		{"/api/v1/findings/{id}", methods{"GET": {Viewer, s.getFinding}, "PATCH": {Responder, s.patchFinding}}},
		{"/api/v1/reports/unused", methods{"GET": {Viewer, s.getUnused}}},
		{"/api/v1/reports/high-risk", methods{"GET": {Viewer, s.getHighRisk}}},
		{"/api/v1/reports/overview", methods{"GET": {Viewer, s.getOverview}}},
		{"/api/v1/reports/metrics", methods{"GET": {Viewer, s.getMeasures}}},
		{"/api/v1/reports/inventory", methods{"GET": {Viewer, s.getGroups}}},
		{"/api/v1/reports/ownership", methods{"GET": {Viewer, s.getOwnership}}},
		{"/api/v1/reports/reviews", methods{"GET": {Viewer, s.getReviews}}},
		{"/api/v1/reports/who-can-reach", methods{"GET": {Viewer, s.getWhoCanReach}}},
		{"/api/v1/identities/{id}/blast-radius", methods{"GET": {Viewer, s.getBlastRadius}}},
		{"/api/v1/exemptions", methods{"GET": {Viewer, s.getExemptions}, "POST": {Responder, s.postExemption}}},
		{"/api/v1/exemptions/{id}", methods{"DELETE": {Responder, s.deleteExemption}}},
		{"/api/v1/reviews", methods{"GET": {Viewer, s.getReviewsOf}, "POST": {Responder, s.postReview}}},
		{"/api/v1/reports/coverage", methods{"GET": {Viewer, s.getCoverage}}},
		{"/api/v1/coverage", methods{"GET": {Viewer, s.getCoverage}}},
		{"/api/v1/decisions", methods{"GET": {Viewer, s.getDecisions}, "POST": {min(s.DecisionRoles.dryRun(), s.DecisionRoles.enforce()), s.postDecision}}},
		{"/api/v1/decisions/preview", methods{"POST": {s.DecisionRoles.dryRun(), s.postPreview}}},
		{"/api/v1/decisions/coverage", methods{"GET": {Viewer, s.getDecisionCoverage}}},
		{"/api/v1/decisions/{id}", methods{"GET": {Viewer, s.getDecision}, "DELETE": {s.DecisionRoles.revoke(), s.deleteDecision}}},
		{"/api/v1/decisions/{id}/approve", methods{"POST": {s.DecisionRoles.approve(), s.postApproval}}},
		{"/api/v1/decisions/{id}/policy", methods{"GET": {Viewer, s.getDecisionPolicy}}},
		{"/access/v1/evaluation", methods{"POST": {Viewer, s.postEvaluation}}},
		{"/.well-known/authzen-configuration", methods{"GET": {Nobody, s.getAuthZEN}}},
		{"/api/v1/feeds", methods{"GET": {Viewer, s.getFeeds}}},
		{"/api/v1/feeds/{name}/test", methods{"POST": {Admin, s.postFeedTest}}},
		{"/api/v1/scopes", methods{"GET": {Viewer, s.getScopes}}},
		{"/api/v1/scopes/{id}", methods{"GET": {Viewer, s.getScope}, "PUT": {Admin, s.putScope}, "DELETE": {Admin, s.deleteScope}}},
		{"/api/v1/scopes/{id}/versions", methods{"GET": {Viewer, s.getScopeVersions}}},
		{"/api/v1/scopes/{id}/diff", methods{"GET": {Viewer, s.getScopeDiff}}},
		{"/api/v1/generated-scopes", methods{"GET": {Viewer, s.getGenerated}}},
		{"/api/v1/audit", methods{"GET": {Viewer, s.getAudit}}},
		{"/api/v1/audit/verified", methods{"GET": {Viewer, s.getAuditVerified}}},
		{"/api/v1/events", methods{"GET": {Viewer, s.getEvents}}},
		{"/api/v1/openapi.yaml", methods{"GET": {Nobody, s.getOpenAPI}}},
		{"/openapi.yaml", methods{"GET": {Nobody, s.getOpenAPI}}},
		{"/healthz", methods{"GET": {Nobody, s.getHealth}}},
		{"/readyz", methods{"GET": {Nobody, s.getReady}}},
		{"/metrics", methods{"GET": {Viewer, s.getMetrics}}},
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
			end, ok := route.methods[method]
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
			if err := s.serve(w, r, end); err != nil {
				s.writeError(w, r, err)
			}
		})
	}
	if s.Pages != nil {
		mux.Handle("/", s.Pages)
		return mux
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.writeError(w, r, problem(http.StatusNotFound, "there is nothing at %s; /api/v1/openapi.yaml says what there is", r.URL.Path))
	})
	return mux
}

// serve has an endpoint answer who may ask it.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, end endpoint) error {
	who, err := s.authenticate(r)
	if err != nil {
		return s.fail(w, r, err)
	}
	if end.role > Nobody {
		if err := s.spend(w, r, who); err != nil {
			return err
		}
	}
	if err := permit(who, end.role); err != nil {
		return err
	}
	if who.Name == anonymousName && end.role > Nobody && r.Method != http.MethodGet && r.Method != http.MethodHead {
		return permit(Principal{anonymousName, Nobody}, end.role) // a role may be enough by configuration, but who changes something has a name
	}
	r = withPrincipal(r, who)
	return end.handle(&tagged{w, r}, r)
}

//go:embed openapi.yaml
var openAPI []byte

func (s *Server) getOpenAPI(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/yaml")
	if !unchanged(w, document()) {
		_, _ = w.Write(document())
	}
	return nil
}

func (s *Server) getMetrics(w http.ResponseWriter, r *http.Request) error {
	s.metrics.ServeHTTP(w, r)
	return nil
}
