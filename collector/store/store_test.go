package store

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// open gives a migrated store on an engine of the test's own.
func open(t testing.TB) *Store {
	t.Helper()
	c := Default()
	c.Socket = testenv.Engine(t)
	return openConfig(t, c)
}

func openConfig(t testing.TB, c Config) *Store {
	t.Helper()
	s := openUnmigrated(t, c)
	if err := s.Migrate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return s
}

func openUnmigrated(t testing.TB, c Config) *Store {
	t.Helper()
	s, err := Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// noon is the time at which the tests happen.
var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func identity(t testing.TB, uri string) event.Identity {
	t.Helper()
	id, err := event.ParseIdentity(uri)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func resource(t testing.TB, s string) event.Resource {
	t.Helper()
	r, err := event.ParseResource(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// toward makes an outbound TCP observation of ten seconds that end at a time.
func toward(t testing.TB, id, peer string, at time.Time, c event.Counts) *event.Observation {
	t.Helper()
	return &event.Observation{
		Time: at, FirstTime: at.Add(-10 * time.Second), Node: "n1",
		Workload:  event.Workload{Identity: identity(t, id), Evidence: event.EvidenceKubernetes, Namespace: "shop", Executable: "/app/checkout"},
		Direction: event.Outbound, Protocol: event.TCP,
		Peer:   event.Peer{Address: netip.MustParseAddr("10.1.2.3"), Port: 443, Name: peer, NameSource: event.NameDNS},
		Counts: c,
	}
}

func rowsOf(observations ...*event.Observation) []ObservationRow {
	var rows []ObservationRow
	for i, o := range observations {
		rows = append(rows, RowOf(o, o.Time, uint64(i)))
	}
	return rows
}

func insertRows(t testing.TB, s *Store, token string, rows []ObservationRow) {
	t.Helper()
	if err := s.InsertObservations(t.Context(), token, rows); err != nil {
		t.Fatal(err)
	}
}

func number(t testing.TB, s *Store, sql string) uint64 {
	t.Helper()
	var n uint64
	if err := s.conn.QueryRow(context.Background(), "SELECT toUInt64("+sql+")").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

const (
	checkout = "spiffe://shop.example/ns/shop/sa/checkout"
	billing  = "spiffe://shop.example/ns/shop/sa/billing"
)
