package web

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// verdict is how a page speaks of one.
type verdict struct {
	Kind    event.VerdictKind
	Do      string // on its button
	Done    string // of findings: were …
	Means   string
	Reason  bool   // it needs one
	Ends    bool   // it needs an end
	MayEnd  bool   // it may have one
	Key     string // that stands for it
	Command string // of the CLI
}

// verdicts are all of them.
var verdicts = map[event.VerdictKind]verdict{
	event.VerdictAcknowledge:   {event.VerdictAcknowledge, "Acknowledge", "acknowledged", "Somebody looks at it. It stays open.", false, false, false, "a", "ack"},
	event.VerdictSuppress:      {event.VerdictSuppress, "Suppress", "suppressed", "Be quiet about it for a time. If it goes on after that, it is told again.", true, true, true, "s", "suppress"},
	event.VerdictApprove:       {event.VerdictApprove, "Approve", "approved", "It is new, and right: it becomes normal for its identity, from now on or until an end.", true, false, true, "", "approve"},
	event.VerdictFalsePositive: {event.VerdictFalsePositive, "False positive", "called false positives", "It was normal all along. It becomes part of the baseline.", true, false, false, "", "false-positive"},
	event.VerdictTruePositive:  {event.VerdictTruePositive, "True positive", "called true positives", "It was an attack, or a mistake. It stays open until somebody resolves it.", false, false, false, "", "true-positive"},
	event.VerdictResolve:       {event.VerdictResolve, "Resolve", "resolved", "It is over. If it occurs again, it is told again.", false, false, false, "", "resolve"},
	event.VerdictUnsuppress:    {event.VerdictUnsuppress, "Unsuppress", "told again", "The quiet ends now.", false, false, false, "", "unsuppress"},
	event.VerdictReopen:        {event.VerdictReopen, "Reopen", "opened again", "What was decided about it is taken back.", false, false, false, "", "reopen"},
}

// fitting are the verdicts that make sense for a finding as it is, the usual ones first.
func fitting(status event.Status) []verdict {
	var kinds []event.VerdictKind
	switch status {
	case event.StatusResolved:
		kinds = []event.VerdictKind{event.VerdictReopen}
	case event.StatusSuppressed:
		kinds = []event.VerdictKind{event.VerdictUnsuppress, event.VerdictAcknowledge, event.VerdictResolve, event.VerdictApprove, event.VerdictFalsePositive, event.VerdictTruePositive}
	case event.StatusAcknowledged:
		kinds = []event.VerdictKind{event.VerdictResolve, event.VerdictSuppress, event.VerdictApprove, event.VerdictFalsePositive, event.VerdictTruePositive, event.VerdictReopen}
	default:
		kinds = []event.VerdictKind{event.VerdictAcknowledge, event.VerdictSuppress, event.VerdictApprove, event.VerdictFalsePositive, event.VerdictTruePositive, event.VerdictResolve}
	}
	out := make([]verdict, len(kinds))
	for i, k := range kinds {
		out[i] = verdicts[k]
	}
	return out
}

// ends are the times that an end may be away.
var ends = []choice{{Value: "1h", Text: "1 hour"}, {Value: "8h", Text: "8 hours"}, {Value: "1d", Text: "1 day"}, {Value: "7d", Text: "7 days", Chosen: true}, {Value: "30d", Text: "30 days"}, {Value: "90d", Text: "90 days"}}

// maxAtOnce is how many findings can be decided about at once; the API takes no more.
const maxAtOnce = 100

// maxShown is how many of the chosen findings are told by their titles.
const maxShown = 10

type decideView struct {
	Verdict verdict
	IDs     []string
	Items   []event.Finding // the first of them
	More    int             // that are not told
	Ends    []choice
	Back    string
	Next    string
}

// showDecide asks whether a verdict on findings is meant.
func (s *Site) showDecide(r *http.Request, _ Viewer) (any, error) {
	q := r.URL.Query()
	kind := event.VerdictKind(q.Get("verdict"))
	if !kind.Valid() {
		return nil, faultf(http.StatusBadRequest, "The verdict %.40q is not one that Ambit knows.", q.Get("verdict"))
	}
	ids, err := chosen(q["id"])
	if err != nil {
		return nil, err
	}
	v := &decideView{Verdict: verdicts[kind], IDs: ids, Ends: ends, Back: local(q.Get("back")), Next: q.Get("next")}
	for _, id := range ids[:min(len(ids), maxShown)] {
		list, err := s.Reports.Findings(r.Context(), store.FindingFilter{ID: id, Limit: 1})
		switch {
		case errors.Is(err, store.ErrNotFound) || err == nil && len(list.Items) == 0:
			continue
		case err != nil:
			return nil, err
		default:
			v.Items = append(v.Items, list.Items[0])
		}
	}
	if len(v.Items) == 0 {
		return nil, store.ErrNotFound
	}
	v.More = len(ids) - len(v.Items)
	return v, nil
}

