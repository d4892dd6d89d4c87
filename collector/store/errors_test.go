package store

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"go.uber.org/goleak"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

func oneLine(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %q", want)
		return
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v\nwant one line with %q", err, w)
		}
	}
}

func TestUnreachable(t *testing.T) {
	c := Default()
	c.Socket = filepath.Join(t.TempDir(), "nobody")
	_, err := Open(t.Context(), c)
	oneLine(t, err, c.Socket, "check that ambit clickhouse runs")
	if !errors.Is(err, ErrUnreachable) {
		t.Errorf("%v is not ErrUnreachable", err)
	}
	for _, address := range []string{"127.0.0.1:1", "http://127.0.0.1:1"} {
		c := Default()
		c.Addresses = []string{address}
		_, err := Open(t.Context(), c)
		oneLine(t, err, "127.0.0.1:1", "connection refused", "check clickhouse.addresses")
		if !errors.Is(err, ErrUnreachable) {
			t.Errorf("%v is not ErrUnreachable", err)
		}
	}
}

func TestEngineGone(t *testing.T) {
	engine := testenv.EngineConfig(t)
	_, stop := testenv.Supervise(t, engine)
	c := Default()
	c.Socket = engine.Server.Socket
	s := openConfig(t, c)
	stop()
	err := s.InsertObservations(t.Context(), "a", rowsOf(full(t)))
	oneLine(t, err, "insert observations", "not reachable")
	if !errors.Is(err, ErrUnreachable) {
		t.Errorf("%v is not ErrUnreachable", err)
	}
	testenv.Supervise(t, engine)
	insertRows(t, s, "a", rowsOf(full(t))) // the same Store finds the new engine
	if n := number(t, s, "(SELECT sum(connections) FROM reach)"); n != 12 {
		t.Errorf("%d connections, want 12", n)
	}
}

func TestDatabaseGone(t *testing.T) {
	c := Default()
	c.Socket = testenv.Engine(t)
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, _, err = s.Identities(t.Context(), IdentityFilter{})
	oneLine(t, err, "lacks a table of Ambit")
	if err := s.conn.Exec(t.Context(), "DROP DATABASE ambit"); err != nil {
		t.Fatal(err)
	}
	oneLine(t, s.Ping(t.Context()), "has no database ambit: create it with CREATE DATABASE ambit")
}

// TestServerErrors uses a server of its own, because the embedded engine has neither users nor a disk that fills at will.
func TestServerErrors(t *testing.T) {
	f := func(code, text string, want ...string) {
		t.Helper()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-ClickHouse-Exception-Code", code)
			w.WriteHeader(http.StatusInternalServerError)
			w.Write([]byte("Code: " + code + ". DB::Exception: " + text + "\nStack trace:\n0. main\n"))
		}))
		defer server.Close()
		c := Default()
		c.Addresses = []string{server.URL}
		_, err := Open(t.Context(), c)
		oneLine(t, err, want...)
	}
	f("516", "default: Authentication failed: password is incorrect. (AUTHENTICATION_FAILED)", "refuses user default: check clickhouse.username and clickhouse.password_file")
	f("81", "Database ambit does not exist. (UNKNOWN_DATABASE)", "has no database ambit")
	f("497", "Not enough privileges. To execute this query, it's necessary to have the grant SELECT. (ACCESS_DENIED)", "user default may not do this", "grant SELECT")
	f("243", "Cannot reserve 1.00 MiB, not enough space. (NOT_ENOUGH_SPACE)", "clickhouse code 243", "not enough space")
}

