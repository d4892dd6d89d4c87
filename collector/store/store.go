package store

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Store is a connection pool to one database. It is safe for concurrent use.
type Store struct {
	conn      driver.Conn
	stream    *stream // nil where the database is a server's
	where     place
	layout    layout
	retention Retention
	corrupt   map[string]*atomic.Uint64 // by table
	importing sync.Mutex                // of the inventory and of scopes
	changes   atomic.Uint64             // see Changes

	// ScopeLock is had while a scope gets its next version, by one of the collectors that share the database; nil: there is only this one. Set before use.
	ScopeLock Lock
}

// Open connects and asks for a sign of life. The caller closes the Store.
func Open(ctx context.Context, c Config) (*Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	o, err := options(&c)
	if err != nil {
		return nil, err
	}
	s := &Store{where: placeOf(&c), layout: layout{c.Cluster, c.Database}, retention: c.Retention, corrupt: map[string]*atomic.Uint64{}}
	for _, table := range []string{"identities", "reach", "findings", "coverage", "inventory", "observations", "decisions", "scopes"} {
		s.corrupt[table] = new(atomic.Uint64)
	}
	if c.Socket != "" {
		if err := s.makeDatabase(ctx, *o); err != nil {
			return nil, err
		}
		s.stream = newStream(c.Socket, c.Database)
	}
	if s.conn, err = clickhouse.Open(o); err != nil {
		return nil, s.explain("open", err)
	}
	if err := s.Ping(ctx); err != nil {
		s.conn.Close()
		return nil, err
	}
	return s, nil
}

func options(c *Config) (*clickhouse.Options, error) {
	password, err := c.password()
	if err != nil {
		return nil, err
	}
	o := &clickhouse.Options{
		Auth:        clickhouse.Auth{Database: c.Database, Username: c.Username, Password: password},
		DialTimeout: 5 * time.Second,
		// What is written must be there when the insert returns: it is acknowledged then.
		Settings: clickhouse.Settings{"async_insert": 0},
	}
	o.ClientInfo.Products = append(o.ClientInfo.Products, struct{ Name, Version string }{"ambit", ""})
	if c.Socket != "" {
		o.Protocol = clickhouse.HTTP
		o.Addr = []string{"localhost:0"}
		o.DialContext = func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", c.Socket)
		}
		o.TransportFunc = func(t *http.Transport) (http.RoundTripper, error) {
			t.Proxy = nil // whatever the environment says, this is no network
			return t, nil
		}
		return o, nil
	}
	e, err := c.endpoints()
	if err != nil {
		return nil, err
	}
	o.Addr, o.ConnOpenStrategy = e.hosts, clickhouse.ConnOpenInOrder // all collectors read where the first of them wrote
	o.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	if e.http {
		o.Protocol = clickhouse.HTTP
	}
	if e.tls {
		if o.TLS, err = c.tls(); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// makeDatabase makes the database of the embedded engine, which nobody else administers.
func (s *Store) makeDatabase(ctx context.Context, o clickhouse.Options) error {
	name := o.Auth.Database
	o.Auth.Database = "default"
	conn, err := clickhouse.Open(&o)
	if err != nil {
		return s.explain("open", err)
	}
	defer conn.Close()
	if err := conn.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+name); err != nil {
		return s.explain("make database "+name, err)
	}
	return nil
}

// Ping asks whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	var one uint8
	if err := s.conn.QueryRow(ctx, "SELECT 1").Scan(&one); err != nil {
		return s.explain("ping", err)
	}
	return nil
}

// Close closes all connections. Inserts and queries must have returned.
func (s *Store) Close() error {
	if s.stream != nil {
		s.stream.client.CloseIdleConnections()
	}
	if err := s.conn.Close(); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// Counters tells how many stored rows were skipped since Open because they could not be read, by table.
func (s *Store) Counters() map[string]uint64 {
	out := make(map[string]uint64, len(s.corrupt))
	for table, n := range s.corrupt {
		out["corrupt_"+table] = n.Load()
	}
	return out
}

// named gives the parameters of a query, name and value in turn.
func named(pairs ...any) []any {
	var out []any
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, clickhouse.Named(strings.TrimSpace(pairs[i].(string)), pairs[i+1]))
	}
	return out
}

// moment reads a time of the database, where 1970 is never.
func moment(t time.Time) time.Time {
	if t.Unix() == 0 && t.Nanosecond() == 0 {
		return time.Time{}
	}
	return t.UTC()
}
