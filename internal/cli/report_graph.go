package cli

import (
	"cmp"
	"context"
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

// Forms of a graph beside those of a list.
const (
	outputDOT = "dot"
	outputSVG = "svg"
)

func newBlastRadiusReport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "blast-radius ID",
		Short: "Show what could be reached by who takes over an identity, over other identities",
		Long: `Show what could be reached by who takes over an identity: what it reached with success, what those identities reached, and so on. Each is weighed by how
sensitive it is. ID is the identity's URI, or a part of it that no other identity has.`,
		Example: "  ambit report blast-radius checkout --depth 3\n  ambit report blast-radius checkout -o svg > radius.svg",
		Args:    oneArg("an identity or a part of its URI"),
	}
	return graphCommand(cmd, func(ctx context.Context, c *client, arg string, query url.Values) (string, error) {
		id, err := c.find(ctx, arg)
		return "/api/v1/identities/" + url.PathEscape(id.String()) + "/blast-radius", err
	})
}

func newWhoCanReachReport() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "who-can-reach RESOURCE",
		Short:   "Show which identities can reach a resource or an identity, directly or through others",
		Example: "  ambit report who-can-reach dns:db.example:5432/tcp\n  ambit report who-can-reach spiffe://shop.example/ns/shop/sa/db -o dot | dot -Tpng > who.png",
		Args:    oneArg("a resource such as dns:db.example:5432/tcp, or an identity"),
	}
	return graphCommand(cmd, func(_ context.Context, _ *client, arg string, query url.Values) (string, error) {
		query.Set("target", arg)
		return "/api/v1/reports/who-can-reach", nil
	})
}

func graphCommand(cmd *cobra.Command, path func(ctx context.Context, c *client, arg string, query url.Values) (string, error)) *cobra.Command {
	server := serverFlag(cmd)
	form := &word{value: string(outputTable), words: []string{string(outputTable), string(outputJSON), string(outputCSV), outputDOT, outputSVG}}
	cmd.Flags().VarP(form, "output", "o", "form of the output: "+strings.Join(form.words, ", "))
	back := &window{90 * 24 * time.Hour}
	cmd.Flags().Var(back, "window", "how far to look back, as 90d or 12h")
	depth := cmd.Flags().Int("depth", 3, fmt.Sprintf("how many steps to follow, up to %d", report.MaxDepth))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		query := url.Values{"window": {back.String()}, "depth": {strconv.Itoa(*depth)}}
		target, err := path(cmd.Context(), c, args[0], query)
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		if form.value == outputDOT || form.value == outputSVG {
			query.Set("format", form.value)
			body, err := c.open(cmd.Context(), target, query, nil)
			if err != nil {
				return err
			}
			defer body.Close()
			_, err = io.Copy(out, io.LimitReader(body, maxAnswer))
			return err
		}
		var g report.Graph
		if err := c.get(cmd.Context(), target, query, &g); err != nil {
			return err
		}
		if err := print(out, output(form.value), &g, graphRows(&g), graphColumns(time.Now())); err != nil || form.value != string(outputTable) {
			return err
		}
		what := "can be reached"
		if g.Way == store.Backward {
			what = "can reach it"
		}
		fmt.Fprintf(out, "\n%d identities and %d other resources %s within %d steps; score %d.\n", g.Identities, g.Resources, what, g.Depth, g.Score)
		if g.Truncated {
			fmt.Fprintln(out, "There is more than is shown.")
		}
		fmt.Fprintln(out, "It stands on what succeeded in the window: what would be allowed, and was never done, is not in it.")
		if g.Coverage != nil {
			fmt.Fprintf(out, "\n%s\n", oneLineText(g.Coverage.Statement))
		}
		return nil
	}
	return cmd
}

// graphRow is an identity or a resource of a graph.
type graphRow struct {
	depth                          int
	kind, name, via, services, why string
	owner                          string
	connections                    uint64
	last                           time.Time
	weight                         int
}

func graphRows(g *report.Graph) []graphRow {
	var out []graphRow
	for i := range g.Items {
		n := &g.Items[i]
		if n.Depth > 0 {
			out = append(out, graphRow{n.Depth, "identity", n.Identity, n.Via, strings.Join(n.Services, " "), strings.Join(n.Why, ", "), n.Owner, n.Connections, n.LastTime, n.Weight})
		}
	}
	for i := range g.Leaves {
		l := &g.Leaves[i]
		out = append(out, graphRow{l.Depth, "resource", l.Resource, l.Via, "", l.Why, "", l.Connections, l.LastTime, l.Weight})
	}
	return out
}

func graphColumns(now time.Time) []column[graphRow] {
	type row = graphRow
	depth, weight := func(r *row) string { return strconv.Itoa(r.depth) }, func(r *row) string { return strconv.Itoa(r.weight) }
	name, via, why := func(r *row) string { return r.name }, func(r *row) string { return r.via }, func(r *row) string { return r.why }
	connections := func(r *row) string { return strconv.FormatUint(r.connections, 10) }
	return []column[row]{
		{"STEP", depth, "depth", depth},
		{"WEIGHT", weight, "weight", weight},
		{Name: "kind", Value: func(r *row) string { return r.kind }},
		{"WHAT", name, "name", name},
		{"VIA", via, "via", via},
		{Name: "services", Value: func(r *row) string { return r.services }},
		{"CONNECTIONS", connections, "connections", connections},
		{"LAST", func(r *row) string { return ago(&r.last, now) }, "last_time", func(r *row) string { return stamp(&r.last) }},
		{Name: "owner", Value: func(r *row) string { return r.owner }},
		{"WHY", func(r *row) string { return cmp.Or(r.why, "-") }, "why", why},
	}
}