func TestConfig(t *testing.T) {
	f := func(want string, change func(*Config)) {
		t.Helper()
		c := Default()
		change(&c)
		err := c.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
	addresses := func(a ...string) func(*Config) { return func(c *Config) { c.Addresses = a } }
	f("want either", func(*Config) {})
	f("want either", func(c *Config) { c.Socket, c.Addresses = "s", []string{"127.0.0.1:9000"} })
	f("", func(c *Config) { c.Socket = "s" })
	f("", addresses("127.0.0.1:9000", "[::1]:9000", "localhost:9000"))
	f("", addresses("ch1.example:9440", "ch2.example:9440"))
	f("", addresses("https://ch1.example:8443/"))
	f("http is for loopback only", addresses("http://ch1.example:8123"))
	f("want host:port", addresses("tcp://ch1.example:9000"))
	f("want host:port", addresses("https://me:secret@ch1.example:8443"))
	f("want a host and a port", addresses("ch1.example"))
	f("same kind", addresses("127.0.0.1:9000", "ch1.example:9440"))
	f("clickhouse.database", func(c *Config) { c.Socket, c.Database = "s", "a; DROP TABLE b" })
	f("clickhouse.username", func(c *Config) { c.Socket, c.Username = "s", "" })
	f("retention.observations 36h", func(c *Config) { c.Socket, c.Retention.Observations = "s", 36*time.Hour })
	f("clickhouse.cluster", func(c *Config) { c.Socket, c.Cluster = "s", "c" })
	f("belong together", func(c *Config) { c.Addresses, c.CertFile = []string{"ch1.example:9440"}, "f" })
	f("spoken to in plain", func(c *Config) { c.Addresses, c.CAFile = []string{"127.0.0.1:9000"}, "f" })

	dir := t.TempDir()
	secret := filepath.Join(dir, "password")
	if err := os.WriteFile(secret, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Default()
	c.PasswordFile = secret
	if p, err := c.password(); err != nil || p != "hunter2" {
		t.Errorf("password %q %v", p, err)
	}
	c.Addresses = []string{"127.0.0.1:9000"}
	c.PasswordFile = filepath.Join(dir, "none")
	_, err := Open(t.Context(), c)
	oneLine(t, err, "clickhouse.password_file", "none")
	c.PasswordFile, c.CAFile, c.Addresses = "", secret, []string{"ch1.example:9440"}
	_, err = Open(t.Context(), c)
	oneLine(t, err, "clickhouse.ca_file", "no PEM certificate")
}

func TestCloseLeavesNothing(t *testing.T) {
	socket := testenv.Engine(t)
	before := goleak.IgnoreCurrent()
	c := Default()
	c.Socket = socket
	s, err := Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	insertRows(t, s, "a", rowsOf(full(t)))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
}

func FuzzCursor(f *testing.F) {
	f.Add("", "a", "b")
	f.Add(cursor("a", "b"), "spiffe://a/b", "")
	f.Add("é==", "", "\xff")
	f.Fuzz(func(t *testing.T, text, a, b string) {
		if key, err := parseCursor(text, 2); err == nil && len(key) != 2 {
			t.Errorf("%q: %d parts", text, len(key))
		}
		if strings.Contains(a+b, "\x00") {
			return
		}
		if key, err := parseCursor(cursor(a, b), 2); err != nil || key[0] != a || key[1] != b {
			t.Errorf("%q %q: %q %v", a, b, key, err)
		}
	})
}

// TestRefused tells what is the rows' fault from what is not.
func TestRefused(t *testing.T) {
	s := open(t)
	if err := s.conn.Exec(t.Context(), "ALTER TABLE observations ADD CONSTRAINT strict CHECK peer_port != 666"); err != nil {
		t.Fatal(err)
	}
	f := func(want bool, err error) {
		t.Helper()
		oneLine(t, err)
		if errors.Is(err, ErrRefused) != want {
			t.Errorf("%v: refused is not %t", err, want)
		}
	}
	rows := rowsOf(full(t))
	rows[0].PeerPort = 666
	f(true, s.InsertObservations(t.Context(), "a", rows))
	rows[0].PeerPort = 1
	insertRows(t, s, "a", rows) // the refused insert left nothing, not even its token
	if n := number(t, s, "(SELECT sum(connections) FROM reach)"); n != 12 {
		t.Errorf("%d connections, want 12", n)
	}
	rows[0].Identity = ""
	f(true, s.InsertObservations(t.Context(), "b", rows))
	f(true, s.InsertSightings(t.Context(), []Sighting{{}}))
	f(true, s.InsertCoverage(t.Context(), []Coverage{{}}))
	f(true, s.InsertFindings(t.Context(), []event.Finding{{}}))
	for code, want := range map[int32]bool{469: true, 53: true, 307: true, 60: false, 241: false, 159: false, 252: false, 243: false, 210: false, 516: false} {
		f(want, s.explainInsert("insert", &clickhouse.Exception{Code: code, Message: "words"}))
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	rows[0].Identity = "spiffe://test.example/a"
	f(false, s.InsertObservations(ended, "c", rows))
	if err := s.conn.Exec(t.Context(), "DROP TABLE observations"); err != nil {
		t.Fatal(err)
	}
	f(false, s.InsertObservations(t.Context(), "d", rows))
}
