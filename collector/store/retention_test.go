package store

import (
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// keptDays reads from the database after how many days the rows of a table end.
func keptDays(t *testing.T, s *Store, table string) uint64 {
	t.Helper()
	return number(t, s, `(SELECT extract(engine_full, 'TTL .*toIntervalDay\\(([0-9]+)\\)') FROM system.tables
		WHERE database = currentDatabase() AND name = '`+table+`')`)
}

func TestRetention(t *testing.T) {
	s := open(t)
	f := func(want map[string]uint64) {
		t.Helper()
		for range 2 {
			if err := s.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			for table, days := range want {
				if n := keptDays(t, s, table); n != days {
					t.Errorf("%s: TTL %d days, want %d", table, n, days)
				}
			}
		}
	}
	f(map[string]uint64{"observations": 30, "observations_daily": 400, "findings": 400, "decisions": 400, "decision_acks": 400})
	s.retention.Observations, s.retention.Daily, s.retention.Findings = 7*day, 60*day, 50*day
	f(map[string]uint64{"observations": 7, "observations_daily": 60, "findings": 50})

	// Old rows go, what was learned from them stays: of the one the day and the edge, of the other only the edge.
	now := time.Now().UTC()
	for _, days := range []int{1, 8, 100} {
		at := now.AddDate(0, 0, -days)
		insertRows(t, s, at.String(), rowsOf(toward(t, checkout, "db.example", at, event.Counts{Connections: uint64(days)})))
	}
	old := finding(t, 1)
	old.FirstTime, old.LastTime = now.AddDate(0, 0, -60), now.AddDate(0, 0, -51)
	if err := s.InsertFindings(t.Context(), []event.Finding{old}); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"observations", "observations_daily", "findings"} {
		if err := s.conn.Exec(t.Context(), "OPTIMIZE TABLE "+table+" FINAL"); err != nil {
			t.Fatal(err)
		}
	}
	for sql, want := range map[string]uint64{
		"sum(connections) FROM observations":       1,
		"sum(connections) FROM observations_daily": 1 + 8,
		"sum(connections) FROM reach":              1 + 8 + 100,
		"count() FROM findings":                    0,
	} {
		if n := number(t, s, "(SELECT "+sql+")"); n != want {
			t.Errorf("%s: %d, want %d", sql, n, want)
		}
	}
}

// TestDaily holds that what is rolled up is what was observed, whatever was inserted again.
func TestDaily(t *testing.T) {
	s := open(t)
	rows := twoDays(t)
	for range 3 {
		insertRows(t, s, "a", rows)
	}
	insertRows(t, s, "b", rowsOf(toward(t, checkout, "db.example", noon, event.Counts{Connections: 1000, BytesSent: 5})))
	for range 2 {
		differ := number(t, s, `(SELECT count() FROM
			(SELECT toDate(batch_time) AS day, identity, direction, resource, node, min(first_time) AS a, max(time) AS b, sum(connections) AS c, sum(bytes_sent) AS d,
				groupBitOr(bitShiftLeft(toUInt32(1), toHour(time))) AS e FROM observations GROUP BY ALL) AS o
			FULL JOIN (SELECT day, identity, direction, resource, node, min(first_time) AS a, max(last_time) AS b, sum(connections) AS c, sum(bytes_sent) AS d,
				groupBitOr(hours) AS e FROM observations_daily GROUP BY ALL) AS r USING (day, identity, direction, resource, node)
			WHERE (o.a, o.b, o.c, o.d, o.e) != (r.a, r.b, r.c, r.d, r.e))`)
		if n := number(t, s, "(SELECT sum(connections) FROM observations_daily)"); n != 1111 || differ != 0 {
			t.Errorf("%d connections, want 1111; %d rows differ from the observations", n, differ)
		}
		if err := s.conn.Exec(t.Context(), "OPTIMIZE TABLE observations_daily FINAL"); err != nil {
			t.Fatal(err)
		}
	}
	if n := number(t, s, "(SELECT count() FROM observations_daily)"); n != 3 {
		t.Errorf("%d rows, want 3: two edges on one day, one on the day before", n)
	}
}

func TestRetentionValidate(t *testing.T) {
	f := func(want string, change func(*Retention)) {
		t.Helper()
		r := DefaultRetention()
		change(&r)
		err := r.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%+v: %v, want %q", r, err, want)
		}
	}
	f("", func(*Retention) {})
	f("", func(r *Retention) { r.Reach = 0 })
	f("retention.observations 24h0m0s: want whole days, 4d to 3653d", func(r *Retention) { r.Observations = day })
	f("retention.daily", func(r *Retention) { r.Daily = 100*day + time.Hour })
	f("retention.findings", func(r *Retention) { r.Findings = 0 })
	f("retention.decisions", func(r *Retention) { r.Decisions = 4000 * day })
	f("retention.reach", func(r *Retention) { r.Reach = 10 * day })
}
