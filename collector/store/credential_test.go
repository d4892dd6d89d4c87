package store

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

const database = "spiffe://shop.example/ns/shop/sa/db"

func certificate(name string, until time.Time) *event.Certificate {
	return &event.Certificate{SHA256: strings.Repeat(name, 64/len(name)), Serial: "01" + name, Issuer: "CN=ca", NotBefore: until.Add(-time.Hour), NotAfter: until, Proven: true}
}

// shaken makes an observation of connections with a handshake.
func shaken(t testing.TB, id, peer string, at time.Time, connections uint64, tls event.TLS) *event.Observation {
	t.Helper()
	o := toward(t, id, "db.shop.svc", at, event.Counts{Connections: connections})
	if tls.OwnCertificate != nil {
		o.Workload.Evidence = event.EvidenceSVID
	}
	if peer != "" {
		o.Peer.Identity, o.Peer.Evidence = identity(t, peer), event.EvidenceSVID
	}
	o.TLS = &tls
	return o
}

func credentialsOf(t testing.TB, s *Store, id string) []Credential {
	t.Helper()
	got, err := s.Identity(t.Context(), identity(t, id))
	if err != nil {
		t.Fatal(err)
	}
	if got.Credential != nil && got.Credential.Count != uint64(len(got.Credentials)) {
		t.Errorf("%s: %d credentials, counted %d", id, len(got.Credentials), got.Credential.Count)
	}
	return got.Credentials
}

// TestCredentials tells one rotation of two services that know each other, from both ends and on two nodes.
func TestCredentials(t *testing.T) {
	s := open(t)
	old, young, server := certificate("a", noon), certificate("b", noon.Add(time.Hour)), certificate("c", noon.Add(24*time.Hour))
	full := event.TLS{Version: "1.3", Provenance: "full", Verified: true, Mutual: true, PeerCertificate: server, OwnCertificate: old}
	first := shaken(t, checkout, database, noon.Add(-30*time.Minute), 3, full)
	after := full
	after.OwnCertificate = young
	second := shaken(t, checkout, database, noon.Add(-time.Minute), 2, after)
	second.Node = "n2"
	accepted := shaken(t, database, checkout, noon, 2, event.TLS{Version: "1.3", Provenance: "full", Verified: true, Mutual: true,
		PeerCertificate: &event.Certificate{SHA256: young.SHA256, Proven: true}, OwnCertificate: server})
	accepted.Direction = event.Inbound
	open := shaken(t, checkout, database, noon.Add(time.Second), 0, full) // with the first certificate, still
	resumed := full
	resumed.Provenance = "resumed"
	again := shaken(t, checkout, database, noon.Add(time.Second), 1, resumed)
	for range 2 { // repeated, and in one insert and in another
		insertRows(t, s, "a", rowsOf(first, second, accepted, open, again))
		insertRows(t, s, "b", rowsOf(accepted))
	}
	want := []Credential{
		{SHA256: young.SHA256, Proven: true, Roles: []string{"own", "peer"}, Verified: true, Serial: "01b", Issuer: "CN=ca", NotBefore: noon, NotAfter: noon.Add(time.Hour),
			FirstSeen: second.FirstTime, LastSeen: noon, LastPresented: noon, Presented: 2, Received: 4, Nodes: []string{"n1", "n2"}, Peers: []string{database}},
		{SHA256: old.SHA256, Proven: true, Roles: []string{"own"}, Verified: true, Serial: "01a", Issuer: "CN=ca", NotBefore: noon.Add(-time.Hour), NotAfter: noon,
			FirstSeen: first.FirstTime, LastSeen: noon.Add(time.Second), LastPresented: first.Time, Presented: 4, Nodes: []string{"n1"}, Peers: []string{}},
	}
	if got := credentialsOf(t, s, checkout); !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
	want = []Credential{{SHA256: server.SHA256, Proven: true, Roles: []string{"own", "peer"}, Verified: true, Serial: "01c", Issuer: "CN=ca",
		NotBefore: noon.Add(23 * time.Hour), NotAfter: noon.Add(24 * time.Hour), FirstSeen: first.FirstTime, LastSeen: noon.Add(time.Second), LastPresented: noon,
		Presented: 4, Received: 6, Nodes: []string{"n1", "n2"}, Peers: []string{checkout}}}
	if got := credentialsOf(t, s, database); !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}

	insertRows(t, s, "c", rowsOf(toward(t, billing, "db.example", noon, event.Counts{Connections: 1})))
	page, _, err := s.Identities(t.Context(), IdentityFilter{})
	if err != nil || len(page) != 3 {
		t.Fatalf("%d identities, %v, want 3", len(page), err)
	}
	last := map[string]*LastCredential{}
	for i := range page {
		last[page[i].Identity.String()] = page[i].Credential
		if page[i].Credentials != nil {
			t.Errorf("%s: a list holds all credentials", page[i].Identity)
		}
	}
	if got, want := last[checkout], (&LastCredential{young.SHA256, true, noon, noon.Add(time.Hour), noon, noon, 2}); !reflect.DeepEqual(got, want) {
		t.Errorf("last of checkout: %+v, want %+v", got, want)
	}
	if last[billing] != nil || last[database] == nil {
		t.Errorf("last of billing %+v and db %+v, want none and one", last[billing], last[database])
	}
	kept, _, err := s.Identities(t.Context(), IdentityFilter{Keep: func(i *Identity) bool { return i.Credential != nil && i.Credential.Count == 2 }})
	if err != nil || len(kept) != 1 || kept[0].Identity != identity(t, checkout) {
		t.Errorf("%+v %v, want checkout alone", kept, err)
	}
	for after, want := range map[time.Duration]int{time.Hour: 0, time.Hour + 1: 1, 25 * time.Hour: 2} {
		if got, _, err := s.Identities(t.Context(), IdentityFilter{Expiring: noon.Add(after), Limit: 5}); err != nil || len(got) != want {
			t.Errorf("ending within %s: %+v %v, want %d", after, got, err, want)
		}
	}
}

