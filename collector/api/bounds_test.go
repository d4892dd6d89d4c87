package api

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/ambit-nhi/ambit/collector/store"
)

// What costs too much is told as that, and what can be done about it; and nothing of what the database said.
func TestCostlyQuestions(t *testing.T) {
	for cause, status := range map[error]int{
		store.ErrTooLong: http.StatusGatewayTimeout, store.ErrTooLarge: http.StatusServiceUnavailable, store.ErrBusy: http.StatusServiceUnavailable,
	} {
		var p *Problem
		if !errors.As(storeError(fmt.Errorf("read reach: %w: SECRET", cause)), &p) || p.Status != status || p.Detail == "" || len(p.Detail) > 200 {
			t.Errorf("%v: %+v", cause, p)
		}
	}
}
