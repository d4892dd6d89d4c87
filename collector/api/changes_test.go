package api

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ambit-nhi/ambit/collector/audit"
)

// Who changes something has a name, whatever role a configuration says is enough.
func TestAnonymousChangesNothing(t *testing.T) {
	h, _ := plain(t, func(c *Config) { c.DecisionRoles = DecisionRoles{Viewer, Viewer, Viewer, Viewer} })
	for _, x := range []struct{ method, path string }{
		{"POST", "/api/v1/decisions"}, {"POST", "/api/v1/decisions/preview"}, {"POST", "/api/v1/decisions/x/approve"}, {"DELETE", "/api/v1/decisions/x?reason=a"},
		{"POST", "/access/v1/evaluation"},
	} {
		r := httptest.NewRequest(x.method, "http://127.0.0.1:8480"+x.path, strings.NewReader("{}"))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized {
			t.Errorf("%s %s answers %d", x.method, x.path, w.Code)
		}
	}
}

// kept is a trail that takes records while it is waited for.
type kept struct{ failed []string }

func (k *kept) Append(ctx context.Context, _, _, _ string, detail map[string]string) (audit.Record, error) {
	if ctx.Err() == nil {
		k.failed = append(k.failed, detail[audit.Failed])
	}
	return audit.Record{}, ctx.Err()
}

// What goes wrong because the client goes away is written down, too.
func TestFailureWithoutClient(t *testing.T) {
	trail := &kept{}
	s := &Server{Config: Config{Audit: trail}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := s.audited(httptest.NewRequestWithContext(ctx, "POST", "/", nil), "scope.apply", "x", nil, func() error {
		cancel()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) || len(trail.failed) != 2 || trail.failed[1] == "" {
		t.Errorf("%v, the trail has %q", err, trail.failed)
	}
}
