package store

import (
	"context"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Activity is when an identity acted, in either direction. Days and hours are UTC; weeks begin on Monday.
type Activity struct {
	Connections [7][24]uint64 // in each hour of the week, from CountedSince on
	ActiveDays  [7][24]uint64 // on how many days it acted in that hour
	Days        []ActivityDay // on which it acted or met something new, in order

	CountedSince time.Time // the first observation that is still kept; zero: there is none
}

// ActivityDay is what an identity did on a day.
type ActivityDay struct {
	Day         time.Time // its beginning
	Connections uint64
	Resources   uint64 // that it used, or was used by
	NewOutbound uint64 // that it reached for the first time
	NewInbound  uint64 // that reached it for the first time
}

// Activity says when an identity acted, from a time until another one. What it did in the hours of the week is counted where observations are still kept; which
// hours of which days it acted in is known for longer.
func (s *Store) Activity(ctx context.Context, id event.Identity, since, until time.Time) (*Activity, error) {
	out := &Activity{}
	args := named("identity", id.String(), "since", since.UnixMicro(), "until", until.UnixMicro())
	var weekday, hour uint8
	var connections, resources uint64
	var first int64
	err := s.scan(ctx, "read activity", activityHoursSQL, args, []any{&weekday, &hour, &connections, &first}, func() error {
		out.Connections[(weekday+6)%7][hour%24] = connections
		if at := micros(first); out.CountedSince.IsZero() || at.Before(out.CountedSince) {
			out.CountedSince = at
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var day time.Time
	var set uint32
	at := map[time.Time]*ActivityDay{}
	of := func() *ActivityDay {
		d := at[day.UTC()]
		if d == nil {
			d = &ActivityDay{Day: day.UTC()}
			at[d.Day] = d
		}
		return d
	}
	err = s.scan(ctx, "read activity", activityDaysSQL, args, []any{&day, &set, &connections, &resources}, func() error {
		for _, h := range hours(set) {
			out.ActiveDays[(int(day.Weekday())+6)%7][h]++
		}
		d := of()
		d.Connections, d.Resources = connections, resources
		return nil
	})
	if err != nil {
		return nil, err
	}
	var outbound, inbound uint64
	err = s.scan(ctx, "read reach", activityNewSQL, args, []any{&day, &outbound, &inbound}, func() error {
		d := of()
		d.NewOutbound, d.NewInbound = outbound, inbound
		return nil
	})
	for _, d := range at {
		out.Days = append(out.Days, *d)
	}
	slices.SortFunc(out.Days, func(a, b ActivityDay) int { return a.Day.Compare(b.Day) })
	return out, err
}
