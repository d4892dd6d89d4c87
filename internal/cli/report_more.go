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
)

// answered is a report with what stands below its table.
type answered[T any] interface {
	paged[T]
	below(w io.Writer)
}

type riskAnswer struct{ report.RiskReport }

func (a *riskAnswer) list() *report.List[report.HighRisk] { return &a.List }
func (a *riskAnswer) below(w io.Writer) {
	var counts []string
	for _, r := range report.Risks {
		if n := a.Risks[r]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, r))
		}
	}
	belowList(w, len(a.Items), a.Total, strings.Join(counts, ", "), a.Coverage)
}

type reviewAnswer struct{ report.ReviewReport }

func (a *reviewAnswer) list() *report.List[report.Reviewed] { return &a.List }
func (a *reviewAnswer) below(w io.Writer) {
	var counts []string
	for _, state := range []string{report.ReviewNever, report.ReviewOverdue, report.ReviewDone} {
		counts = append(counts, fmt.Sprintf("%d %s", a.States[state], state))
	}
	belowList(w, len(a.Items), a.Total, strings.Join(counts, ", "), a.Coverage)
}

type listAnswer[T any] struct{ report.List[T] }

func (a *listAnswer[T]) list() *report.List[T] { return &a.List }
func (a *listAnswer[T]) below(w io.Writer)     { belowList(w, len(a.Items), a.Total, "", a.Coverage) }

func belowList(w io.Writer, shown int, total uint64, counts string, coverage *report.Summary) {
	if total > uint64(shown) || counts != "" {
		fmt.Fprintf(w, "\n%d of %d are shown", shown, total)
		if counts != "" {
			fmt.Fprintf(w, ": %s", counts)
		}
		fmt.Fprintln(w, ".")
	}
	if coverage != nil {
		fmt.Fprintf(w, "\n%s\n", oneLineText(coverage.Statement))
	}
}

// asking is a command that asks for one report and shows it. Without a limit the report has one page.
func asking[T any, A answered[T]](cmd *cobra.Command, path string, flags map[string]*string, limit *int, empty func() A, columns func(time.Time) []column[T]) *cobra.Command {
	cmd.Args = noArgs
	server, form := serverFlag(cmd), outputFlag(cmd)
	back := &window{90 * 24 * time.Hour}
	cmd.Flags().Var(back, "window", "how far to look back, as 90d or 12h")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		query := url.Values{"window": {back.String()}}
		for name, value := range flags {
			if *value != "" {
				query.Set(name, *value)
			}
		}
		answer := empty()
		if limit == nil {
			tell := barOf(cmd)
			arrived := tell.wait("asking for " + path)
			err = c.get(cmd.Context(), path, query, answer)
			arrived()
			tell.done()
		} else if err = checkLimit(*limit); err == nil {
			answer, err = pages(cmd.Context(), c, path, query, *limit, empty, barOf(cmd))
		}
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		if err := print(out, *form, answer, answer.list().Items, columns(time.Now())); err != nil || *form != outputTable {
			return err
		}
		answer.below(out)
		return nil
	}
	return cmd
}

