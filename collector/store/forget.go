package store

import (
	"context"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// remembered are the tables that keep an identity as long as it lives, and when each row was last true. identities comes last: while it has an
// identity, the next call finds it.
var remembered = []struct{ table, last string }{
	{"reach", "last_time"}, {"reach_tls", "last_time"}, {"identities", "last_seen"},
}

// forgetAtOnce bounds the text of a statement.
const forgetAtOnce = 1000

// Forget drops identities that were neither seen running nor used on any node for the time that [Retention] says before now, with all that
// they ever reached, and says how many these were. What an identity that lives reached long ago stays: its first and last times and its
// totals are whole. It is no TTL, which sees one row and not whether the identity lives. Calling it once a day is enough; a call that was cut short
// is made good by the next one, and calls at once do no harm.
func (s *Store) Forget(ctx context.Context, now time.Time) (int, error) {
	if s.retention.Reach == 0 {
		return 0, nil
	}
	forgotten, before := 0, now.Add(-s.retention.Reach).UnixMicro()
	for {
		var identities []string
		var identity string
		err := s.scan(ctx, "read identities to forget", forgottenSQL, named("before", before, "limit", uint32(forgetAtOnce)), []any{&identity}, func() error {
			identities = append(identities, identity)
			return nil
		})
		if err != nil || len(identities) == 0 {
			return forgotten, err
		}
		ctx := clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"mutations_sync": 2}))
		for _, r := range remembered {
			// The time again, since an identity may come back meanwhile.
			if err := s.conn.Exec(ctx, s.layout.forget(r.table, r.last), named("identities", identities, "before", before)...); err != nil {
				return forgotten, s.explain("forget identities", err)
			}
		}
		forgotten += len(identities)
		if len(identities) < forgetAtOnce {
			return forgotten, nil
		}
	}
}

func (l layout) forget(table, last string) string {
	return "ALTER TABLE " + l.local(table) + " " + l.OnCluster() +
		" DELETE WHERE identity IN {identities:Array(String)} AND " + last + " < fromUnixTimestamp64Micro({before:Int64}, 'UTC')"
}
