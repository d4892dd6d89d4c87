package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/event"
)

// deciding is one command that gives findings a verdict.
type deciding struct {
	name  string
	kind  event.VerdictKind
	short string
	long  string
	end   bool // it may have an end
	must  bool // it needs one
}

var decisions = []deciding{
	{name: "ack", kind: event.VerdictAcknowledge, short: "Say that somebody looks at findings"},
	{name: "approve", kind: event.VerdictApprove, end: true, short: "Say that what findings are about is new, and right",
		long: "What they are about is normal for their identities from then on, or until the end that is given. Who said so is in the audit trail, and in the reach."},
	{name: "false-positive", kind: event.VerdictFalsePositive, short: "Say that what findings are about was normal all along",
		long: "What they are about is normal for their identities from then on. Where it is no resource, findings of the same kind are not told for 35 days."},
	{name: "true-positive", kind: event.VerdictTruePositive, short: "Say that findings are about an attack or a mistake",
		long: "They stay open until somebody resolves them."},
	{name: "suppress", kind: event.VerdictSuppress, end: true, must: true, short: "Be quiet about findings for a time",
		long: "If what they are about goes on after that time, they are told again."},
	{name: "unsuppress", kind: event.VerdictUnsuppress, short: "End the time in which findings are quiet"},
	{name: "resolve", kind: event.VerdictResolve, short: "Say that what findings are about is over",
		long: "If it occurs again, they are told again."},
	{name: "reopen", kind: event.VerdictReopen, short: "Take back what was decided about findings"},
}

func newDecideCommands() []*cobra.Command {
	var out []*cobra.Command
	for _, d := range decisions {
		out = append(out, newDecideCommand(d))
	}
	return out
}

func newDecideCommand(d deciding) *cobra.Command {
	use := d.name + " FINDING..."
	cmd := &cobra.Command{
		Use: use, Short: d.short,
		Long: d.short + ".\n\n" + strings.TrimSpace(d.long+"\n\nFINDING is its ID, or a part of it that no other finding has."),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("%s takes findings, but got none; `ambit findings` lists them", cmd.CommandPath())
			}
			return nil
		},
	}
	server, form := serverFlag(cmd), outputFlag(cmd)
	token := cmd.Flags().String("token-file", "", "file with the token that allows changes (AMBIT_TOKEN_FILE); by default that of the data folder")
	reason := cmd.Flags().String("reason", "", "why; it is kept with the finding and in the audit trail")
	length := &window{}
	until := ""
	if d.end {
		cmd.Flags().Var(length, "for", "how long it holds, such as 8h or 30d")
		cmd.Flags().StringVar(&until, "until", "", "or until when, such as 2026-12-31 or 2026-12-31T18:00:00Z")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		patch := api.FindingPatch{Verdict: d.kind, Reason: *reason}
		var err error
		if patch.Until, err = ending(length.Duration, until, time.Now()); err != nil {
			return err
		}
		if d.must && patch.Until.IsZero() {
			return usagef("%s takes an end: --for 30d or --until 2026-12-31", cmd.CommandPath())
		}
		if (d.must || d.kind.Teaches()) && strings.TrimSpace(*reason) == "" {
			return usagef("%s takes a reason: --reason \"…\"", cmd.CommandPath())
		}
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		key, err := findToken(*token)
		if err != nil {
			return err
		}
		var done []event.Finding
		for _, text := range args {
			id, err := c.findFinding(cmd.Context(), text)
			if err != nil {
				return err
			}
			var f event.Finding
			if err := c.patch(cmd.Context(), "/api/v1/findings/"+url.PathEscape(id), key, patch, &f); err != nil {
				return fmt.Errorf("decide about finding %s: %w", id, err)
			}
			done = append(done, f)
		}
		if *form != outputTable {
			return print(cmd.OutOrStdout(), *form, api.Page[event.Finding]{Items: done}, done, findingColumns(time.Now()))
		}
		for i := range done {
			fmt.Fprintf(cmd.OutOrStdout(), "%s  %s\n", done[i].ID, oneLineText(statusSentence(&done[i])))
		}
		return nil
	}
	return cmd
}

// ending is when something that lasts for a time, or until a time, ends; zero: never.
func ending(length time.Duration, until string, now time.Time) (time.Time, error) {
	switch {
	case length != 0 && until != "":
		return time.Time{}, usagef("give --for or --until, not both")
	case length != 0:
		return now.Add(length).UTC().Truncate(time.Second), nil
	case until == "":
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, until)
	if err != nil {
		if at, err = time.ParseInLocation(time.DateOnly, until, time.Local); err != nil {
			return time.Time{}, usagef("--until %q is no time like 2026-12-31 or 2026-12-31T18:00:00Z", until)
		}
	}
	if !at.After(now) {
		return time.Time{}, usagef("--until %s is over", until)
	}
	return at.UTC(), nil
}

// findFinding gives the ID of the finding whose ID text is, or is a part of.
func (c *client) findFinding(ctx context.Context, text string) (string, error) {
	var f event.Finding
	err := c.get(ctx, "/api/v1/findings/"+url.PathEscape(text), nil, &f)
	var p *api.Problem
	switch {
	case err == nil:
		return f.ID, nil
	case !errors.As(err, &p) || p.Status != http.StatusNotFound:
		return "", err
	}
	page, err := list[event.Finding](ctx, c, "/api/v1/findings", url.Values{}, 10_000)
	if err != nil {
		return "", err
	}
	var found []string
	for i := range page.Items {
		if strings.Contains(page.Items[i].ID, text) {
			found = append(found, page.Items[i].ID)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("no finding has the ID %q; `ambit findings` lists them", text)
	case 1:
		return found[0], nil
	}
	return "", usagef("%q is a part of the IDs of %d findings, such as %s and %s; write more of it", text, len(found), found[0], found[1])
}

// statusSentence says how a finding stands, and why.
func statusSentence(f *event.Finding) string {
	s := "is " + string(f.Status)
	if f.Verdict != "" && f.Verdict.Teaches() {
		s += " (" + string(f.Verdict) + ")"
	}
	switch {
	case f.By == event.ByAmbit:
		s += " since " + f.Decided.Local().Format(time.DateTime)
	case f.By != "":
		s += " by " + f.By + " since " + f.Decided.Local().Format(time.DateTime)
	}
	if !f.Until.IsZero() {
		s += ", until " + f.Until.Local().Format(time.DateTime)
		if left := time.Until(f.Until); left > 0 {
			s += " (" + report.FormatWindow(left.Round(time.Minute)) + ")"
		}
	}
	if f.Reason != "" {
		s += ": " + f.Reason
	}
	return s
}
