package collector

import (
	"slices"
	"time"

	"github.com/nats-io/nuid"

	"github.com/ambit-nhi/ambit/collector/store"
)

// part is an insert of some messages of a plan.
type part struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	Day   string `json:"day,omitempty"` // only rows whose batch is of this day
	Token string `json:"token"`
}

func dayOf(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// rows gives the rows of the part, from all rows of its group, in their order.
func (t *part) rows(all []store.ObservationRow) []store.ObservationRow {
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
func (t *part) divide(rows []store.ObservationRow) []part {
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
		var out []part
		for _, d := range days {
			out = append(out, part{t.First, t.Last, d, t.Token})
		}
		return out
	case len(messages) > 1:
		middle := messages[len(messages)/2]
		return []part{{t.First, middle - 1, t.Day, nuid.Next()}, {middle, t.Last, t.Day, nuid.Next()}}
	}
	return nil
}
