package store

import (
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

func TestForget(t *testing.T) {
	s := open(t)
	now := noon
	insert := func(id, peer, node string, days int) {
		t.Helper()
		at := now.AddDate(0, 0, -days)
		o := toward(t, id, peer, at, event.Counts{Connections: 1})
		o.Node = node
		o.TLS = &event.TLS{Version: "1.3", Provenance: "wire-only"}
		insertRows(t, s, id+peer+node+at.String(), rowsOf(o))
	}
	const gone, running = "spiffe://shop.example/ns/shop/sa/gone", "spiffe://shop.example/node/n1/unit/backup.service"
	insert(gone, "db.example", "n1", 500)
	insert(gone, "db.example", "n2", 401)
	insert(checkout, "db.example", "n1", 500) // it lives, elsewhere and with other resources
	insert(checkout, "mail.example", "n2", 10)
	insert(running, "db.example", "n1", 500) // it does nothing, but runs
	if err := s.InsertSightings(t.Context(), []Sighting{{event.Workload{Identity: identity(t, running), Evidence: event.EvidenceSystemd}, "n1", now}}); err != nil {
		t.Fatal(err)
	}
	counts := func() [4]uint64 {
		return [4]uint64{number(t, s, "(SELECT uniqExact(identity) FROM identities)"), number(t, s, "(SELECT uniqExact(identity, node) FROM identities)"),
			number(t, s, "(SELECT sum(connections) FROM reach)"), number(t, s, "(SELECT sum(connections) FROM reach_tls)")}
	}
	f := func(name string, forgotten int, want [4]uint64) {
		t.Helper()
		if n, err := s.Forget(t.Context(), now); err != nil || n != forgotten {
			t.Errorf("%s: %d forgotten, %v, want %d", name, n, err, forgotten)
		}
		if got := counts(); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
	s.retention.Reach = 0
	f("for ever", 0, [4]uint64{3, 5, 5, 5})
	s.retention.Reach = 400 * day
	f("400 days", 1, [4]uint64{2, 3, 3, 3})
	f("again", 0, [4]uint64{2, 3, 3, 3})
	edges, _, err := s.Reach(t.Context(), identity(t, checkout), ReachFilter{})
	if err != nil || len(edges) != 2 || !edges[0].FirstTime.Equal(now.AddDate(0, 0, -500).Add(-10*time.Second)) {
		t.Errorf("what lives lost some of its reach: %+v %v", edges, err)
	}

	// Who comes back begins anew; its repeated old insert still counts nothing.
	insert(gone, "db.example", "n1", 0)
	insert(gone, "db.example", "n2", 401)
	f("come back", 0, [4]uint64{3, 4, 4, 4})
}
