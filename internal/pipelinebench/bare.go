package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// bareRun is one round of inserts with clickhouse-go alone.
type bareRun struct {
	took        time.Duration // of the inserts
	cpu, engine time.Duration
	rows        uint64
}

func (b *bareRun) rate() float64 { return float64(b.rows) / b.took.Seconds() }

// blockRows is the most that the collector inserts at once.
const blockRows = 100_000

// block are rows as columns.
type block struct {
	rows    int
	names   []string
	columns []reflect.Value // slices
}

// add adds a row to the columns, field by field.
func (b *block) add(row reflect.Value) {
	i := 0
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		for f, value := range v.Fields() {
			if f.Anonymous {
				walk(value)
				continue
			}
			if i == len(b.columns) {
				b.names = append(b.names, f.Tag.Get("ch"))
				b.columns = append(b.columns, reflect.MakeSlice(reflect.SliceOf(f.Type), 0, blockRows))
			}
			b.columns[i] = reflect.Append(b.columns[i], value)
			i++
		}
	}
	walk(row)
	b.rows++
}

// blocks are the rows that the collector would make of n observations.
func blocks(n int, z sizes) (out []*block, err error) {
	start := begin(n, z.publishers, z.active)
	var sources []*source
	for i := range z.publishers {
		sources = append(sources, newSource(i+1, z.active, (n*(i+1))/z.publishers-(n*i)/z.publishers, start))
	}
	sequence := uint64(0)
	for left := n; left > 0; {
		for _, s := range sources {
			err := s.interval(func(m message) error {
				sequence++
				b, err := event.DecodeBatch(m.data)
				if err != nil {
					return err
				}
				for o := range b.Observations() {
					if len(out) == 0 || out[len(out)-1].rows == blockRows {
						out = append(out, &block{})
					}
					row := store.RowOf(o, b.Time, sequence)
					out[len(out)-1].add(reflect.ValueOf(&row).Elem())
					left--
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// openEngine connects to an engine, as the store does.
func openEngine(socket string) (driver.Conn, error) {
	conn, err := clickhouse.Open(&clickhouse.Options{
		Auth: clickhouse.Auth{Database: "ambit", Username: "default"}, Protocol: clickhouse.HTTP, Addr: []string{"localhost:0"},
		Settings: clickhouse.Settings{"async_insert": 0}, DialTimeout: 5 * time.Second, ReadTimeout: time.Minute,
		DialContext: func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
		TransportFunc: func(t *http.Transport) (http.RoundTripper, error) {
			t.Proxy = nil
			return t, nil
		},
	})
	if err != nil {
		return nil, fmt.Errorf("open the engine: %w", err)
	}
	return conn, nil
}

// bare inserts n observations' rows into the tables of a fresh engine.
func (s *stage) bare(round int, made []*block) (b bareRun, err error) {
	folder := filepath.Join(s.folder, fmt.Sprint("b", round))
	socket := filepath.Join(s.folder, fmt.Sprint("b", round, ".sock"))
	engine, err := s.Start("engine", nil, s.binary, "clickhouse", "--data", folder, "--socket", socket)
	if err != nil {
		return b, err
	}
	defer engine.Kill()
	ctx, cancel := s.within(10 * time.Minute)
	defer cancel()
	if err := migrate(ctx, socket); err != nil {
		return b, fmt.Errorf("%w; see %s", err, engine.Log)
	}
	db, err := openEngine(socket)
	if err != nil {
		return b, err
	}
	defer db.Close()
	runtime.GC()
	before, err := usages(engine.PID())
	if err != nil {
		return b, err
	}
	start, cpu := time.Now(), cpuTime()
	for i, block := range made {
		if err := insert(ctx, db, block); err != nil {
			return b, fmt.Errorf("insert block %d: %w", i, err)
		}
	}
	b.took, b.cpu = time.Since(start), cpuTime()-cpu
	after, err := usages(engine.PID())
	if err != nil {
		return b, err
	}
	b.engine = after[0].CPU - before[0].CPU
	if err := db.QueryRow(ctx, "SELECT count() FROM observations").Scan(&b.rows); err != nil {
		return b, fmt.Errorf("count rows: %w", err)
	}
	db.Close()
	return b, engine.Stop(time.Minute)
}

// migrate makes the tables, as soon as the engine answers.
func migrate(ctx context.Context, socket string) error {
	c := store.Default()
	c.Socket = socket
	for {
		st, err := store.Open(ctx, c)
		if err == nil {
			defer st.Close()
			return st.Migrate(ctx)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the engine does not answer: %w", err)
		}
		if _, ok := ctx.Deadline(); !ok {
			return err
		}
	}
}

func insert(ctx context.Context, db driver.Conn, b *block) error {
	batch, err := db.PrepareBatch(ctx, "INSERT INTO observations ("+strings.Join(b.names, ", ")+")")
	if err != nil {
		return err
	}
	defer batch.Close()
	for i := range b.columns {
		if err := batch.Column(i).Append(b.columns[i].Interface()); err != nil {
			return fmt.Errorf("column %s: %w", b.names[i], err)
		}
	}
	return batch.Send()
}
