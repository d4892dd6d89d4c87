package cli

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/decision"
	"github.com/ambit-nhi/ambit/event"
)

// Bounds of what a shell is told when it completes a word: somebody waits at a prompt.
const (
	completeTime = 2 * time.Second
	completeMost = 50
)

// completer asks the API for words that begin with, or hold, a part.
type completer func(ctx context.Context, c *client, part string) ([]cobra.Completion, error)

// complete makes a completion of arguments, up to most of them, or of a flag where most is 0. Where nobody answers there is none.
func complete(most int, ask completer) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, part string) ([]cobra.Completion, cobra.ShellCompDirective) {
		const silent = cobra.ShellCompDirectiveNoFileComp
		if most > 0 && len(args) >= most {
			return nil, silent
		}
		server, err := cmd.Flags().GetString("server")
		if err != nil {
			return nil, silent
		}
		c, err := newClient(server)
		if err != nil {
			return nil, silent
		}
		parent := cmd.Context()
		if parent == nil {
			parent = context.Background()
		}
		ctx, cancel := context.WithTimeout(parent, completeTime)
		defer cancel()
		found, err := ask(ctx, c, part)
		if err != nil {
			return nil, silent
		}
		return found, silent
	}
}

// told is a word with what is said of it beside it. A word that would steer the terminal is none.
func told(out []cobra.Completion, part, word, said string) []cobra.Completion {
	if !strings.HasPrefix(word, part) || oneLineText(word) != word {
		return out
	}
	return append(out, cobra.CompletionWithDesc(word, oneLineText(said)))
}

func askIdentities(ctx context.Context, c *client, part string) (out []cobra.Completion, err error) {
	var page api.Page[api.Identity]
	err = c.get(ctx, "/api/v1/identities", url.Values{"q": {part}, "limit": {"50"}}, &page)
	for i := range page.Items {
		out = told(out, part, page.Items[i].Identity.String(), page.Items[i].Kind)
	}
	return out, err
}

func askFindings(ctx context.Context, c *client, part string) (out []cobra.Completion, err error) {
	var page api.Page[event.Finding]
	err = c.get(ctx, "/api/v1/findings", url.Values{"limit": {"1000"}}, &page) // the newest are those that somebody wants
	for i := range page.Items {
		if f := &page.Items[i]; len(out) < completeMost {
			out = told(out, part, f.ID, string(f.Severity)+", "+f.Title)
		}
	}
	return out, err
}

func askDecisions(ctx context.Context, c *client, part string) (out []cobra.Completion, err error) {
	var page api.Page[decision.View]
	err = c.get(ctx, "/api/v1/decisions", url.Values{"limit": {"1000"}}, &page)
	for i := range page.Items {
		if d := &page.Items[i]; len(out) < completeMost {
			out = told(out, part, d.ID, string(d.Mode)+" "+d.Identity)
		}
	}
	return out, err
}

// completeIdentities completes one argument that is an identity.
var completeIdentities = complete(1, askIdentities)

// giveCompletions lets shells complete what only the API knows.
func giveCompletions(root *cobra.Command) {
	for path, of := range map[string]cobra.CompletionFunc{
		"identities": completeIdentities, "reach": completeIdentities, "top": completeIdentities, "deny": completeIdentities, "report blast-radius": completeIdentities,
		"report exempt": completeIdentities, "report review": complete(500, askIdentities), "report who-can-reach": completeIdentities,
		"explain":   complete(1, askFindings),
		"decisions": complete(1, askDecisions), "decisions approve": complete(1, askDecisions), "decisions policy": complete(1, askDecisions), "revoke": complete(1, askDecisions),
	} {
		if cmd, _, err := root.Find(strings.Fields(path)); err == nil && cmd.CommandPath() == root.Name()+" "+path {
			cmd.ValidArgsFunction = of
		}
	}
	for _, d := range decisions {
		if cmd, _, err := root.Find([]string{"findings", d.name}); err == nil && cmd.Name() == d.name {
			cmd.ValidArgsFunction = complete(completeMost, askFindings)
		}
	}
	for path, flags := range map[string]map[string]completer{"findings": {"identity": askIdentities}, "decisions": {"identity": askIdentities}, "scope generate": {"identity": askIdentities}} {
		cmd, _, err := root.Find(strings.Fields(path))
		for name, ask := range flags {
			if err == nil && cmd.Flags().Lookup(name) != nil {
				if err := cmd.RegisterFlagCompletionFunc(name, complete(0, ask)); err != nil {
					panic(err) // the flag is there
				}
			}
		}
	}
}
