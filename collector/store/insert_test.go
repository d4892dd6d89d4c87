package store

import (
	"slices"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// sums are what must not count twice.
func sums(t *testing.T, s *Store) [3]uint64 {
	return [3]uint64{number(t, s, "(SELECT sum(connections) FROM observations)"), number(t, s, "(SELECT sum(connections) FROM reach)"),
		number(t, s, "(SELECT uniqExact(identity) FROM identities)")}
}

// twoDays are observations on both sides of midnight, in no order.
func twoDays(t *testing.T) []ObservationRow {
	midnight := noon.Truncate(day)
	return rowsOf(
		toward(t, checkout, "db.example", midnight.Add(time.Second), event.Counts{Connections: 1}),
		toward(t, billing, "db.example", midnight.Add(-time.Second), event.Counts{Connections: 10}),
		toward(t, checkout, "mail.example", midnight, event.Counts{Connections: 100}),
	)
}

func TestTokenCountsOnce(t *testing.T) {
	s := open(t)
	rows := twoDays(t)
	for range 3 {
		insertRows(t, s, "a", slices.Clone(rows))
		if got, want := sums(t, s), [3]uint64{111, 111, 2}; got != want {
			t.Fatalf("%d, want %d", got, want)
		}
	}
	// The same rows under another token happened twice.
	insertRows(t, s, "b", rows)
	if got, want := sums(t, s), [3]uint64{222, 222, 2}; got != want {
		t.Errorf("%d, want %d", got, want)
	}
	if err := s.conn.Exec(t.Context(), "OPTIMIZE TABLE reach FINAL"); err != nil {
		t.Fatal(err)
	}
	insertRows(t, s, "a", rows)
	if got, want := sums(t, s), [3]uint64{222, 222, 2}; got != want {
		t.Errorf("after a merge: %d, want %d", got, want)
	}
}

// TestTokenHeals repeats an insert that reached the table but not all of its views, and one that reached only the first of two days.
func TestTokenHeals(t *testing.T) {
	s := open(t)
	rows := twoDays(t)
	known, err := migrations(schemaFiles)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.conn.Exec(t.Context(), "DROP VIEW reach_from_observations SYNC"); err != nil {
		t.Fatal(err)
	}
	insertRows(t, s, "a", rows)
	if got, want := sums(t, s), [3]uint64{111, 0, 2}; got != want {
		t.Fatalf("%d, want %d", got, want)
	}
	statements, err := known[2].statements(layout{})
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range statements {
		if err := s.conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		insertRows(t, s, "a", rows)
		if got, want := sums(t, s), [3]uint64{111, 111, 2}; got != want {
			t.Fatalf("%d, want %d", got, want)
		}
	}

	first := blocksOfRows(rows)[0]
	insertRows(t, s, "b", first.rows)
	insertRows(t, s, "b", rows)
	if got, want := sums(t, s), [3]uint64{222, 222, 2}; got != want {
		t.Errorf("second day after the first: %d, want %d", got, want)
	}
}

// TestRestart ends the engine and starts it on the same data.
func TestRestart(t *testing.T) {
	engine := testenv.EngineConfig(t)
	_, stop := testenv.Supervise(t, engine)
	c := Default()
	c.Socket = engine.Server.Socket
	s := openConfig(t, c)
	rows := twoDays(t)
	insertRows(t, s, "a", rows)
	before := sums(t, s)
	stop()
	if err := s.Ping(t.Context()); err == nil {
		t.Fatal("the engine still answers")
	}
	testenv.Supervise(t, engine)
	s = openConfig(t, c)
	if after := sums(t, s); after != before {
		t.Errorf("%d after the restart, want %d", after, before)
	}
	insertRows(t, s, "a", rows)
	if after := sums(t, s); after != before {
		t.Errorf("%d after repeating the insert, want %d", after, before)
	}
}

func TestBlocks(t *testing.T) {
	f := func(n int, want ...int) {
		t.Helper()
		rows := make([]ObservationRow, n)
		for i := range rows {
			rows[i].BatchTime = noon
		}
		names := map[string]bool{}
		var got []int
		for _, b := range blocksOfRows(rows) {
			got = append(got, len(b.rows))
			names[b.name] = true
		}
		if !slices.Equal(got, want) || len(names) != len(want) {
			t.Errorf("%d rows: blocks of %d with %d names, want %d", n, got, len(names), want)
		}
	}
	for _, b := range blocksOfRows(twoDays(t)) {
		if !sameDay(b.rows, func(r *ObservationRow) time.Time { return r.BatchTime }) {
			t.Errorf("block %s spans two days", b.name)
		}
	}
	f(0)
	f(1, 1)
	f(maxBlockRows, maxBlockRows)
	f(2*maxBlockRows+1, maxBlockRows, maxBlockRows, 1)
}

func TestSightings(t *testing.T) {
	s := open(t)
	unit := "spiffe://shop.example/node/n1/unit/backup.service"
	sight := func(node string, at time.Time) Sighting {
		return Sighting{event.Workload{Identity: identity(t, unit), Evidence: event.EvidenceSystemd, Unit: "backup.service"}, node, at}
	}
	for range 2 {
		if err := s.InsertSightings(t.Context(), []Sighting{sight("n1", noon), sight("n1", noon.Add(time.Hour)), sight("n2", noon.Add(-time.Hour))}); err != nil {
			t.Fatal(err)
		}
	}
	id, err := s.Identity(t.Context(), identity(t, unit))
	if err != nil {
		t.Fatal(err)
	}
	if !id.FirstSeen.Equal(noon.Add(-time.Hour)) || !id.LastSeen.Equal(noon.Add(time.Hour)) || !id.FirstUsed.IsZero() || !id.LastUsed.IsZero() || !id.LastSuccess.IsZero() ||
		id.Resources != 0 || id.Kind != "unit" || id.Evidence != event.EvidenceSystemd || id.Unit != "backup.service" || !slices.Equal(id.Nodes, []string{"n1", "n2"}) {
		t.Errorf("%+v", id)
	}
}