// chosen are the findings that a form names.
func chosen(ids []string) ([]string, error) {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.DeleteFunc(slices.Compact(ids), func(id string) bool { return id == "" })
	switch {
	case len(ids) == 0:
		return nil, faultf(http.StatusBadRequest, "No finding was chosen: tick some in the list first.")
	case len(ids) > maxAtOnce:
		return nil, faultf(http.StatusBadRequest, "%d findings were chosen, and at most %d can be decided about at once.", len(ids), maxAtOnce)
	}
	return ids, nil
}

// verdictsBody is what the API is sent.
type verdictsBody struct {
	IDs     []string          `json:"ids"`
	Verdict event.VerdictKind `json:"verdict"`
	Reason  string            `json:"reason,omitempty"`
	Until   time.Time         `json:"until,omitzero"`
}

// verdictsAnswer is what it says.
type verdictsAnswer struct {
	Items []struct {
		ID      string `json:"id"`
		Problem *struct {
			Status int    `json:"status"`
			Detail string `json:"detail"`
		} `json:"problem"`
	} `json:"items"`
}

// undone is a finding about which nothing was decided.
type undone struct {
	ID, Title, Why string
}

// decidedView tells what came of a verdict on several findings, when not all of them took it.
type decidedView struct {
	Verdict verdict
	Done    int
	Undone  []undone
	Back    string
}

// decide sends a verdict on findings to the API.
func (s *Site) decide(r *http.Request, _ Viewer) (string, any, error) {
	if err := r.ParseForm(); err != nil {
		return "", nil, faultf(http.StatusBadRequest, "The form cannot be read: %v", err)
	}
	ids, err := chosen(r.PostForm["id"])
	if err != nil {
		return "", nil, err
	}
	body := verdictsBody{IDs: ids, Verdict: event.VerdictKind(r.PostForm.Get("verdict")), Reason: strings.TrimSpace(r.PostForm.Get("reason"))}
	v, ok := verdicts[body.Verdict]
	if !ok {
		return "", nil, faultf(http.StatusBadRequest, "The verdict %.40q is not one that Ambit knows.", body.Verdict)
	}
	if text := r.PostForm.Get("for"); text != "" && v.MayEnd {
		d, err := report.ParseWindow(text)
		if err != nil {
			return "", nil, faultf(http.StatusBadRequest, "%v", err)
		}
		body.Until = s.now().Add(d).UTC().Truncate(time.Second)
	}
	var answer verdictsAnswer
	if err := s.ask(r, http.MethodPost, "/api/v1/findings/verdicts", body, &answer); err != nil {
		return "", nil, err
	}
	var failed []undone
	var first *Fault
	for _, item := range answer.Items {
		if item.Problem != nil {
			failed = append(failed, undone{ID: item.ID, Why: item.Problem.Detail})
			if first == nil {
				first = &Fault{item.Problem.Status, item.Problem.Detail}
			}
		}
	}
	back := told(r.PostForm.Get("back"), body.Verdict, len(ids)-len(failed), r.PostForm.Get("next"))
	switch {
	case len(failed) == 0:
		return back, nil, nil
	case len(ids) == 1:
		return "", nil, first
	}
	for i := range failed[:min(len(failed), maxShown)] { // the others stand there by their IDs
		if list, err := s.Reports.Findings(r.Context(), store.FindingFilter{ID: failed[i].ID, Limit: 1}); err == nil && len(list.Items) > 0 {
			failed[i].Title = list.Items[0].Title
		}
	}
	return "", &decidedView{Verdict: v, Done: len(ids) - len(failed), Undone: failed, Back: back}, nil
}

// told is where a form came from, with what came of it. next is the finding to go on with.
func told(back string, kind event.VerdictKind, done int, next string) string {
	u, err := url.Parse(local(back))
	if err != nil || u.Path == "/" {
		u = &url.URL{Path: "/findings"}
	}
	q := u.Query()
	q.Del("verdict")
	q.Del("done")
	if done > 0 {
		q.Set("verdict", string(kind))
		q.Set("done", strconv.Itoa(done))
	}
	u.RawQuery, u.Fragment = q.Encode(), ""
	if next != "" {
		u.Fragment = "at-" + next
	}
	return u.String()
}