func newRiskReport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "high-risk",
		Short: "List identities with several risks at once, each with what shows it",
		Long: `List identities with several risks at once, each with what shows it:

  privileged             it may do nearly everything, as its source or a rule says
  long-lived-credential  its certificate lives for more than 90 days, or it has a token in a Secret
  internet-reachable     it reaches the internet, or is reached from there
  outside-scope          an open finding says that it left its approved scope
  shared                 several workloads act as it
  no-owner               nobody is named as its owner`,
		Example: "  ambit report high-risk --at-least 3\n  ambit report high-risk --risk internet-reachable -o csv",
	}
	var risks []string
	for _, r := range report.Risks {
		risks = append(risks, string(r))
	}
	flags := map[string]*string{
		"at_least": cmd.Flags().String("at-least", "2", "so many risks at least"),
		"risk":     wordFlag(cmd, "risk", "only those with this risk", risks...),
		"q":        cmd.Flags().StringP("query", "q", "", "only those whose URI holds this text"),
	}
	return asking(cmd, "/api/v1/reports/high-risk", flags, limitFlag(cmd), func() *riskAnswer { return &riskAnswer{} }, func(now time.Time) []column[report.HighRisk] {
		type row = report.HighRisk
		identity, score := func(r *row) string { return r.Identity.String() }, func(r *row) string { return strconv.Itoa(r.Score) }
		join := func(separator string, f func(report.RiskEvidence) string) func(*row) string {
			return func(r *row) string {
				var said []string
				for _, e := range r.Risks {
					said = append(said, f(e))
				}
				return strings.Join(said, separator)
			}
		}
		evidence := join("; ", func(e report.RiskEvidence) string { return e.Evidence })
		return []column[row]{
			{"SCORE", score, "score", score},
			{"IDENTITY", identity, "identity", identity},
			{Head: "RISKS", Cell: join(", ", func(e report.RiskEvidence) string { return string(e.Risk) })},
			{Name: "risks", Value: join(" ", func(e report.RiskEvidence) string { return string(e.Risk) })},
			{"OWNER", func(r *row) string { return cmp.Or(r.Owner, "-") }, "owner", func(r *row) string { return r.Owner }},
			{"LAST USED", func(r *row) string { return ago(&r.LastUsed, now) }, "last_used", func(r *row) string { return stamp(&r.LastUsed) }},
			{Name: "kind", Value: func(r *row) string { return r.Kind }},
			{Name: "domain", Value: func(r *row) string { return string(r.Domain) }},
			{Name: "environment", Value: func(r *row) string { return r.Environment }},
			{Name: "namespace", Value: func(r *row) string { return r.Namespace }},
			{Name: "privilege", Value: func(r *row) string { return string(r.Privilege) }},
			{"EVIDENCE", evidence, "evidence", evidence},
		}
	})
}

func newMetricsReport() *cobra.Command {
	cmd := &cobra.Command{
		Use: "metrics", Short: "Measure the programme: scopes, lives of credentials, rotation, unused identities, time to revoke",
		Example: "  ambit report metrics --window 30d -o json",
	}
	return asking(cmd, "/api/v1/reports/metrics", nil, nil, func() *listAnswer[report.Metric] { return &listAnswer[report.Metric]{} }, func(time.Time) []column[report.Metric] {
		type row = report.Metric
		value := func(r *row) string {
			if !r.Known {
				return ""
			}
			return strconv.FormatFloat(r.Value, 'f', -1, 64)
		}
		count := func(n uint64) string { return strconv.FormatUint(n, 10) }
		name, unit, basis := func(r *row) string { return r.Name }, func(r *row) string { return r.Unit }, func(r *row) string { return r.Basis }
		return []column[row]{
			{"METRIC", name, "metric", name},
			{"VALUE", func(r *row) string {
				if !r.Known {
					return "not known"
				}
				if r.Unit == "percent" {
					return value(r) + "%"
				}
				return value(r)
			}, "value", value},
			{Name: "unit", Value: unit},
			{"COUNT", func(r *row) string { return count(r.Count) }, "count", func(r *row) string { return count(r.Count) }},
			{"OF", func(r *row) string { return count(r.Of) }, "of", func(r *row) string { return count(r.Of) }},
			{"BASIS", basis, "basis", basis},
		}
	})
}

func newInventoryReport() *cobra.Command {
	cmd := &cobra.Command{Use: "inventory", Short: "Count the identities of each domain, kind, owner, environment, …", Example: "  ambit report inventory --by domain"}
	flags := map[string]*string{"by": wordFlag(cmd, "by", "only groups by this", report.GroupBys...)}
	return asking(cmd, "/api/v1/reports/inventory", flags, limitFlag(cmd), func() *listAnswer[report.Group] { return &listAnswer[report.Group]{} }, func(time.Time) []column[report.Group] {
		type row = report.Group
		by, group := func(r *row) string { return r.By }, func(r *row) string { return r.Value }
		out := []column[row]{{"BY", by, "by", by}, {"VALUE", func(r *row) string { return cmp.Or(r.Value, "(not known)") }, "value", group}}
		for _, c := range []struct {
			head string
			of   func(*row) uint64
		}{
			{"IDENTITIES", func(r *row) uint64 { return r.Identities }}, {"DECLARED", func(r *row) uint64 { return r.Declared }}, {"SEEN", func(r *row) uint64 { return r.Seen }},
			{"USED", func(r *row) uint64 { return r.Used }}, {"UNUSED", func(r *row) uint64 { return r.Unused }}, {"PRIVILEGED", func(r *row) uint64 { return r.Privileged }},
			{"NO OWNER", func(r *row) uint64 { return r.NoOwner }}, {"NO PURPOSE", func(r *row) uint64 { return r.NoPurpose }},
		} {
			text := func(r *row) string { return strconv.FormatUint(c.of(r), 10) }
			out = append(out, column[row]{c.head, text, strings.ReplaceAll(strings.ToLower(c.head), " ", "_"), text})
		}
		return out
	})
}

