package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// Problem is an error as RFC 9457 writes it.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`

	RequestID string `json:"request_id,omitempty"` // under which logs know it
}

func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Title
	}
	return p.Detail
}

// StatusCode is the HTTP status, for who does not know the type.
func (p *Problem) StatusCode() int { return p.Status }

func problem(status int, format string, args ...any) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...)}
}

// Unauthorized is the error of an [Authenticator] for a proof that is not good.
func Unauthorized(format string, args ...any) error {
	return problem(http.StatusUnauthorized, format, args...)
}

// Forbidden is the error of an [Authenticator] for somebody who is known and has no role.
func Forbidden(format string, args ...any) error {
	return problem(http.StatusForbidden, format, args...)
}

// Unavailable is the error of an [Authenticator] that cannot tell now.
func Unavailable(format string, args ...any) error {
	return problem(http.StatusServiceUnavailable, format, args...)
}

// writeError answers with a problem document. What is not the client's fault is logged here, once, and not told in detail.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	var p *Problem
	known := errors.As(err, &p)
	if !known && r.Context().Err() != nil {
		return // the client is gone
	}
	if !known || p.Status >= http.StatusInternalServerError {
		s.log.Error("answer a request", "method", r.Method, "path", r.URL.Path, "request", requestID(r), "error", err)
	}
	if !known {
		p = problem(http.StatusInternalServerError, "the collector could not answer; its log says why")
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	said := *p
	said.RequestID = requestID(r)
	p = &said
	_ = json.NewEncoder(w).Encode(p)
}

func writeJSON(w http.ResponseWriter, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	if data = append(data, '\n'); !unchanged(w, data) {
		_, _ = w.Write(data) // a client that went away is no error
	}
	return nil
}
