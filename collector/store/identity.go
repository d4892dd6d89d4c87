package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/event"
)

// Identity is what is known of an identity. Times are UTC; a zero time is never.
type Identity struct {
	Identity       event.Identity `json:"identity"`
	Kind           string         `json:"kind"`               // see [Kind]
	State          string         `json:"state,omitempty"`    // of learning; who asks the detector fills it in
	Evidence       event.Evidence `json:"evidence,omitempty"` // the strongest ever
	Namespace      string         `json:"namespace,omitempty"`
	ServiceAccount string         `json:"service_account,omitempty"`
	Owner          string         `json:"owner,omitempty"`
	Unit           string         `json:"unit,omitempty"`
	Image          string         `json:"image,omitempty"`
	Executable     string         `json:"executable,omitempty"`
	Cgroup         string         `json:"cgroup,omitempty"`
	Nodes          []string       `json:"nodes"` // at most 8
	NodeCount      uint64         `json:"node_count"`
	FirstSeen      time.Time      `json:"first_seen"`
	LastSeen       time.Time      `json:"last_seen"`           // running
	FirstUsed      time.Time      `json:"first_used,omitzero"` // made or got a connection, or tried to
	LastUsed       time.Time      `json:"last_used,omitzero"`
	LastSuccess    time.Time      `json:"last_success,omitzero"` // not later than the end of the interval in which a connection succeeded
	Resources      uint64         `json:"resources"`             // that it reaches
	Counts         event.Counts   `json:"counts"`                // toward them

	Credential  *LastCredential `json:"credential,omitempty"`  // nil where it presented none that was seen
	Credentials []Credential    `json:"credentials,omitempty"` // the last presented first, at most 100; of a single identity only

	Unattributed []Unattributed `json:"unattributed,omitempty"` // by reason, where IdentityFilter asks for it

	Declarations []event.Declaration `json:"-"`                   // of all sources, those that are gone too
	Inventory    *inventory.View     `json:"inventory,omitempty"` // what they come to; who knows the rules fills it in
}

type identityRow struct {
	Identity       string    `ch:"identity"`
	Nodes          []string  `ch:"nodes"`
	NodeCount      uint64    `ch:"node_count"`
	FirstSeen      time.Time `ch:"first_seen"`
	LastSeen       time.Time `ch:"last_seen"`
	FirstUsed      time.Time `ch:"first_used"`
	LastUsed       time.Time `ch:"last_used"`
	LastSuccess    time.Time `ch:"last_success"`
	Resources      uint64    `ch:"resources"`
	Connections    uint64    `ch:"connections"`
	Failed         uint64    `ch:"failed"`
	Denied         uint64    `ch:"denied"`
	BytesSent      uint64    `ch:"bytes_sent"`
	BytesReceived  uint64    `ch:"bytes_received"`
	Evidence       string    `ch:"evidence"`
	Namespace      string    `ch:"namespace"`
	ServiceAccount string    `ch:"service_account"`
	Owner          string    `ch:"owner"`
	Unit           string    `ch:"unit"`
	Image          string    `ch:"image"`
	Executable     string    `ch:"executable"`
	Cgroup         string    `ch:"cgroup"`
}

func (r *identityRow) identity() (Identity, error) {
	id, err := event.ParseIdentity(r.Identity)
	return Identity{
		Identity: id, Kind: Kind(id), Evidence: event.Evidence(r.Evidence), Namespace: r.Namespace, ServiceAccount: r.ServiceAccount,
		Owner: r.Owner, Unit: r.Unit, Image: r.Image, Executable: r.Executable, Cgroup: r.Cgroup, Nodes: r.Nodes, NodeCount: r.NodeCount,
		FirstSeen: moment(r.FirstSeen), LastSeen: moment(r.LastSeen), FirstUsed: moment(r.FirstUsed), LastUsed: moment(r.LastUsed),
		LastSuccess: moment(r.LastSuccess), Resources: r.Resources,
		Counts: event.Counts{Connections: r.Connections, Failed: r.Failed, Denied: r.Denied, BytesSent: r.BytesSent, BytesReceived: r.BytesReceived},
	}, err
}

// IdentityFilter chooses identities, which come in the order of their URIs.
type IdentityFilter struct {
	Query  string // part of the URI, in any case
	Limit  int    // 0 is 100, at most 1000
	Cursor string // where the page before ended

	Unattributed time.Time // only those that connections were not attributed to properly since then, by the hour; zero: all

	Expiring time.Time // only those whose last credential ends before; zero: all

	Keep func(*Identity) bool // what the store cannot know; it may fill in more; nil keeps all
}

