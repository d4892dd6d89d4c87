package cli

import (
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/collector/report"
)

func newReportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Answer questions about a window of time",
		Args:  unknownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newUnusedReport(), newRiskReport(), newMetricsReport(), newInventoryReport(), newOwnershipReport(), newReviewsReport(), newCoverageReport(),
		newBlastRadiusReport(), newWhoCanReachReport(),
		newExemptCommand(), newExemptionsCommand(), newReviewCommand(), newVerifyCommand(),
	)
	return cmd
}

// view is how a report is shown.
type view[T any] struct {
	columns func(now time.Time) []column[T]
	print   func(w io.Writer, form output, answer *report.List[T]) (done bool, err error) // in another way than by columns, if it says so; may be nil
	more    func(io.Writer, []T) error                                                    // below a table; may be nil
}

// newReport is a command that shows one report of the API. In a table, what more there is and the statement of coverage stand below it.
func newReport[T any](name, short string, v view[T]) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Args: noArgs}
	server, form, limit := serverFlag(cmd), outputFlag(cmd), limitFlag(cmd)
	back := &window{90 * 24 * time.Hour}
	cmd.Flags().Var(back, "window", "how far to look back, as 90d or 12h")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		if err := checkLimit(*limit); err != nil {
			return err
		}
		whole, err := pages(cmd.Context(), c, "/api/v1/reports/"+name, url.Values{"window": {back.String()}}, *limit, func() *listAnswer[T] { return &listAnswer[T]{} }, barOf(cmd))
		if err != nil {
			return err
		}
		answer := whole.List
		out := cmd.OutOrStdout()
		done := false
		if v.print != nil {
			if done, err = v.print(out, *form, &answer); err != nil {
				return err
			}
		}
		if !done {
			if err := print(out, *form, &answer, answer.Items, v.columns(time.Now())); err != nil {
				return err
			}
		}
		if *form != outputTable {
			return nil
		}
		if total := answer.Total; total > uint64(len(answer.Items)) {
			fmt.Fprintf(out, "\n%d of %d are shown.\n", len(answer.Items), total)
		}
		if v.more != nil && !done {
			if err := v.more(out, answer.Items); err != nil {
				return err
			}
		}
		if answer.Coverage != nil {
			fmt.Fprintf(out, "\n%s\n", oneLineText(answer.Coverage.Statement))
		}
		return nil
	}
	return cmd
}

func coverageColumns(now time.Time) []column[report.NodeCoverage] {
	type row = report.NodeCoverage
	node := func(r *row) string { return r.Node }
	watched := func(r *row) string { return strconv.FormatFloat(r.Watched, 'f', -1, 64) }
	identified := func(r *row) string { return strconv.FormatFloat(r.Identified, 'f', -1, 64) }
	gaps := func(r *row) string { return strconv.Itoa(r.GapCount) }
	lost := func(r *row) string {
		var sum uint64
		for _, n := range r.Lost {
			sum += n
		}
		return strconv.FormatUint(sum, 10)
	}
	missing := func(r *row) string { return strings.Join(r.Missing, "; ") }
	return []column[row]{
		{"NODE", node, "node", node},
		{"WATCHED", func(r *row) string { return watched(r) + "%" }, "watched", watched},
		{"IDENTIFIED", func(r *row) string { return identified(r) + "%" }, "identified", identified},
		{"LAST HEARD", func(r *row) string { return ago(&r.LastTime, now) }, "last_time", func(r *row) string { return stamp(&r.LastTime) }},
		{"GAPS", gaps, "gaps", gaps},
		{"WHY", func(r *row) string { return shorten(gapWhys(r), shownWhys) }, "gap_whys", func(r *row) string { return strings.Join(gapWhys(r), " ") }},
		{"LOST", lost, "lost", lost},
		{"NOT WATCHED", missing, "missing", missing},
		{Name: "tls_connections", Value: tlsCount(func(t *report.NodeTLS) uint64 { return t.Connections })},
		{Name: "tls_full", Value: tlsCount(func(t *report.NodeTLS) uint64 { return t.Full })},
		{Name: "tls_resumed", Value: tlsCount(func(t *report.NodeTLS) uint64 { return t.Resumed })},
		{Name: "tls_inferred", Value: tlsCount(func(t *report.NodeTLS) uint64 { return t.Inferred })},
		{Name: "tls_wire_only", Value: tlsCount(func(t *report.NodeTLS) uint64 { return t.WireOnly })},
		{Name: "tls_failed", Value: tlsCount(func(t *report.NodeTLS) uint64 { return t.Failed })},
		{Name: "tls_none", Value: tlsCount(func(t *report.NodeTLS) uint64 { return t.None })},
		{Name: "tls_stacks", Value: func(r *row) string { return tlsStacks(r.TLS, len(tlsOf(r).Stacks)) }},
		{Name: "tls_blind", Value: func(r *row) string { return strings.Join(tlsOf(r).Blind, "; ") }},
	}
}
