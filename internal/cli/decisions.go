package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/decision"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

func newDecisionsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "decisions [ID]",
		Short: "List decisions, or show what the nodes do about one",
		Long: `List decisions, the latest first, or show one with what each node did about it, and the nodes that it does not cover.

In the list, NODES is on how many nodes a decision is in force, of how many that spoke of it.`,
		Example: `  ambit decisions
  ambit decisions --state in-force --mode enforce -o json
  ambit decisions d-VQZ7
  ambit decisions approve d-VQZ7
  ambit decisions policy d-VQZ7 --format cilium`,
	}
	server, form, limit := serverFlag(cmd), outputFlag(cmd), limitFlag(cmd)
	filters := map[string]*string{
		"state":    cmd.Flags().String("state", "", "only those in this state: waiting, in-force, revoked or expired"),
		"mode":     cmd.Flags().String("mode", "", "only those of this mode: dry-run or enforce"),
		"identity": cmd.Flags().String("identity", "", "only those about this identity"),
		"finding":  cmd.Flags().String("finding", "", "only those that answer this finding"),
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 || len(args) == 1 && !event.ValidDecisionID(args[0]) {
			return usagef("%s takes one ID of a decision, or none; %s --help says more", cmd.CommandPath(), cmd.CommandPath())
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		if err := checkLimit(*limit); err != nil {
			return err
		}
		ctx, out := cmd.Context(), cmd.OutOrStdout()
		if len(args) == 1 {
			var d api.Decision
			if err := c.get(ctx, "/api/v1/decisions/"+escapeID(args[0]), nil, &d); err != nil {
				return err
			}
			return showDecision(out, *form, &d)
		}
		query := url.Values{}
		for name, value := range filters {
			if cmd.Flags().Changed(name) {
				query.Set(name, *value)
			}
		}
		page, err := list[decision.View](ctx, c, "/api/v1/decisions", query, *limit)
		if err != nil {
			return err
		}
		return print(out, *form, page, page.Items, decisionColumns(time.Now()))
	}
	cmd.AddCommand(newDecisionsApproveCommand(), newDecisionsAuditCommand(), newDecisionsKeyCommand(), newDecisionsPolicyCommand())
	return cmd
}

func decisionColumns(now time.Time) []column[decision.View] {
	type row = decision.View
	id := func(r *row) string { return r.ID }
	state := func(r *row) string { return string(r.State) }
	mode := func(r *row) string { return string(r.Mode) }
	identity := func(r *row) string { return r.Identity }
	to := func(r *row) string { return r.To }
	direction := func(r *row) string { return string(r.Direction) }
	requester := func(r *row) string { return r.Requester }
	denied := func(r *row) string { return strconv.FormatUint(r.Acks.Denied, 10) }
	would := func(r *row) string { return strconv.FormatUint(r.Acks.WouldDeny, 10) }
	return []column[row]{
		{"ID", id, "id", id},
		{"STATE", state, "state", state},
		{"MODE", mode, "mode", mode},
		{"IDENTITY", identity, "identity", identity},
		{"TO", to, "to", to},
		{Name: "direction", Value: direction},
		{"ENDS", func(r *row) string { return ends(r, now) }, "expires", func(r *row) string { return stamp(&r.Expires) }},
		{"NODES", func(r *row) string { return fmt.Sprintf("%d/%d", r.Acks.Nodes[event.AckInForce], total(r.Acks.Nodes)) }, "in_force_nodes",
			func(r *row) string { return strconv.FormatUint(r.Acks.Nodes[event.AckInForce], 10) }},
		{"DENIED", func(r *row) string { return counted(r) }, "denied", denied},
		{Name: "would_deny", Value: would},
		{"BY", requester, "requester", requester},
		{Name: "approver", Value: func(r *row) string { return r.Approver }},
		{Name: "issued", Value: func(r *row) string { return stamp(&r.Issued) }},
		{Name: "revoked", Value: func(r *row) string { return stamp(&r.Revoked) }},
		{Name: "reason", Value: func(r *row) string { return r.Reason }},
	}
}

func total(nodes map[event.AckState]uint64) (n uint64) {
	for _, x := range nodes {
		n += x
	}
	return n
}

func counted(r *decision.View) string {
	if r.Mode == event.DryRun {
		return fmt.Sprintf("(%d)", r.Acks.WouldDeny)
	}
	return strconv.FormatUint(r.Acks.Denied, 10)
}

func ends(r *decision.View, now time.Time) string {
	switch r.State {
	case decision.StateRevoked:
		return "revoked " + ago(&r.Revoked, now)
	case decision.StateExpired:
		return ago(&r.Expires, now)
	case decision.StateWithdrawn:
		return "dropped"
	case decision.StateWaiting:
		return "lasts " + span(r.Expires.Sub(r.Issued))
	}
	return "in " + span(r.Expires.Sub(now))
}