// TestNamelessCredentials: a certificate that proves nothing is kept, and is nobody's; one that a workload presents is its own, proven or not.
func TestNamelessCredentials(t *testing.T) {
	s := open(t)
	expiry := noon.AddDate(0, 3, 0)
	f := func(n int, change func(*event.Observation)) {
		t.Helper()
		o := shaken(t, checkout, "", noon, 1, event.TLS{Version: "1.3", Provenance: "full", PeerCertificate: certificate(fmt.Sprintf("%02x", n), expiry)})
		o.TLS.PeerCertificate.Proven = false
		change(o)
		insertRows(t, s, fmt.Sprint(n), rowsOf(o))
	}
	f(1, func(o *event.Observation) {})
	f(2, func(o *event.Observation) { o.TLS.Verified = true }) // by name, not by identity
	f(3, func(o *event.Observation) {                          // a cluster's word is not the certificate's
		o.TLS.Verified, o.Peer.Identity, o.Peer.Evidence = true, identity(t, database), event.EvidenceKubernetes
	})
	f(4, func(o *event.Observation) {
		o.Peer.Identity, o.Peer.Evidence = identity(t, database), event.EvidenceSVID
	}) // by another certificate
	f(5, func(o *event.Observation) {
		o.TLS.Verified, o.Peer.Identity = true, identity(t, "x509://0123/CN=client")
	})
	f(6, func(o *event.Observation) { // beside its SVID
		o.TLS.PeerCertificate, o.TLS.OwnCertificate = nil, certificate("06", expiry)
		o.TLS.OwnCertificate.Proven, o.Workload.Evidence = false, event.EvidenceSVID
	})
	f(7, func(o *event.Observation) { o.TLS = nil })
	f(8, func(o *event.Observation) { o.TLS.PeerCertificate, o.TLS.Provenance = nil, "wire-only" })
	f(9, func(o *event.Observation) { // of somebody else, whose name the kernel does not take from it
		o.TLS.PeerCertificate, o.TLS.OwnCertificate = nil, certificate("09", expiry)
		o.Workload.Evidence = event.EvidenceKubernetes
	})
	f(10, func(o *event.Observation) {
		o.Peer.Identity, o.Peer.Evidence, o.TLS.PeerCertificate.Proven = identity(t, database), event.EvidenceSVID, true
	})

	type row struct {
		SHA256   string `ch:"sha256"`
		Holder   string `ch:"holder"`
		Identity string `ch:"identity"`
		Role     string `ch:"role"`
		Verified uint8  `ch:"verified"`
	}
	var got []string
	err := each(t.Context(), s, "read", "SELECT sha256, holder, identity, toString(role) AS role, verified FROM credentials ORDER BY sha256", nil, func(r *row) error {
		got = append(got, fmt.Sprintf("%s %q %q %s %d", r.SHA256[:2], r.Holder, r.Identity, r.Role, r.Verified))
		return nil
	})
	want := []string{`01 "" "" peer 0`, `02 "" "" peer 1`, `03 "" "" peer 1`, `04 "" "" peer 0`,
		`05 "x509://0123/CN=client" "x509://0123/CN=client" peer 1`, `06 "` + checkout + `" "" own 0`, `09 "` + checkout + `" "" own 1`, `0a "` + database + `" "` + database + `" peer 1`}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n got %s\nwant %s", err, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	if got := credentialsOf(t, s, checkout); len(got) != 2 || got[0].Proven || got[1].Proven || !got[0].NotAfter.Equal(expiry) {
		t.Errorf("credentials of checkout: %+v, want two that prove nothing", got)
	}
}

