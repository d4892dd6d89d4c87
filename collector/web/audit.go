package web

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/audit"
	"github.com/ambit-nhi/ambit/collector/report"
)

// auditRecords is how many records a page lists.
const auditRecords = 100

// verified is what the API says of the trail as a whole.
type verified struct {
	Whole   bool   `json:"whole"`
	Records uint64 `json:"records"`
	Head    string `json:"head"`
	Broken  uint64 `json:"broken"`
	Why     string `json:"why"`
}

type auditView struct {
	Items                          []audit.Record
	Actor, Action, Subject, Window string
	Actions                        []choice
	Windows                        []choice
	Filtered                       bool
	First, Next                    string
	Verify                         string    // address that has it verified
	Verified                       *verified // nil: nobody asked
}

// kinds are what records are about.
var kinds = []string{"finding", "decision", "scope", "inventory", "exemption", "review", "feed"}

func (s *Site) auditPages() {
	s.page("audit", "/audit", Reader, func(r *http.Request, _ Viewer) (any, error) {
		q := r.URL.Query()
		text := func(name string) string { return strings.TrimSpace(q.Get(name)) }
		v := &auditView{Actor: text("actor"), Action: text("action"), Subject: text("subject"), Window: text("window")}
		ask := url.Values{"limit": {strconv.Itoa(auditRecords)}}
		here := url.Values{}
		for _, x := range [][2]string{{"actor", v.Actor}, {"action", v.Action}, {"subject", v.Subject}} {
			if x[1] != "" {
				ask.Set(x[0], x[1])
				here.Set(x[0], x[1])
			}
		}
		if v.Window != "" {
			d, err := report.ParseWindow(v.Window)
			if err != nil {
				return nil, faultf(http.StatusBadRequest, "%v", err)
			}
			ask.Set("since", s.now().Add(-d).UTC().Format(time.RFC3339))
			here.Set("window", v.Window)
		}
		v.Filtered = len(here) > 0
		if c := q.Get("cursor"); c != "" {
			ask.Set("cursor", c)
			v.First = "/audit?" + here.Encode()
		}
		var page auditPage
		if err := s.ask(r, http.MethodGet, "/api/v1/audit?"+ask.Encode(), nil, &page); err != nil {
			return nil, err
		}
		v.Items = page.Items
		check := maps.Clone(here)
		check.Set("verify", "1")
		v.Verify = "/audit?" + check.Encode()
		if page.Next != "" {
			here.Set("cursor", page.Next)
			v.Next = "/audit?" + here.Encode()
		}
		for _, k := range kinds {
			v.Actions = append(v.Actions, choice{Value: k, Text: "about a " + k, Chosen: v.Action == k})
		}
		if v.Action != "" && !slices.Contains(kinds, v.Action) {
			v.Actions = append(v.Actions, choice{Value: plain(v.Action), Text: v.Action, Chosen: true})
		}
		for _, x := range windows {
			v.Windows = append(v.Windows, choice{Value: x, Text: "the last " + x, Chosen: v.Window == x})
		}
		if q.Get("verify") == "1" {
			v.Verified = &verified{}
			if err := s.ask(r, http.MethodGet, "/api/v1/audit/verified", nil, v.Verified); err != nil {
				return nil, err
			}
		}
		return v, nil
	})
}

// subjectPage is where the subject of a record is shown; "" where there is no page.
func subjectPage(r audit.Record) string {
	kind, _, _ := strings.Cut(r.Action, ".")
	switch kind {
	case "finding":
		return "/findings/" + url.PathEscape(r.Subject)
	case "decision":
		if r.Action == "decision.refused" { // no decision came of it: the subject is whom it was about
			return "/identities/" + url.PathEscape(r.Subject)
		}
		return "/decisions/" + url.PathEscape(r.Subject)
	case "scope", "exemption", "review":
		return "/identities/" + url.PathEscape(r.Subject)
	}
	return ""
}
