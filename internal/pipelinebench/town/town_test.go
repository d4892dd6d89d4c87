package town

import (
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

var end = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func TestObservationsAreValidAndRepeat(t *testing.T) {
	a, b := NewNode(3, 1000), NewNode(3, 1000)
	var first []event.Observation
	a.Observe(end, func(o *event.Observation) {
		if err := o.Validate(); err != nil {
			t.Fatal(err)
		}
		first = append(first, *o)
	})
	if n := len(first); n < 800 || n > 1200 {
		t.Errorf("%d observations, want about 1000", n)
	}
	i := 0
	b.Observe(end, func(o *event.Observation) {
		if i < len(first) && (o.Workload != first[i].Workload || o.Peer != first[i].Peer || o.Counts != first[i].Counts || !o.FirstTime.Equal(first[i].FirstTime)) {
			t.Errorf("observation %d differs: %+v, then %+v", i, first[i], *o)
		}
		i++
	})
	if i != len(first) {
		t.Errorf("%d observations, then %d", len(first), i)
	}
}

func TestKindsOfEdges(t *testing.T) {
	kinds := map[event.ResourceKind]int{}
	inbound, tls, all := 0, 0, 0
	NewNode(1, 5000).Observe(end, func(o *event.Observation) {
		all++
		kinds[event.ResourceOf(o).Kind()]++
		if o.Direction == event.Inbound {
			inbound++
		}
		if o.TLS != nil {
			tls++
		}
	})
	for _, k := range []event.ResourceKind{event.ResourceIdentity, event.ResourceDNS, event.ResourceService, event.ResourceNet} {
		if kinds[k] == 0 {
			t.Errorf("no resource of the kind %s among %d", k, all)
		}
	}
	if inbound == 0 || tls == 0 {
		t.Errorf("%d inbound, %d with TLS, of %d", inbound, tls, all)
	}
}
