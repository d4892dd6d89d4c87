package web

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Bounds of what is said of several identities at once.
const (
	maxExempted = 50  // each is a request of its own
	maxReviewed = 500 // as of the API
)

// exempt has the API exempt identities from the report of unused ones, to the end of a day.
func (s *Site) exempt(r *http.Request, ids []string) error {
	day, err := time.Parse(time.DateOnly, r.PostFormValue("until"))
	if err != nil {
		return faultf(http.StatusBadRequest, "Choose the day on which the exemption ends.")
	}
	reason := strings.TrimSpace(r.PostFormValue("reason"))
	switch {
	case reason == "":
		return faultf(http.StatusBadRequest, "Say why it may be unused.")
	case len(ids) == 0:
		return faultf(http.StatusBadRequest, "Choose the identities that are to be exempt.")
	case len(ids) > maxExempted:
		return faultf(http.StatusBadRequest, "At most %d identities can be exempt at once.", maxExempted)
	}
	until := day.Add(24*time.Hour - time.Second)
	if latest := s.now().UTC().Add(366 * 24 * time.Hour).Truncate(time.Second); until.After(latest) {
		until = latest
	}
	for _, id := range ids {
		in := map[string]any{"identity": id, "reason": reason, "until": until}
		if err := s.ask(r, http.MethodPost, "/api/v1/exemptions", in, nil); err != nil {
			return err
		}
	}
	return nil
}

// review has the API record that somebody looked whether identities are still right.
func (s *Site) review(r *http.Request, ids []string) error {
	if len(ids) == 0 {
		return faultf(http.StatusBadRequest, "Choose the identities that were reviewed.")
	}
	in := map[string]any{"identities": ids, "verdict": r.PostFormValue("verdict"), "note": strings.TrimSpace(r.PostFormValue("note"))}
	return s.ask(r, http.MethodPost, "/api/v1/reviews", in, nil)
}

// lift has the API end an exemption.
func (s *Site) lift(r *http.Request, id event.Identity) error {
	return s.ask(r, http.MethodDelete, "/api/v1/exemptions/"+url.PathEscape(id.String()), nil, nil)
}

// exemptIdentity exempts the identity of a page, or lifts its exemption.
func (s *Site) exemptIdentity(r *http.Request, _ Viewer) (string, error) {
	id, err := pathIdentity(r)
	if err != nil {
		return "", err
	}
	if r.PostFormValue("lift") != "" {
		err = s.lift(r, id)
	} else {
		err = s.exempt(r, []string{id.String()})
	}
	return identityPath(id), err
}

func (s *Site) reviewIdentity(r *http.Request, _ Viewer) (string, error) {
	id, err := pathIdentity(r)
	if err != nil {
		return "", err
	}
	return identityPath(id) + "#reviews", s.review(r, []string{id.String()})
}
