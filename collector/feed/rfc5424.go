package feed

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// enterprise is the number under which the structured data is named: 32473 is the one that RFC 5612 keeps for those who have none.
const enterprise = "32473"

const (
	facility    = 13 // log audit
	syslogStamp = "2006-01-02T15:04:05.000000Z"
	bom         = "\xEF\xBB\xBF"
)

// encodeSyslog makes a whole message of RFC 5424, with all that is known as structured data.
func encodeSyslog(m *making, r *Record) ([]byte, error) {
	var sd strings.Builder
	element := func(id string, pairs ...string) {
		var some strings.Builder
		for i := 0; i+1 < len(pairs); i += 2 {
			if pairs[i+1] != "" {
				some.WriteString(" " + pairs[i] + `="` + sdValue(pairs[i+1]) + `"`)
			}
		}
		if some.Len() > 0 {
			sd.WriteString("[" + id + "@" + enterprise + some.String() + "]")
		}
	}
	element("ambit", "uid", r.UID, "activity", string(r.Life), "rule", r.rule(), "severity", string(r.severity()), "owner", r.Owner, "test", truth(r.Test), "link", m.link(r))
	switch {
	case r.Finding != nil:
		f := r.Finding
		element("finding", "status", string(f.Status), "score", score(f.Score), "confidence", score(f.Confidence), "count", strconv.FormatUint(f.Count, 10),
			"first", stamp(f.FirstTime), "last", stamp(f.LastTime), "owasp", strings.Join(clipAll(f.OWASP), ","), "attack", strings.Join(clipAll(f.Attack), ","),
			"explanation", clipTo(joinSentences(f.Explanation), 1024), "baseline", clipTo(joinSentences(f.Baseline), 1024), "verdict", string(f.Verdict), "reason", clipTo(f.Reason, 512))
		w := &f.Workload
		element("identity", "id", f.Identity.String(), "evidence", string(w.Evidence), "namespace", w.Namespace, "serviceAccount", w.ServiceAccount, "pod", w.Pod,
			"controller", w.Owner, "unit", w.Unit, "executable", w.Executable, "node", f.Node)
		element("resource", "name", f.Resource.String())
	case r.Decision != nil:
		d := r.Decision
		element("decision", "id", d.ID, "identity", d.Identity, "to", d.To, "direction", string(d.Direction), "mode", string(d.Mode), "requester", d.Requester,
			"issued", stamp(d.Issued), "expires", stamp(d.Expires), "revoked", stamp(d.Revoked), "finding", d.Finding, "reason", clipTo(d.Reason, 512))
	}
	return syslogMessage(m, r, sd.String(), bom+oneLine(r.title())), nil
}

// syslogMessage is a message of RFC 5424 around structured data and text.
func syslogMessage(m *making, r *Record, sd, text string) []byte {
	host := m.Host
	if r.Finding != nil && r.Finding.Node != "" {
		host = r.Finding.Node
	}
	if sd == "" {
		sd = "-"
	}
	return []byte("<" + strconv.Itoa(facility*8+words(r.severity()).Syslog) + ">1 " + r.at().Format(syslogStamp) + " " + header(host, 255) + " ambit - " + header(r.rule(), 32) + " " + sd + " " + text)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func truth(b bool) string {
	if b {
		return "true"
	}
	return ""
}

// header makes a header field: printable ASCII without spaces.
func header(s string, most int) string {
	s = strings.Map(func(c rune) rune {
		if c <= ' ' || c >= 0x7f {
			return '_'
		}
		return c
	}, s)
	if s == "" {
		return "-"
	}
	return s[:min(len(s), most)]
}

// sdValue escapes what RFC 5424 wants escaped, and makes one line of it, for what reads the log.
func sdValue(s string) string {
	var b strings.Builder
	for _, c := range oneLine(s) {
		if c == utf8.RuneError {
			c = '?'
		}
		if c == '"' || c == '\\' || c == ']' {
			b.WriteByte('\\')
		}
		b.WriteRune(c)
	}
	return b.String()
}
