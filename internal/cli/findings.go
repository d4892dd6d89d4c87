package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/event"
)

func newFindingsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "findings",
		Short: "List findings, newest first, follow them, or decide about them",
		Args:  unknownCommand,
	}
	server, form, limit := serverFlag(cmd), outputFlag(cmd), limitFlag(cmd)
	filters := map[string]*string{
		"status":   cmd.Flags().String("status", "", "only those with this status: new, acknowledged, suppressed or resolved"),
		"severity": cmd.Flags().String("severity", "", "only those of this severity: info, low, medium, high or critical"),
		"rule":     cmd.Flags().String("rule", "", "only those of this rule"),
		"identity": cmd.Flags().String("identity", "", "only those of this identity"),
		"text":     cmd.Flags().String("text", "", "only those with this in their title, resource or identity, or of this ID"),
	}
	age := &window{}
	cmd.Flags().Var(age, "since", "only those that occurred in the last time, such as 8h or 7d")
	cmd.AddCommand(newDecideCommands()...)
	follow := cmd.Flags().BoolP("follow", "f", false, "go on with findings as they are told, oldest first; JSON is then one finding a line")
	check := cmd.Flags().Bool("fail-on-findings", false, "end with exit code 3 if there are any")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		if err := checkLimit(*limit); err != nil {
			return err
		}
		query := url.Values{}
		for name, value := range filters {
			if cmd.Flags().Changed(name) {
				query.Set(name, *value)
			}
		}
		if age.Duration > 0 {
			query.Set("since", time.Now().Add(-age.Duration).UTC().Format(time.RFC3339))
		}
		ctx, out := cmd.Context(), cmd.OutOrStdout()
		if *follow {
			if *form == outputCSV || *check || *limit > 0 || query.Has("text") || query.Has("since") {
				return usagef("--follow goes with neither -o csv, --limit, --text, --since nor --fail-on-findings")
			}
			return followFindings(ctx, c, query, *form, out)
		}
		page, err := list[event.Finding](ctx, c, "/api/v1/findings", query, *limit)
		if err != nil {
			return err
		}
		if err := print(out, *form, page, page.Items, findingColumns(time.Now())); err != nil {
			return err
		}
		if *check && len(page.Items) > 0 {
			return errFindings
		}
		return nil
	}
	return cmd
}

func findingColumns(now time.Time) []column[event.Finding] {
	type row = event.Finding
	severity := func(r *row) string { return string(r.Severity) }
	rule := func(r *row) string { return r.Rule }
	identity := func(r *row) string { return r.Identity.String() }
	resource := func(r *row) string { return r.Resource.String() }
	count := func(r *row) string { return strconv.FormatUint(r.Count, 10) }
	status := func(r *row) string { return string(r.Status) }
	return []column[row]{
		{"LAST", func(r *row) string { return ago(&r.LastTime, now) }, "last_time", func(r *row) string { return stamp(&r.LastTime) }},
		{Name: "first_time", Value: func(r *row) string { return stamp(&r.FirstTime) }},
		{"SEVERITY", severity, "severity", severity},
		{"STATUS", status, "status", status},
		{"COUNT", count, "count", count},
		{"FINDING", func(r *row) string { return r.Title }, "title", func(r *row) string { return r.Title }},
		{"ID", func(r *row) string { return r.ID }, "id", func(r *row) string { return r.ID }},
		{Name: "rule", Value: rule},
		{Name: "identity", Value: identity},
		{Name: "resource", Value: resource},
		{Name: "verdict", Value: func(r *row) string { return string(r.Verdict) }},
		{Name: "reason", Value: func(r *row) string { return r.Reason }},
		{Name: "by", Value: func(r *row) string { return r.By }},
		{Name: "until", Value: func(r *row) string { return stamp(&r.Until) }},
	}
}

