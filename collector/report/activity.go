package report

import (
	"context"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Activity is when an identity acted, in either direction. Days and hours are UTC; weeks begin on Monday.
type Activity struct {
	Identity     event.Identity `json:"identity"`
	Since        time.Time      `json:"since"`
	Until        time.Time      `json:"until"`
	CountedSince time.Time      `json:"counted_since,omitzero"` // connections are counted since then: older observations are not kept; absent: there are none
	Connections  [7][24]uint64  `json:"connections"`            // in each hour of the week
	ActiveDays   [7][24]uint64  `json:"active_days"`            // on how many days it acted in that hour
	Days         []ActivityDay  `json:"days"`                   // on which it acted or met something new, in order
}

// ActivityDay is what an identity did on a day.
type ActivityDay struct {
	Day         string `json:"day"` // 2026-11-01
	Connections uint64 `json:"connections"`
	Resources   uint64 `json:"resources"`    // that it used, or was used by
	NewOutbound uint64 `json:"new_outbound"` // that it reached for the first time
	NewInbound  uint64 `json:"new_inbound"`  // that reached it for the first time
}

// Activity reports when an identity acted in a window that ends now.
func (r *Reporter) Activity(ctx context.Context, id event.Identity, now time.Time, window time.Duration) (*Activity, error) {
	now = now.UTC()
	since := now.Add(-window)
	if _, err := r.store.Member(ctx, id, since, now); err != nil {
		return nil, err
	}
	a, err := r.store.Activity(ctx, id, since, now)
	if err != nil {
		return nil, err
	}
	out := &Activity{Identity: id, Since: since, Until: now, CountedSince: a.CountedSince, Connections: a.Connections, ActiveDays: a.ActiveDays, Days: make([]ActivityDay, 0, len(a.Days))}
	for _, d := range a.Days {
		out.Days = append(out.Days, ActivityDay{d.Day.Format(time.DateOnly), d.Connections, d.Resources, d.NewOutbound, d.NewInbound})
	}
	return out, nil
}
