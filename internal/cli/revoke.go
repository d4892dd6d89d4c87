package cli

import (
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/decision"
)

func newRevokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke ID",
		Short: "End a decision before its time",
		Long:  `End a decision before its time, or drop one that waits for approval. What it refused is let through again at once, on every node that can be reached.`,
		Example: `  ambit revoke d-VQZ7 --reason "the token was rotated"
  ambit revoke d-VQZ7 --reason "wrong identity" -o json`,
		Args: oneArg("the ID of a decision"),
	}
	server, form, tokenFile := serverFlag(cmd), outputFlag(cmd), tokenFileFlag(cmd)
	reason := cmd.Flags().String("reason", "", "why, for people and the audit trail")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *reason == "" {
			return usagef("%s needs --reason; %s --help says more", cmd.CommandPath(), cmd.CommandPath())
		}
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		token, err := findToken(*tokenFile)
		if err != nil {
			return err
		}
		var d api.Decision
		path := "/api/v1/decisions/" + escapeID(args[0]) + "?" + url.Values{"reason": {*reason}}.Encode()
		if err := c.send(cmd.Context(), http.MethodDelete, path, token, nil, &d); err != nil {
			return err
		}
		return print(cmd.OutOrStdout(), *form, d, []decision.View{d.View}, decisionColumns(time.Now()))
	}
	return cmd
}
