package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ambit-nhi/ambit/collector/audit"
	"github.com/ambit-nhi/ambit/collector/health"
	"github.com/ambit-nhi/ambit/event"
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
	var log bytes.Buffer
	s := &Server{Config: Config{Audit: trail}, log: slog.New(slog.NewTextHandler(&log, nil))}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := s.audited(httptest.NewRequestWithContext(ctx, "POST", "/", nil), "scope.apply", "x", nil, func() error {
		cancel()
		return fmt.Errorf("send to db.internal:9440: %w", ctx.Err())
	})
	if !errors.Is(err, context.Canceled) || len(trail.failed) != 2 || trail.failed[1] == "" || !strings.Contains(log.String(), "db.internal") {
		t.Errorf("%v, the trail has %q, the log %q", err, trail.failed, &log)
	}
	// Who reads the trail is told what who asked was told, and nothing of what is inside.
	for _, failed := range []error{problem(http.StatusConflict, "somebody was quicker"), errors.New("insert at db.internal:9440"), storeError(errors.New("db.internal:9440"))} {
		trail.failed = nil
		err := s.audited(httptest.NewRequest("POST", "/", nil), "scope.apply", "x", nil, func() error { return failed })
		if err == nil || len(trail.failed) != 2 || trail.failed[1] == "" || strings.Contains(trail.failed[1], "db.internal") {
			t.Errorf("%v: the trail has %q", err, trail.failed)
		}
		if p := new(Problem); errors.As(failed, &p) && p.Status == http.StatusConflict && trail.failed[1] != "somebody was quicker" {
			t.Errorf("of a conflict the trail has %q", trail.failed)
		}
	}
}

// late is a trail whose first record is copied after it is read for the first time, or never.
type late struct {
	Trails
	reads, comes int
}

func (l *late) EachAudit(context.Context) iter.Seq2[audit.Record, error] {
	l.reads++
	return func(yield func(audit.Record, error) bool) {
		if l.reads < l.comes {
			yield(audit.Record{Number: 2}, nil)
		}
	}
}

// What collectors copy side by side may come in another order: only what is still missing later is told.
func TestVerifiesAgain(t *testing.T) {
	for comes, whole := range map[int]bool{0: true, 2: true, 100: false} {
		synctest.Test(t, func(t *testing.T) {
			h, _ := plain(t, func(c *Config) { c.Trails = &late{comes: comes} })
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1:8480/api/v1/audit/verified", nil))
			var got Verified
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Whole != whole || whole == (got.Broken == 1) {
				t.Errorf("a trail that is there at the read %d: %+v %v", comes, got, err)
			}
		})
	}
}

// open is what a client of a stream reads.
type open struct{ *httptest.ResponseRecorder }

func (open) SetWriteDeadline(time.Time) error { return nil }

// leaving is somebody who is known until gone.
type leaving struct{ gone atomic.Bool }

func (l *leaving) Authenticate(*http.Request) (Principal, bool, error) {
	if l.gone.Load() {
		return Principal{}, false, Unauthorized("the token was revoked")
	}
	return Principal{"v", Viewer}, true, nil
}

// A stream does not outlive the token that opened it.
func TestEventsEndWithToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		who := &leaving{}
		h, _ := plain(t, func(c *Config) {
			c.Live, c.Authenticators = &live{findings: make(chan event.Finding)}, []Authenticator{who}
		})
		done := make(chan struct{})
		go func() {
			defer close(done)
			h.ServeHTTP(open{httptest.NewRecorder()}, httptest.NewRequestWithContext(t.Context(), "GET", "http://127.0.0.1:8480/api/v1/events", nil))
		}()
		time.Sleep(3 * keepAlive)
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("a stream ends while its token is good")
		default:
		}
		who.gone.Store(true)
		time.Sleep(2 * keepAlive)
		synctest.Wait()
		select {
		case <-done:
		default:
			t.Error("a stream goes on without its token")
		}
	})
}

// Beyond this machine, why something is not well is for those who may read.
func TestReadyWithoutDetails(t *testing.T) {
	l := &live{checks: []health.Check{health.Fail("store", "10.1.2.3 is away")}}
	h, _ := plain(t, func(c *Config) { c.Live, c.Exposed, c.Anonymous = l, true, Nobody })
	for _, target := range []string{"/readyz", "/readyz?format=json"} {
		for who, told := range map[string]bool{"": false, "v": true} {
			r := httptest.NewRequest("GET", "https://ambit.example"+target, nil)
			r.Header.Set("X-Test", who)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "store") || strings.Contains(w.Body.String(), "10.1.2.3") != told {
				t.Errorf("%s to %q: %d %s", target, who, w.Code, w.Body)
			}
		}
	}
}
