package feed

import (
	"strconv"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// encodeCEF makes a line of ArcSight's Common Event Format, version 0, without a syslog prefix.
func encodeCEF(m *making, r *Record) ([]byte, error) {
	var b strings.Builder
	b.WriteString("CEF:0")
	for _, s := range []string{"Ambit", "Ambit", m.Version, r.rule(), cefName(r), strconv.Itoa(words(r.severity()).CEF)} {
		b.WriteByte('|')
		b.WriteString(cefHeader(s))
	}
	b.WriteByte('|')
	e := &cefExtension{b: &b}
	e.add("externalId", r.UID)
	e.add("rt", cefTime(r.at()))
	e.add("cat", string(r.Life))
	e.add("dvchost", clipTo(m.Host, 100))
	if r.Test {
		e.add("deviceFacility", "test")
	}
	switch {
	case r.Finding != nil:
		e.finding(m, r)
	case r.Decision != nil:
		e.decision(r)
	}
	return []byte(b.String()), nil
}

// cefName is the name of what happened, without what other fields hold.
func cefName(r *Record) string {
	if r.Decision != nil {
		return "deny decision"
	}
	if r.Test {
		return "test of a feed"
	}
	return strings.ReplaceAll(r.rule(), "-", " ")
}

func cefTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}

type cefExtension struct {
	b    *strings.Builder
	some bool
}

func (e *cefExtension) add(key, value string) {
	if value = strings.TrimSpace(oneLine(value)); value == "" {
		return
	}
	if e.some {
		e.b.WriteByte(' ')
	}
	e.some = true
	e.b.WriteString(key + "=" + cefValue(value))
}

// custom is one of CEF's fields for what it has no name for.
func (e *cefExtension) custom(key, label, value string) {
	if strings.TrimSpace(oneLine(value)) != "" {
		e.add(key, value)
		e.add(key+"Label", label)
	}
}

func (e *cefExtension) finding(m *making, r *Record) {
	f := r.Finding
	e.add("msg", clipTo(strings.Join(append([]string{f.Title}, f.Explanation...), " "), 1023))
	e.add("start", cefTime(f.FirstTime))
	e.add("end", cefTime(f.LastTime))
	if f.Count > 0 {
		e.add("cnt", strconv.FormatInt(min(whole(f.Count), 1<<31-1), 10))
	}
	e.add("outcome", string(f.Status))
	e.add("reason", clipTo(f.Reason, 1023))
	e.add("suid", clipTo(f.Identity.String(), 1023))
	e.add("suser", clipTo(f.Workload.ServiceAccount, 1023))
	e.add("shost", clipTo(f.Node, 1023))
	e.add("sproc", clipTo(f.Workload.Executable, 1023))
	res := f.Resource
	if !res.IsZero() {
		switch res.Kind() {
		case event.ResourceNet:
			if p := res.Prefix(); p.IsSingleIP() && p.Addr().Is4() {
				e.add("dst", p.Addr().String())
			} else if p.IsSingleIP() {
				e.custom("c6a3", "Destination IPv6 Address", p.Addr().String())
			}
		case event.ResourceDNS, event.ResourceService, event.ResourceNode:
			e.add("dhost", clipTo(res.Name(), 1023))
		default:
			e.add("duid", clipTo(res.Name(), 1023))
		}
		if res.Port() != 0 {
			e.add("dpt", strconv.Itoa(int(res.Port())))
		}
		e.add("proto", strings.ToUpper(string(res.Protocol())))
		e.custom("cs1", "Resource", res.String())
	}
	e.custom("cs2", "OWASP NHI Top 10", strings.Join(clipAll(f.OWASP), ","))
	e.custom("cs3", "MITRE ATT&CK", strings.Join(clipAll(f.Attack), ","))
	e.custom("cs4", "Namespace", f.Workload.Namespace)
	e.custom("cs5", "Owner", r.Owner)
	e.custom("cs6", "Baseline", clipTo(joinSentences(f.Baseline), 1023))
	e.custom("cfp1", "Score", score(f.Score))
	e.custom("cfp2", "Confidence", score(f.Confidence))
	e.add("request", m.link(r))
}

func (e *cefExtension) decision(r *Record) {
	d := r.Decision
	act := map[event.Mode]string{event.DryRun: "observe", event.Enforce: "deny"}[d.Mode]
	if r.Life == Close {
		act = "lift"
	}
	e.add("act", act)
	e.add("msg", clipTo(r.title(), 1023))
	e.add("reason", clipTo(d.Reason, 1023))
	e.add("start", cefTime(d.Issued))
	e.add("end", cefTime(d.Expires))
	e.add("suser", clipTo(d.Requester, 1023))
	e.add("duid", clipTo(d.Identity, 1023))
	e.custom("cs1", "Target", d.To)
	e.custom("cs2", "Finding", d.Finding)
	e.custom("cs5", "Owner", r.Owner)
}

var (
	cefHeaderEscapes = strings.NewReplacer(`\`, `\\`, `|`, `\|`)
	cefValueEscapes  = strings.NewReplacer(`\`, `\\`, `=`, `\=`)
)

func cefHeader(s string) string { return cefHeaderEscapes.Replace(oneLine(s)) }
func cefValue(s string) string  { return cefValueEscapes.Replace(s) }
