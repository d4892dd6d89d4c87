package cli

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/decision"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

func newDenyCommand() *cobra.Command {
	var r api.DecisionRequest
	var to, direction string
	var span time.Duration
	var enforce bool
	cmd := &cobra.Command{
		Use:   "deny IDENTITY",
		Short: "Deny an identity a resource, until a time",
		Long: `Deny an identity a resource, until a time.

First it shows which connections of the last 30 days would have been refused, by workload. Without --enforce it is a dry run: nothing is
refused, and what would be is counted. Every decision ends by itself; ` + "`ambit revoke`" + ` ends it sooner.

RESOURCE is one of
  *                                    everything: a quarantine
  spiffe://shop.example/ns/shop/sa/db  a peer, by its identity
  dns:api.example.com                  the addresses of a name
  svc:db.shop                          a Kubernetes service, by name and namespace
  net:10.1.2.0/24                      an address range
  port:22/tcp                          a port, wherever
and behind each but the last, :PORT, :PORT/tcp or :PORT/udp may say more.`,
		Example: `  ambit deny spiffe://shop.example/ns/shop/sa/checkout --to dns:api.example.com:443/tcp --for 1h --reason "token was leaked"
  ambit deny spiffe://shop.example/ns/shop/sa/checkout --to '*' --for 30m --reason "incident 4711" --enforce
  ambit deny 'spiffe://shop.example/ns/ci/*' --glob --to port:22/tcp --for 8h --reason "no ssh from CI" --approve`,
		Args: oneArg("an identity"),
	}
	flags := cmd.Flags()
	server, form := serverFlag(cmd), outputFlag(cmd)
	tokenFile := tokenFileFlag(cmd)
	flags.StringVar(&to, "to", "", "resource that is denied, * for everything")
	flags.DurationVar(&span, "for", 0, "how long, as 30m or 12h")
	flags.StringVar(&r.Reason, "reason", "", "why, for people and the audit trail")
	flags.StringVar(&r.Code, "code", "", "why, in a word for programs, such as compromised")
	flags.StringVar(&r.Finding, "finding", "", "ID of the finding that it answers")
	flags.StringVar(&direction, "direction", string(event.Outbound), "outbound, inbound or both")
	flags.BoolVar(&r.Glob, "glob", false, "IDENTITY is a pattern, in which * stands for anything")
	flags.BoolVar(&enforce, "enforce", false, "refuse connections; without, it is a dry run")
	flags.BoolVar(&r.Approve, "approve", false, "wait for the approval of another person, also where the settings do not ask for one")
	flags.BoolVarP(&r.Yes, "yes", "y", false, "do not ask")
	preview := flags.Bool("preview", false, "only show what would have been refused")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, name := range []string{"to", "for", "reason"} {
			if !flags.Changed(name) && !(*preview && name == "reason") {
				return usagef("%s needs --%s; %s --help says more", cmd.CommandPath(), name, cmd.CommandPath())
			}
		}
		if _, err := event.ParseTarget(to); err != nil {
			return usagef("--to: %w", err)
		}
		if !r.Glob {
			if _, err := event.ParseIdentity(args[0]); err != nil {
				return usageError(err)
			}
		}
		if *preview && r.Reason == "" {
			r.Reason = "preview"
		}
		r.Identity, r.To, r.For, r.Direction, r.Mode = args[0], to, decision.Span(span), event.Direction(direction), event.DryRun
		if enforce {
			r.Mode = event.Enforce
		}
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		token, err := findToken(*tokenFile)
		if err != nil {
			return err
		}
		return deny(cmd, c, token, &r, *form, *preview)
	}
	return cmd
}

