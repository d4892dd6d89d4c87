package web

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/audit"
	"github.com/ambit-nhi/ambit/collector/decision"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// decisionsPage is how many decisions a page lists.
const decisionsPage = 50

// DenyRoles say who is shown what can be done about decisions, as the API's settings have it. It is the API that refuses. Where one is not set, it is as the comment says.
type DenyRoles struct {
	DryRun  Role // responder
	Enforce Role // admin
	Approve Role // admin
	Revoke  Role // responder
}

func (d DenyRoles) dryRun() Role  { return cmp.Or(d.DryRun, Responder) }
func (d DenyRoles) enforce() Role { return cmp.Or(d.Enforce, Admin) }
func (d DenyRoles) approve() Role { return cmp.Or(d.Approve, Admin) }
func (d DenyRoles) revoke() Role  { return cmp.Or(d.Revoke, Responder) }

type decisionsView struct {
	MayDeny  bool
	Items    []decision.View
	States   []choice
	Modes    []choice
	State    string
	Mode     string
	Identity string
	Finding  string
	Filtered bool
	First    string
	Next     string
	Now      time.Time
}

func (s *Site) decisionPages() {
	s.page("decisions", "/decisions", Reader, s.showDecisions)
	ask := min(s.Deny.dryRun(), s.Deny.enforce())
	s.page("deny", "/decisions/new", ask, s.showDeny)
	s.page("decision", "/decisions/{id}", Reader, s.showDecision)
	s.page("revoke", "/decisions/{id}/revoke", s.Deny.revoke(), s.showRevoke)
	s.page("approve", "/decisions/{id}/approve", s.Deny.approve(), s.showRevoke)
	s.action("/decisions/new", ask, s.deny)
	s.action("/decisions/{id}/revoke", s.Deny.revoke(), s.revoke)
	s.action("/decisions/{id}/approve", s.Deny.approve(), s.approve)
}

func (s *Site) showDecisions(r *http.Request, who Viewer) (any, error) {
	q := r.URL.Query()
	v := &decisionsView{MayDeny: who.May(s.Deny.dryRun()), State: q.Get("state"), Mode: q.Get("mode"), Identity: strings.TrimSpace(q.Get("identity")), Finding: q.Get("finding"), Now: s.now()}
	href := func(state, cursor string) string {
		u := url.Values{}
		for _, x := range [][2]string{{"state", state}, {"mode", v.Mode}, {"identity", v.Identity}, {"finding", v.Finding}, {"cursor", cursor}} {
			if x[1] != "" {
				u.Set(x[0], x[1])
			}
		}
		return "/decisions?" + u.Encode()
	}
	var page decisionPage
	ask := url.Values{"limit": {strconv.Itoa(decisionsPage)}}
	for _, name := range []string{"state", "mode", "identity", "finding", "cursor"} {
		if x := strings.TrimSpace(q.Get(name)); x != "" {
			ask.Set(name, x)
		}
	}
	if err := s.ask(r, http.MethodGet, "/api/v1/decisions?"+ask.Encode(), nil, &page); err != nil {
		return nil, err
	}
	v.Items, v.Filtered = page.Items, v.Mode+v.Identity+v.Finding != ""
	v.States = append(v.States, choice{Text: "All", Href: href("", ""), Chosen: v.State == ""})
	for _, x := range decision.States {
		v.States = append(v.States, choice{Value: string(x), Text: title(x), Href: href(string(x), ""), Chosen: v.State == string(x)})
	}
	for _, m := range []event.Mode{event.DryRun, event.Enforce} {
		v.Modes = append(v.Modes, choice{Value: string(m), Text: string(m), Chosen: v.Mode == string(m)})
	}
	if q.Get("cursor") != "" {
		v.First = href(v.State, "")
	}
	if page.Next != "" {
		v.Next = href(v.State, page.Next)
	}
	return v, nil
}

// decisionAnswer is a decision as the API tells it.
type decisionAnswer struct {
	decision.View
	Nodes      []store.NodeAck      `json:"nodes"`
	NotCovered []decision.NodeCover `json:"not_covered"`
}

type decisionView struct {
	*decisionAnswer
	D          *event.Decision
	Spoken     uint64 // nodes that spoke of it
	InForce    uint64
	Took       string // until it was in force everywhere
	Left       string // until it ends
	Shown      []store.NodeAck
	Hidden     int // nodes that are not shown
	Records    []audit.Record
	Policy     string // of another system
	NoPolicy   string // why there is none
	Format     string
	Selector   string
	Commands   []command
	MayRevoke  bool
	MayApprove bool
	Open       bool // it waits or holds
	Waits      bool
	OwnAsk     bool // the viewer asked for it
	New        bool // just now
}

// maxNodesShown bounds the nodes of a page; the API and the command line tell all.
const maxNodesShown = 200

// recordsShown bounds the audit records of a page.
const recordsShown = 100

type auditPage struct {
	Items []audit.Record `json:"items"`
	Next  string         `json:"next_cursor"`
}

