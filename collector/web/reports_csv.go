package web

import (
	"strconv"
	"strings"

	"github.com/ambit-nhi/ambit/collector/report"
)

var unusedSheet = &sheet[report.Unused]{
	"unused",
	[]string{"identity", "kind", "class", "verdict", "reason", "domain", "environment", "namespace", "owner", "purpose", "privilege", "created", "first_seen",
		"last_seen", "last_used", "last_success", "last_resource", "days_unused", "watched_percent", "credential", "exemption", "exempt_until", "recommended_action"},
	func(u *report.Unused) []string {
		credential, exemption, until := "", "", ""
		if c := u.Credential; c != nil {
			credential = strings.TrimSpace(c.Type + " " + string(c.State))
		}
		if e := u.Exemption; e != nil {
			exemption, until = e.Reason+" ("+e.By+")", stamp(e.Until)
		}
		return []string{u.Identity.String(), u.Kind, u.Class, u.Verdict, u.Reason, string(u.Domain), u.Environment, u.Namespace, u.Owner, u.Purpose, string(u.Privilege),
			stamp(u.Created), stamp(u.FirstSeen), stamp(u.LastSeen), stamp(u.LastUsed), stamp(u.LastSuccess), u.LastResource.String(), strconv.Itoa(u.DaysUnused),
			strconv.FormatFloat(u.Watched, 'f', -1, 64), credential, exemption, until, u.Action}
	},
}

var riskSheet = &sheet[report.HighRisk]{
	"high-risk",
	[]string{"identity", "kind", "score", "risks", "domain", "environment", "namespace", "owner", "privilege", "last_used"},
	func(h *report.HighRisk) []string {
		var risks []string
		for _, e := range h.Risks {
			risks = append(risks, string(e.Risk)+": "+e.Evidence)
		}
		return []string{h.Identity.String(), h.Kind, strconv.Itoa(h.Score), strings.Join(risks, "; "), string(h.Domain), h.Environment, h.Namespace, h.Owner, string(h.Privilege), stamp(h.LastUsed)}
	},
}

var ownershipSheet = &sheet[report.Lacking]{
	"ownership",
	[]string{"identity", "kind", "lacks", "namespace", "owner", "purpose", "environment", "last_used", "remedy"},
	func(l *report.Lacking) []string {
		return []string{l.Identity.String(), l.Kind, strings.Join(l.Lacks, " "), l.Namespace, l.Owner, l.Purpose, l.Environment, stamp(l.LastUsed), l.Remedy}
	},
}

var reviewsSheet = &sheet[report.Reviewed]{
	"reviews",
	[]string{"identity", "kind", "state", "last_review", "by", "verdict", "note", "reviews", "due", "namespace", "owner", "purpose", "environment", "privilege", "class", "last_used"},
	func(v *report.Reviewed) []string {
		return []string{v.Identity.String(), v.Kind, v.State, stamp(v.LastReview), v.By, v.Verdict, v.Note, strconv.FormatUint(v.Reviews, 10), stamp(v.Due), v.Namespace, v.Owner, v.Purpose, v.Environment, string(v.Privilege), v.Class, stamp(v.LastUsed)}
	},
}

var groupsSheet = &sheet[report.Group]{
	"inventory",
	[]string{"by", "value", "identities", "declared", "seen", "used", "unused", "privileged", "no_owner", "no_purpose"},
	func(g *report.Group) []string {
		row := []string{g.By, g.Value}
		for _, n := range []uint64{g.Identities, g.Declared, g.Seen, g.Used, g.Unused, g.Privileged, g.NoOwner, g.NoPurpose} {
			row = append(row, strconv.FormatUint(n, 10))
		}
		return row
	},
}

var metricsSheet = &sheet[report.Metric]{
	"metrics",
	[]string{"name", "value", "unit", "count", "of", "basis"},
	func(m *report.Metric) []string {
		value := ""
		if m.Known {
			value = strconv.FormatFloat(m.Value, 'f', -1, 64)
		}
		return []string{m.Name, value, m.Unit, strconv.FormatUint(m.Count, 10), strconv.FormatUint(m.Of, 10), m.Basis}
	},
}
