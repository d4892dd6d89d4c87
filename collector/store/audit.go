package store

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/ambit-nhi/ambit/collector/audit"
)

type auditRow struct {
	Number   uint64            `ch:"number"`
	Time     time.Time         `ch:"time"`
	Actor    string            `ch:"actor"`
	Action   string            `ch:"action"`
	Subject  string            `ch:"subject"`
	Detail   map[string]string `ch:"detail"`
	Previous string            `ch:"previous"`
	Hash     string            `ch:"hash"`
}

func (r *auditRow) record() audit.Record {
	out := audit.Record{Number: r.Number, Time: r.Time.UTC(), Actor: r.Actor, Action: r.Action, Subject: r.Subject, Previous: r.Previous, Hash: r.Hash}
	if len(r.Detail) > 0 {
		out.Detail = r.Detail
	}
	return out
}

// InsertAudit keeps records of the audit trail. Repeating it changes nothing.
func (s *Store) InsertAudit(ctx context.Context, records []audit.Record) error {
	rows := make([]auditRow, len(records))
	for i, r := range records {
		if r.Detail == nil {
			r.Detail = map[string]string{}
		}
		rows[i] = auditRow{r.Number, r.Time, r.Actor, r.Action, r.Subject, r.Detail, r.Previous, r.Hash}
	}
	return insert(ctx, s, "audit", repeatable(), rows)
}

// AuditFilter chooses records of the audit trail, which come newest first.
type AuditFilter struct {
	Actor   string
	Action  string // or its kind alone
	Subject string
	Since   time.Time
	Limit   int    // 0 is 100, at most 1000
	Cursor  string // where the page before ended
}

func auditArgs(f AuditFilter, after uint64, afterHash string, before uint64, newest bool, limit int) []any {
	since := int64(0)
	if f.Since.After(never) {
		since = f.Since.UnixMicro()
	}
	order := uint8(0)
	if newest {
		order = 1
	}
	return named("after", after, "after_hash", afterHash, "before", before, "actor", f.Actor, "action", f.Action, "subject", f.Subject, "since", since,
		"newest", order, "limit", uint32(limit))
}

// Audit gives a page of the audit trail, and the cursor of the next page or "".
func (s *Store) Audit(ctx context.Context, f AuditFilter) ([]audit.Record, string, error) {
	key, err := parseCursor(f.Cursor, 1)
	if err != nil {
		return nil, "", fmt.Errorf("read the audit trail: %w", err)
	}
	var before uint64
	if key[0] != "" {
		if before, err = strconv.ParseUint(key[0], 10, 64); err != nil || before == 0 {
			return nil, "", fmt.Errorf("read the audit trail: %w", ErrCursor)
		}
	}
	limit := bound(f.Limit, 100, 1000)
	out := make([]audit.Record, 0, limit)
	err = each(ctx, s, "read the audit trail", auditSQL, auditArgs(f, 0, "", before, true, limit+1), func(r *auditRow) error {
		out = append(out, r.record())
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	out, next := page(out, limit, func(r *audit.Record) string { return cursor(strconv.FormatUint(r.Number, 10)) })
	return out, next, nil
}

// auditPage is how many records are read at once where all are.
const auditPage = 10_000

// EachAudit gives all records in the order of their numbers. Two of the same number are given both.
func (s *Store) EachAudit(ctx context.Context) iter.Seq2[audit.Record, error] {
	return func(yield func(audit.Record, error) bool) {
		var after audit.Record
		for {
			var records []audit.Record
			err := each(ctx, s, "read the audit trail", auditSQL, auditArgs(AuditFilter{}, after.Number, after.Hash, 0, false, auditPage), func(r *auditRow) error {
				records = append(records, r.record())
				return nil
			})
			if err != nil {
				yield(audit.Record{}, err)
				return
			}
			for i := range records {
				if !yield(records[i], nil) {
					return
				}
			}
			if len(records) < auditPage {
				return
			}
			after = records[len(records)-1]
		}
	}
}

// LastAudit gives the record with the highest number, or none.
func (s *Store) LastAudit(ctx context.Context) (audit.Record, bool, error) {
	records, _, err := s.Audit(ctx, AuditFilter{Limit: 1})
	if err != nil || len(records) == 0 {
		return audit.Record{}, false, err
	}
	return records[0], true, nil
}