func (s *Site) showDecision(r *http.Request, who Viewer) (any, error) {
	id, q := r.PathValue("id"), r.URL.Query()
	var d decisionAnswer
	if err := s.ask(r, http.MethodGet, "/api/v1/decisions/"+url.PathEscape(id), nil, &d); err != nil {
		return nil, err
	}
	v := &decisionView{decisionAnswer: &d, D: &d.Decision, Shown: d.Nodes[:min(len(d.Nodes), maxNodesShown)], Format: q.Get("format"), Selector: strings.TrimSpace(q.Get("selector"))}
	v.Hidden = len(d.Nodes) - len(v.Shown)
	for state, n := range d.Acks.Nodes {
		v.Spoken += n
		if state == event.AckInForce {
			v.InForce = n
		}
	}
	if !d.Acks.InForce.IsZero() {
		v.Took = d.Acks.InForce.Sub(d.Issued).Round(time.Millisecond).String()
	}
	if d.State == decision.StateInForce {
		v.Left = left(d.Expires.Sub(s.now()))
	}
	v.Waits = d.State == decision.StateWaiting
	v.Open = v.Waits || d.State == decision.StateInForce
	v.OwnAsk, v.New = d.Requester == who.Name, q.Get("asked") == "1"
	v.MayRevoke, v.MayApprove = v.Open && who.May(s.Deny.revoke()), v.Waits && !v.OwnAsk && who.May(s.Deny.approve())
	if v.Format == "" {
		v.Format = string(decision.Cilium)
	}
	if !v.Waits && slices.Contains([]string{string(decision.Cilium), string(decision.Kubernetes)}, v.Format) {
		text, err := decision.Policy(v.D, decision.PolicyFormat(v.Format), v.Selector)
		if v.Policy = text; err != nil {
			v.NoPolicy = strings.TrimPrefix(err.Error(), decision.ErrInvalid.Error()+": ")
		}
	}
	v.Commands = []command{{"Show it", "ambit decisions " + d.ID}}
	if v.Open {
		v.Commands = append(v.Commands, command{"End it", "ambit revoke " + d.ID + ` --reason "…"`})
	}
	if v.Waits {
		v.Commands = append(v.Commands, command{"Approve it", "ambit decisions approve " + d.ID})
	}
	v.Commands = append(v.Commands, command{"Its audit records", "ambit decisions audit --subject " + d.ID})
	var page auditPage
	if err := s.ask(r, http.MethodGet, "/api/v1/audit?limit="+strconv.Itoa(recordsShown)+"&subject="+url.QueryEscape(d.ID), nil, &page); err != nil {
		return nil, err
	}
	v.Records = page.Items
	return v, nil
}

// inForce is on how many nodes a decision is in force, of how many that spoke of it.
func inForce(acks store.AckSummary) string {
	var spoken uint64
	for _, n := range acks.Nodes {
		spoken += n
	}
	return number(acks.Nodes[event.AckInForce]) + "/" + number(spoken)
}

// left is how long something lasts yet, roughly.
func left(d time.Duration) string {
	switch {
	case d <= 0:
		return "over"
	case d < time.Minute:
		return plural(int(d/time.Second)+1, "second")
	case d < 2*time.Hour:
		return plural(int((d+time.Minute-1)/time.Minute), "minute")
	case d < 48*time.Hour:
		return plural(int(d.Round(time.Hour)/time.Hour), "hour")
	}
	return plural(int(d.Round(24*time.Hour)/(24*time.Hour)), "day")
}

type revokeView struct {
	D     decision.View
	Waits bool
}

// showRevoke asks whether a decision is to end, or to be approved.
func (s *Site) showRevoke(r *http.Request, _ Viewer) (any, error) {
	var d decisionAnswer
	if err := s.ask(r, http.MethodGet, "/api/v1/decisions/"+url.PathEscape(r.PathValue("id")), nil, &d); err != nil {
		return nil, err
	}
	return &revokeView{d.View, d.State == decision.StateWaiting}, nil
}

func (s *Site) revoke(r *http.Request, _ Viewer) (string, error) {
	id, reason := r.PathValue("id"), strings.TrimSpace(r.PostFormValue("reason"))
	if reason == "" {
		return "", faultf(http.StatusBadRequest, "A reason is missing: say why the decision ends, for the audit trail.")
	}
	var after decisionAnswer
	if err := s.ask(r, http.MethodDelete, "/api/v1/decisions/"+url.PathEscape(id)+"?reason="+url.QueryEscape(reason), nil, &after); err != nil {
		return "", err
	}
	if after.State == decision.StateWithdrawn {
		return "/decisions?withdrawn=1", nil
	}
	return "/decisions/" + url.PathEscape(cmp.Or(after.ID, id)), nil
}

func (s *Site) approve(r *http.Request, _ Viewer) (string, error) {
	id := url.PathEscape(r.PathValue("id"))
	if err := s.ask(r, http.MethodPost, "/api/v1/decisions/"+id+"/approve", struct{}{}, nil); err != nil {
		return "", err
	}
	return "/decisions/" + id, nil
}
