package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/scope"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

func newScopeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scope",
		Short: "Say what identities are allowed: propose it from what they use, apply it, compare",
		Long: `Say what identities are allowed: propose it from what they use, apply it, compare.

A scope is a file that lists what an identity may reach. Nothing is denied by it: what is outside is a finding.
Written as a policy of another system, it can be enforced there.`,
		Example: `  ambit scope generate checkout > checkout.yaml
  ambit scope apply checkout.yaml
  ambit scope diff checkout
  ambit scope generate --namespace shop --format cilium > policies.yaml`,
		Args: func(cmd *cobra.Command, args []string) error { return unknownCommand(cmd, args) },
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(scopeGenerate(), scopeApply(), scopeWithdraw(), scopeDiff(), scopeShow(), scopeList())
	return cmd
}

const anIdentity = "an identity or a part of its URI"

func formatWords() []string {
	var out []string
	for _, f := range scope.Formats {
		out = append(out, string(f))
	}
	return append(out, "json")
}

func scopeGenerate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "generate [ID]",
		Short: "Propose the least scope that allows what an identity normally reaches",
		Long: `Propose the least scope that allows what an identity normally reaches.

The proposal is printed; how far to trust it, what is dangerous in it and what was left out is told beside it. Nothing holds of it until
"ambit scope apply". Policies of other systems say in comments what they cannot express.`,
		Example: `  ambit scope generate checkout
  ambit scope generate --namespace shop --format kubernetes
  ambit scope generate checkout --direction any --format istio`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeIdentities,
	}
	server := serverFlag(cmd)
	namespace := cmd.Flags().String("namespace", "", "all identities of this namespace, instead of ID")
	format := wordFlag(cmd, "format", "what to write", formatWords()...)
	direction := wordFlag(cmd, "direction", "what the identity reaches, or also what reaches it", "outbound", "any")
	past := &window{90 * 24 * time.Hour}
	cmd.Flags().Var(past, "window", "what was not used for longer is left out")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (len(args) == 1) == (*namespace != "") {
			return usagef("give either %s, or --namespace", anIdentity)
		}
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		query := url.Values{"direction": {cmp.Or(*direction, "outbound")}, "window": {past.String()}}
		if *format == string(scope.Istio) {
			query.Set("direction", "any")
		}
		if *namespace != "" {
			query.Set("namespace", *namespace)
		} else {
			id, err := c.find(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			query.Set("identity", id.String())
		}
		var found api.Proposals
		if err := c.get(cmd.Context(), "/api/v1/generated-scopes", query, &found); err != nil {
			return err
		}
		return writeProposals(cmd.OutOrStdout(), cmd.ErrOrStderr(), &found, scope.Format(cmp.Or(*format, string(scope.Ambit))))
	}
	return cmd
}

// writeProposals writes scopes to out, and what is to be known of them to notes.
func writeProposals(out, notes io.Writer, found *api.Proposals, format scope.Format) error {
	say := func(format string, args ...any) { fmt.Fprintln(notes, oneLineText(fmt.Sprintf(format, args...))) }
	if found.More {
		say("there are more identities in this namespace than are answered for at once; generate the others one by one")
	}
	if format == "json" {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(found)
	}
	written := 0
	for i := range found.Items {
		p := &found.Items[i]
		say("%s: %d entries, confidence %g", p.Scope.Identity, len(p.Scope.Entries), p.Confidence)
		for _, reason := range p.Reasons {
			say("  less sure: %s", reason)
		}
		for _, flagged := range p.Flagged {
			say("  look at: %s", flagged)
		}
		for _, left := range p.LeftOut {
			say("  left out: %s %s: %s", left.Direction, left.Resource, left.Why)
		}
		policy, err := scope.Write(&p.Scope, format)
		if err != nil {
			say("  not written: %v", err)
			continue
		}
		for _, missing := range policy.Missing {
			say("  not in the policy: %s %s: %s", missing.Direction, missing.Resource, missing.Why)
		}
		if written++; written > 1 {
			fmt.Fprintln(out, "---")
		}
		if _, err := io.WriteString(out, policy.Text); err != nil {
			return fmt.Errorf("write a scope: %w", err)
		}
	}
	if written == 0 {
		return fmt.Errorf("no scope can be written as %s", format)
	}
	return nil
}

