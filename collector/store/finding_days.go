package store

import (
	"context"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// DayUse is what an identity did on one day (UTC): toward a resource, and in all.
type DayUse struct {
	Day    time.Time    `json:"day"`
	Counts event.Counts `json:"counts"` // toward the resource, or in all where there is none
	All    event.Counts `json:"all"`    // connections and bytes
	Hours  []int        `json:"hours"`  // of the day, in which it did anything
	New    uint64       `json:"new"`    // resources that it reached for the first time
}

type dayRow struct {
	Day            time.Time `ch:"day"`
	Connections    uint64    `ch:"connections"`
	Failed         uint64    `ch:"failed"`
	Denied         uint64    `ch:"denied"`
	BytesSent      uint64    `ch:"bytes_sent"`
	BytesReceived  uint64    `ch:"bytes_received"`
	AllConnections uint64    `ch:"all_connections"`
	AllSent        uint64    `ch:"all_sent"`
	AllReceived    uint64    `ch:"all_received"`
	Hours          uint32    `ch:"hours"`
}

// UseByDay gives what an identity did on each day of a stretch of time, toward a resource ("": any). Days without anything are not there.
func (s *Store) UseByDay(ctx context.Context, id event.Identity, resource string, since, until time.Time) ([]DayUse, error) {
	args := named("identity", id.String(), "resource", resource, "since", microsOrZero(since), "until", microsOrZero(until))
	var out []DayUse
	at := map[int64]int{}
	err := each(ctx, s, "read use by day", findingDaysSQL, args, func(r *dayRow) error {
		at[r.Day.Unix()] = len(out)
		out = append(out, DayUse{
			Day:    r.Day.UTC(),
			Counts: event.Counts{Connections: r.Connections, Failed: r.Failed, Denied: r.Denied, BytesSent: r.BytesSent, BytesReceived: r.BytesReceived},
			All:    event.Counts{Connections: r.AllConnections, BytesSent: r.AllSent, BytesReceived: r.AllReceived},
			Hours:  hours(r.Hours),
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	var day time.Time
	var resources uint64
	err = s.scan(ctx, "read first uses", findingFirstUsesSQL, args, []any{&day, &resources}, func() error {
		if i, ok := at[day.Unix()]; ok { // what is there was observed on that day
			out[i].New = resources
		}
		return nil
	})
	return out, err
}
