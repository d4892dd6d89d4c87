package api

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Role is what a principal may do. Each role may all that the ones before it may.
type Role uint8

// The roles, the least first. Their order is a promise.
const (
	Nobody    Role = iota // what needs no authentication
	Viewer                // read
	Responder             // decide about findings, try decisions out, record reviews and exemptions
	Admin                 // everything: enforce and approve decisions, scopes, inventory, feeds
)

var roles = [...]string{"nobody", "viewer", "responder", "admin"}

// ParseRole reads viewer, responder or admin.
func ParseRole(text string) (Role, error) {
	if i := slices.Index(roles[:], text); i > int(Nobody) {
		return Role(i), nil
	}
	return Nobody, fmt.Errorf("role %q is not viewer, responder or admin", clip(text))
}

func (r Role) String() string { return roles[min(int(r), len(roles)-1)] }

// MarshalText implements [encoding.TextMarshaler].
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *Role) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRole(string(text))
	return err
}

// Principal is who asks. Its name says where it comes from: local (the data folder's token), token:<name>, oidc:<subject>, a SPIFFE ID, or
// anonymous.
type Principal struct {
	Name string `json:"name"`
	Role Role   `json:"role"`
}

// Names of principals that nothing outside gives.
const (
	localName     = "local"     // shows the data folder's token
	anonymousName = "anonymous" // shows nothing
)

// Authenticator knows principals by what their requests show. It says false for a request that shows nothing that it looks at, and an error for
// one whose proof is not good. It is safe for concurrent use.
type Authenticator interface {
	Authenticate(r *http.Request) (Principal, bool, error)
}

type principalKey struct{}

// principal is who sent a request.
func principal(r *http.Request) Principal {
	if p, ok := r.Context().Value(principalKey{}).(Principal); ok {
		return p
	}
	return Principal{Name: anonymousName}
}

func withPrincipal(r *http.Request, p Principal) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), principalKey{}, p))
}

// authenticate says who sends a request. Who shows nothing is anonymous; who shows something that is not good is refused, since it believes to be
// somebody.
func (s *Server) authenticate(r *http.Request) (Principal, error) {
	r, err := s.opened(r)
	if err != nil {
		return Principal{}, err
	}
	if token, ok := bearer(r); ok && s.Token != "" && subtle.ConstantTimeCompare([]byte(token), []byte(s.Token)) == 1 {
		return Principal{localName, Admin}, nil
	}
	for _, a := range s.Authenticators {
		p, ok, err := a.Authenticate(r)
		if err != nil {
			return Principal{}, err
		}
		if ok {
			return p, nil
		}
	}
	if r.Header.Get("Authorization") != "" {
		return Principal{}, problem(http.StatusUnauthorized, "the token or credential that was shown is not known here")
	}
	return Principal{anonymousName, s.Anonymous}, nil
}

// bearer gives the token of a request.
func bearer(r *http.Request) (string, bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return token, strings.EqualFold(scheme, "Bearer") && token != ""
}

// permit refuses who may not do what needs a role.
func permit(p Principal, need Role) error {
	switch {
	case p.Role >= need:
		return nil
	case p.Name == anonymousName:
		return problem(http.StatusUnauthorized, "this needs the role %s: send Authorization: Bearer and a token, such as that in the file `token` of Ambit's data folder", need)
	}
	return problem(http.StatusForbidden, "this needs the role %s, and %s has the role %s", need, clip(p.Name), p.Role)
}

// clip bounds what a request brought, for an answer.
func clip(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "…"
	}
	return s
}