// maxReads bounds how far a page reads on for what Expiring and Keep keep.
const maxReads = 50

// Identities gives a page of identities, and the cursor of the next page or "". Where Expiring or Keep keep few, a page may hold less than its limit
// although another one follows.
func (s *Store) Identities(ctx context.Context, f IdentityFilter) ([]Identity, string, error) {
	after, err := parseCursor(f.Cursor, 1)
	if err != nil {
		return nil, "", fmt.Errorf("read identities: %w", err)
	}
	limit := bound(f.Limit, 100, 1000)
	read := limit + 1
	if f.Keep != nil || !f.Expiring.IsZero() {
		read = 1001
	}
	out := make([]Identity, 0, limit)
	for range maxReads {
		rows, err := s.identityRows(ctx, named("cursor", after[0], "identity", "", "q", f.Query, "limit", uint32(read), "unattributed", since(f.Unattributed)))
		if err != nil {
			return nil, "", err
		}
		found := make([]Identity, 0, len(rows))
		for i := range rows {
			id, err := rows[i].identity()
			if err != nil {
				s.corrupt["identities"].Add(1)
				continue
			}
			found = append(found, id)
		}
		if err := s.declare(ctx, f.Query, found); err != nil {
			return nil, "", err
		}
		if err := s.equip(ctx, found); err != nil {
			return nil, "", err
		}
		for _, id := range found {
			if !f.Expiring.IsZero() && !id.Credential.endsBefore(f.Expiring) || f.Keep != nil && !f.Keep(&id) {
				continue
			}
			if len(out) == limit {
				return out, cursor(out[limit-1].Identity.String()), s.explainUnattributed(ctx, f, out)
			}
			out = append(out, id)
		}
		if len(rows) < read {
			return out, "", s.explainUnattributed(ctx, f, out)
		}
		after[0] = rows[read-1].Identity
	}
	return out, cursor(after[0]), s.explainUnattributed(ctx, f, out)
}

// Identity gives one identity, or [ErrNotFound].
func (s *Store) Identity(ctx context.Context, id event.Identity) (Identity, error) {
	rows, err := s.identityRows(ctx, named("cursor", "", "identity", id.String(), "q", "", "limit", uint32(1), "unattributed", int64(-1)))
	if err != nil {
		return Identity{}, err
	}
	if id.IsZero() || len(rows) == 0 {
		return Identity{}, fmt.Errorf("read identity %s: %w", id, ErrNotFound)
	}
	out, err := rows[0].identity()
	if err != nil {
		return Identity{}, err
	}
	found := []Identity{out}
	if err := s.declare(ctx, "", found); err != nil {
		return Identity{}, err
	}
	if err := s.equip(ctx, found); err != nil {
		return Identity{}, err
	}
	if found[0].Credential != nil {
		if found[0].Credentials, err = s.credentials(ctx, id); err != nil {
			return Identity{}, err
		}
	}
	return found[0], nil
}

func (s *Store) identityRows(ctx context.Context, args []any) ([]identityRow, error) {
	var out []identityRow
	err := each(ctx, s, "read identities", identitiesSQL, args, func(r *identityRow) error {
		out = append(out, *r)
		return nil
	})
	return out, err
}

// Kind says what an identity is, by the form of its URI: service-account, unit, cgroup, container, process or certificate, and workload for a SPIFFE ID
// that somebody else gave out.
func Kind(id event.Identity) string {
	scheme, rest, _ := strings.Cut(id.String(), "://")
	if scheme == "x509" {
		return "certificate"
	}
	if i := strings.IndexByte(rest, '/'); i >= 0 { // the most frequent one, without taking all apart
		if namespace, account, ok := strings.Cut(rest[i:], "/sa/"); ok && strings.HasPrefix(namespace, "/ns/") &&
			!strings.Contains(namespace[len("/ns/"):], "/") && !strings.Contains(account, "/") {
			return "service-account"
		}
	}
	path := strings.Split(rest, "/") // the trust domain, then the path
	switch {
	case len(path) == 5 && path[1] == "ns" && path[3] == "sa": // of the namespace sa
		return "service-account"
	case len(path) > 4 && path[1] == "node" && path[3] == "unit":
		return "unit"
	case len(path) > 4 && path[1] == "node" && path[3] == "cgroup":
		return "cgroup"
	case len(path) > 4 && path[1] == "node" && path[3] == "container":
		return "container"
	case len(path) > 6 && path[1] == "node" && path[3] == "uid" && path[5] == "exe":
		return "process"
	}
	return "workload"
}