// TestCredentialsEnd: those of nobody go after 90 days, others after 400.
func TestCredentialsEnd(t *testing.T) {
	s := open(t)
	now := time.Now().UTC()
	for i, days := range []int{89, 91, 399, 401} {
		at := now.AddDate(0, 0, -days)
		nobody := shaken(t, checkout, "", at, 1, event.TLS{PeerCertificate: certificate(fmt.Sprintf("0%d", i), at), OwnCertificate: certificate(fmt.Sprintf("1%d", i), at)})
		insertRows(t, s, fmt.Sprint(days), rowsOf(nobody))
	}
	if err := s.conn.Exec(t.Context(), "OPTIMIZE TABLE credentials FINAL"); err != nil {
		t.Fatal(err)
	}
	if nobodys, own := number(t, s, "(SELECT count() FROM credentials WHERE holder = '')"), number(t, s, "(SELECT count() FROM credentials WHERE holder != '')"); nobodys != 1 || own != 3 {
		t.Errorf("%d of nobody and %d of checkout are left, want 1 and 3", nobodys, own)
	}
}

func TestReachTLS(t *testing.T) {
	s := open(t)
	plain := toward(t, checkout, "db.shop.svc", noon, event.Counts{Connections: 5})
	rows := rowsOf(plain,
		shaken(t, checkout, "", noon.Add(time.Minute), 2, event.TLS{Version: "1.3", Provenance: "full", Mutual: true, SNI: "db", ALPN: "h2"}),
		shaken(t, checkout, "", noon, 1, event.TLS{Version: "1.3", Provenance: "full", Mutual: true, SNI: "db.shop"}),
		shaken(t, checkout, "", noon, 7, event.TLS{Version: "1.2", Provenance: "wire-only"}),
		shaken(t, checkout, database, noon, 1, event.TLS{Version: "1.3", Provenance: "resumed", Verified: true}),
	)
	for range 2 {
		insertRows(t, s, "a", rows)
	}
	got, _ := reach(t, s, checkout, ReachFilter{})
	if len(got) != 2 || got[0].Resource.String() != "dns:db.shop.svc:443/tcp" || got[1].Resource.String() != database+":443/tcp" {
		t.Fatalf("%+v, want the name and the identity", got)
	}
	want := []ReachTLS{
		{"1.2", "wire-only", false, false, 7, noon, []string{}, []string{}},
		{"1.3", "full", false, true, 3, noon.Add(time.Minute), []string{"db", "db.shop"}, []string{"h2"}},
	}
	if !reflect.DeepEqual(got[0].TLS, want) || got[0].Counts.Connections != 15 {
		t.Errorf("%d connections\n got %+v\nwant %+v", got[0].Counts.Connections, got[0].TLS, want)
	}
	if tls := got[1].TLS; len(tls) != 1 || tls[0].Provenance != "resumed" || tls[0].Connections != 1 {
		t.Errorf("of the identity: %+v", tls)
	}
	one, next := reach(t, s, checkout, ReachFilter{Limit: 1})
	two, _ := reach(t, s, checkout, ReachFilter{Limit: 1, Cursor: next})
	if paged := append(one, two...); !reflect.DeepEqual(paged, got) {
		t.Errorf("pages of one:\n got %+v\nwant %+v", paged, got)
	}
}

