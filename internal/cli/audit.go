package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/audit"
)

func newAuditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show who did what, and verify that it is whole and unchanged",
		Example: `  ambit audit --since 7d
  ambit audit --action decision --actor oidc:alice -o json
  ambit audit --verify`,
		Args: noArgs,
	}
	server, form, most := serverFlag(cmd), outputFlag(cmd), limitFlag(cmd)
	actor := cmd.Flags().String("actor", "", "only what this one did")
	action := cmd.Flags().String("action", "", "only this, such as scope.apply, or a kind of it, such as scope")
	subject := cmd.Flags().String("subject", "", "only what was done to this")
	since := &window{}
	cmd.Flags().Var(since, "since", "how far to look back, as 7d; by default to the beginning")
	verify := cmd.Flags().Bool("verify", false, "check the chain of all records; exit code 1 where it is broken")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		if err := checkLimit(*most); err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		if *verify {
			var v api.Verified
			if err := c.get(cmd.Context(), "/api/v1/audit/verified", nil, &v); err != nil {
				return err
			}
			if *form == outputJSON {
				if err := json.NewEncoder(out).Encode(v); err != nil {
					return fmt.Errorf("encode the answer: %w", err)
				}
			}
			if !v.Whole {
				return fmt.Errorf("the audit trail does not fit at record %d: %s", v.Broken, v.Why)
			}
			if *form != outputJSON {
				fmt.Fprintf(out, "%d records, whole and unchanged; the last one is %s\n", v.Records, oneLineText(v.Head))
			}
			return nil
		}
		query := url.Values{}
		for name, value := range map[string]string{"actor": *actor, "action": *action, "subject": *subject} {
			if value != "" {
				query.Set(name, value)
			}
		}
		if since.Duration > 0 {
			query.Set("since", time.Now().Add(-since.Duration).UTC().Format(time.RFC3339))
		}
		page, err := list[audit.Record](cmd.Context(), c, "/api/v1/audit", query, *most)
		if err != nil {
			return err
		}
		return print(out, *form, page, page.Items, auditColumns())
	}
	return cmd
}

func auditColumns() []column[audit.Record] {
	type row = audit.Record
	number := func(r *row) string { return strconv.FormatUint(r.Number, 10) }
	actor := func(r *row) string { return r.Actor }
	action := func(r *row) string { return r.Action }
	subject := func(r *row) string { return r.Subject }
	detail := func(r *row) string {
		var out []string
		for _, key := range slices.Sorted(maps.Keys(r.Detail)) {
			if key != "request_id" && r.Detail[key] != "" {
				out = append(out, key+"="+r.Detail[key])
			}
		}
		return strings.Join(out, " ")
	}
	return []column[row]{
		{"NUMBER", number, "number", number},
		{"TIME", func(r *row) string { return r.Time.Local().Format(time.DateTime) }, "time", func(r *row) string { return stamp(&r.Time) }},
		{"ACTOR", actor, "actor", actor},
		{"ACTION", action, "action", action},
		{"SUBJECT", subject, "subject", subject},
		{"DETAIL", detail, "detail", detail},
		{Name: "request_id", Value: func(r *row) string { return r.Detail["request_id"] }},
		{Name: "hash", Value: func(r *row) string { return r.Hash }},
	}
}
