package store

import (
	"fmt"
	"maps"
	"reflect"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// lost is an observation that was not attributed.
func lost(t *testing.T, id string, why event.Unattributed, at time.Time, node, cgroup string, connections uint64) *event.Observation {
	o := toward(t, id, "db.example", at, event.Counts{Connections: connections})
	o.Node = node
	o.Workload = event.Workload{Identity: identity(t, id), Evidence: event.EvidenceCgroup, Executable: "/bin/nc", Cgroup: cgroup, Unattributed: why}
	return o
}

const (
	pod     = "spiffe://shop.example/node/n1/cgroup/kubepods/pod1"
	unknown = "spiffe://shop.example/node/n1/cgroup/unknown/99"
)

func TestAttribution(t *testing.T) {
	s := open(t)
	rows := rowsOf(
		toward(t, checkout, "db.example", noon, event.Counts{Connections: 90}),
		toward(t, billing, "db.example", noon.Add(-2*time.Hour), event.Counts{Connections: 7}),
		lost(t, pod, event.UnattributedPod, noon.Add(-2*time.Hour), "n1", "/kubepods/pod1/old", 1),
		lost(t, pod, event.UnattributedPod, noon, "n2", "/kubepods/pod1/new", 3),
		lost(t, pod, event.UnattributedQuota, noon, "n1", "/kubepods/pod1", 20),
		lost(t, unknown, event.UnattributedCgroup, noon.Add(-2*time.Hour), "n1", "", 5),
		lost(t, billing, event.UnattributedProcess, noon, "n1", "", 0), // data on a connection from before
	)
	for range 2 {
		insertRows(t, s, "a", rows) // the same token: counted once
	}
	f := func(from time.Time, want Attribution) {
		t.Helper()
		if got, err := s.Attribution(t.Context(), from); err != nil || got.Attributed != want.Attributed || !maps.Equal(got.Unattributed, want.Unattributed) {
			t.Errorf("since %s: %+v %v, want %+v", from, got, err, want)
		}
	}
	type reasons = map[event.Unattributed]uint64
	f(time.Time{}, Attribution{97, reasons{event.UnattributedPod: 4, event.UnattributedQuota: 20, event.UnattributedCgroup: 5}})
	f(noon.Add(time.Minute), Attribution{90, reasons{event.UnattributedPod: 3, event.UnattributedQuota: 20}})
	f(noon.Add(time.Hour), Attribution{0, reasons{}})

	got, next, err := s.Identities(t.Context(), IdentityFilter{Unattributed: noon.Add(-24 * time.Hour)})
	if err != nil || next != "" || len(got) != 2 {
		t.Fatalf("%d identities, %q, %v, want 2", len(got), next, err)
	}
	want := []Unattributed{
		{event.UnattributedQuota, 20, []string{"n1"}, noon, "/bin/nc", "/kubepods/pod1"},
		{event.UnattributedPod, 4, []string{"n1", "n2"}, noon, "/bin/nc", "/kubepods/pod1/new"},
	}
	if !reflect.DeepEqual(got[0].Unattributed, want) {
		t.Errorf("got  %+v\nwant %+v", got[0].Unattributed, want)
	}
	if u := got[1].Unattributed; len(u) != 1 || u[0].Reason != event.UnattributedCgroup || u[0].Connections != 5 {
		t.Errorf("%+v", u)
	}
	if got, _, err := s.Identities(t.Context(), IdentityFilter{Unattributed: noon.Add(time.Minute)}); err != nil || len(got) != 1 {
		t.Errorf("%d identities of the last hour, %v, want 1", len(got), err)
	}
	// Page by page it is the same.
	first, next, err := s.Identities(t.Context(), IdentityFilter{Unattributed: noon.Add(-24 * time.Hour), Limit: 1})
	if err != nil || len(first) != 1 || next == "" {
		t.Fatalf("first page: %d, %q, %v", len(first), next, err)
	}
	second, next, err := s.Identities(t.Context(), IdentityFilter{Unattributed: noon.Add(-24 * time.Hour), Limit: 1, Cursor: next})
	if err != nil || len(second) != 1 || next != "" || !reflect.DeepEqual(append(first, second...), got) {
		t.Errorf("second page: %+v, %q, %v", second, next, err)
	}
	all, _, err := s.Identities(t.Context(), IdentityFilter{})
	if err != nil || len(all) != 4 {
		t.Errorf("%d identities, %v, want all 4", len(all), err)
	}
}

// TestUpgradeOfFilledDatabase migrates a database that holds what the first five migrations could.
func TestUpgradeOfFilledDatabase(t *testing.T) {
	c := Default()
	c.Socket = testenv.Engine(t)
	s := openUnmigrated(t, c)
	known, err := migrations(schemaFiles)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.migrate(t.Context(), known[:5]); err != nil {
		t.Fatal(err)
	}
	exec := func(sql string) {
		t.Helper()
		if err := s.conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(fmt.Sprintf(`INSERT INTO observations (batch_time, time, first_time, node, identity, evidence, direction, protocol, resource, connections)
		SELECT t, t, t, 'n1', '%s', 'kubernetes', 'outbound', 'tcp', 'dns:db.example:443/tcp', 1
		FROM (SELECT fromUnixTimestamp64Micro(toInt64(%d) + toInt64(number), 'UTC') AS t FROM numbers(5000))`, checkout, noon.UnixMicro()))
	exec(fmt.Sprintf(`INSERT INTO sightings (time, node, identity) SELECT fromUnixTimestamp64Micro(toInt64(%d), 'UTC'), 'n1', '%s'`, noon.UnixMicro(), billing))
	exec(fmt.Sprintf(`INSERT INTO findings (id, identity, severity, resource, last_time) SELECT 'f1', '%s', 'high', 'dns:db.example:443/tcp', fromUnixTimestamp64Micro(toInt64(%d), 'UTC')`,
		checkout, noon.UnixMicro()))

	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	insertRows(t, s, "new", rowsOf(toward(t, checkout, "db.example", noon, event.Counts{Connections: 2}), lost(t, pod, event.UnattributedPod, noon, "n1", "/kubepods/pod1", 1)))
	if err := s.InsertSightings(t.Context(), []Sighting{{Node: "n1", Time: noon, Workload: full(t).Workload}}); err != nil {
		t.Fatal(err)
	}
	if n := number(t, s, "(SELECT sum(connections) FROM reach WHERE identity = '"+checkout+"')"); n != 5002 {
		t.Errorf("%d connections in reach, want 5002", n)
	}
	if a, err := s.Attribution(t.Context(), time.Time{}); err != nil || a.Attributed != 2 || a.Unattributed[event.UnattributedPod] != 1 {
		t.Errorf("%+v %v, want what came after the upgrade: 2 and 1", a, err)
	}
	if found, err := s.Finding(t.Context(), "f1"); err != nil || found.Workload.Unattributed != "" {
		t.Errorf("finding from before: %+v %v", found.Workload, err)
	}
	if n := number(t, s, "(SELECT count() FROM observations WHERE unattributed = '')"); n != 5001 {
		t.Errorf("%d attributed rows, want 5001", n)
	}
}
