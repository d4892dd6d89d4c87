package cli

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/event"
)

func newInventoryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inventory",
		Short: "What should exist: lists of identities, and whose they are",
		Args:  unknownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newInventoryImportCommand(), newInventoryListCommand())
	return cmd
}

func newInventoryListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what sources declare",
		Long: `List what sources declare: clusters, SPIRE servers and lists that were imported.

In CSV it is a list that can be completed and imported again.`,
		Args: noArgs,
	}
	server, form, limit := serverFlag(cmd), outputFlag(cmd), limitFlag(cmd)
	flags := map[string]*string{
		"kind":   cmd.Flags().String("kind", "", "only what sources of this kind declare: kubernetes, spire, csv or json"),
		"source": cmd.Flags().String("source", "", "only what the source of this name declares"),
		"domain": cmd.Flags().String("domain", "", "only identities of this domain, as ci-cd or ai-agent"),
		"query":  cmd.Flags().StringP("query", "q", "", "only identities whose URI holds this text"),
	}
	gone := cmd.Flags().Bool("gone", false, "also what is not declared any more")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		if err := checkLimit(*limit); err != nil {
			return err
		}
		query := url.Values{}
		for flag, name := range map[string]string{"kind": "source", "source": "name", "domain": "domain", "query": "q"} {
			if cmd.Flags().Changed(flag) {
				query.Set(name, *flags[flag])
			}
		}
		if *gone {
			query.Set("gone", "true")
		}
		page, err := list[event.Declaration](cmd.Context(), c, "/api/v1/inventory", query, *limit)
		if err != nil {
			return err
		}
		return print(cmd.OutOrStdout(), *form, page, page.Items, append(declarationColumns(time.Now()), labelColumns(page.Items)...))
	}
	return cmd
}

// declarationColumns: in CSV, the names are those that an import knows.
func declarationColumns(now time.Time) []column[event.Declaration] {
	type row = event.Declaration
	identity := func(r *row) string { return r.Identity.String() }
	owner, environment := func(r *row) string { return r.Owner }, func(r *row) string { return r.Environment }
	domain, privilege := func(r *row) string { return string(r.Domain) }, func(r *row) string { return string(r.Privilege) }
	return []column[row]{
		{"IDENTITY", identity, "identity", identity},
		{"SOURCE", func(r *row) string { return string(r.Source) + " " + r.SourceName }, "source", func(r *row) string { return string(r.Source) }},
		{Name: "source_name", Value: func(r *row) string { return r.SourceName }},
		{Name: "kind", Value: func(r *row) string { return r.Kind }},
		{Name: "namespace", Value: func(r *row) string { return r.Namespace }},
		{Name: "name", Value: func(r *row) string { return r.Name }},
		{"OWNER", owner, "owner", owner},
		{Name: "purpose", Value: func(r *row) string { return r.Purpose }},
		{"ENVIRONMENT", environment, "environment", environment},
		{"DOMAIN", domain, "domain", domain},
		{"PRIVILEGE", privilege, "privilege", privilege},
		{Name: "privilege_reasons", Value: func(r *row) string { return strings.Join(r.PrivilegeReasons, "; ") }},
		{Name: "tokens", Value: func(r *row) string { return tokensOf(r, " ") }},
		{"TOKENS", func(r *row) string { return tokensOf(r, ", ") }, "", nil},
		{Name: "business_function", Value: func(r *row) string { return r.BusinessFunction }},
		{Name: "created", Value: func(r *row) string { return stamp(&r.Created) }},
		{Name: "expires", Value: func(r *row) string { return stamp(&r.Expires) }},
		{Name: "first_declared", Value: func(r *row) string { return stamp(&r.FirstDeclared) }},
		{"DECLARED", func(r *row) string {
			if !r.Gone.IsZero() {
				return "gone " + ago(&r.Gone, now)
			}
			return ago(&r.LastDeclared, now)
		}, "last_declared", func(r *row) string { return stamp(&r.LastDeclared) }},
		{Name: "gone", Value: func(r *row) string { return stamp(&r.Gone) }},
	}
}

// maxLabelColumns is how many labels an import takes.
const maxLabelColumns = 64

// labelColumns are the labels of lists in CSV, which only columns can hold.
func labelColumns(items []event.Declaration) (out []column[event.Declaration]) {
	keys := map[string]bool{}
	for i := range items {
		if items[i].Source == event.SourceCSV {
			for key := range items[i].Labels {
				keys[key] = true
			}
		}
	}
	sorted := slices.Sorted(maps.Keys(keys))
	for _, key := range sorted[:min(len(sorted), maxLabelColumns)] {
		out = append(out, column[event.Declaration]{Name: "label:" + key, Value: func(d *event.Declaration) string { return d.Labels[key] }})
	}
	return out
}

func tokensOf(d *event.Declaration, separator string) string {
	var out []string
	for _, t := range d.Tokens {
		out = append(out, string(t))
	}
	return strings.Join(out, separator)
}
