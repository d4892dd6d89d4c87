package collector

import (
	"slices"
	"time"

	"github.com/nats-io/nuid"

	"github.com/ambit-nhi/ambit/collector/journal"
	"github.com/ambit-nhi/ambit/collector/store"
)

func dayOf(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// messagesOf gives the messages of a part of an insert, from all, in their order.
func messagesOf(t journal.Part, all []store.Message) (out []store.Message) {
	for _, m := range all {
		if m.Sequence >= t.First && m.Sequence <= t.Last && (t.Day == "" || dayOf(m.Time) == t.Day) {
			out = append(out, m)
		}
	}
	return out
}

// rows counts those of messages.
func rows(messages []store.Message) (n int) {
	for _, m := range messages {
		n += m.Len()
	}
	return n
}

// divide gives smaller parts of the same messages, or nil where there is one. Each day is an insert of its own in the store, and an
// earlier one may have been taken: under the same token it is not counted again. An insert of one day was refused as a whole.
func divide(t journal.Part, messages []store.Message) []journal.Part {
	var days []string
	for _, m := range messages {
		if d := dayOf(m.Time); !slices.Contains(days, d) {
			days = append(days, d)
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
		middle := messages[len(messages)/2].Sequence
		return []journal.Part{{First: t.First, Last: middle - 1, Day: t.Day, Token: nuid.Next()}, {First: middle, Last: t.Last, Day: t.Day, Token: nuid.Next()}}
	}
	return nil
}