func deny(cmd *cobra.Command, c *client, token string, r *api.DecisionRequest, form output, only bool) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	var p decision.Preview
	if err := c.send(ctx, http.MethodPost, "/api/v1/decisions/preview", token, &r.Request, &p); err != nil {
		return err
	}
	if only {
		if form == outputTable {
			return showPreview(out, &p)
		}
		return print(out, form, p, p.Items, previewColumns(time.Now()))
	}
	shown := io.Writer(out)
	if form != outputTable { // out is for programs
		shown = cmd.ErrOrStderr()
	}
	if err := showPreview(shown, &p); err != nil {
		return err
	}
	if !r.Yes {
		yes, asked, err := confirm(cmd.InOrStdin(), cmd.ErrOrStderr(), r)
		if err != nil {
			return err
		}
		switch {
		case !asked && r.Mode == event.Enforce:
			return usagef("--enforce asks on a terminal, and this is none: look at the preview, and give --yes")
		case asked && !yes:
			return fmt.Errorf("nothing was denied")
		}
	}
	r.Preview = p.Token
	var d api.Decision
	if err := c.send(ctx, http.MethodPost, "/api/v1/decisions", token, r, &d); err != nil {
		return err
	}
	if form != outputTable {
		return print(out, form, d, []decision.View{d.View}, decisionColumns(time.Now()))
	}
	var err error
	if d.State == decision.StateWaiting {
		_, err = fmt.Fprintf(out, "decision %s waits for another person until %s: ambit decisions approve %s\n", d.ID, d.Until.Local().Format(time.DateTime), d.ID)
	} else {
		_, err = fmt.Fprintf(out, "decision %s (%s) holds until %s: ambit decisions %s shows what the nodes do\n", d.ID, d.Mode, d.Expires.Local().Format(time.DateTime), d.ID)
	}
	return err
}

// confirm asks a person, if there is one.
func confirm(in io.Reader, out io.Writer, r *api.DecisionRequest) (yes, asked bool, err error) {
	if !person(in) {
		return false, false, nil
	}
	what := "Try it out"
	if r.Mode == event.Enforce {
		what = "Refuse these connections from now on"
	}
	fmt.Fprintf(out, "%s, for %s? [y/N] ", what, time.Duration(r.For))
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && line == "" {
		return false, true, nil
	}
	line = strings.ToLower(strings.TrimSpace(line))
	return line == "y" || line == "yes", true, nil
}

// person says whether one sits there.
func person(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func showPreview(out io.Writer, p *decision.Preview) error {
	who := oneLineText(p.Request.Identity)
	fmt.Fprintf(out, "Since %s, this would have refused %d connections of %s to %s (%s).\n", p.Since.Local().Format(time.DateOnly), p.Connections, who, p.Request.To, p.Request.Direction)
	if len(p.Items) > 0 {
		if err := printTable(out, p.Items, previewColumns(time.Now())); err != nil {
			return err
		}
	}
	for _, n := range p.Notes {
		if _, err := fmt.Fprintf(out, "- %s\n", oneLineText(n)); err != nil {
			return err
		}
	}
	return nil
}

func previewColumns(now time.Time) []column[store.Preview] {
	type row = store.Preview
	identity := func(r *row) string { return r.Identity.String() }
	workload := func(r *row) string {
		for _, s := range []string{r.Owner, r.Unit, r.Container, r.Executable} {
			if s != "" {
				return s
			}
		}
		return "-"
	}
	resource := func(r *row) string { return r.Resource }
	direction := func(r *row) string { return string(r.Direction) }
	count := func(r *row) string { return strconv.FormatUint(r.Connections, 10) }
	nodes := func(r *row) string { return strconv.FormatUint(r.NodeCount, 10) }
	return []column[row]{
		{"IDENTITY", identity, "identity", identity},
		{"WORKLOAD", workload, "workload", workload},
		{"DIRECTION", direction, "direction", direction},
		{"RESOURCE", resource, "resource", resource},
		{"CONNECTIONS", count, "connections", count},
		{"NODES", nodes, "nodes", nodes},
		{"LAST", func(r *row) string { return ago(&r.LastTime, now) }, "last_time", func(r *row) string { return stamp(&r.LastTime) }},
	}
}

func tokenFileFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("token-file", "", "file with the token that allows changes (default: that of AMBIT_TOKEN_FILE, else of the default data folder)")
}

func escapeID(id string) string { return url.PathEscape(id) }