// showDecision tells one decision, and then what each node did.
func showDecision(out io.Writer, form output, d *api.Decision) error {
	if form != outputTable {
		return print(out, form, d, d.Nodes, ackColumns(time.Now()))
	}
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(out, "%-11s %s\n", name, oneLineText(value))
		}
	}
	who := d.Requester
	if d.Approver != "" {
		who += ", approved by " + d.Approver
	}
	line("decision", d.ID+" ("+string(d.State)+", "+string(d.Mode)+")")
	line("identity", d.Identity)
	line("to", d.To+", "+string(d.Direction))
	line("reason", strings.TrimSpace(d.Code+" "+d.Reason))
	line("by", who)
	line("finding", d.Finding)
	line("issued", d.Issued.Local().Format(time.DateTime))
	line("expires", d.Expires.Local().Format(time.DateTime))
	if !d.Revoked.IsZero() {
		line("revoked", d.Revoked.Local().Format(time.DateTime)+" by "+d.RevokedBy+": "+d.RevokedWhy)
	}
	line("denied", fmt.Sprintf("%d refused, %d would have been, %d cut", d.Acks.Denied, d.Acks.WouldDeny, d.Acks.Cut))
	if !d.Acks.InForce.IsZero() {
		line("in force", fmt.Sprintf("on the last of its nodes after %s", d.Acks.InForce.Sub(d.Issued).Round(time.Millisecond)))
	}
	if len(d.Nodes) > 0 {
		fmt.Fprintln(out)
		if err := printTable(out, d.Nodes, ackColumns(time.Now())); err != nil {
			return err
		}
	}
	if len(d.NotCovered) > 0 {
		fmt.Fprintf(out, "\nnot covered:\n")
		for _, n := range d.NotCovered {
			fmt.Fprintf(out, "  %s: %s\n", oneLineText(n.Node), oneLineText(n.Why))
		}
	}
	return nil
}

func ackColumns(now time.Time) []column[store.NodeAck] {
	type row = store.NodeAck
	number := func(f func(*row) uint64) func(*row) string {
		return func(r *row) string { return strconv.FormatUint(f(r), 10) }
	}
	node := func(r *row) string { return r.Node }
	state := func(r *row) string { return string(r.State) }
	why := func(r *row) string { return r.Why }
	return []column[row]{
		{"NODE", node, "node", node},
		{"STATE", state, "state", state},
		{"SINCE", func(r *row) string { return ago(&r.At, now) }, "at", func(r *row) string { return stamp(&r.At) }},
		{"DENIED", number(func(r *row) uint64 { return r.Denied }), "denied", number(func(r *row) uint64 { return r.Denied })},
		{"WOULD", number(func(r *row) uint64 { return r.WouldDeny }), "would_deny", number(func(r *row) uint64 { return r.WouldDeny })},
		{"CUT", number(func(r *row) uint64 { return r.Cut }), "cut", number(func(r *row) uint64 { return r.Cut })},
		{Name: "in_force", Value: func(r *row) string { return stamp(&r.InForce) }},
		{Name: "first_denied", Value: func(r *row) string { return stamp(&r.FirstDenied) }},
		{Name: "last_allowed", Value: func(r *row) string { return stamp(&r.LastAllowed) }},
		{"WHY", why, "why", why},
	}
}

// newDecisionsAuditCommand is `ambit audit` of what was done about decisions.
func newDecisionsAuditCommand() *cobra.Command {
	cmd := newAuditCommand()
	cmd.Short = "Show who asked for, approved and revoked decisions, and what nodes did; verify that the trail is whole"
	cmd.Example = "  ambit decisions audit --subject d-VQZ7\n  ambit decisions audit --verify"
	action := cmd.Flags().Lookup("action")
	action.DefValue = "decision"
	_ = action.Value.Set("decision") // a text
	return cmd
}

func newDecisionsApproveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "approve ID",
		Short:   "Approve what another person asked for",
		Example: "  ambit decisions approve d-VQZ7 --token-file ~/.ambit/token",
		Args:    oneArg("the ID of a decision"),
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
		var d api.Decision
		if err := c.send(cmd.Context(), http.MethodPost, "/api/v1/decisions/"+escapeID(args[0])+"/approve", token, struct{}{}, &d); err != nil {
			return err
		}
		return print(cmd.OutOrStdout(), *form, d, []decision.View{d.View}, decisionColumns(time.Now()))
	}
	return cmd
}

func newDecisionsKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "key FILE",
		Short: "Make a key that decisions are signed with, and print its public part",
		Long: `Make a key that decisions are signed with in FILE, unless it is there, and print its public part.

FILE is decisions.key_file of the collectors that may issue decisions; nobody else needs to read it. The public part goes into deny.keys of every agent.`,
		Example: "  ambit decisions key /etc/ambit/decision-key",
		Args:    oneArg("a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := decision.EnsureKey(args[0])
			if errors.Is(err, fs.ErrPermission) {
				return fmt.Errorf("%w; only its owner may read it", err)
			}
			if err != nil {
				return err
			}
			public, err := key.PublicKey()
			if err != nil {
				return fmt.Errorf("read the key: %w", err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), public)
			return err
		},
	}
}

func newDecisionsPolicyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy ID",
		Short: "Write a decision as a network policy of Cilium or Kubernetes",
		Long: `Write a decision as a network policy of Cilium or Kubernetes, for those who enforce there. It is printed, not applied, and does not end by itself.

Network policies of Kubernetes select pods by labels and only allow, so they need --selector, and can only say * and address ranges.`,
		Example: `  ambit decisions policy d-VQZ7 | kubectl apply -f -
  ambit decisions policy d-VQZ7 --format kubernetes --selector app=checkout`,
		Args: oneArg("the ID of a decision"),
	}
	server := serverFlag(cmd)
	format := cmd.Flags().String("format", string(decision.Cilium), "cilium or kubernetes")
	selector := cmd.Flags().String("selector", "", "label of the pods, as key=value")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !slices.Contains([]string{string(decision.Cilium), string(decision.Kubernetes)}, *format) {
			return usagef("format %q is not cilium or kubernetes", *format)
		}
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		query := url.Values{"format": {*format}}
		if *selector != "" {
			query.Set("selector", *selector)
		}
		body, err := c.open(cmd.Context(), "/api/v1/decisions/"+escapeID(args[0])+"/policy", query, nil)
		if err != nil {
			return err
		}
		defer body.Close()
		_, err = io.Copy(cmd.OutOrStdout(), io.LimitReader(body, maxAnswer))
		return err
	}
	return cmd
}
