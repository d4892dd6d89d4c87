package store

import (
	"context"
	"errors"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Errors of questions that cost too much; see [Bounded].
var (
	ErrTooLong  = errors.New("it takes too long")
	ErrTooLarge = errors.New("it takes too much memory")
	ErrBusy     = errors.New("there are too many questions at once")
)

// Bounds are those of one question to the database.
type Bounds struct {
	Time   time.Duration
	Memory uint64 // in bytes; sums and orders go to the disk from half of it on
}

// Bounded is a context whose questions give [ErrTooLong] or [ErrTooLarge] instead of costing more. Inserts are not bounded by it.
func Bounded(ctx context.Context, b Bounds) context.Context {
	return clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"max_execution_time": b.Time.Seconds(), "timeout_overflow_mode": "throw", "max_memory_usage": b.Memory,
		"max_bytes_before_external_group_by": b.Memory / 2, "max_bytes_before_external_sort": b.Memory / 2,
	}))
}
