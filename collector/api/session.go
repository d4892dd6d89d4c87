package api

import (
	"net/http"
	"time"
)

// Sessions knows what browsers show in place of a bearer token. It is safe for concurrent use.
type Sessions interface {
	// Token is the credential that a request's cookie holds; false where it shows no cookie. An error says that the cookie is not good.
	Token(r *http.Request) (string, bool, error)
	// Meant says whether a request that changes something was sent by a page of ours, and not by one that only has the browser send the cookie.
	Meant(r *http.Request) bool
}

// opened gives a request the bearer token that its session holds, so that a session is good exactly as long as its token. Who shows a token needs no
// session.
func (s *Server) opened(r *http.Request) (*http.Request, error) {
	if s.Sessions == nil || r.Header.Get("Authorization") != "" {
		return r, nil
	}
	token, ok, err := s.Sessions.Token(r)
	switch {
	case err != nil:
		return nil, problem(http.StatusUnauthorized, "%v", err)
	case !ok:
		return r, nil
	case r.Method != http.MethodGet && r.Method != http.MethodHead && !s.Sessions.Meant(r):
		return nil, problem(http.StatusForbidden, "the request was not sent by a page of this session: its header Ambit-CSRF is missing or not good")
	}
	return bearing(r, token), nil
}

// bearing is a request with a bearer token.
func bearing(r *http.Request, token string) *http.Request {
	out := r.Clone(r.Context())
	out.Header.Set("Authorization", "Bearer "+token)
	return out
}

// Who says who sends a request, as it does for the API, and counts the request. It is for what else is served beside the API.
func (s *Server) Who(r *http.Request) (Principal, error) {
	who, err := s.authenticate(r)
	w := discard{}
	if err != nil {
		return Principal{}, s.fail(w, r, err)
	}
	return who, s.spend(w, r, who)
}

// Judge says whose a token is. Tokens that are not good count against the address that sends them.
func (s *Server) Judge(r *http.Request, token string) (Principal, error) {
	who, err := s.authenticate(bearing(r, token))
	if err != nil {
		return Principal{}, s.fail(discard{}, r, err)
	}
	return who, nil
}

// Login counts a login that a provider is asked about against the address that sends it, so that one address leaves something of that to others.
func (s *Server) Login(r *http.Request) error {
	return tooMany(discard{}, s.limits.take("login "+address(r), loginRate, loginBurst, time.Now()))
}

// Anonymous says whether a principal showed nothing.
func (p Principal) Anonymous() bool { return p.Name == anonymousName }

// discard takes the header of an answer that somebody else writes.
type discard map[string][]string

func (d discard) Header() http.Header         { return http.Header(d) }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}
