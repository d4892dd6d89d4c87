package store

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"text/template"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

type migration struct {
	version  uint32
	name     string // of the file
	checksum string // of the file as it is, so that it does not depend on where it is applied
	sql      string
}

// migrations reads numbered files, which must be 0001, 0002 and so on without a hole.
func migrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "schema/*.sql") // sorted
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	var out []migration
	for _, name := range names {
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("read migration: %w", err)
		}
		name = path.Base(name)
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.ParseUint(number, 10, 32)
		if err != nil || version != uint64(len(out)+1) {
			return nil, fmt.Errorf("read migration %s: want number %04d", name, len(out)+1)
		}
		sum := sha256.Sum256(data)
		out = append(out, migration{uint32(version), name, hex.EncodeToString(sum[:]), string(data)})
	}
	return out, nil
}

// statements renders a migration and splits it: a line that ends with a semicolon ends a statement.
func (m *migration) statements(l layout) ([]string, error) {
	t, err := template.New(m.name).Parse(m.sql)
	if err != nil {
		return nil, fmt.Errorf("parse migration: %w", err)
	}
	var b strings.Builder
	if err := t.Execute(&b, l); err != nil {
		return nil, fmt.Errorf("render migration: %w", err)
	}
	var out []string
	for s := range strings.SplitSeq(b.String(), ";\n") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		all, err := l.spread(s)
		if err != nil {
			return nil, fmt.Errorf("render migration %s: %w", m.name, err)
		}
		out = append(out, all...)
	}
	return out, nil
}

// createMigrations makes the record of what was applied. On a cluster it is one table of all servers, whatever their shards.
func createMigrations(l layout) string {
	engine := "MergeTree"
	if l.cluster != "" {
		engine = "ReplicatedMergeTree('/clickhouse/tables/all/{database}/{table}', '{shard}-{replica}')"
	}
	return "CREATE TABLE IF NOT EXISTS schema_migrations " + l.OnCluster() + `
(version UInt32, name String, checksum String, applied_time DateTime('UTC') DEFAULT now())
ENGINE = ` + engine + " ORDER BY version"
}

// Lock is had by one caller at a time. The context that Lock gives ends when the lock is lost.
type Lock interface {
	Lock(ctx context.Context) (held context.Context, unlock func(), err error)
}

// MigrateAlone is Migrate while it has a lock that all collectors of the database share. Where only one process can have the database, such as the
// embedded engine, there is no need of it.
func (s *Store) MigrateAlone(ctx context.Context, lock Lock) error {
	held, unlock, err := lock.Lock(ctx)
	if err != nil {
		return fmt.Errorf("migrate database %s: %w", s.where.database, err)
	}
	defer unlock()
	return s.Migrate(held)
}

// Migrate brings the tables to the state that this binary knows, and the time for which rows are kept to what is configured. Every statement is
// harmless when run twice, so that a start that was cut short is made good by the next one, and several starts at once make a new database
// well. Before a database that holds observations is changed, those who insert must be stopped: see [Store.MigrateAlone]. It refuses a database
// that a newer Ambit has changed, and one whose migrations were made from other files than this binary's.
func (s *Store) Migrate(ctx context.Context) error {
	known, err := migrations(schemaFiles)
	if err != nil {
		return err
	}
	if err := s.migrate(ctx, known); err != nil {
		return err
	}
	return s.retain(ctx)
}

func (s *Store) migrate(ctx context.Context, known []migration) error {
	if err := s.conn.Exec(ctx, createMigrations(s.layout)); err != nil {
		return s.explain("create schema_migrations", err)
	}
	applied, err := s.applied(ctx)
	if err != nil {
		return err
	}
	var newest uint32
	for version := range applied {
		newest = max(newest, version)
	}
	if int(newest) > len(known) {
		return fmt.Errorf("migrate: database %s has schema %d, made by a newer ambit; this one knows %d: start the newer one", s.where.database, newest, len(known))
	}
	for _, m := range known {
		if a, done := applied[m.version]; done {
			if a.Checksum != m.checksum {
				return fmt.Errorf("migrate: %s was changed after it was applied to database %s: start the ambit that made the database, or add a new migration instead",
					a.Name, s.where.database)
			}
			continue
		}
		statements, err := m.statements(s.layout)
		if err != nil {
			return err
		}
		for _, sql := range statements {
			if err := s.conn.Exec(ctx, sql); err != nil {
				return s.explain("apply migration "+m.name, err)
			}
		}
		if newest > 0 { // else there was nothing before
			if err := s.backfill(ctx, &m); err != nil {
				return fmt.Errorf("apply migration %s: %w", m.name, err)
			}
		}
		err = s.conn.Exec(ctx, "INSERT INTO schema_migrations (version, name, checksum) SELECT {version:UInt32}, {name:String}, {checksum:String}",
			named("version", m.version, "name", m.name, "checksum", m.checksum)...)
		if err != nil {
			return s.explain("record migration "+m.name, err)
		}
	}
	return nil
}

type appliedMigration struct {
	Version  uint32 `ch:"version"`
	Name     string `ch:"name"`
	Checksum string `ch:"checksum"`
}

// applied may meet the same migration twice, from two starts at once.
func (s *Store) applied(ctx context.Context) (map[uint32]appliedMigration, error) {
	out := map[uint32]appliedMigration{}
	err := each(ctx, s, "read schema_migrations", "SELECT DISTINCT version, name, checksum FROM schema_migrations WHERE version > 0", nil,
		func(a *appliedMigration) error {
			out[a.Version] = *a
			return nil
		})
	return out, err
}
