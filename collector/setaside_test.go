package collector

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/ambit-nhi/ambit/collector/journal"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// openStrictStore opens a store whose tables refuse rows that meet conditions, by table; allow lifts that.
func openStrictStore(t *testing.T, refuse map[string]string) (s *store.Store, allow func()) {
	t.Helper()
	c := store.Default()
	c.Socket = testenv.Engine(t)
	s = openStoreWith(t, c)
	alter := func(what string) {
		t.Helper()
		conn, err := clickhouse.Open(&clickhouse.Options{
			Protocol: clickhouse.HTTP, Addr: []string{"localhost:0"}, Auth: clickhouse.Auth{Database: c.Database},
			DialContext: func(ctx context.Context, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", c.Socket)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.Exec(t.Context(), "ALTER TABLE "+what); err != nil {
			t.Fatal(err)
		}
	}
	for table, condition := range refuse {
		alter(table + " ADD CONSTRAINT strict CHECK NOT (" + condition + ")")
	}
	return s, func() {
		for table := range refuse {
			alter(table + " DROP CONSTRAINT strict")
		}
	}
}

// forget takes back what was published toward a port, since the store will not have it.
func (n *node) forget(port uint16) {
	for r := range n.sent {
		if r.Port() == port {
			delete(n.sent, r)
		}
	}
}

// TestStoreRefuses checks that a message that the store refuses for good, and only that, is set aside, wherever it stands.
func TestStoreRefuses(t *testing.T) {
	s, _ := openStrictStore(t, map[string]string{"observations": "peer_port = 666"})
	bus := openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	n.started = epoch.Add(-30 * time.Hour)
	for port := range uint16(300) {
		n.publish(time.Second, port, 1)
		if port%100 == 99 {
			n.publish(time.Second, 666)
		}
		if port == 150 {
			n.now = n.now.Add(-26 * time.Hour) // what comes late is of another day, and another insert of the store
		}
		if port == 250 {
			n.now = n.now.Add(26 * time.Hour)
		}
	}
	r := start(t, bus, s, func(c *Config) { c.FlushInterval = time.Second })
	n.settled(r)
	n.publish(time.Second, 666) // all alone
	n.settled(r)
	n.publish(time.Second, 1)
	n.settled(r)
	if got := value(t, r.metrics.refused.WithLabelValues(causeStore)); got != 4 {
		t.Errorf("%v messages are refused, want 4", got)
	}
	if err := r.troubled(time.Now().Add(time.Hour)); err != nil {
		t.Errorf("trouble is left: %v", err)
	}
	r.end(t)
	n.forget(666)
	n.checkTotals(s)
}

// TestStoreRefusesEverything checks that a store that takes nothing at all does not cost what is in the stream.
func TestStoreRefusesEverything(t *testing.T) {
	s, allow := openStrictStore(t, map[string]string{"observations": "1"})
	bus := openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	for port := range uint16(10) {
		n.publish(time.Second, port)
	}
	r := start(t, bus, s, func(c *Config) { c.Grace = 50 * time.Millisecond })
	await(t, "many tries", func() bool { return value(t, r.metrics.retried.WithLabelValues(insertObservations)) > 10*loneTries })
	if err := r.troubled(time.Now().Add(2 * patience)); !errors.Is(err, store.ErrRefused) {
		t.Errorf("not ready: %v", err)
	}
	r.end(t)
	allow()
	r = start(t, bus, s, nil)
	n.settled(r)
	r.end(t)
	if got := value(t, r.metrics.refused.WithLabelValues(causeStore)); got != 0 {
		t.Errorf("%v messages are set aside", got)
	}
	n.checkTotals(s)
}

// TestStoreRefusesRows checks the rows that are no observations.
func TestStoreRefusesRows(t *testing.T) {
	s, _ := openStrictStore(t, map[string]string{
		"coverage": "node = 'n1'", "findings": "resource = 'net:192.0.2.1/32:666/tcp'",
	})
	bus := openBus(t, t.TempDir())
	n, m := newNode(t, bus, "n1"), newNode(t, bus, "n2")
	r := start(t, bus, s, nil)
	m.publish(10*time.Second, 1)
	m.publish(2*time.Minute, 1)
	b := event.NewBatchBuilder(n.name, "boot", epoch)
	b.Sight(&busy)
	n.sendBatch(b, epoch.Add(time.Second))
	m.publish(time.Second, 666, 443)
	m.settled(r)
	r.end(t)
	m.checkTotals(s)
	found, _, err := s.Findings(t.Context(), store.FindingFilter{})
	if err != nil || len(found) != 1 || found[0].Resource.Port() != 443 {
		t.Errorf("the store holds findings %+v, want one: %v", found, err)
	}
	watched, err := s.Watched(t.Context(), epoch.Add(-time.Hour))
	if err != nil || len(watched) != 1 || watched[0].Node != "n2" {
		t.Errorf("the store holds coverage %+v, want that of one node: %v", watched, err)
	}
}

// slowStore takes its time for an insert.
type slowStore struct {
	*store.Store
	begun chan struct{}
}

func (s *slowStore) InsertBatches(ctx context.Context, _ string, _ []store.Message) error {
	close(s.begun)
	<-ctx.Done()
	return ctx.Err()
}

// TestReadySlow checks that an insert that hangs is trouble though nothing has failed yet.
func TestReadySlow(t *testing.T) {
	bus := openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	s := &slowStore{openStore(t), make(chan struct{})}
	r := start(t, bus, s, func(c *Config) { c.Grace = 10 * time.Millisecond })
	n.publish(time.Second, 1)
	receive(t, "the collector", s.begun)
	if err := r.troubled(time.Now().Add(2 * patience)); !errors.Is(err, errNoAnswer) {
		t.Errorf("not ready: %v", err)
	}
	r.end(t)
}

func TestPart(t *testing.T) {
	day := epoch.Truncate(24 * time.Hour)
	var all []store.Message
	for sequence := range uint64(8) {
		if sequence%3 > 0 { // some have no rows
			all = append(all, store.Message{Batch: &event.Batch{Time: day.Add(time.Duration(sequence%2) * 24 * time.Hour)}, Sequence: sequence})
		}
	}
	whole := journal.Part{First: 0, Last: 7, Token: "t"}
	got := map[uint64]int{}
	tokens := map[string]bool{}
	var walk func(p journal.Part)
	walk = func(p journal.Part) {
		messages := messagesOf(p, all)
		smaller := divide(p, messages)
		if smaller == nil {
			if tokens[p.Token+p.Day] {
				t.Errorf("%+v shares its token", p)
			}
			tokens[p.Token+p.Day] = true
			for i := range messages {
				got[messages[i].Sequence]++
			}
			return
		}
		n := 0
		for _, q := range smaller {
			if (q.Token == p.Token) != (q.Day != p.Day) {
				t.Errorf("%+v of %+v: only the inserts of other days share a token", q, p)
			}
			n += len(messagesOf(q, all))
			walk(q)
		}
		if n != len(messages) {
			t.Errorf("the parts of %+v have %d messages, it has %d", p, n, len(messages))
		}
	}
	walk(whole)
	want := map[uint64]int{}
	for i := range all {
		want[all[i].Sequence]++
	}
	for sequence, n := range want {
		if got[sequence] != n {
			t.Errorf("message %d: %d times, want %d", sequence, got[sequence], n)
		}
	}
	if !slices.IsSortedFunc(messagesOf(whole, all), func(a, b store.Message) int { return int(a.Sequence) - int(b.Sequence) }) {
		t.Error("messages changed their order")
	}
}
