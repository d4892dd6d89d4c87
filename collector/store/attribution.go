package store

import (
	"context"
	"fmt"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Unattributed are the connections of one identity that stand under it for want of a better one. Times are UTC.
type Unattributed struct {
	Reason      event.Unattributed `json:"reason"`
	Connections uint64             `json:"connections"` // both directions
	Nodes       []string           `json:"nodes"`       // at most 8
	LastTime    time.Time          `json:"last_time"`
	Executable  string             `json:"executable,omitempty"` // of the latest
	Cgroup      string             `json:"cgroup,omitempty"`     // of the latest
}

type unattributedRow struct {
	Identity    string    `ch:"identity"`
	Reason      string    `ch:"reason"`
	Connections uint64    `ch:"connections"`
	Nodes       []string  `ch:"nodes"`
	LastTime    time.Time `ch:"last_time"`
	Executable  string    `ch:"executable"`
	Cgroup      string    `ch:"cgroup"`
}

// explainUnattributed adds the reasons to identities that were asked for because of them, most connections first.
func (s *Store) explainUnattributed(ctx context.Context, f IdentityFilter, identities []Identity) error {
	if f.Unattributed.IsZero() || len(identities) == 0 {
		return nil
	}
	uris := make([]string, len(identities))
	at := make(map[string]*Identity, len(identities))
	for i := range identities {
		uris[i] = identities[i].Identity.String()
		at[uris[i]] = &identities[i]
	}
	return each(ctx, s, "read what is unattributed", unattributedSQL, named("since", since(f.Unattributed), "identities", uris), func(r *unattributedRow) error {
		i := at[r.Identity]
		i.Unattributed = append(i.Unattributed, Unattributed{
			event.Unattributed(r.Reason), r.Connections, r.Nodes, moment(r.LastTime), r.Executable, r.Cgroup,
		})
		return nil
	})
}

// Attribution is how many connections were made or accepted, by whether it is known by whom.
type Attribution struct {
	Attributed   uint64
	Unattributed map[event.Unattributed]uint64 // by reason; never nil
}

type attributionRow struct {
	Reason      string `ch:"reason"`
	Connections uint64 `ch:"connections"`
}

// Attribution counts the connections since a time. It is known by the hour: those of the hour in which from lies are counted.
func (s *Store) Attribution(ctx context.Context, from time.Time) (Attribution, error) {
	out := Attribution{Unattributed: map[event.Unattributed]uint64{}}
	err := each(ctx, s, "read attribution", attributionSQL, named("since", max(since(from), 0)), func(r *attributionRow) error {
		if r.Reason == "" {
			out.Attributed = r.Connections
		} else if r.Connections > 0 {
			out.Unattributed[event.Unattributed(r.Reason)] = r.Connections
		}
		return nil
	})
	if err != nil {
		return Attribution{}, fmt.Errorf("count connections: %w", err)
	}
	return out, nil
}

// since is a time as a query takes it: negative where none is asked for.
func since(t time.Time) int64 {
	if t.IsZero() {
		return -1
	}
	return max(t.UnixMicro(), 0)
}