// followFindings prints the findings that are there, and then those that are told, across interruptions, until ctx ends.
func followFindings(ctx context.Context, c *client, query url.Values, form output, out io.Writer) error {
	f := &follower{c: c, query: query, out: out, form: form, told: map[string][2]time.Time{}}
	wait := time.Second
	for first := true; ; first = false {
		err := f.stream(ctx, first)
		if ctx.Err() != nil {
			return nil
		}
		var use *wrongUse
		if first && f.last == "" || errors.As(err, &use) || errors.Is(err, errOutput) {
			return err // it never worked, or never will
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// follower reads server-sent events.
type follower struct {
	c     *client
	query url.Values
	out   io.Writer
	form  output
	last  string                  // id of the last event
	told  map[string][2]time.Time // finding -> its last_time, and when it was decided about, when it was printed
}

var errOutput = errors.New("write the output")

func (f *follower) stream(ctx context.Context, first bool) error {
	header := http.Header{"Accept": {"text/event-stream"}}
	if f.last != "" {
		header.Set("Last-Event-ID", f.last)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body, err := f.c.open(ctx, "/api/v1/events", nil, header)
	if err != nil {
		return err
	}
	defer body.Close()
	silent := time.AfterFunc(silence, cancel)
	defer silent.Stop()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	kind := ""
	for lines.Scan() {
		silent.Reset(silence)
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			f.last = value
			if first { // from here on nothing is missed, so now tell what is there
				first = false
				if err := f.present(ctx); err != nil {
					return err
				}
			}
		case "event":
			kind = value
		case "data":
			if kind != "finding" { // news of decisions come on the same stream
				continue
			}
			var finding event.Finding
			if err := json.Unmarshal([]byte(value), &finding); err != nil {
				return fmt.Errorf("read a finding of %s: %w", f.c.base, err)
			}
			if err := f.print(&finding); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

// silence is how long a stream without even a sign of life is believed.
const silence = 45 * time.Second

// present prints the findings that are there, oldest first.
func (f *follower) present(ctx context.Context) error {
	page, err := list[event.Finding](ctx, f.c, "/api/v1/findings", f.query, 0)
	if err != nil {
		return err
	}
	for i := len(page.Items) - 1; i >= 0; i-- {
		if err := f.print(&page.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

// print prints a finding that passes the filters and was not printed as it is.
func (f *follower) print(finding *event.Finding) error {
	for name, value := range map[string]string{
		"status": string(finding.Status), "severity": string(finding.Severity), "rule": finding.Rule, "identity": finding.Identity.String(),
	} {
		if f.query.Has(name) && f.query.Get(name) != value {
			return nil
		}
	}
	if last, ok := f.told[finding.ID]; ok && !finding.LastTime.After(last[0]) && !finding.Decided.After(last[1]) {
		return nil
	}
	if len(f.told) > 10_000 { // some may be printed twice
		clear(f.told)
	}
	f.told[finding.ID] = [2]time.Time{finding.LastTime, finding.Decided}
	var text string
	if f.form == outputJSON {
		data, err := json.Marshal(finding)
		if err != nil {
			return fmt.Errorf("encode a finding: %w", err)
		}
		text = string(data) + "\n"
	} else {
		text = describe(finding)
	}
	if _, err := io.WriteString(f.out, text); err != nil {
		return fmt.Errorf("%w: %w", errOutput, err)
	}
	return nil
}

// describe tells a finding to people.
func describe(f *event.Finding) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  %s  %s", f.LastTime.Local().Format(time.DateTime), strings.ToUpper(string(f.Severity)), f.Rule, oneLineText(f.Title))
	if f.Count > 1 {
		fmt.Fprintf(&b, " (%d connections)", f.Count)
	}
	b.WriteByte('\n')
	for _, s := range f.Explanation {
		fmt.Fprintf(&b, "    %s\n", oneLineText(s))
	}
	for _, s := range f.Advice {
		fmt.Fprintf(&b, "    What to do: %s\n", oneLineText(s))
	}
	if !f.Decided.IsZero() {
		fmt.Fprintf(&b, "    It %s.\n", oneLineText(strings.TrimSuffix(statusSentence(f), ".")))
	}
	return b.String()
}
