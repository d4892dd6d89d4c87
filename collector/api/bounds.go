package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
)

// questionBounds are those of each question to the database that a request asks. An answer may take some of them, but must come within a minute.
var questionBounds = store.Bounds{Time: 30 * time.Second, Memory: 1 << 30}

// bounded keeps requests from costing the database more than they may, whoever asks.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(store.Bounded(r.Context(), questionBounds)))
	})
}

// storeError turns what the client caused into problems, and what passes.
func storeError(err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return problem(http.StatusNotFound, "%v", err)
	case errors.Is(err, store.ErrCursor):
		return problem(http.StatusBadRequest, "cursor is not one that this list gave")
	case errors.Is(err, store.ErrTooLong):
		return problem(http.StatusGatewayTimeout, "the database would take longer than %s for this: ask for less, such as a shorter window or a smaller depth", questionBounds.Time)
	case errors.Is(err, store.ErrTooLarge):
		return problem(http.StatusServiceUnavailable, "the database would need more memory for this than it has to spare: ask for less, such as a shorter window, or later")
	case errors.Is(err, store.ErrBusy):
		return problem(http.StatusServiceUnavailable, "the database has too many questions to answer: ask again in a moment")
	}
	return err
}
