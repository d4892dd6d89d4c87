package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/auth"
)

func newTokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make, list and revoke static tokens of the API",
		Long: `Make, list and revoke static tokens of the API.

They are kept as hashes in a file beside the collector, which reads it again when it changes: run this command there.`,
		Example: `  ambit token create --name ci --role viewer --for 90d
  ambit token list
  ambit token revoke ci`,
		Args: func(cmd *cobra.Command, args []string) error { return unknownCommand(cmd, args) },
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	file := cmd.PersistentFlags().String("file", "", "file of the tokens (default: as the configuration of the collector says)")
	cmd.PersistentFlags().String("config", "", "configuration of the collector")
	cmd.AddCommand(tokenCreate(file), tokenList(file), tokenRevoke(file))
	return cmd
}

// tokenFile is the file that was named, or that of the configuration.
func tokenFile(cmd *cobra.Command, file string) (string, error) {
	if file != "" {
		return file, nil
	}
	c, err := loadConfig(cmd.Flags())
	if err != nil {
		return "", err
	}
	return c.tokensFile(), nil
}

func tokenCreate(file *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "create",
		Short:   "Make a token, and print it this once",
		Example: "  ambit token create --name ci --role viewer --for 90d > token && chmod 600 token",
		Args:    noArgs,
	}
	name := cmd.Flags().String("name", "", "who it is for: findings, decisions and the audit trail show it as token:NAME")
	role := cmd.Flags().String("role", "viewer", "viewer, responder or admin")
	life := &window{90 * 24 * time.Hour}
	cmd.Flags().Var(life, "for", "how long it is valid")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := api.ParseRole(*role)
		if err != nil {
			return usageError(err)
		}
		t, text, err := auth.NewToken(*name, r, time.Now(), life.Duration)
		if err != nil {
			return usageError(err)
		}
		path, err := tokenFile(cmd, *file)
		if err != nil {
			return err
		}
		if err := auth.AddToken(path, t, time.Now()); err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), text)
		fmt.Fprintf(cmd.ErrOrStderr(), "token %s, role %s, valid until %s; it is not shown again\n", t.Name, t.Role, t.Expires.Format(time.RFC3339))
		return nil
	}
	return cmd
}

func tokenList(file *string) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List tokens", Example: "  ambit token list -o json", Args: noArgs}
	form := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		path, err := tokenFile(cmd, *file)
		if err != nil {
			return err
		}
		tokens, err := auth.ReadTokens(path)
		if err != nil {
			return err
		}
		if tokens == nil {
			tokens = []auth.Token{}
		}
		return print(cmd.OutOrStdout(), *form, tokens, tokens, tokenColumns(time.Now()))
	}
	return cmd
}

func tokenColumns(now time.Time) []column[auth.Token] {
	type row = auth.Token
	name := func(r *row) string { return r.Name }
	role := func(r *row) string { return r.Role.String() }
	state := func(r *row) string {
		switch {
		case !r.Revoked.IsZero():
			return "revoked"
		case !r.Valid(now):
			return "expired"
		}
		return "valid"
	}
	return []column[row]{
		{"NAME", name, "name", name},
		{"ROLE", role, "role", role},
		{"STATE", state, "state", state},
		{"CREATED", func(r *row) string { return ago(&r.Created, now) }, "created", func(r *row) string { return stamp(&r.Created) }},
		{"EXPIRES", func(r *row) string { return strings.TrimSuffix(stamp(&r.Expires), "T00:00:00Z") }, "expires", func(r *row) string { return stamp(&r.Expires) }},
		{Name: "revoked", Value: func(r *row) string { return stamp(&r.Revoked) }},
	}
}

func tokenRevoke(file *string) *cobra.Command {
	return &cobra.Command{
		Use: "revoke NAME", Short: "Revoke a token, within a second", Example: "  ambit token revoke ci", Args: oneArg("the name of a token"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := tokenFile(cmd, *file)
			if err != nil {
				return err
			}
			if err := auth.RevokeToken(path, args[0], time.Now()); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "revoked %s\n", oneLineText(args[0]))
			return nil
		},
	}
}
