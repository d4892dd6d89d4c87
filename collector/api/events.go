package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/ambit-nhi/ambit/collector/decision"
)

const (
	keepAlive    = 15 * time.Second
	writeTimeout = 10 * time.Second // a client that reads nothing for so long is gone
)

// getEvents streams findings as server-sent events of the type "finding", and news of decisions as those of the type "decision". An event's id is its place; a client that comes back with
// Last-Event-ID misses nothing that the stream still holds.
func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	var after uint64
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		var err error
		if after, err = strconv.ParseUint(last, 10, 64); err != nil {
			return problem(http.StatusBadRequest, "Last-Event-ID %q is not one that this API gave", last)
		}
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		return problem(http.StatusServiceUnavailable, "%d event streams are open, more are not served", maxStreams)
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	out := &stream{w: w, c: http.NewResponseController(w)}
	w.Header().Set("Content-Type", "text/event-stream")
	var alive sync.WaitGroup
	alive.Go(func() {
		tick := time.NewTicker(keepAlive)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				// A token that was revoked meanwhile, or has expired, shows nothing any more.
				if who, err := s.authenticate(r); err != nil || permit(who, Viewer) != nil || out.write(": alive\n\n") != nil {
					cancel()
				}
			case <-ctx.Done():
				return
			}
		}
	})
	alive.Go(func() {
		if s.Decisions == nil {
			return
		}
		// Without an id: a client that comes back asks for decisions as they are then.
		_ = s.Decisions.Follow(ctx, func(c decision.Change) error {
			data, err := json.Marshal(c)
			if err == nil {
				err = out.write(fmt.Sprintf("event: decision\ndata: %s\n\n", data))
			}
			if err != nil {
				cancel()
			}
			return err
		})
	})
	err := s.Live.Follow(ctx, after, func(sequence uint64, finding []byte) error {
		if finding == nil {
			return out.write(fmt.Sprintf("id: %d\n: following\n\n", sequence))
		}
		return out.write(fmt.Sprintf("id: %d\nevent: finding\ndata: %s\n\n", sequence, finding))
	})
	cancel()
	alive.Wait()
	if err != nil && r.Context().Err() == nil {
		s.log.Debug("an event stream ended", "error", err)
	}
	return nil
}

// stream writes to one client from two goroutines.
type stream struct {
	mu sync.Mutex
	w  http.ResponseWriter
	c  *http.ResponseController
}

func (s *stream) write(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.c.Flush()
}
