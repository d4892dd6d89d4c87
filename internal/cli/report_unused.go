package cli

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
)

func newUnusedReport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "unused",
		Short: "List identities that nobody used, and those of which that cannot be told",
		Long: `List identities that nobody used in a window of time, and those that act although they are retired.

  retired-but-active  it acts, although nobody declares it any more
  orphaned            it is not used, and nobody declares it any more
  declared-only       it is declared, and was never seen
  never-used          it was seen running, and never made or got a connection, nor tried to
  dormant             it was used once, and not any more

An identity that is younger than the window is not listed. An attempt that failed or was denied is use, but no success. Where it cannot be
told, because nobody watched where it may have run, the verdict says so: such an identity is not unused.`,
		Example: `  ambit report unused --window 90d
  ambit report unused --preset cis-5.3 -o csv > unused.csv
  ambit report unused --since last`,
		Args: noArgs,
	}
	server, form, limit := serverFlag(cmd), outputFlag(cmd), limitFlag(cmd)
	back := &window{90 * 24 * time.Hour}
	cmd.Flags().Var(back, "window", "how far to look back, as 90d or 12h")
	var presets []string
	for _, p := range report.Presets {
		presets = append(presets, p.Name)
	}
	flags := map[string]*string{
		"preset":  wordFlag(cmd, "preset", "look as a standard wants it", presets...),
		"class":   wordFlag(cmd, "class", "only those of this class", store.Classes...),
		"verdict": wordFlag(cmd, "verdict", "only those with this verdict", report.VerdictUnused, report.VerdictCannotTell, report.VerdictActive),
		"since":   cmd.Flags().String("since", "", "also say what changed since the last report that was made on a schedule (last), or the last one by a date"),
		"q":       cmd.Flags().StringP("query", "q", "", "only those whose URI holds this text"),
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		if err := checkLimit(*limit); err != nil {
			return err
		}
		query := url.Values{}
		for name, value := range flags {
			if *value != "" {
				query.Set(name, *value)
			}
		}
		if *flags["preset"] == "" || cmd.Flags().Changed("window") {
			query.Set("window", back.String())
		}
		pages, err := pages(cmd.Context(), c, "/api/v1/reports/unused", query, *limit, func() *unusedAnswer { return &unusedAnswer{} }, barOf(cmd))
		if err != nil {
			return err
		}
		answer := &pages.UnusedReport
		out := cmd.OutOrStdout()
		if err := print(out, *form, answer, answer.Items, unusedColumns(time.Now())); err != nil || *form != outputTable {
			return err
		}
		return sayUnused(out, answer)
	}
	return cmd
}

// unusedAnswer is the report of unused identities as pages.
type unusedAnswer struct{ report.UnusedReport }

func (a *unusedAnswer) list() *report.List[report.Unused] { return &a.List }

// sayUnused writes what stands below the table.
func sayUnused(w io.Writer, r *report.UnusedReport) error {
	var counts []string
	for _, class := range store.Classes {
		if n := r.Classes[class]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, class))
		}
	}
	if len(counts) > 0 {
		fmt.Fprintf(w, "\n%d of %d are shown: %s.\n", len(r.Items), r.Total, strings.Join(counts, ", "))
	}
	if r.Preset != nil {
		fmt.Fprintf(w, "\n%s\n", oneLineText(r.Preset.Says))
	}
	if c := r.Changes; c != nil {
		sayChanges(w, c)
	}
	if r.Coverage != nil {
		fmt.Fprintf(w, "\n%s\n", oneLineText(r.Coverage.Statement))
	}
	return nil
}

// shownChanges bounds what a terminal is told of changes.
const shownChanges = 20

func sayChanges(w io.Writer, c *report.Changes) {
	if c.Since.IsZero() {
		fmt.Fprintf(w, "\nThere is no earlier report to compare with; report.unused.every makes one on a schedule.\n")
		return
	}
	fmt.Fprintf(w, "\nSince the report of %s: %d are new, %d changed, %d are listed no more.\n", c.Since.Format(time.RFC3339), c.Counts.Added, c.Counts.Changed, c.Counts.Resolved)
	list := func(mark string, changes []report.Change, say func(*report.Change) string) {
		for i := range changes[:min(len(changes), shownChanges)] {
			fmt.Fprintf(w, "  %s %s: %s\n", mark, oneLineText(changes[i].Identity), oneLineText(say(&changes[i])))
		}
		if n := len(changes) - shownChanges; n > 0 {
			fmt.Fprintf(w, "  %s and %d more\n", mark, n)
		}
	}
	list("+", c.Added, func(x *report.Change) string { return x.Class + ", " + x.Verdict })
	list("~", c.Changed, func(x *report.Change) string {
		return fmt.Sprintf("%s, %s; before %s, %s", x.Class, x.Verdict, x.Was, x.WasSaid)
	})
	list("-", c.Resolved, func(x *report.Change) string { return x.Why })
}

