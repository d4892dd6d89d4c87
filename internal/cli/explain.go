package cli

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/event"
)

func newExplainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain FINDING",
		Short: "Say of a finding who, what, why it is unusual, what was normal, and what to do",
		Long: `Say of a finding who, what, why it is unusual, what was normal, and what to do.

FINDING is its ID, or a part of it that no other finding has.`,
		Args: oneArg("a finding's ID or a part of it"),
	}
	server, form := serverFlag(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		id, err := c.findFinding(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		var f event.Finding
		if err := c.get(cmd.Context(), "/api/v1/findings/"+url.PathEscape(id), nil, &f); err != nil {
			return err
		}
		if *form != outputTable {
			return print(cmd.OutOrStdout(), *form, &f, []event.Finding{f}, findingColumns(time.Now()))
		}
		_, err = io.WriteString(cmd.OutOrStdout(), explain(&f))
		return err
	}
	return cmd
}

// explain tells all of a finding to a person.
func explain(f *event.Finding) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s.\n", strings.ToUpper(string(f.Severity)), oneLineText(f.Title))
	part := func(head string, lines ...string) {
		if len(lines) == 0 {
			return
		}
		fmt.Fprintf(&b, "\n%s\n", head)
		for _, line := range lines {
			fmt.Fprintf(&b, "  %s\n", oneLineText(line))
		}
	}
	part("Who", whoLines(f)...)
	part("When", whenLine(f))
	why := f.Explanation
	if f.Score > 0 {
		why = append(why[:len(why):len(why)], fmt.Sprintf("How unusual: %.2f of 1. How well the baseline was known: %.0f %%.", f.Score, 100*f.Confidence))
	}
	part("Why it is told (rule "+f.Rule+")", why...)
	normal := f.Baseline
	if len(normal) == 0 {
		normal = []string{"Nothing was known of it yet."}
	}
	part("What was normal", normal...)
	part("What to do", append(f.Advice[:len(f.Advice):len(f.Advice)], whatNext(f)...)...)
	part("Status", "It "+statusSentence(f)+".")
	var known []string
	for _, id := range f.OWASP {
		known = append(known, "OWASP Non-Human Identities "+id)
	}
	for _, id := range f.Attack {
		known = append(known, "ATT&CK https://attack.mitre.org/techniques/"+strings.ReplaceAll(id, ".", "/")+"/")
	}
	part("Known as", known...)
	return b.String()
}

func whoLines(f *event.Finding) []string {
	w := &f.Workload
	lines := []string{f.Identity.String()}
	var where []string
	for _, p := range []struct{ what, name string }{
		{"pod ", w.Pod}, {"unit ", w.Unit}, {"container ", w.Container}, {"node ", f.Node}, {"owned by ", w.Owner}, {"image ", w.Image}, {"program ", w.Executable},
	} {
		if p.name != "" {
			where = append(where, p.what+p.name)
		}
	}
	if w.Interactive {
		where = append(where, "at a terminal")
	}
	if len(where) > 0 {
		lines = append(lines, strings.Join(where, ", "))
	}
	return lines
}

func whenLine(f *event.Finding) string {
	first, last := f.FirstTime.Local().Format(time.DateTime), f.LastTime.Local().Format(time.DateTime)
	if first == last {
		return "At " + first + "."
	}
	return fmt.Sprintf("First at %s, last at %s; %d in all.", first, last, f.Count)
}

// whatNext are the commands that tell Ambit how it ends.
func whatNext(f *event.Finding) []string {
	if f.Status == event.StatusResolved {
		return []string{"To open it again: ambit findings reopen " + f.ID}
	}
	lines := []string{
		"If it is right:      ambit findings approve " + f.ID + ` --reason "…"`,
		"If it was no news:   ambit findings false-positive " + f.ID + ` --reason "…"`,
		"If you look at it:   ambit findings ack " + f.ID,
		"If it can wait:      ambit findings suppress " + f.ID + ` --for 7d --reason "…"`,
		"When it is over:     ambit findings resolve " + f.ID,
	}
	if target := event.TargetOf(f.Resource); target != "" {
		lines = append(lines, "To stop it:          ambit deny "+f.Identity.String()+" --to "+target+" --for 1h --finding "+f.ID+` --reason "…" (a dry run; --enforce refuses)`)
	}
	return lines
}
