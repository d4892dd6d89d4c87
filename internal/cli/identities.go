package cli

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/inventory"
)

func newIdentitiesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "identities [ID]",
		Short: "List the identities that were seen or are declared, how far they are learned, and who answers for them",
		Long: `List the identities that were seen or are declared, how far they are learned, and who answers for them.

With ID, an identity's URI or a part of it that no other identity has, show that one, and the certificates that it presented
in TLS handshakes.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return oneArg("an identity or a part of its URI")(cmd, args)
		},
	}
	server, form, limit := serverFlag(cmd), outputFlag(cmd), limitFlag(cmd)
	state := cmd.Flags().String("state", "", "only those in this state: warming, learning, partial, stable or unstable")
	declared := cmd.Flags().String("inventory", "", "only those that fit to the inventory so: declared-seen, declared-never-seen, seen-undeclared or orphaned")
	text := cmd.Flags().StringP("query", "q", "", "only those whose URI holds this text")
	unattributed := cmd.Flags().Bool("unattributed", false, "what could not be attributed to an identity proper, and why")
	back := &window{90 * 24 * time.Hour}
	cmd.Flags().Var(back, "window", "with --unattributed, how far to look back, as 90d or 12h")
	expiring := &window{7 * 24 * time.Hour}
	cmd.Flags().Var(expiring, "expiring", "only those whose certificate ends within this time, as 7d or 12h, or has ended")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		if len(args) == 1 {
			for _, list := range []string{"limit", "state", "inventory", "query", "unattributed", "window", "expiring"} {
				if cmd.Flags().Changed(list) {
					return usagef("--%s chooses from the list of identities; it is not known together with one of them", list)
				}
			}
			return showIdentity(cmd.Context(), cmd.OutOrStdout(), c, args[0], *form, time.Now())
		}
		if err := checkLimit(*limit); err != nil {
			return err
		}
		query := url.Values{}
		if cmd.Flags().Changed("state") {
			query.Set("state", *state)
		}
		if cmd.Flags().Changed("inventory") {
			query.Set("inventory", *declared)
		}
		if *text != "" {
			query.Set("q", *text)
		}
		if *unattributed {
			query.Set("unattributed", "true")
			query.Set("window", back.String())
		} else if cmd.Flags().Changed("window") {
			return usagef("--window is known only together with --unattributed")
		}
		if cmd.Flags().Changed("expiring") {
			query.Set("expiring", expiring.String())
		}
		page, err := list[api.Identity](cmd.Context(), c, "/api/v1/identities", query, *limit)
		if err != nil {
			return err
		}
		if *unattributed {
			return printUnattributed(cmd.OutOrStdout(), *form, page, time.Now())
		}
		return print(cmd.OutOrStdout(), *form, page, page.Items, identityColumns(time.Now()))
	}
	return cmd
}

func identityColumns(now time.Time) []column[api.Identity] {
	type row = api.Identity
	count := func(f func(*row) uint64) func(*row) string {
		return func(r *row) string { return strconv.FormatUint(f(r), 10) }
	}
	connections, failed := count(func(r *row) uint64 { return r.Connections }), count(func(r *row) uint64 { return r.Failed })
	resources := count(func(r *row) uint64 { return r.Resources })
	return []column[row]{
		{"IDENTITY", identityOf, "identity", identityOf},
		{Name: "kind", Value: func(r *row) string { return r.Kind }},
		{"STATE", stateOf, "state", func(r *row) string { return r.State }},
		{Name: "progress", Value: func(r *row) string { return strconv.FormatFloat(r.Progress.Fraction, 'f', 4, 64) }},
		{"EVIDENCE", func(r *row) string { return string(r.Evidence) }, "evidence", func(r *row) string { return string(r.Evidence) }},
		{Head: "CREDENTIAL", Cell: func(r *row) string { return credentialCell(r.Credential, now) }},
		{Head: "INVENTORY", Cell: func(r *row) string { return viewOf(r).State.Words() }},
		{"RESOURCES", resources, "resources", resources},
		{"CONNECTIONS", connections, "connections", connections},
		{"FAILED", failed, "failed", failed},
		{"SENT", func(r *row) string { return size(r.BytesSent) }, "bytes_sent", count(func(r *row) uint64 { return r.BytesSent })},
		{"RECEIVED", func(r *row) string { return size(r.BytesReceived) }, "bytes_received", count(func(r *row) uint64 { return r.BytesReceived })},
		{"LAST USED", func(r *row) string { return ago(r.LastUsed, now) }, "last_used", func(r *row) string { return stamp(r.LastUsed) }},
		{Name: "first_seen", Value: func(r *row) string { return stamp(&r.FirstSeen) }},
		{Name: "last_seen", Value: func(r *row) string { return stamp(&r.LastSeen) }},
		{Name: "nodes", Value: func(r *row) string { return strings.Join(r.Nodes, " ") }},
		{Name: "inventory", Value: func(r *row) string { return string(viewOf(r).State) }},
		{Name: "inventory_reason", Value: func(r *row) string { return viewOf(r).Reason }},
		{Name: "inventory_owner", Value: func(r *row) string { return viewOf(r).Owner }},
		{Name: "environment", Value: func(r *row) string { return viewOf(r).Environment }},
		{Name: "domain", Value: func(r *row) string { return string(viewOf(r).Domain) }},
		{Name: "privilege", Value: func(r *row) string { return string(viewOf(r).Privilege) }},
		{Name: "credential_kind", Value: func(r *row) string { return lastOf(r).Kind }},
		{Name: "credential_state", Value: func(r *row) string { return string(lastOf(r).State) }},
		{Name: "credential_not_after", Value: func(r *row) string { return stamp(&lastOf(r).NotAfter) }},
		{Name: "credentials", Value: count(func(r *row) uint64 { return lastOf(r).Count })},
	}
}

// viewOf is what is declared of an identity, of which there may be nothing.
func viewOf(r *api.Identity) *inventory.View {
	if r.Inventory == nil {
		return &inventory.View{}
	}
	return r.Inventory
}

func identityOf(r *api.Identity) string { return r.Identity.String() }

// stateOf shows how far an identity is that is still being learned.
func stateOf(r *api.Identity) string {
	switch r.State {
	case "warming", "learning", "partial":
		return fmt.Sprintf("%s %d%%", r.State, int(100*r.Progress.Fraction))
	}
	return r.State
}
