package store

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// What was stored is read again as it was, in the order in which it came, and nothing beside the time that was asked for.
func TestEachObservation(t *testing.T) {
	s := open(t)
	bare := event.Observation{
		Time: noon.Add(time.Hour), Node: "n2", Direction: event.Inbound, Protocol: event.UDP,
		Workload: event.Workload{Identity: identity(t, checkout)},
		Peer:     event.Peer{Address: netip.MustParseAddr("2001:db8::1"), Port: 53},
		Counts:   event.Counts{Connections: 1},
	}
	whole := *full(t)
	early, late := whole, bare
	early.Time, late.Time = noon.Add(-time.Hour), noon.Add(3*time.Hour)
	early.FirstTime = time.Time{}
	for i, x := range []struct {
		o        event.Observation
		batch    time.Time
		sequence uint64
	}{
		{bare, noon.Add(time.Minute), 9}, {whole, noon.Add(2 * time.Minute), 8}, {early, noon.Add(-time.Minute), 7}, {late, noon.Add(3 * time.Hour), 10},
	} {
		if err := s.InsertObservations(t.Context(), fmt.Sprint("token", i), []ObservationRow{RowOf(&x.o, x.batch, x.sequence)}); err != nil {
			t.Fatal(err)
		}
	}
	read := func(from, until time.Time) (got []event.Observation) {
		t.Helper()
		err := s.EachObservation(t.Context(), from, until, func(o *event.Observation, _ time.Time) error {
			if err := o.Validate(); err != nil {
				t.Errorf("%+v: %v", o, err)
			}
			got = append(got, *o)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got, want := read(noon, noon.Add(3*time.Hour)), []event.Observation{whole, bare}; !reflect.DeepEqual(got, want) {
		t.Errorf(" got %+v\nwant %+v", got, want)
	}
	if got, want := read(noon.Add(-24*time.Hour), noon.Add(24*time.Hour)), []event.Observation{early, whole, bare, late}; !reflect.DeepEqual(got, want) {
		t.Errorf(" got %+v\nwant %+v", got, want)
	}
	first, last, err := s.Recorded(t.Context())
	if err != nil || !first.Equal(noon.Add(-time.Minute)) || !last.Equal(noon.Add(3*time.Hour)) {
		t.Errorf("recorded from %s to %s, %v", first, last, err)
	}
}
