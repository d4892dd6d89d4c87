package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// send changes something, with the token that allows it, and reads the answer into v. body may be nil.
func (c *client) send(ctx context.Context, method, path, token string, body, v any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var data io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode a request: %w", err)
		}
		data = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, data)
	if err != nil {
		return fmt.Errorf("ask %s: %w", c.base, err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := c.do(r)
	if err != nil {
		return err
	}
	defer answer.Close()
	if err := json.NewDecoder(io.LimitReader(answer, maxAnswer)).Decode(v); err != nil {
		return fmt.Errorf("read the answer of %s: %w; is it Ambit, and of this version?", c.base, err)
	}
	return nil
}

func newExemptCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exempt ID",
		Short: "Exempt an identity from the report of unused ones for a time, or lift that",
		Long: `Exempt an identity from the report of unused ones for a time, or lift that. It stays in the report, with the reason, and makes no finding.

The annotation ambit.dev/exempt-until of a service account, or the label of that name in a list, does the same.`,
		Example: "  ambit report exempt year-end --until 2027-01-15 --reason 'runs once a year'\n  ambit report exempt year-end --lift",
		Args:    oneArg("an identity or a part of its URI"),
	}
	server := serverFlag(cmd)
	until := cmd.Flags().String("until", "", "to the end of this day, as 2027-01-15, or until this time")
	reason := cmd.Flags().String("reason", "", "why it may be unused")
	lift := cmd.Flags().Bool("lift", false, "end its exemption now")
	tokenFile := cmd.Flags().String("token-file", "", "file with the token that allows changes (default: that of AMBIT_TOKEN_FILE, else of the default data folder)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		if *lift == (*until != "" || *reason != "") {
			return usagef("give --until and --reason, or --lift")
		}
		var end time.Time
		if !*lift {
			if *until == "" || *reason == "" {
				return usagef("an exemption takes --until and --reason")
			}
			if end, err = parseDay(*until); err != nil {
				return err
			}
		}
		token, err := findToken(*tokenFile)
		if err != nil {
			return err
		}
		id, err := c.find(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		var e store.Exemption
		if *lift {
			if err := c.send(cmd.Context(), http.MethodDelete, "/api/v1/exemptions/"+url.PathEscape(id.String()), token, nil, &e); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is not exempt any more\n", id)
			return nil
		}
		if err := c.send(cmd.Context(), http.MethodPost, "/api/v1/exemptions", token, api.ExemptionRequest{Identity: id, Reason: *reason, Until: end}, &e); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s is exempt until %s\n", id, e.Until.Format(time.RFC3339))
		return nil
	}
	return cmd
}

// parseDay reads a day, to its end, or a time.
func parseDay(text string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return t, usagef("until %q is not a day such as 2027-01-15, or a time such as 2027-01-15T12:00:00Z", text)
	}
	return t.Add(24 * time.Hour), nil
}

func newExemptionsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "exemptions", Short: "List the exemptions that are in force", Args: noArgs}
	server, form, limit := serverFlag(cmd), outputFlag(cmd), limitFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		if err := checkLimit(*limit); err != nil {
			return err
		}
		answer, err := pages(cmd.Context(), c, "/api/v1/exemptions", url.Values{}, *limit, func() *listAnswer[store.Exemption] { return &listAnswer[store.Exemption]{} }, barOf(cmd))
		if err != nil {
			return err
		}
		type row = store.Exemption
		identity, reason, by := func(r *row) string { return r.Identity.String() }, func(r *row) string { return r.Reason }, func(r *row) string { return r.By }
		return print(cmd.OutOrStdout(), *form, answer, answer.Items, []column[row]{
			{"IDENTITY", identity, "identity", identity},
			{"UNTIL", func(r *row) string { return r.Until.Format(time.DateOnly) }, "until", func(r *row) string { return stamp(&r.Until) }},
			{"BY", by, "by", by},
			{Name: "at", Value: func(r *row) string { return stamp(&r.At) }},
			{"REASON", reason, "reason", reason},
		})
	}
	return cmd
}

func newReviewCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "review ID…",
		Short:   "Record that you looked whether identities are still right",
		Example: "  ambit report review checkout billing --verdict keep\n  ambit report review old-job --verdict remove --note 'replaced by new-job'",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("%s takes one or more identities, or parts of their URIs", cmd.CommandPath())
			}
			return nil
		},
	}
	server := serverFlag(cmd)
	verdict := wordFlag(cmd, "verdict", "what the review came to", store.ReviewVerdicts...)
	note := cmd.Flags().String("note", "", "what is to be changed, or why it is to be removed")
	tokenFile := cmd.Flags().String("token-file", "", "file with the token that allows changes (default: that of AMBIT_TOKEN_FILE, else of the default data folder)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		if *verdict == "" {
			return usagef("a review takes --verdict keep, change or remove")
		}
		token, err := findToken(*tokenFile)
		if err != nil {
			return err
		}
		in := api.ReviewRequest{Identities: []event.Identity{}, Verdict: *verdict, Note: *note}
		for _, arg := range args {
			id, err := c.find(cmd.Context(), arg)
			if err != nil {
				return err
			}
			in.Identities = append(in.Identities, id)
		}
		var list report.List[store.Review]
		if err := c.send(cmd.Context(), http.MethodPost, "/api/v1/reviews", token, in, &list); err != nil {
			return err
		}
		for _, v := range list.Items {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", v.Identity, v.Verdict)
		}
		return nil
	}
	return cmd
}

func newVerifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Say whether a report's file is as Ambit signed it",
		Long: `Say whether a report's file is as Ambit signed it. The signature stands beside it, in FILE.sig.

Without --key, that only says that the file fits to the key beside it, which whoever changed both could have made: compare the key with the one that
the collector tells at its start, or give it.`,
		Example: "  ambit report verify ambit-data/reports/unused-20261122T120000Z.json --key AB…",
		Args:    oneArg("the file of a report"),
	}
	keys := cmd.Flags().StringSlice("key", nil, "public key that may have signed it (an nkey); may be given more than once")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := report.VerifyFile(args[0], *keys)
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		fmt.Fprintf(out, "%s is as it was signed at %s with the key %s\n", s.File, s.Time.Format(time.RFC3339), s.Key)
		if len(*keys) == 0 {
			fmt.Fprintln(out, "Whose key that is, was not checked: give it with --key.")
		}
		return nil
	}
	return cmd
}
