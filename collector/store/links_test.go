package store

import (
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

const callee = "spiffe://shop.example/ns/shop/sa/db"

// linked are observations of checkout reaching the database, at its own end and at the database's.
func linked(t testing.TB) []ObservationRow {
	ok := event.Counts{Connections: 3, BytesSent: 10, BytesReceived: 10}
	out := toward(t, checkout, "", noon, ok)
	out.Peer.Identity, out.Peer.Evidence, out.Peer.Port = identity(t, callee), event.EvidenceSVID, 5432
	in := toward(t, callee, "", noon, ok)
	in.Direction, in.Peer.Identity, in.Peer.Evidence, in.Peer.Port = event.Inbound, identity(t, checkout), event.EvidenceSVID, 5432
	refused := toward(t, billing, "", noon, event.Counts{Connections: 2, Failed: 2})
	refused.Peer.Identity, refused.Peer.Evidence = identity(t, callee), event.EvidenceSVID
	other := toward(t, checkout, "db.example", noon, ok)
	return rowsOf(out, in, refused, other)
}

func links(t testing.TB, s *Store, way Way, id string) []Link {
	t.Helper()
	found, err := s.Links(t.Context(), way, []string{id}, "", noon.Add(-time.Hour), 100)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestLinks: who reaches whom is known from either end, once, also where rows are inserted again; what never succeeded is no link.
func TestLinks(t *testing.T) {
	s := open(t)
	for range 2 {
		insertRows(t, s, "a", linked(t))
	}
	for way, ends := range map[Way][2]string{Forward: {checkout, callee}, Backward: {callee, checkout}} {
		found := links(t, s, way, ends[0])
		if len(found) != 1 || found[0].Peer != ends[1] || found[0].Via != ends[0] || found[0].Connections != 3 || len(found[0].Services) != 1 || found[0].Services[0] != "5432/tcp" || !found[0].LastTime.Equal(noon) {
			t.Errorf("%s of %s: %+v", way, ends[0], found)
		}
	}
	if n := number(t, s, "(SELECT sum(made) FROM links WHERE way = 'forward')"); n != 5 {
		t.Errorf("%d connections made, want 5: a repeated insert counts once", n)
	}
	if found := links(t, s, Forward, billing); len(found) != 0 {
		t.Errorf("a refused connection is a link: %+v", found)
	}
	if found, err := s.Links(t.Context(), Forward, []string{checkout}, "443/tcp", noon.Add(-time.Hour), 100); err != nil || len(found) != 0 {
		t.Errorf("of another service: %+v, %v", found, err)
	}
	if found, err := s.Links(t.Context(), Forward, []string{checkout}, "", noon.Add(time.Hour), 100); err != nil || len(found) != 0 {
		t.Errorf("of later: %+v, %v", found, err)
	}
	reached, total, err := s.Reached(t.Context(), []string{checkout, callee}, noon.Add(-time.Hour), []string{"443"}, 100)
	if err != nil || total != 1 || len(reached) != 1 || reached[0].Resource != "dns:db.example:443/tcp" || reached[0].Via != checkout {
		t.Errorf("%+v %d %v", reached, total, err)
	}
	if reachers, err := s.Reachers(t.Context(), resource(t, "dns:db.example:443/tcp"), noon.Add(-time.Hour), 100); err != nil || len(reachers) != 1 || reachers[0].Identity != checkout {
		t.Errorf("%+v %v", reachers, err)
	}
}

// TestLinksOfOldDatabase: a database from before links has those of its reach after an upgrade, once.
func TestLinksOfOldDatabase(t *testing.T) {
	c := Default()
	s := open(t)
	c.Socket, c.Database = s.where.name[len("clickhouse engine at "):], "old"
	old := openUnmigrated(t, c)
	known, err := migrations(schemaFiles)
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for known[at].name != "0012_reports.sql" {
		at++
	}
	if err := old.migrate(t.Context(), known[:at]); err != nil {
		t.Fatal(err)
	}
	insertRows(t, old, "a", linked(t))
	for range 2 {
		if err := old.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if found := links(t, old, Backward, callee); len(found) != 1 || found[0].Peer != checkout || found[0].Connections != 3 {
		t.Errorf("%+v", found)
	}
	exposed := map[string]int{}
	if err := old.ExposedIdentities(t.Context(), time.Time{}, func(id string) { exposed[id]++ }); err != nil || exposed[checkout] != 1 {
		t.Errorf("those that reached the internet are %v, %v", exposed, err)
	}
}
