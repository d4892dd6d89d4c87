package store

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// settle waits on a cluster until the replicas have what was inserted into a table anywhere: a detector that is restored from a replica which is behind
// would take what is known for new. It does not wait for replicas that are away for longer than the timeout.
func (s *Store) settle(ctx context.Context, table string) error {
	if s.layout.cluster == "" {
		return nil
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"distributed_ddl_task_timeout": 30, "distributed_ddl_output_mode": "null_status_on_timeout",
	}))
	if err := s.conn.Exec(ctx, s.layout.sync(table)); err != nil {
		return s.explain("wait for replicas of "+table, err)
	}
	return nil
}

func (l layout) sync(table string) string {
	return fmt.Sprintf("SYSTEM SYNC REPLICA %s %s.%s LIGHTWEIGHT", l.OnCluster(), quote(l.database), l.local(table))
}
