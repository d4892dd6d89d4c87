package cli

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/feed"
)

func newFeedsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "feeds",
		Short: "Show where findings are sent, and try it",
		Long: `Show where findings are sent, and try it.

The list feeds of the configuration says where: to webhooks, Alertmanager, syslog, NATS, Kafka, OpenTelemetry, Slack, files.`,
		Args: func(cmd *cobra.Command, args []string) error { return unknownCommand(cmd, args) },
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newFeedsStatusCommand(), newFeedsTestCommand())
	return cmd
}

func newFeedsStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say of each feed how it is, and how much waits for it",
		Args:  noArgs,
	}
	server, form := serverFlag(cmd), outputFlag(cmd)
	check := cmd.Flags().Bool("fail-on-trouble", false, "end with exit code 1 if a receiver takes nothing")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		var page api.Page[feed.Status]
		if err := c.get(cmd.Context(), "/api/v1/feeds", url.Values{}, &page); err != nil {
			return err
		}
		if err := print(cmd.OutOrStdout(), *form, page, page.Items, feedColumns(time.Now())); err != nil {
			return err
		}
		var failing []string
		for _, s := range page.Items {
			if s.State == feed.StateRetrying {
				failing = append(failing, s.Name)
			}
		}
		if *check && len(failing) > 0 {
			return fmt.Errorf("the receiver of %s takes nothing; ambit feeds status says why", joined(failing))
		}
		return nil
	}
	return cmd
}

func feedColumns(now time.Time) []column[feed.Status] {
	type row = feed.Status
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	name := func(r *row) string { return r.Name }
	kind := func(r *row) string { return string(r.Kind) }
	way := func(r *row) string { return r.Transport }
	format := func(r *row) string { return r.Format }
	state := func(r *row) string { return string(r.State) }
	lag := func(r *row) string { return number(r.Lag) }
	sent := func(r *row) string { return number(r.Sent) }
	aside := func(r *row) string { return number(r.Aside) }
	fault := func(r *row) string { return r.Error }
	return []column[row]{
		{"FEED", name, "feed", name},
		{"SENDS", kind, "sends", kind},
		{"TRANSPORT", way, "transport", way},
		{"FORMAT", format, "format", format},
		{"STATE", state, "state", state},
		{"LAG", lag, "lag", lag},
		{"SENT", sent, "sent", sent},
		{"LAST SENT", func(r *row) string { return ago(&r.LastSent, now) }, "last_sent", func(r *row) string { return stamp(&r.LastSent) }},
		{"SET ASIDE", aside, "set_aside", aside},
		{Name: "limited", Value: func(r *row) string { return number(r.Limited) }},
		{Name: "lost", Value: func(r *row) string { return number(r.Lost) }},
		{Name: "collector", Value: func(r *row) string { return r.Collector }},
		{Name: "attempts", Value: func(r *row) string { return strconv.Itoa(r.Attempts) }},
		{Name: "since", Value: func(r *row) string { return stamp(&r.Since) }},
		{"ERROR", fault, "error", fault},
	}
}

func newFeedsTestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test NAME",
		Short: "Send a finding that is marked as a test, and show what the receiver says",
		Long:  `Send a finding that is marked as a test to one feed, past its filters and what waits for it, and show what the receiver says. Nothing has happened.`,
		Args:  oneArg("the name of a feed"),
	}
	server, form, tokenFile := serverFlag(cmd), outputFlag(cmd), tokenFileFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		token, err := findToken(*tokenFile)
		if err != nil {
			return err
		}
		var a feed.Answer
		if err := c.send(cmd.Context(), http.MethodPost, "/api/v1/feeds/"+escapeID(args[0])+"/test", token, nil, &a); err != nil {
			return err
		}
		if err := print(cmd.OutOrStdout(), *form, a, []feed.Answer{a}, answerColumns()); err != nil {
			return err
		}
		if !a.Taken {
			return errors.New("the receiver did not take the test: " + a.Error)
		}
		return nil
	}
	return cmd
}

func answerColumns() []column[feed.Answer] {
	type row = feed.Answer
	name := func(r *row) string { return r.Feed }
	way := func(r *row) string { return r.Transport }
	format := func(r *row) string { return r.Format }
	taken := func(r *row) string { return map[bool]string{true: "yes", false: "no"}[r.Taken] }
	took := func(r *row) string { return (time.Duration(r.Millis) * time.Millisecond).String() }
	uid := func(r *row) string { return r.UID }
	said := func(r *row) string { return strings.TrimSpace(r.Answer + r.Error) }
	return []column[row]{
		{"FEED", name, "feed", name}, {"TRANSPORT", way, "transport", way}, {"FORMAT", format, "format", format}, {"TAKEN", taken, "taken", taken},
		{"TOOK", took, "took", took}, {"UID", uid, "uid", uid}, {"ANSWER", said, "answer", said},
	}
}

func joined(words []string) string { return strings.Join(words, ", ") }
