package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/engine"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// oldRows inserts, with columns that the first migration made, two days of three edges of two identities, 111 connections.
const oldRows = `INSERT INTO observations (batch_time, sequence, node, time, first_time, identity, evidence, direction, protocol, resource, executable, connections, bytes_received)
	SELECT * FROM VALUES('b DateTime64(6, \'UTC\'), s UInt64, n String, t DateTime64(6, \'UTC\'), f DateTime64(6, \'UTC\'), i String, e String, d String, p String, r String, x String, c UInt64, y UInt64',
	('2026-11-19 23:59:59', 1, 'n1', '2026-11-19 23:59:59', '2026-11-19 23:59:49', '` + billing + `', 'kubernetes', 'outbound', 'tcp', 'dns:db.example:443/tcp', '/app', 10, 0),
	('2026-11-20 00:00:01', 2, 'n2', '2026-11-20 00:00:01', '2026-11-19 23:59:51', '` + checkout + `', 'kubernetes', 'outbound', 'tcp', 'dns:db.example:443/tcp', '/app', 1, 7),
	('2026-11-20 00:00:00', 3, 'n1', '2026-11-20 00:00:00', '2026-11-19 23:59:50', '` + checkout + `', 'kubernetes', 'outbound', 'tcp', 'dns:mail.example:443/tcp', '/app', 100, 7))
	SETTINGS insert_deduplicate = 1, insert_deduplication_token = 'old', deduplicate_blocks_in_dependent_materialized_views = 1`

// upgraded checks a database that held oldRows, and that it works.
func upgraded(t *testing.T, name string, s *Store) {
	t.Helper()
	check := func(factor, days uint64) {
		t.Helper()
		if got, want := sums(t, s), [3]uint64{111 * factor, 111 * factor, 2}; got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
		if n := number(t, s, "(SELECT sum(connections) FROM observations_daily)"); n != days {
			t.Errorf("%s: %d connections by day, want %d", name, n, days)
		}
	}
	check(1, 111)
	edges, _, err := s.Reach(t.Context(), identity(t, checkout), ReachFilter{})
	if err != nil || len(edges) != 2 || edges[0].Counts.Connections != 1 || !edges[0].LastSuccess.Equal(noon.Truncate(day).Add(time.Second)) ||
		len(edges[0].Executables) != 1 || edges[0].Nodes[0] != "n2" {
		t.Errorf("%s: reach %+v, %v", name, edges, err)
	}
	id, err := s.Identity(t.Context(), identity(t, checkout))
	if err != nil || id.NodeCount != 2 || !id.FirstUsed.Equal(noon.Truncate(day).Add(-10*time.Second)) || id.Evidence != "kubernetes" || id.Executable != "/app" {
		t.Errorf("%s: identity %+v, %v", name, id, err)
	}
	insertRows(t, s, "new", twoDays(t))
	check(2, 222)
}

// TestUpgrade brings databases that were filled at each earlier schema to the newest.
func TestUpgrade(t *testing.T) {
	c := Default()
	c.Socket = testenv.Engine(t)
	known, err := migrations(schemaFiles)
	if err != nil {
		t.Fatal(err)
	}
	for version := 1; version < len(known); version++ {
		if testing.Short() && version != 1 && version != len(known)-1 {
			continue
		}
		c.Database = fmt.Sprintf("from%d", version)
		s := openUnmigrated(t, c)
		if err := s.migrate(t.Context(), known[:version]); err != nil {
			t.Fatal(err)
		}
		if err := s.conn.Exec(t.Context(), oldRows); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := s.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		upgraded(t, c.Database, s)
	}
}

// TestUpgradeCutOff kills the engine between two statements of an upgrade, and lets the next start go on.
func TestUpgradeCutOff(t *testing.T) {
	config := testenv.EngineConfig(t)
	config.MinBackoff, config.MaxBackoff = time.Millisecond, time.Millisecond
	supervisor, _ := testenv.Supervise(t, config)
	c := Default()
	c.Socket = config.Server.Socket
	known, err := migrations(schemaFiles)
	if err != nil {
		t.Fatal(err)
	}
	// What has happened when the engine dies: a migration, or some statements of it, or all but its record.
	steps := 0
	for version := 2; version <= len(known); version++ {
		statements, err := known[version-1].statements(layout{})
		if err != nil {
			t.Fatal(err)
		}
		if version != 3 && version != 6 && version != 10 {
			continue
		}
		for _, cut := range []int{1, len(statements)} {
			steps++
			c.Database = fmt.Sprintf("cut%d", steps)
			s := openUnmigrated(t, c)
			if err := s.migrate(t.Context(), known[:1]); err != nil {
				t.Fatal(err)
			}
			if err := s.conn.Exec(t.Context(), oldRows); err != nil {
				t.Fatal(err)
			}
			if err := s.migrate(t.Context(), known[:version-1]); err != nil {
				t.Fatal(err)
			}
			for _, sql := range statements[:cut] {
				if err := s.conn.Exec(t.Context(), sql); err != nil {
					t.Fatal(err)
				}
			}
			if cut == len(statements) {
				if err := s.backfill(t.Context(), &known[version-1]); err != nil {
					t.Fatal(err)
				}
			}
			kill(t, supervisor, s)
			if err := s.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			upgraded(t, fmt.Sprintf("cut in %s after %d statements", known[version-1].name, cut), s)
		}
	}
	if steps < 6 {
		t.Errorf("%d cuts", steps)
	}
}

// kill kills the engine and waits for the next one, which the supervisor starts.
func kill(t *testing.T, supervisor *engine.Supervisor, s *Store) {
	t.Helper()
	if err := syscall.Kill(supervisor.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if err := s.Ping(t.Context()); err == nil {
			return
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

type lockOf struct {
	err    error
	locked *int
}

func (l lockOf) Lock(ctx context.Context) (context.Context, func(), error) {
	if l.err != nil {
		return nil, nil, l.err
	}
	*l.locked++
	held, cancel := context.WithCancel(ctx)
	return held, func() { *l.locked += 10; cancel() }, nil
}

func TestMigrateAlone(t *testing.T) {
	s := open(t)
	locked := 0
	if err := s.MigrateAlone(t.Context(), lockOf{nil, &locked}); err != nil || locked != 11 {
		t.Errorf("%v, locked and unlocked: %d", err, locked)
	}
	oneLine(t, s.MigrateAlone(t.Context(), lockOf{errors.New("away"), nil}), "migrate database ambit: away")
	if strings.Contains(s.where.name, "\n") {
		t.Error(s.where.name)
	}
}
