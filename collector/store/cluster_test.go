package store

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

var update = flag.Bool("update", false, "write the golden files")

// rendered are all statements of a layout that change tables.
func rendered(t *testing.T, l layout) []string {
	t.Helper()
	known, err := migrations(schemaFiles)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{createMigrations(l)}
	for _, m := range known {
		statements, err := m.statements(l)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, statements...)
	}
	r := DefaultRetention()
	for _, e := range r.endings() {
		out = append(out, e.statement(l))
	}
	return out
}

var comments = regexp.MustCompile(`(?m)^--.*\n`)

// TestRendered compares what is executed on one server and on a cluster with files that are read by people.
func TestRendered(t *testing.T) {
	for name, l := range map[string]layout{"server": {}, "cluster": {"prod", "ambit"}} {
		golden := filepath.Join("testdata", name+".sql")
		got := strings.Join(rendered(t, l), ";\n\n") + ";\n"
		got = strings.TrimLeft(comments.ReplaceAllString(got, ""), "\n")
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs from what is rendered; look at it with go test -update and git diff", golden)
		}
	}
}

// TestParsed has the engine parse every statement in the form for a cluster, and every question.
func TestParsed(t *testing.T) {
	s := open(t)
	statements := rendered(t, layout{"prod", "ambit"})
	l := layout{"prod", "ambit"}
	for _, r := range remembered {
		statements = append(statements, l.forget(r.table, r.last), l.sync(r.table))
	}
	files, err := filepath.Glob("query/*.sql")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		statements = append(statements, strings.ReplaceAll(string(data), "{{.Those}}", "1"))
	}
	parse := func(sql string) error {
		var formatted string
		return s.conn.QueryRow(t.Context(), "SELECT formatQuery({sql:String})", named("sql", sql)...).Scan(&formatted)
	}
	for _, sql := range statements {
		if err := parse(sql); err != nil {
			t.Errorf("%s\n%v", sql, err)
		}
	}
	if parse("CREATE TABLE a ON CLUSTER ENGINE = MergeTree") == nil {
		t.Error("the engine parses what is no statement")
	}
}

// onCluster gives an engine that knows a Keeper in its memory, a cluster of one shard, which is itself, and one with a second shard, which is away.
func onCluster(t *testing.T) Config {
	t.Helper()
	config := testenv.EngineConfig(t)
	config.Server.ConfigFile = filepath.Join(t.TempDir(), "config.xml")
	const xml = `<clickhouse>
	<tcp_port>9000</tcp_port>
	<macros><shard>01</shard><replica>r1</replica></macros>
	<zookeeper><implementation>testkeeper</implementation><node index="1"><host>localhost</host><port>2181</port></node></zookeeper>
	<remote_servers><prod><shard><internal_replication>true</internal_replication>
		<replica><host>localhost</host><port>9000</port></replica></shard></prod>
	<half><shard><internal_replication>true</internal_replication><replica><host>localhost</host><port>9000</port></replica></shard>
		<shard><internal_replication>true</internal_replication><replica><host>localhost</host><port>1</port></replica></shard></half></remote_servers>
</clickhouse>`
	if err := os.WriteFile(config.Server.ConfigFile, []byte(xml), 0o600); err != nil {
		t.Fatal(err)
	}
	testenv.Supervise(t, config)
	c := Default()
	c.Socket = config.Server.Socket
	return c
}

// TestReplicated makes all tables with replicated engines, which ClickHouse checks as it makes them. The embedded engine has neither a queue
// for ON CLUSTER nor a port for other replicas, so these tables take no rows.
func TestReplicated(t *testing.T) {
	s := openUnmigrated(t, onCluster(t))
	for _, sql := range rendered(t, layout{"prod", "ambit"}) {
		if !strings.Contains(sql, "CREATE TABLE") {
			continue
		}
		if err := s.conn.Exec(t.Context(), strings.ReplaceAll(sql, "ON CLUSTER `prod`", "")); err != nil {
			t.Errorf("%s\n%v", sql, err)
		}
	}
	replicated := number(t, s, `(SELECT count() FROM system.tables WHERE database = 'ambit' AND name LIKE '%\_local'
		AND startsWith(engine, 'Replicated') AND position(engine_full, concat('/clickhouse/tables/{shard}/ambit/', name)) > 0 AND position(engine_full, '{replica}') > 0)`)
	distributed := number(t, s, "(SELECT count() FROM system.tables WHERE database = 'ambit' AND engine = 'Distributed')")
	if want := uint64(len(shardedBy)); replicated != want-1 || distributed != want { // sightings are not stored
		t.Errorf("%d replicated and %d distributed tables, want %d and %d", replicated, distributed, want-1, want)
	}
	if err := s.conn.Exec(t.Context(), "DROP DATABASE ambit SYNC"); err != nil {
		t.Error(err)
	}
}