func scopeApply() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Declare what identities are allowed",
		Long: `Declare what identities are allowed: each scope of the file becomes the next version of its identity's. - reads from standard input.

It needs the role admin, and each scope that is applied is a record of the audit trail.`,
		Example: `  ambit scope apply checkout.yaml
  ambit scope apply checkout.yaml --expect 3     only if it replaces version 3; 0 is none
  ambit scope apply checkout.yaml --dry-run`,
		Args: oneArg("a file of scopes"),
	}
	server, token := serverFlag(cmd), tokenFileFlag(cmd)
	expect := cmd.Flags().Int64("expect", -1, "the version that is to be replaced; 0 is none")
	dry := cmd.Flags().Bool("dry-run", false, "check the file, and change nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in := cmd.InOrStdin()
		if args[0] != "-" {
			f, err := os.Open(args[0])
			if err != nil {
				return fmt.Errorf("read scopes: %w", err)
			}
			defer f.Close()
			in = f
		}
		scopes, err := scope.Read(in)
		if err != nil {
			return usageError(err)
		}
		if *expect >= 0 && len(scopes) > 1 {
			return usagef("--expect is for one scope, and the file has %d", len(scopes))
		}
		out := cmd.OutOrStdout()
		if *dry {
			for _, s := range scopes {
				fmt.Fprintf(out, "%s would have %d entries\n", oneLineText(s.Identity.String()), len(s.Entries))
			}
			return nil
		}
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		secret, err := findToken(*token)
		if err != nil {
			return err
		}
		progress := barOf(cmd)
		defer progress.done()
		for i, s := range scopes {
			progress.say("scopes", i, len(scopes))
			var applied event.Scope
			if err := c.changeScope(cmd.Context(), http.MethodPut, s.Identity, secret, *expect, s, &applied); err != nil {
				return fmt.Errorf("apply the scope of %s: %w", s.Identity, err)
			}
			fmt.Fprintf(out, "%s has version %d, with %d entries\n", oneLineText(applied.Identity.String()), applied.Version, len(applied.Entries))
		}
		return nil
	}
	return cmd
}

func scopeWithdraw() *cobra.Command {
	cmd := &cobra.Command{
		Use: "withdraw ID", Short: "Declare nothing of an identity any more", Example: "  ambit scope withdraw checkout",
		Args: oneArg(anIdentity), ValidArgsFunction: completeIdentities,
	}
	server, token := serverFlag(cmd), tokenFileFlag(cmd)
	expect := cmd.Flags().Int64("expect", -1, "the version that is to be withdrawn")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, id, err := clientAnd(cmd, *server, args[0])
		if err != nil {
			return err
		}
		secret, err := findToken(*token)
		if err != nil {
			return err
		}
		var gone event.Scope
		if err := c.changeScope(cmd.Context(), http.MethodDelete, id, secret, *expect, nil, &gone); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s has no scope any more; it was version %d\n", oneLineText(id.String()), gone.Version)
		return nil
	}
	return cmd
}

