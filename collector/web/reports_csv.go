package web

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/ambit-nhi/ambit/collector/report"
)

// sheet writes a report as a file.
func sheet(name string, made time.Time, head []string, rows [][]string) (any, error) {
	var b bytes.Buffer
	out := csv.NewWriter(&b)
	for _, row := range append([][]string{head}, rows...) {
		cells := make([]string, len(row))
		for i, text := range row {
			cells[i] = cell(text)
		}
		if err := out.Write(cells); err != nil {
			return nil, fmt.Errorf("write a report: %w", err)
		}
	}
	out.Flush()
	return Download{Name: "ambit-" + name + "-" + made.Format(time.DateOnly) + ".csv", Type: "text/csv; charset=utf-8", Data: b.Bytes()}, out.Error()
}

// cell keeps what workloads chose from steering a spreadsheet, which computes what begins like a formula, or what shows it.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		s = "'" + s
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// stamp is a time in a file; never is empty.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func unusedCSV(found []report.Unused, made time.Time) (any, error) {
	var rows [][]string
	for i := range found {
		u := &found[i]
		credential, exemption, until := "", "", ""
		if c := u.Credential; c != nil {
			credential = strings.TrimSpace(c.Type + " " + string(c.State))
		}
		if e := u.Exemption; e != nil {
			exemption, until = e.Reason+" ("+e.By+")", stamp(e.Until)
		}
		rows = append(rows, []string{u.Identity.String(), u.Kind, u.Class, u.Verdict, u.Reason, string(u.Domain), u.Environment, u.Namespace, u.Owner, u.Purpose, string(u.Privilege),
			stamp(u.Created), stamp(u.FirstSeen), stamp(u.LastSeen), stamp(u.LastUsed), stamp(u.LastSuccess), u.LastResource.String(), strconv.Itoa(u.DaysUnused),
			strconv.FormatFloat(u.Watched, 'f', -1, 64), credential, exemption, until, u.Action})
	}
	return sheet("unused", made, []string{"identity", "kind", "class", "verdict", "reason", "domain", "environment", "namespace", "owner", "purpose", "privilege", "created", "first_seen",
		"last_seen", "last_used", "last_success", "last_resource", "days_unused", "watched_percent", "credential", "exemption", "exempt_until", "recommended_action"}, rows)
}

func riskCSV(found []report.HighRisk, made time.Time) (any, error) {
	var rows [][]string
	for i := range found {
		h := &found[i]
		var risks []string
		for _, e := range h.Risks {
			risks = append(risks, string(e.Risk)+": "+e.Evidence)
		}
		rows = append(rows, []string{h.Identity.String(), h.Kind, strconv.Itoa(h.Score), strings.Join(risks, "; "), string(h.Domain), h.Environment, h.Namespace, h.Owner, string(h.Privilege), stamp(h.LastUsed)})
	}
	return sheet("high-risk", made, []string{"identity", "kind", "score", "risks", "domain", "environment", "namespace", "owner", "privilege", "last_used"}, rows)
}

func ownershipCSV(found []report.Lacking, made time.Time) (any, error) {
	var rows [][]string
	for i := range found {
		l := &found[i]
		rows = append(rows, []string{l.Identity.String(), l.Kind, strings.Join(l.Lacks, " "), l.Namespace, l.Owner, l.Purpose, l.Environment, stamp(l.LastUsed), l.Remedy})
	}
	return sheet("ownership", made, []string{"identity", "kind", "lacks", "namespace", "owner", "purpose", "environment", "last_used", "remedy"}, rows)
}

func reviewsCSV(found []report.Reviewed, made time.Time) (any, error) {
	var rows [][]string
	for i := range found {
		v := &found[i]
		rows = append(rows, []string{v.Identity.String(), v.Kind, v.State, stamp(v.LastReview), v.By, v.Verdict, v.Note, strconv.FormatUint(v.Reviews, 10), stamp(v.Due), v.Namespace, v.Owner, v.Purpose, v.Environment, string(v.Privilege), v.Class, stamp(v.LastUsed)})
	}
	return sheet("reviews", made, []string{"identity", "kind", "state", "last_review", "by", "verdict", "note", "reviews", "due", "namespace", "owner", "purpose", "environment", "privilege", "class", "last_used"}, rows)
}

func groupsCSV(found *report.List[report.Group], made time.Time) (any, error) {
	var rows [][]string
	for i := range found.Items {
		g := &found.Items[i]
		row := []string{g.By, g.Value}
		for _, n := range []uint64{g.Identities, g.Declared, g.Seen, g.Used, g.Unused, g.Privileged, g.NoOwner, g.NoPurpose} {
			row = append(row, strconv.FormatUint(n, 10))
		}
		rows = append(rows, row)
	}
	return sheet("inventory", made, []string{"by", "value", "identities", "declared", "seen", "used", "unused", "privileged", "no_owner", "no_purpose"}, rows)
}

func metricsCSV(found *report.List[report.Metric], made time.Time) (any, error) {
	var rows [][]string
	for _, m := range found.Items {
		value := ""
		if m.Known {
			value = strconv.FormatFloat(m.Value, 'f', -1, 64)
		}
		rows = append(rows, []string{m.Name, value, m.Unit, strconv.FormatUint(m.Count, 10), strconv.FormatUint(m.Of, 10), m.Basis})
	}
	return sheet("metrics", made, []string{"name", "value", "unit", "count", "of", "basis"}, rows)
}