func newOwnershipReport() *cobra.Command {
	cmd := &cobra.Command{
		Use: "ownership", Short: "List identities that lack an owner, a purpose or an environment",
		Example: "  ambit report ownership -o csv > missing.csv   # complete it, then: ambit inventory import missing.csv",
	}
	return asking(cmd, "/api/v1/reports/ownership", nil, limitFlag(cmd), func() *listAnswer[report.Lacking] { return &listAnswer[report.Lacking]{} },
		func(now time.Time) []column[report.Lacking] {
			type row = report.Lacking
			identity := func(r *row) string { return r.Identity.String() }
			return []column[row]{
				{"IDENTITY", identity, "identity", identity},
				{Head: "LACKS", Cell: func(r *row) string { return strings.Join(r.Lacks, ", ") }},
				{"OWNER", func(r *row) string { return cmp.Or(r.Owner, "-") }, "owner", func(r *row) string { return r.Owner }},
				{"PURPOSE", func(r *row) string { return cmp.Or(r.Purpose, "-") }, "purpose", func(r *row) string { return r.Purpose }},
				{"ENVIRONMENT", func(r *row) string { return cmp.Or(r.Environment, "-") }, "environment", func(r *row) string { return r.Environment }},
				{Head: "LAST USED", Cell: func(r *row) string { return ago(&r.LastUsed, now) }},
				{Head: "REMEDY", Cell: func(r *row) string { return r.Remedy }},
			}
		})
}

func newReviewsReport() *cobra.Command {
	cmd := &cobra.Command{
		Use: "reviews", Short: "Say who reviewed which identity last, and which are due",
		Long:    "Say who reviewed which identity last, and which are due: those whose last review is older than the window. `ambit report review` records one.",
		Example: "  ambit report reviews --window 90d --state overdue",
	}
	flags := map[string]*string{"state": wordFlag(cmd, "state", "only those in this state", report.ReviewNever, report.ReviewOverdue, report.ReviewDone)}
	return asking(cmd, "/api/v1/reports/reviews", flags, limitFlag(cmd), func() *reviewAnswer { return &reviewAnswer{} }, func(now time.Time) []column[report.Reviewed] {
		type row = report.Reviewed
		identity, state, by := func(r *row) string { return r.Identity.String() }, func(r *row) string { return r.State }, func(r *row) string { return r.By }
		verdict, note := func(r *row) string { return r.Verdict }, func(r *row) string { return r.Note }
		return []column[row]{
			{"IDENTITY", identity, "identity", identity},
			{"STATE", state, "state", state},
			{"REVIEWED", func(r *row) string { return ago(&r.LastReview, now) }, "last_review", func(r *row) string { return stamp(&r.LastReview) }},
			{"BY", func(r *row) string { return cmp.Or(r.By, "-") }, "by", by},
			{"VERDICT", func(r *row) string { return cmp.Or(r.Verdict, "-") }, "verdict", verdict},
			{Name: "due", Value: func(r *row) string { return stamp(&r.Due) }},
			{Name: "reviews", Value: func(r *row) string { return strconv.FormatUint(r.Reviews, 10) }},
			{"OWNER", func(r *row) string { return cmp.Or(r.Owner, "-") }, "owner", func(r *row) string { return r.Owner }},
			{Name: "purpose", Value: func(r *row) string { return r.Purpose }},
			{Name: "environment", Value: func(r *row) string { return r.Environment }},
			{Name: "privilege", Value: func(r *row) string { return string(r.Privilege) }},
			{Name: "class", Value: func(r *row) string { return r.Class }},
			{"LAST USED", func(r *row) string { return ago(&r.LastUsed, now) }, "last_used", func(r *row) string { return stamp(&r.LastUsed) }},
			{"NOTE", note, "note", note},
		}
	})
}
