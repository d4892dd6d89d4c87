package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sync/errgroup"
)

func TestMigrateTwice(t *testing.T) {
	s := open(t)
	insertRows(t, s, "a", rowsOf(full(t)))
	known, err := migrations(schemaFiles)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A start that was cut short runs a migration again although parts of it are there.
	for _, m := range known {
		statements, err := m.statements(layout{})
		if err != nil {
			t.Fatal(err)
		}
		for _, sql := range statements {
			if err := s.conn.Exec(t.Context(), sql); err != nil {
				t.Errorf("%s again: %v", m.name, err)
			}
		}
	}
	if n := number(t, s, "(SELECT sum(connections) FROM reach)"); n != 12 {
		t.Errorf("%d connections after migrating again, want 12", n)
	}
	if n := number(t, s, "(SELECT count() FROM schema_migrations)"); n != uint64(len(known)) {
		t.Errorf("%d migrations recorded, want %d", n, len(known))
	}
}

func TestMigrateAtOnce(t *testing.T) {
	s := open(t) // on the same engine, in another database
	c := Default()
	c.Socket, c.Database = strings.TrimPrefix(s.where.name, "clickhouse engine at "), "other"
	var starts errgroup.Group
	for range 6 {
		starts.Go(func() error {
			s, err := Open(context.Background(), c)
			if err != nil {
				return err
			}
			defer s.Close()
			return s.Migrate(context.Background())
		})
	}
	if err := starts.Wait(); err != nil {
		t.Fatal(err)
	}
	other := openConfig(t, c)
	insertRows(t, other, "a", rowsOf(full(t)))
	if n := number(t, other, "(SELECT sum(connections) FROM reach)"); n != 12 {
		t.Errorf("%d connections, want 12", n)
	}
}

func TestMigrateRefuses(t *testing.T) {
	s := open(t)
	known, err := migrations(schemaFiles)
	if err != nil {
		t.Fatal(err)
	}
	f := func(name string, known []migration, want string) {
		t.Helper()
		if err := s.migrate(t.Context(), known); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one line with %q", name, err, want)
		}
	}
	changed := slices.Clone(known)
	changed[1].checksum = "0"
	f("changed file", changed, "0002_identities.sql was changed after it was applied")
	f("newer schema", known[:3], fmt.Sprintf("schema %d, made by a newer ambit; this one knows 3", len(known)))
	broken := append(slices.Clone(known), migration{uint32(len(known) + 1), "9999_broken.sql", "", "CREATE TABLE t (a Strange) ENGINE = Memory;\n"})
	f("broken file", broken, "apply migration 9999_broken.sql: clickhouse code 50: Unknown data type family: Strange")
}

func TestMigrations(t *testing.T) {
	f := func(want string, names ...string) {
		t.Helper()
		files := fstest.MapFS{}
		for _, n := range names {
			files["schema/"+n] = &fstest.MapFile{Data: []byte("SELECT 1;\n")}
		}
		if _, err := migrations(files); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", names, err, want)
		}
	}
	f("0003_b.sql: want number 0002", "0001_a.sql", "0003_b.sql")
	f("0001_b.sql: want number 0002", "0001_a.sql", "0001_b.sql")
	f("x.sql: want number 0001", "x.sql")
}

func TestStatements(t *testing.T) {
	m := migration{name: "x", sql: "-- a; b\nCREATE TABLE t {{.OnCluster}}\n(a Int8) -- ;\nENGINE = {{.Engine \"ReplacingMergeTree\" \"a\"}} ORDER BY a;\n\nSELECT ';';\n"}
	got, err := m.statements(layout{})
	want := []string{"-- a; b\nCREATE TABLE t \n(a Int8) --", "ENGINE = ReplacingMergeTree(a) ORDER BY a", "SELECT ';'"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q %v, want %q", got, err, want)
	}
	for _, m := range []migration{{name: "x", sql: "{{"}, {name: "x", sql: "{{.Nothing}}"}} {
		if _, err := m.statements(layout{}); err == nil {
			t.Errorf("%s: no error", m.sql)
		}
	}
}

// TestWindows holds that no table behind a view lacks what makes a repeated insert harmless.
func TestWindows(t *testing.T) {
	s := open(t)
	without := number(t, s, `(SELECT count() FROM system.tables WHERE database = currentDatabase()
		AND name IN ('observations', 'identities', 'reach', 'attribution', 'credentials', 'reach_tls', 'observations_daily', 'links', 'exposure') AND engine_full NOT LIKE '%non_replicated_deduplication_window = 10000%')`)
	if without != 0 {
		t.Errorf("%d tables without deduplication window", without)
	}
	// Whoever adds a view must add its target above.
	targets := number(t, s, `(SELECT uniqExact(extract(create_table_query, ' TO [^ .]+\\.([^ ]+)'))
		FROM system.tables WHERE database = currentDatabase() AND engine = 'MaterializedView')`)
	if targets != 9 {
		t.Errorf("views have %d targets, want 9: those above, and coverage_daily, where rows that come again change nothing", targets)
	}
}