func unusedColumns(now time.Time) []column[report.Unused] {
	type row = report.Unused
	identity := func(r *row) string { return r.Identity.String() }
	class := func(r *row) string { return r.Class }
	verdict := func(r *row) string { return r.Verdict }
	watched := func(r *row) string { return strconv.FormatFloat(r.Watched, 'f', -1, 64) }
	resource := func(r *row) string { return r.LastResource.String() }
	owner := func(r *row) string { return r.Owner }
	days := func(r *row) string { return strconv.Itoa(r.DaysUnused) }
	exempt := func(f func(*report.Exemption) string) func(*row) string {
		return func(r *row) string {
			if r.Exemption == nil {
				return ""
			}
			return f(r.Exemption)
		}
	}
	credential := func(f func(*report.CredentialNote) string) func(*row) string {
		return func(r *row) string {
			if r.Credential == nil {
				return ""
			}
			return f(r.Credential)
		}
	}
	return []column[row]{
		{"IDENTITY", identity, "identity", identity},
		{"VERDICT", verdict, "verdict", verdict},
		{"CLASS", class, "class", class},
		{"DAYS", days, "days_unused", days},
		{"LAST USED", func(r *row) string { return ago(&r.LastUsed, now) }, "last_used", func(r *row) string { return stamp(&r.LastUsed) }},
		{Name: "kind", Value: func(r *row) string { return r.Kind }},
		{Name: "domain", Value: func(r *row) string { return string(r.Domain) }},
		{Name: "environment", Value: func(r *row) string { return r.Environment }},
		{Name: "namespace", Value: func(r *row) string { return r.Namespace }},
		{"OWNER", func(r *row) string { return cmp.Or(r.Owner, "-") }, "owner", owner},
		{Name: "purpose", Value: func(r *row) string { return r.Purpose }},
		{Name: "privilege", Value: func(r *row) string { return string(r.Privilege) }},
		{Name: "created", Value: func(r *row) string { return stamp(&r.Created) }},
		{"LAST RUNNING", func(r *row) string { return ago(&r.LastSeen, now) }, "last_seen", func(r *row) string { return stamp(&r.LastSeen) }},
		{Name: "first_seen", Value: func(r *row) string { return stamp(&r.FirstSeen) }},
		{Name: "last_success", Value: func(r *row) string { return stamp(&r.LastSuccess) }},
		{"LAST RESOURCE", resource, "last_resource", resource},
		{Name: "credential_type", Value: credential(func(c *report.CredentialNote) string { return c.Type })},
		{Name: "credential_age_days", Value: credential(func(c *report.CredentialNote) string { return strconv.Itoa(c.AgeDays) })},
		{Name: "credential_not_after", Value: credential(func(c *report.CredentialNote) string { return stamp(&c.NotAfter) })},
		{"WATCHED", func(r *row) string { return watched(r) + "%" }, "watched", watched},
		{Name: "nodes", Value: func(r *row) string { return strings.Join(r.Nodes, " ") }},
		{Name: "exempt_until", Value: exempt(func(x *report.Exemption) string { return stamp(&x.Until) })},
		{Name: "exempt_reason", Value: exempt(func(x *report.Exemption) string { return x.Reason })},
		{Name: "exempt_by", Value: exempt(func(x *report.Exemption) string { return x.By })},
		{Name: "recommended_action", Value: func(r *row) string { return r.Action }},
		{"WHY", func(r *row) string {
			if r.Exemption != nil {
				return "exempt until " + r.Exemption.Until.Format(time.DateOnly) + ": " + r.Exemption.Reason
			}
			return cmp.Or(r.Reason, "-")
		}, "reason", func(r *row) string { return r.Reason }},
	}
}