func TestWatchedTLS(t *testing.T) {
	s := open(t)
	heartbeat := func(node, boot string, after time.Duration, gauges map[string]uint64) Coverage {
		return CoverageOf(&event.Heartbeat{Node: node, Boot: boot, Started: noon.Add(-48 * time.Hour), Time: noon.Add(after), Gauges: gauges, Version: "v1"})
	}
	for range 2 {
		err := s.InsertCoverage(t.Context(), []Coverage{
			heartbeat("n1", "a", -2*time.Hour, map[string]uint64{"connections": 100, "tls-full": 10, "tls-failed": 1, "tls-stack:openssl-3.0.17": 4, "tls-stack:go1.20": 1, "edges": 9, "tls-pending": 3}),
			heartbeat("n1", "a", 10*time.Minute, map[string]uint64{"connections": 150, "tls-full": 11, "tls-resumed": 2, "tls-failed": 1, "tls-stack:openssl-3.0.17": 3}),
			heartbeat("n1", "a", 20*time.Minute, map[string]uint64{"connections": 160, "tls-full": 12, "tls-resumed": 2, "tls-failed": 1, "tls-inferred": 1, "tls-wire-only": 4, "tls-stack:openssl-3.0.17": 2}),
			heartbeat("n3", "a", 0, map[string]uint64{"connections": 0, "tls-full": 0, "tls-failed": 0}), // nothing happened yet
			heartbeat("n2", "a", 0, map[string]uint64{"connections": 100, "edges": 9}),                   // an older agent
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Watched(t.Context(), noon)
	if err != nil || len(got) != 1 {
		t.Fatalf("%+v %v, want n1 alone", got, err)
	}
	want := &TLSWatch{TLSCounts{Connections: 60, Full: 2, Resumed: 2, Inferred: 1, WireOnly: 4}, map[string]uint64{"openssl-3.0.17": 3}}
	if !reflect.DeepEqual(got[0].TLS, want) {
		t.Errorf("\n got %+v\nwant %+v", got[0].TLS, want)
	}
	if n := number(t, s, "(SELECT countIf(mapContains(tls, 'edges') OR mapContains(tls, 'tls-pending')) FROM coverage)"); n != 0 {
		t.Errorf("%d rows keep gauges of other things", n)
	}
	got, err = s.Watched(t.Context(), noon.Add(-time.Hour))
	if err != nil || len(got) != 3 || got[1].TLS != nil || got[2].TLS == nil || got[2].TLS.Counts != (TLSCounts{}) {
		t.Errorf("%+v %v, want nothing of TLS on n2, and that there was none on n3", got, err)
	}
}

// TestUpgradeToCredentials migrates a database that holds what the first seven migrations could, certificates among it.
func TestUpgradeToCredentials(t *testing.T) {
	c := Default()
	c.Socket = testenv.Engine(t)
	s := openUnmigrated(t, c)
	known, err := migrations(schemaFiles)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.migrate(t.Context(), known[:7]); err != nil {
		t.Fatal(err)
	}
	if err := s.conn.Exec(t.Context(), fmt.Sprintf(`INSERT INTO observations (batch_time, time, first_time, node, identity, evidence, direction, protocol, resource, connections,
		tls_version, tls_provenance, tls_verified, tls_own_sha256) SELECT t, t, t, 'n1', '%s', 'svid', 'outbound', 'tcp', '%s:443/tcp', 3, '1.3', 'full', 1, 'aa'
		FROM (SELECT fromUnixTimestamp64Micro(toInt64(%d), 'UTC') AS t)`, checkout, database, noon.UnixMicro())); err != nil {
		t.Fatal(err)
	}
	if err := s.conn.Exec(t.Context(), fmt.Sprintf(`INSERT INTO coverage (node, boot, hour, from_time, until_time, lost)
		SELECT 'n1', 'a', toStartOfHour(t), t - INTERVAL 1 DAY, t, map('ring', 7) FROM (SELECT fromUnixTimestamp64Micro(toInt64(%d), 'UTC') AS t)`, noon.UnixMicro())); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	watched, err := s.Watched(t.Context(), noon.Add(-time.Hour))
	if err != nil || len(watched) != 1 || watched[0].Lost["ring"] != 7 || watched[0].TLS != nil {
		t.Errorf("%+v %v, want the coverage from before, and nothing of TLS", watched, err)
	}
	if got := credentialsOf(t, s, checkout); len(got) != 0 {
		t.Errorf("%+v, want none from before", got)
	}
	if n := number(t, s, "(SELECT countIf(NOT tls_own_proven AND NOT tls_peer_proven) FROM observations)"); n != 1 {
		t.Errorf("%d rows from before prove nothing, want 1", n)
	}
	insertRows(t, s, "new", rowsOf(shaken(t, checkout, database, noon.Add(time.Hour), 2,
		event.TLS{Version: "1.3", Provenance: "full", Verified: true, OwnCertificate: certificate("b", noon.Add(2*time.Hour))})))
	if got := credentialsOf(t, s, checkout); len(got) != 1 || got[0].SHA256[0] != 'b' || !got[0].Proven {
		t.Errorf("%+v, want the one after the upgrade", got)
	}
	edges, _ := reach(t, s, checkout, ReachFilter{})
	if len(edges) != 1 || edges[0].Counts.Connections != 5 || len(edges[0].TLS) != 1 || edges[0].TLS[0].Connections != 2 {
		t.Errorf("%+v, want 5 connections, those after the upgrade with TLS", edges)
	}
	if err := s.InsertCoverage(t.Context(), []Coverage{{Node: "n1", Boot: "a", From: noon.Add(-day), Until: noon.Add(time.Minute), TLS: map[string]uint64{"connections": 9, "tls-full": 2}}}); err != nil {
		t.Fatal(err)
	}
	if watched, err = s.Watched(t.Context(), noon); err != nil || len(watched) != 1 || watched[0].TLS == nil || watched[0].TLS.Counts.Full != 2 {
		t.Errorf("%+v %v, want TLS after the upgrade", watched, err)
	}
}
