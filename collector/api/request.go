package api

import (
	"context"
	"net/http"
	"regexp"

	"github.com/nats-io/nuid"
)

// requestHeader names a request, in questions and answers.
const requestHeader = "X-Request-Id"

// requestName is what a client may name a request: it comes into logs.
var requestName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

type requestKey struct{}

// named gives each request a name, its client's where that is one, under which logs, problems and the audit trail know it.
func named(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.Header.Get(requestHeader)
		if !requestName.MatchString(name) {
			name = nuid.Next()
		}
		w.Header().Set(requestHeader, name)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, name)))
	})
}

func requestID(r *http.Request) string {
	name, _ := r.Context().Value(requestKey{}).(string)
	return name
}