var replicatedEngine = regexp.MustCompile(`Replicated(\w*MergeTree)\('[^']*', '[^']*'(, )?`)

// openCluster gives a store over Distributed tables of a cluster whose only shard is not replicated: what is said in [TestReplicated] is not
// asked of it.
func openCluster(t *testing.T, cluster string) *Store {
	t.Helper()
	s := openUnmigrated(t, onCluster(t))
	s.layout = layout{cluster, "ambit"}
	for _, sql := range rendered(t, s.layout) {
		sql = strings.ReplaceAll(replicatedEngine.ReplaceAllString(sql, "$1("), windowOfCluster, windowOfServer)
		if err := s.conn.Exec(t.Context(), strings.ReplaceAll(sql, s.layout.OnCluster(), "")); err != nil {
			t.Fatalf("%s\n%v", sql, err)
		}
	}
	return s
}

// TestDistributed inserts through Distributed tables, again and again, and asks every question through them.
func TestDistributed(t *testing.T) {
	s := openCluster(t, "prod")
	rows := twoDays(t)
	for range 3 {
		insertRows(t, s, "a", slices.Clone(rows))
		if got, want := sums(t, s), [3]uint64{111, 111, 2}; got != want {
			t.Fatalf("%d, want %d", got, want)
		}
	}
	if n := number(t, s, "(SELECT sum(connections) FROM reach_local)"); n != 111 {
		t.Errorf("%d connections where the rows are, want 111", n)
	}
	if err := s.conn.Exec(t.Context(), "DROP VIEW reach_from_observations SYNC"); err != nil {
		t.Fatal(err)
	}
	insertRows(t, s, "b", rows)
	for _, sql := range rendered(t, s.layout) {
		if strings.Contains(sql, "VIEW IF NOT EXISTS reach_from_observations") {
			if err := s.conn.Exec(t.Context(), strings.ReplaceAll(sql, "ON CLUSTER `prod`", "")); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 {
		insertRows(t, s, "b", rows)
		if got, want := sums(t, s), [3]uint64{222, 222, 2}; got != want {
			t.Errorf("after an insert that was cut short: %d, want %d", got, want)
		}
	}
	// A shard that has its part, whoever brought it, knows the token that comes through the Distributed table.
	for _, b := range blocksOfRows(rows) {
		if err := insert(t.Context(), s, "observations_local", once("c", b.name), b.rows); err != nil {
			t.Fatal(err)
		}
	}
	insertRows(t, s, "c", rows)
	if got, want := sums(t, s), [3]uint64{333, 333, 2}; got != want {
		t.Errorf("after an insert that reached the shard before: %d, want %d", got, want)
	}
	if err := s.InsertSightings(t.Context(), []Sighting{{event.Workload{Identity: identity(t, "spiffe://shop.example/a"), Unattributed: "process"}, "n1", noon}}); err != nil {
		t.Fatal(err)
	}
	insertCoverage(t, s, Coverage{Node: "n1", Boot: "a", From: noon, Until: noon.Add(time.Minute)})
	if err := s.InsertFindings(t.Context(), []event.Finding{finding(t, 1), finding(t, 2)}); err != nil {
		t.Fatal(err)
	}
	if f, err := s.Decide(t.Context(), &event.Verdict{Finding: finding(t, 1).ID, Kind: event.VerdictResolve, At: noon, By: "kim"}); err != nil || f.Status != event.StatusResolved {
		t.Errorf("finding %+v, %v", f, err)
	}
	ids, _, err := s.Identities(t.Context(), IdentityFilter{})
	if err != nil || len(ids) != 3 || ids[2].Resources != 2 {
		t.Errorf("identities %+v, %v", ids, err)
	}
	if _, _, err := s.Identities(t.Context(), IdentityFilter{Unattributed: noon}); err != nil {
		t.Error(err)
	}
	if _, err := s.Identity(t.Context(), identity(t, checkout)); err != nil {
		t.Error(err)
	}
	if edges, _, err := s.Reach(t.Context(), identity(t, checkout), ReachFilter{}); err != nil || len(edges) != 2 || edges[0].Counts.Connections != 3 {
		t.Errorf("reach %+v, %v", edges, err)
	}
	if unused, err := s.Population(t.Context(), noon.Add(time.Hour), noon.Add(2*time.Hour), true); err != nil || len(unused) != 3 {
		t.Errorf("unused %+v, %v", unused, err)
	}
	if watched, err := s.Watched(t.Context(), noon.Add(-time.Hour)); err != nil || len(watched) != 1 {
		t.Errorf("watched %+v, %v", watched, err)
	}
	if _, err := s.ReplaceInventory(t.Context(), Inventory{Source: event.SourceCSV, Name: "x", Time: noon}); err != nil {
		t.Error(err)
	}
	if _, _, err := s.Inventory(t.Context(), InventoryFilter{}); err != nil {
		t.Error(err)
	}
	edges, findings := 0, 0
	s.layout.cluster = "" // the embedded engine cannot wait for replicas
	if err := s.EachReach(t.Context(), nil, func(event.Identity, event.Resource, time.Time, time.Time, uint64) error { edges++; return nil }); err != nil || edges != 3 {
		t.Errorf("%d edges, %v, want 3", edges, err)
	}
	if err := s.EachFinding(t.Context(), nil, func(*event.Finding) error { findings++; return nil }); err != nil || findings != 2 {
		t.Errorf("%d findings, %v, want 2", findings, err)
	}
}

// TestShardAway inserts while one of two shards is away: nothing is refused, nothing is told as stored, and the part of the other shard counts once,
// however often the insert is repeated.
func TestShardAway(t *testing.T) {
	s := openCluster(t, "half")
	var rows []ObservationRow
	for i := range 100 {
		rows = append(rows, rowsOf(toward(t, "spiffe://shop.example/a/"+strconv.Itoa(i), "db.example", noon, event.Counts{Connections: 1}))...)
	}
	here := func() [3]uint64 {
		return [3]uint64{number(t, s, "(SELECT sum(connections) FROM observations_local)"), number(t, s, "(SELECT sum(connections) FROM reach_local)"),
			number(t, s, "(SELECT uniqExact(identity) FROM identities_local)")}
	}
	insert := func(token string) {
		t.Helper()
		err := s.InsertObservations(t.Context(), token, slices.Clone(rows))
		oneLine(t, err, "insert observations: a shard of", "not reachable", "Connection refused (localhost:1)", "check that one of its replicas runs")
		if !errors.Is(err, ErrUnreachable) {
			t.Errorf("%v is not ErrUnreachable", err)
		}
		if errors.Is(err, ErrRefused) {
			t.Errorf("the rows are refused: %v", err)
		}
	}
	insert("a")
	first := here()
	if first[0] == 100 {
		t.Errorf("%d: all rows stand on one shard", first)
	}
	for range 3 {
		insert("a")
	}
	// What a shard has when the insert fails is its own affair, but it is never more than its part once.
	part := number(t, s, "(SELECT countIf(cityHash64(concat('spiffe://shop.example/a/', toString(number))) % 2 = 0) FROM numbers(100))")
	if got := here(); got != [3]uint64{part, part, part} && got != [3]uint64{} {
		t.Errorf("%d after repetitions, want %d or nothing (%d after the first)", got, part, first)
	}
	if _, _, err := s.Identities(t.Context(), IdentityFilter{}); err == nil {
		t.Error("a question is answered although half of the rows are away")
	}
}
