package collector

import (
	"slices"
	"time"

	"github.com/nats-io/nuid"

	"github.com/ambit-nhi/ambit/collector/journal"
	"github.com/ambit-nhi/ambit/collector/store"
)

func dayOf(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// rowsOf gives the rows of a part of an insert, from all rows, in their order.
func rowsOf(t journal.Part, all []store.ObservationRow) []store.ObservationRow {
	in := func(r *store.ObservationRow) bool {
		return r.Sequence >= t.First && r.Sequence <= t.Last && (t.Day == "" || dayOf(r.BatchTime) == t.Day)
	}
	first := slices.IndexFunc(all, func(r store.ObservationRow) bool { return in(&r) })
	if first < 0 {
		return nil
	}
	end := first
	for end < len(all) && in(&all[end]) {
		end++
	}
	if end == len(all) {
		return all[first:]
	}
	rows := slices.Clone(all[first:end])
	for i := end; i < len(all); i++ {
		if in(&all[i]) {
			rows = append(rows, all[i])
		}
	}
	return rows
}

// divide gives smaller parts of the same rows, or nil where they are of one message. Each day is an insert of its own in the store, and an
// earlier one may have been taken: under the same token it is not counted again. An insert of one day was refused as a whole.
func divide(t journal.Part, rows []store.ObservationRow) []journal.Part {
	var days []string
	var messages []uint64
	for i := range rows {
		if d := dayOf(rows[i].BatchTime); !slices.Contains(days, d) {
			days = append(days, d)
		}
		if n := len(messages); n == 0 || messages[n-1] != rows[i].Sequence {
			messages = append(messages, rows[i].Sequence)
		}
	}
	switch {
	case len(days) > 1:
		var out []journal.Part
		for _, d := range days {
			out = append(out, journal.Part{First: t.First, Last: t.Last, Day: d, Token: t.Token})
		}
		return out
	case len(messages) > 1:
		middle := messages[len(messages)/2]
		return []journal.Part{{First: t.First, Last: middle - 1, Day: t.Day, Token: nuid.Next()}, {First: middle, Last: t.Last, Day: t.Day, Token: nuid.Next()}}
	}
	return nil
}
