package store

import (
	"context"
	"errors"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Questions are asked again when no server answers: connections of the pool may lead to one that has died, and each try is a new one, to the
// first address that takes it. Inserts are the caller's to repeat.
const (
	askings   = 8
	firstWait = 20 * time.Millisecond // doubled each time: 2.5 s in all
)

// query asks, again if need be.
func (s *Store) query(ctx context.Context, what, sql string, args []any) (driver.Rows, error) {
	for i := 0; ; i++ {
		rows, err := s.conn.Query(ctx, sql, args...)
		if err == nil {
			return rows, nil
		}
		err = s.explain(what, err)
		if i+1 == askings || ctx.Err() != nil || !errors.Is(err, ErrUnreachable) {
			return nil, err
		}
		select {
		case <-time.After(firstWait << i):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// each streams the rows of a query into a struct of type T, which is reused.
func each[T any](ctx context.Context, s *Store, what, sql string, args []any, visit func(*T) error) error {
	rows, err := s.query(ctx, what, sql, args)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var row T
		if err := rows.ScanStruct(&row); err != nil {
			return s.explain(what, err)
		}
		if err := visit(&row); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return s.explain(what, err)
	}
	return nil
}

// scan streams the rows of a query into variables, which are reused: an order of magnitude less work for a row than a struct matched by name.
func (s *Store) scan(ctx context.Context, what, sql string, args, into []any, visit func() error) error {
	rows, err := s.query(ctx, what, sql, args)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return s.explain(what, err)
		}
		if err := visit(); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return s.explain(what, err)
	}
	return nil
}
