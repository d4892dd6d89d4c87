package web

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/ambit-nhi/ambit/collector/store"
)

// Fault is an error that a page tells, with the HTTP status that fits it.
type Fault struct {
	Status int
	Text   string
}

func (f *Fault) Error() string { return f.Text }

// StatusCode is the HTTP status.
func (f *Fault) StatusCode() int { return f.Status }

func faultf(status int, format string, args ...any) error {
	return &Fault{status, fmt.Sprintf(format, args...)}
}

// status is the HTTP status that an error stands for; 0 is none.
func status(err error) int {
	var coded interface{ StatusCode() int }
	switch {
	case err == nil:
		return 0
	case errors.As(err, &coded):
		return coded.StatusCode()
	case errors.Is(err, store.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, store.ErrTooLong):
		return http.StatusGatewayTimeout
	case errors.Is(err, store.ErrTooLarge), errors.Is(err, store.ErrBusy):
		return http.StatusServiceUnavailable
	case errors.Is(err, store.ErrCursor):
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

// trouble is the view of the page of errors.
type trouble struct {
	Status int
	Title  string
	Text   string
	Remedy string
}

var remedies = map[int]string{
	http.StatusBadRequest:          "Look at the address: a filter in it is not one that this page knows. The links of the page itself are right.",
	http.StatusUnauthorized:        "Log in, then try again.",
	http.StatusForbidden:           "Ask an administrator of Ambit for the role, or log in as somebody who has it. Nothing was changed.",
	http.StatusNotFound:            "It may be gone, or be older than what is kept. The search at the top finds what there is.",
	http.StatusConflict:            "Somebody else was quicker. Load the page again and look at what it says now. Nothing was changed.",
	http.StatusTooManyRequests:     "Wait a few seconds, then load the page again.",
	http.StatusInternalServerError: "Try again. If it stays, look for the request's name in the collector's log.",
	http.StatusServiceUnavailable:  "Ambit is busy or starting, or the question is too large. Try again in a few seconds, or ask for a shorter window.",
	http.StatusGatewayTimeout:      "Ask for a shorter window, or for less with a filter.",
}

// fail shows an error as a page. What is nobody's fault outside is logged here, once, and not told in detail.
func (s *Site) fail(w http.ResponseWriter, r *http.Request, who Viewer, err error) {
	code := status(err)
	text := err.Error()
	switch {
	case code == http.StatusInternalServerError:
		if r.Context().Err() != nil {
			return // the client is gone
		}
		s.log.Error("answer a page", "method", r.Method, "path", r.URL.Path, "request", w.Header().Get("X-Request-Id"), "error", err)
		text = "The collector could not answer."
	case errors.Is(err, store.ErrTooLong), errors.Is(err, store.ErrTooLarge), errors.Is(err, store.ErrBusy):
		text = "The collector did not get to the end of the question."
	case errors.Is(err, store.ErrNotFound):
		text = "There is no such thing here."
	}
	remedy := remedies[code]
	if remedy == "" {
		remedy = remedies[http.StatusInternalServerError]
	}
	if who.Name == "" {
		who, _ = s.Gate.Who(r)
	}
	s.render(w, r, code, "error", who, trouble{code, http.StatusText(code), text, remedy})
}
