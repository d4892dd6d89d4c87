package store

import (
	"reflect"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ambit-nhi/ambit/event"
)

// TestAppendColumns appends the same rows in simple types, as over HTTP, and in the server's own, as in the native protocol.
func TestAppendColumns(t *testing.T) {
	s := open(t)
	rows := append(rowsOf(full(t)), twoDays(t)...)
	inbound := toward(t, checkout, "é.example", noon, event.Counts{Failed: 1<<64 - 1})
	inbound.Direction, inbound.Protocol = event.Inbound, event.UDP
	rows = append(rows, rowsOf(inbound)...)
	insertRows(t, s, "a", rows)
	if err := s.conn.Exec(t.Context(), "CREATE TABLE other AS observations ENGINE = Memory"); err != nil {
		t.Fatal(err)
	}
	columns := fields(reflect.TypeFor[ObservationRow]())
	if _, simple := wireTypes(columns); !simple {
		t.Error("observations have a column that is not simple")
	}
	var names []string
	for _, f := range columns {
		names = append(names, f.name)
	}
	batch, err := s.conn.PrepareBatch(clickhouse.Context(t.Context()), "INSERT INTO other ("+strings.Join(names, ", ")+")")
	if err != nil {
		t.Fatal(err)
	}
	if err := appendColumns(batch, columns, rows, new(scratch)); err != nil {
		t.Fatal(err)
	}
	if err := batch.Send(); err != nil {
		t.Fatal(err)
	}
	if n := number(t, s, "(SELECT count() FROM (SELECT * FROM observations INTERSECT ALL SELECT * FROM other))"); n != uint64(len(rows)) {
		t.Errorf("%d rows are the same, want %d", n, len(rows))
	}
	if n := number(t, s, "(SELECT count() FROM system.columns WHERE database = currentDatabase() AND table = 'observations')"); n != uint64(len(columns)) {
		t.Errorf("the table has %d columns, rows have %d", n, len(columns))
	}

	type strange struct {
		A string            `ch:"a"`
		M map[string]uint64 `ch:"m"`
	}
	columns = fields(reflect.TypeFor[strange]())
	if _, simple := wireTypes(columns); simple || columns[1].name != "m" {
		t.Errorf("%+v counts as simple", columns)
	}
}
