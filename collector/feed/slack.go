package feed

import (
	"encoding/json"
	"strings"

	"github.com/ambit-nhi/ambit/event"
)

// encodeSlack makes the body of an incoming webhook of Slack, which Mattermost and others take as well.
func encodeSlack(m *making, r *Record) ([]byte, error) {
	state := map[Life]string{Create: "", Update: "Update: ", Close: "Over: "}[r.Life]
	if r.Test {
		state = "Test: "
	}
	text := state + "[" + strings.ToUpper(string(r.severity())) + "] " + slackText(r.title())
	type field struct {
		Title string `json:"title"`
		Value string `json:"value"`
		Short bool   `json:"short"`
	}
	var fields []field
	add := func(title, value string, short bool) {
		if value != "" {
			fields = append(fields, field{title, slackText(clipTo(value, 1000)), short})
		}
	}
	add("Identity", r.subject(), false)
	detail := ""
	switch {
	case r.Finding != nil:
		f := r.Finding
		detail = joinSentences(f.Explanation)
		add("Resource", f.Resource.String(), false)
		add("Rule", f.Rule, true)
		add("Status", string(f.Status), true)
		add("Namespace", f.Workload.Namespace, true)
		add("Normal", joinSentences(f.Baseline), false)
		add("What to do", joinSentences(f.Advice), false)
		add("OWASP", strings.Join(clipAll(f.OWASP), ", "), true)
		add("ATT&CK", strings.Join(clipAll(f.Attack), ", "), true)
	case r.Decision != nil:
		detail = r.Decision.Reason
		add("Asked by", r.Decision.Requester, true)
		add("Until", stamp(r.Decision.Expires), true)
	}
	add("Owner", r.Owner, true)
	colour := words(r.severity()).Slack
	if r.Life == Close {
		colour = words(event.Info).Slack
	}
	attachment := object{"color": colour, "fallback": clip(text), "text": slackText(detail), "fields": fields, "footer": "Ambit " + r.UID, "ts": r.at().Unix()}
	attachment.set("title_link", m.link(r))
	if attachment["title_link"] != nil {
		attachment["title"] = "Open"
	}
	doc := object{"text": clip(text), "attachments": []object{attachment}}
	doc.set("channel", m.Channel)
	return json.Marshal(doc)
}

var slackEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// slackText keeps what workloads chose from being a link or calling people.
func slackText(s string) string { return slackEscapes.Replace(oneLine(s)) }
