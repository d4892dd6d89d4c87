package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/ambit-nhi/ambit/collector/feed"
)

// Feeds say how they are, and try themselves; [feed.Feeds] do. What they say holds no secret.
type Feeds interface {
	Names() []string
	Status(ctx context.Context) ([]feed.Status, error)
	Test(ctx context.Context, name string) (feed.Answer, error)
}

func (s *Server) getFeeds(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	page := Page[feed.Status]{Items: []feed.Status{}}
	if s.Feeds != nil && len(s.Feeds.Names()) > 0 {
		list, err := s.Feeds.Status(r.Context())
		if err != nil {
			s.log.Warn("read how the feeds are", "error", err)
			return problem(http.StatusServiceUnavailable, "how the feeds are cannot be read just now; the log of the collector says why")
		}
		page.Items = list
	}
	return writeJSON(w, page)
}

func (s *Server) postFeedTest(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	name := r.PathValue("name")
	if s.Feeds == nil {
		return problem(http.StatusNotFound, "there is no feed %s; the list feeds of the configuration has them", clip(name))
	}
	var answer feed.Answer
	err := s.audited(r, "feed.tested", name, nil, func() (err error) {
		answer, err = s.Feeds.Test(r.Context(), name)
		return err
	})
	switch {
	case errors.Is(err, feed.ErrUnknown):
		return problem(http.StatusNotFound, "there is no feed %s; the list feeds of the configuration has them", clip(name))
	case err != nil:
		var p *Problem
		if errors.As(err, &p) {
			return err
		}
		s.log.Warn("test a feed", "feed", name, "error", err)
		return problem(http.StatusServiceUnavailable, "the feed cannot be tested just now; the log of the collector says why")
	}
	return writeJSON(w, answer)
}