// changeScope sends a change of a scope, of a version where one is expected.
func (c *client) changeScope(ctx context.Context, method string, id event.Identity, token string, expect int64, body, v any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return fmt.Errorf("encode a scope: %w", err)
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+"/api/v1/scopes/"+url.PathEscape(id.String()), bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("ask %s: %w", c.base, err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	switch {
	case expect == 0:
		r.Header.Set("If-None-Match", "*")
	case expect > 0:
		r.Header.Set("If-Match", strconv.Quote(strconv.FormatInt(expect, 10)))
	}
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

// clientAnd gives a client, and the identity that a text means.
func clientAnd(cmd *cobra.Command, server, text string) (*client, event.Identity, error) {
	c, err := newClient(server)
	if err != nil {
		return nil, event.Identity{}, err
	}
	id, err := c.find(cmd.Context(), text)
	return c, id, err
}

// difference is one line of what a scope and its use differ in.
type difference struct {
	What        string          `json:"what"` // unused, undeclared
	Direction   event.Direction `json:"direction"`
	Resource    string          `json:"resource"`
	Connections uint64          `json:"connections"`
	LastTime    time.Time       `json:"last_time,omitzero"`
}

func scopeDiff() *cobra.Command {
	cmd := &cobra.Command{
		Use: "diff ID", Short: "Compare the scope of an identity with what it uses: what is declared and unused, and what is used and undeclared",
		Example: "  ambit scope diff checkout --window 30d", Args: oneArg(anIdentity), ValidArgsFunction: completeIdentities,
	}
	server, form := serverFlag(cmd), outputFlag(cmd)
	past := &window{90 * 24 * time.Hour}
	cmd.Flags().Var(past, "window", "how far to look back")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, id, err := clientAnd(cmd, *server, args[0])
		if err != nil {
			return err
		}
		var d scope.Diff
		if err := c.get(cmd.Context(), "/api/v1/scopes/"+url.PathEscape(id.String())+"/diff", url.Values{"window": {past.String()}}, &d); err != nil {
			return err
		}
		rows := []difference{}
		for _, e := range d.Unused {
			rows = append(rows, difference{What: "unused", Direction: cmp.Or(e.Direction, event.Outbound), Resource: e.Resource})
		}
		for _, u := range d.Undeclared {
			rows = append(rows, difference{"undeclared", u.Direction, u.Resource.String(), u.Connections, u.LastTime})
		}
		now := time.Now()
		return print(cmd.OutOrStdout(), *form, &d, rows, []column[difference]{
			{"WHAT", func(r *difference) string { return r.What }, "what", func(r *difference) string { return r.What }},
			{"DIRECTION", func(r *difference) string { return string(r.Direction) }, "direction", func(r *difference) string { return string(r.Direction) }},
			{"RESOURCE", func(r *difference) string { return r.Resource }, "resource", func(r *difference) string { return r.Resource }},
			{"CONNECTIONS", func(r *difference) string { return strconv.FormatUint(r.Connections, 10) }, "connections", func(r *difference) string { return strconv.FormatUint(r.Connections, 10) }},
			{"LAST", func(r *difference) string { return ago(&r.LastTime, now) }, "last_time", func(r *difference) string { return stamp(&r.LastTime) }},
		})
	}
	return cmd
}

func scopeShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show the scope of an identity, or write it as a policy of another system",
		Example: "  ambit scope show checkout --format calico", Args: oneArg(anIdentity), ValidArgsFunction: completeIdentities,
	}
	server := serverFlag(cmd)
	format := wordFlag(cmd, "format", "what to write", formatWords()...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, id, err := clientAnd(cmd, *server, args[0])
		if err != nil {
			return err
		}
		var s event.Scope
		if err := c.get(cmd.Context(), "/api/v1/scopes/"+url.PathEscape(id.String()), nil, &s); err != nil {
			return err
		}
		if *format == "json" {
			return print[event.Scope](cmd.OutOrStdout(), outputJSON, &s, nil, nil)
		}
		p, err := scope.Write(&s, scope.Format(cmp.Or(*format, string(scope.Ambit))))
		if err != nil {
			return err
		}
		_, err = io.WriteString(cmd.OutOrStdout(), p.Text)
		return err
	}
	return cmd
}

func scopeList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List scopes", Example: "  ambit scope list --query /ns/shop/", Args: noArgs}
	server, form, most := serverFlag(cmd), outputFlag(cmd), limitFlag(cmd)
	q := cmd.Flags().String("query", "", "only those of identities whose URI holds this text")
	all := cmd.Flags().Bool("withdrawn", false, "also those that were withdrawn")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		if err := checkLimit(*most); err != nil {
			return err
		}
		query := url.Values{}
		if *q != "" {
			query.Set("q", *q)
		}
		if *all {
			query.Set("withdrawn", "true")
		}
		page, err := list[store.ScopeVersion](cmd.Context(), c, "/api/v1/scopes", query, *most)
		if err != nil {
			return err
		}
		return print(cmd.OutOrStdout(), *form, page, page.Items, scopeColumns(time.Now()))
	}
	return cmd
}

func scopeColumns(now time.Time) []column[store.ScopeVersion] {
	type row = store.ScopeVersion
	identity := func(r *row) string { return r.Identity.String() }
	version := func(r *row) string { return strconv.FormatUint(r.Version, 10) }
	entries := func(r *row) string {
		if r.Withdrawn {
			return "withdrawn"
		}
		return strconv.Itoa(len(r.Entries))
	}
	by := func(r *row) string { return r.ApprovedBy }
	return []column[row]{
		{"IDENTITY", identity, "identity", identity},
		{"VERSION", version, "version", version},
		{"ENTRIES", entries, "entries", entries},
		{"APPROVED BY", by, "approved_by", by},
		{"WHEN", func(r *row) string { return ago(&r.At, now) }, "at", func(r *row) string { return stamp(&r.At) }},
		{Name: "origin", Value: func(r *row) string { return r.Origin }},
	}
}
