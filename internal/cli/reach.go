package cli

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/event"
)

func newReachCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reach ID",
		Short: "Show what an identity reaches, or who reaches it",
		Long: `Show what an identity reaches, or who reaches it.

ID is the identity's URI, or a part of it that no other identity has.`,
		Args: oneArg("an identity or a part of its URI"),
	}
	server, form, limit := serverFlag(cmd), outputFlag(cmd), limitFlag(cmd)
	direction := cmd.Flags().String("direction", string(event.Outbound), "outbound, inbound or any")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		if err := checkLimit(*limit); err != nil {
			return err
		}
		id, err := c.find(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		path := "/api/v1/identities/" + url.PathEscape(id.String()) + "/reach"
		page, err := list[api.Reach](cmd.Context(), c, path, url.Values{"direction": {*direction}}, *limit)
		if err != nil {
			return err
		}
		return print(cmd.OutOrStdout(), *form, page, page.Items, reachColumns(time.Now()))
	}
	return cmd
}

// find gives the identity that text is, or is a part of.
func (c *client) find(ctx context.Context, text string) (event.Identity, error) {
	if strings.Contains(text, "://") {
		if id, err := event.ParseIdentity(text); err == nil {
			return id, nil
		}
	}
	var page api.Page[api.Identity]
	if err := c.get(ctx, "/api/v1/identities", url.Values{"q": {text}, "limit": {"3"}}, &page); err != nil {
		return event.Identity{}, err
	}
	switch {
	case len(page.Items) == 0:
		return event.Identity{}, fmt.Errorf("no identity holds %q; `ambit identities` lists them", text)
	case len(page.Items) > 1:
		return event.Identity{}, usagef("%q is a part of more than one identity, such as %s and %s; write more of it",
			text, page.Items[0].Identity, page.Items[1].Identity)
	}
	return page.Items[0].Identity, nil
}

func reachColumns(now time.Time) []column[api.Reach] {
	type row = api.Reach
	count := func(f func(*row) uint64) func(*row) string {
		return func(r *row) string { return strconv.FormatUint(f(r), 10) }
	}
	direction := func(r *row) string { return string(r.Direction) }
	resource := func(r *row) string { return r.Resource.String() }
	connections, failed := count(func(r *row) uint64 { return r.Connections }), count(func(r *row) uint64 { return r.Failed })
	return []column[row]{
		{"RESOURCE", resource, "resource", resource},
		{"DIRECTION", direction, "direction", direction},
		{"CONNECTIONS", connections, "connections", connections},
		{"FAILED", failed, "failed", failed},
		{Name: "denied", Value: count(func(r *row) uint64 { return r.Denied })},
		{"SENT", func(r *row) string { return size(r.BytesSent) }, "bytes_sent", count(func(r *row) uint64 { return r.BytesSent })},
		{"RECEIVED", func(r *row) string { return size(r.BytesReceived) }, "bytes_received", count(func(r *row) uint64 { return r.BytesReceived })},
		{Head: "TLS", Cell: tlsCell},
		{"FIRST", func(r *row) string { return ago(&r.FirstTime, now) }, "first_time", func(r *row) string { return stamp(&r.FirstTime) }},
		{"LAST", func(r *row) string { return ago(&r.LastTime, now) }, "last_time", func(r *row) string { return stamp(&r.LastTime) }},
		{Name: "last_success", Value: func(r *row) string { return stamp(r.LastSuccess) }},
		{"APPROVED", approvedCell, "approved_by", func(r *row) string {
			if r.Approved == nil {
				return ""
			}
			return r.Approved.By
		}},
		{"EXECUTABLES", func(r *row) string { return strings.Join(r.Executables, " ") }, "executables", func(r *row) string { return strings.Join(r.Executables, " ") }},
		{Name: "nodes", Value: func(r *row) string { return strings.Join(r.Nodes, " ") }},
		{Name: "tls_connections", Value: count(func(r *row) uint64 { return tlsConnections(r, func(*api.ReachTLS) bool { return true }) })},
		{Name: "tls_verified", Value: count(func(r *row) uint64 { return tlsConnections(r, func(t *api.ReachTLS) bool { return t.Verified }) })},
		{Name: "tls_mutual", Value: count(func(r *row) uint64 { return tlsConnections(r, func(t *api.ReachTLS) bool { return t.Mutual }) })},
		{Name: "tls_versions", Value: tlsWords(func(t *api.ReachTLS) []string { return []string{t.Version} })},
		{Name: "tls_provenance", Value: tlsWords(func(t *api.ReachTLS) []string { return []string{t.Provenance} })},
		{Name: "tls_sni", Value: tlsWords(func(t *api.ReachTLS) []string { return t.SNI })},
		{Name: "tls_alpn", Value: tlsWords(func(t *api.ReachTLS) []string { return t.ALPN })},
	}
}

// approvedCell says whose word makes it normal.
func approvedCell(r *api.Reach) string {
	a := r.Approved
	switch {
	case a == nil:
		return "-"
	case a.Until.IsZero():
		return "by " + a.By
	}
	return "by " + a.By + " until " + a.Until.Local().Format(time.DateOnly)
}
