package web

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/ambit-nhi/ambit/collector/decision"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// denyForm is what the wizard asks for.
type denyForm struct {
	Identity, To, Direction, For, Code, Reason, Mode, Finding string
	Glob, Approve                                             bool
}

func (f *denyForm) read(q url.Values) {
	text := func(name string) string { return strings.TrimSpace(q.Get(name)) }
	*f = denyForm{
		text("identity"), text("to"), text("direction"), text("for"), text("code"), strings.Join(strings.Fields(q.Get("reason")), " "), text("mode"), text("finding"),
		q.Get("glob") != "", q.Get("approve") != "",
	}
	if f.Direction == "" {
		f.Direction = string(event.Outbound)
	}
	if f.Mode == "" {
		f.Mode = string(event.DryRun)
	}
	if f.For == "" {
		f.For = "1h"
	}
}

// values are the form as an address has it.
func (f *denyForm) values() url.Values {
	v := url.Values{}
	for _, x := range [][2]string{
		{"identity", f.Identity}, {"to", f.To}, {"direction", f.Direction}, {"for", f.For}, {"code", f.Code}, {"reason", f.Reason}, {"mode", f.Mode}, {"finding", f.Finding},
	} {
		if x[1] != "" {
			v.Set(x[0], x[1])
		}
	}
	if f.Glob {
		v.Set("glob", "1")
	}
	if f.Approve {
		v.Set("approve", "1")
	}
	return v
}

// denyBody is what the API is sent.
type denyBody struct {
	Identity  string `json:"identity"`
	Glob      bool   `json:"glob,omitempty"`
	To        string `json:"to"`
	Direction string `json:"direction"`
	Mode      string `json:"mode"`
	For       string `json:"for"`
	Code      string `json:"code,omitempty"`
	Reason    string `json:"reason"`
	Finding   string `json:"finding,omitempty"`
	Approve   bool   `json:"approve,omitempty"`
	Preview   string `json:"preview,omitempty"`
}

func (f *denyForm) body() denyBody {
	return denyBody{f.Identity, f.Glob, f.To, f.Direction, f.Mode, f.For, f.Code, f.Reason, f.Finding, f.Approve, ""}
}

// hidden is a field of a form that is not shown.
type hidden struct{ Name, Value string }

type denyView struct {
	Form       denyForm
	Fault      string // why there is no preview, or why it was not done
	Preview    *decision.Preview
	Items      []store.Preview // the first ones
	More       int
	Hidden     []hidden
	Typed      string // what must be typed to enforce
	Change     string // address of the form, filled
	Spans      []choice
	About      *event.Finding // that it answers
	Command    string         // of the CLI
	Enforces   bool
	MayEnforce bool
	MayTry     bool
	Who        string
}

// spans are how long a decision may hold; the settings may allow less.
var spans = []string{"15m", "30m", "1h", "4h", "8h", "12h", "24h"}

// previewShown bounds the rows of a preview on the page.
const previewShown = 50

// enforceWord is what somebody types who wants connections to be refused.
const enforceWord = "enforce"

// showDeny shows the first step of the wizard, a form, or with step=preview the second one, where it is asked whether that is meant.
func (s *Site) showDeny(r *http.Request, who Viewer) (any, error) {
	q := r.URL.Query()
	v := &denyView{Who: who.Name, MayEnforce: who.May(s.Deny.enforce()), MayTry: who.May(s.Deny.dryRun())}
	v.Form.read(q)
	listed := false
	for _, x := range spans {
		v.Spans = append(v.Spans, choice{Value: x, Text: x, Chosen: x == v.Form.For})
		listed = listed || x == v.Form.For
	}
	if !listed {
		v.Spans = append(v.Spans, choice{Value: plain(v.Form.For), Text: plain(v.Form.For), Chosen: true})
	}
	if v.Form.Finding != "" {
		list, err := s.Reports.Findings(r.Context(), store.FindingFilter{ID: v.Form.Finding, Limit: 1})
		if err != nil {
			return nil, err
		}
		if len(list.Items) > 0 {
			v.About = &list.Items[0]
		}
	}
	v.Change = "/decisions/new?" + v.Form.values().Encode()
	if q.Get("step") != "preview" {
		return v, nil
	}
	var p decision.Preview
	if err := s.ask(r, http.MethodPost, "/api/v1/decisions/preview", v.Form.body(), &p); err != nil {
		if code := status(err); code != http.StatusBadRequest && code != http.StatusUnprocessableEntity && code != http.StatusServiceUnavailable {
			return nil, err
		}
		v.Fault = err.Error()
		return v, nil
	}
	v.Preview, v.Items = &p, p.Items[:min(len(p.Items), previewShown)]
	v.More = len(p.Items) - len(v.Items)
	for name, list := range v.Form.values() {
		v.Hidden = append(v.Hidden, hidden{name, list[0]})
	}
	v.Hidden = append(v.Hidden, hidden{"preview", p.Token})
	if v.Enforces = v.Form.Mode == string(event.Enforce); v.Enforces {
		v.Typed = enforceWord
	}
	if q.Get("fault") == "typed" {
		v.Fault = "To enforce, type the word " + enforceWord + " into the field. Nothing was denied."
	}
	v.Command = v.Form.command()
	return v, nil
}

// command is the form as a command line.
func (f *denyForm) command() string {
	line := "ambit deny " + quote(f.Identity)
	if f.Glob {
		line += " --glob"
	}
	line += " --to " + quote(f.To) + " --for " + quote(f.For) + " --reason " + quote(f.Reason)
	if f.Direction != string(event.Outbound) {
		line += " --direction " + quote(f.Direction)
	}
	if f.Code != "" {
		line += " --code " + quote(f.Code)
	}
	if f.Finding != "" {
		line += " --finding " + quote(f.Finding)
	}
	if f.Approve {
		line += " --approve"
	}
	if f.Mode == string(event.Enforce) {
		line += " --enforce"
	}
	return line
}

// deny sends what was previewed to the API.
func (s *Site) deny(r *http.Request, _ Viewer) (string, error) {
	if err := r.ParseForm(); err != nil {
		return "", faultf(http.StatusBadRequest, "The form cannot be read: %v", err)
	}
	var f denyForm
	f.read(r.PostForm)
	if f.Mode == string(event.Enforce) && strings.TrimSpace(strings.ToLower(r.PostForm.Get("typed"))) != enforceWord {
		v := f.values()
		v.Set("step", "preview")
		v.Set("fault", "typed")
		return "/decisions/new?" + v.Encode(), nil
	}
	body := f.body()
	body.Preview = r.PostForm.Get("preview")
	var d decision.View
	if err := s.ask(r, http.MethodPost, "/api/v1/decisions", body, &d); err != nil {
		return "", err
	}
	return "/decisions/" + url.PathEscape(d.ID) + "?asked=1", nil
}
