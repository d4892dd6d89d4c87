package cli

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/report"
)

// showIdentity prints one identity with its credentials.
func showIdentity(ctx context.Context, w io.Writer, c *client, text string, form output, now time.Time) error {
	id, err := c.find(ctx, text)
	if err != nil {
		return err
	}
	var found api.Identity
	if err := c.get(ctx, "/api/v1/identities/"+url.PathEscape(id.String()), nil, &found); err != nil {
		return err
	}
	return printIdentity(w, form, &found, now)
}

// printIdentity prints an identity with its credentials: in a table both, in CSV the credentials.
func printIdentity(w io.Writer, form output, i *api.Identity, now time.Time) error {
	if form == outputTable {
		if err := printTable(w, []api.Identity{*i}, identityColumns(now)); err != nil {
			return err
		}
		if len(i.Credentials) == 0 {
			_, err := fmt.Fprintln(w, "\nIt presented no certificate in a TLS handshake that was seen.")
			return err
		}
		fmt.Fprintln(w)
	}
	if err := print(w, form, i, i.Credentials, credentialColumns(now)); err != nil || form != outputTable {
		return err
	}
	if all := i.Credential; all != nil && all.Count > uint64(len(i.Credentials)) {
		fmt.Fprintf(w, "\nThe last %d of %d are shown.\n", len(i.Credentials), all.Count)
	}
	return nil
}

func credentialColumns(now time.Time) []column[api.Credential] {
	type row = api.Credential
	kind, state := func(r *row) string { return r.Kind }, func(r *row) string { return string(r.State) }
	words := func(f func(*row) []string) func(*row) string {
		return func(r *row) string { return strings.Join(f(r), " ") }
	}
	issuer, peers := func(r *row) string { return r.Issuer }, words(func(r *row) []string { return r.Peers })
	presented, received := func(r *row) string { return strconv.FormatUint(r.Presented, 10) }, func(r *row) string { return strconv.FormatUint(r.Received, 10) }
	return []column[row]{
		{"CREDENTIAL", func(r *row) string { return r.SHA256[:min(len(r.SHA256), 16)] }, "sha256", func(r *row) string { return r.SHA256 }},
		{"KIND", kind, "kind", kind},
		{"STATE", state, "state", state},
		{"ENDS", func(r *row) string { return fromNow(r.NotAfter, now) }, "not_after", func(r *row) string { return stamp(&r.NotAfter) }},
		{"VERIFIED", func(r *row) string { return yes(r.Verified) }, "verified", func(r *row) string { return strconv.FormatBool(r.Verified) }},
		{"ISSUER", issuer, "issuer", issuer},
		{Name: "serial", Value: func(r *row) string { return r.Serial }},
		{Name: "not_before", Value: func(r *row) string { return stamp(&r.NotBefore) }},
		{"PRESENTED", presented, "presented", presented},
		{"RECEIVED", received, "received", received},
		{"LAST", func(r *row) string { return ago(&r.LastPresented, now) }, "last_presented", func(r *row) string { return stamp(&r.LastPresented) }},
		{Name: "first_seen", Value: func(r *row) string { return stamp(&r.FirstSeen) }},
		{Name: "last_seen", Value: func(r *row) string { return stamp(&r.LastSeen) }},
		{Name: "roles", Value: words(func(r *row) []string { return r.Roles })},
		{"SHOWN TO", peers, "peers", peers},
		{Name: "nodes", Value: words(func(r *row) []string { return r.Nodes })},
	}
}

// credentialCell says in a few words what an identity presented last. What needs somebody's attention is in capitals.
func credentialCell(c *api.LastCredential, now time.Time) string {
	if c == nil {
		return ""
	}
	switch c.State {
	case report.CredentialUnstated:
		return c.Kind
	case report.CredentialEnding:
		return c.Kind + ", ENDS " + fromNow(c.NotAfter, now)
	case report.CredentialExpired:
		return c.Kind + ", ended " + fromNow(c.NotAfter, now)
	case report.CredentialMisused:
		return c.Kind + ", EXPIRED " + fromNow(c.NotAfter, now) + ", still used"
	case report.CredentialNotYet:
		return c.Kind + ", NOT VALID YET"
	}
	return c.Kind + ", ends " + fromNow(c.NotAfter, now)
}

// fromNow says how far a time is, in the past or to come, roughly.
func fromNow(t, now time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case t.After(now):
		return "in " + span(t.Sub(now))
	}
	return ago(&t, now)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// lastOf is what an identity presented last, which may be nothing.
func lastOf(r *api.Identity) *api.LastCredential {
	if r.Credential == nil {
		return &api.LastCredential{}
	}
	return r.Credential
}
