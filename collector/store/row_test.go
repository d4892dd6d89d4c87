package store

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// full is an observation in which no field is empty.
func full(t testing.TB) *event.Observation {
	cert := func(name string) *event.Certificate {
		return &event.Certificate{SHA256: name, Serial: "01" + name, Issuer: "CN=" + name, NotBefore: noon.AddDate(-1, 0, 0), NotAfter: noon.AddDate(1, 0, 0), Proven: true}
	}
	return &event.Observation{
		Time: noon, FirstTime: noon.Add(-1234567 * time.Microsecond), Node: "n1",
		Workload: event.Workload{
			Identity: identity(t, checkout), Evidence: event.EvidenceSVID, Namespace: "shop", Pod: "checkout-7c9f", Container: "server",
			Image: "registry.example/checkout@sha256:ab", ServiceAccount: "checkout", Owner: "Deployment/checkout", Unit: "checkout.service",
			Executable: "/app/checkout", Interactive: true, Cgroup: "/kubepods/pod1", UID: 1000,
			Unattributed: event.UnattributedQuota,
		},
		Direction: event.Outbound, Protocol: event.TCP,
		Peer: event.Peer{
			Address: netip.MustParseAddr("10.1.2.3"), Port: 5432, Range: netip.MustParsePrefix("10.1.2.0/24"), Dialled: netip.MustParseAddrPort("10.96.0.12:15432"), Name: "db.shop.svc",
			NameSource: event.NameService, Identity: identity(t, "spiffe://shop.example/ns/shop/sa/db"), Evidence: event.EvidenceSVID,
		},
		TLS: &event.TLS{Version: "1.3", SNI: "db.shop.svc", ALPN: "h2", Mutual: true, Verified: true, Provenance: "full",
			PeerCertificate: cert("peer"), OwnCertificate: cert("own")},
		Counts: event.Counts{Connections: 12, Failed: 3, Denied: 2, BytesSent: 48211, BytesReceived: 1 << 63},
		Error:  "refused",
	}
}

// TestRowOf holds that no field of an observation is forgotten: a new one that does not reach its column leaves it empty.
func TestRowOf(t *testing.T) {
	r := RowOf(full(t), noon, 7)
	empty(t, reflect.ValueOf(r))
	if got, want := r.Resource, "spiffe://shop.example/ns/shop/sa/db:15432/tcp"; got != want {
		t.Errorf("resource %q, want %q", got, want)
	}
	if n, want := reflect.TypeFor[event.Observation]().NumField()+reflect.TypeFor[event.Workload]().NumField()+reflect.TypeFor[event.Peer]().NumField()+
		reflect.TypeFor[event.TLS]().NumField()+reflect.TypeFor[event.Certificate]().NumField()+reflect.TypeFor[event.Counts]().NumField(), 10+14+8+8+6+5; n != want {
		t.Errorf("the vocabulary has %d fields, the row was made for %d: give the new one a column", n, want)
	}
}

func empty(t *testing.T, v reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Type().Field(i); {
		case f.Anonymous:
			empty(t, v.Field(i))
		case v.Field(i).IsZero():
			t.Errorf("column %s is empty", f.Tag.Get("ch"))
		}
	}
}

// TestRowSurvives stores rows and reads every column back.
func TestRowSurvives(t *testing.T) {
	s := open(t)
	six := full(t)
	six.Time, six.FirstTime = noon.Add(time.Second), time.Time{}
	six.Direction, six.Protocol = event.Inbound, event.UDP
	six.Peer = event.Peer{Address: netip.MustParseAddr("2001:db8::1"), Port: 53}
	six.TLS = &event.TLS{PeerCertificate: &event.Certificate{NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}}
	bare := &event.Observation{Time: noon.Add(2 * time.Second), Workload: event.Workload{Identity: identity(t, checkout)},
		Direction: event.Outbound, Protocol: event.TCP, Peer: event.Peer{Name: "a\n\t'\\\x00é.example"}}
	want := rowsOf(full(t), six, bare)
	insertRows(t, s, "a", want)
	var got []ObservationRow
	err := each(t.Context(), s, "read", "SELECT * FROM observations ORDER BY time", nil, func(r *ObservationRow) error {
		for _, a := range []*netip.Addr{&r.PeerAddress, &r.DialledAddress} {
			*a = netip.AddrFrom16(a.As16())
		}
		got = append(got, *r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d rows, want %d", len(got), len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("row %d:\n got %+v\nwant %+v", i, got[i], want[i])
		}
	}
}

// TestCorruptRow refuses what no valid observation makes, and then stores nothing of the call.
func TestCorruptRow(t *testing.T) {
	s := open(t)
	f := func(name string, spoil func(*ObservationRow)) {
		t.Helper()
		rows := rowsOf(full(t), full(t))
		spoil(&rows[1])
		err := s.InsertObservations(t.Context(), name, rows)
		if err == nil || err.Error()[:28] != "insert observations: row 1: " {
			t.Errorf("%s: %v, want an error that names row 1", name, err)
		}
	}
	f("no identity", func(r *ObservationRow) { r.Identity = "" })
	f("no resource", func(r *ObservationRow) { r.Resource = "" })
	f("no direction", func(r *ObservationRow) { r.Direction = "sideways" })
	f("no time", func(r *ObservationRow) { r.Time = time.Time{} })
	f("year 3000", func(r *ObservationRow) { r.BatchTime = noon.AddDate(1000, 0, 0) })
	if err := s.InsertObservations(t.Context(), "", rowsOf(full(t))); err == nil {
		t.Error("no token: no error")
	}
	if err := s.InsertSightings(t.Context(), []Sighting{{Node: "n1", Time: noon}}); err == nil {
		t.Error("sighting without identity: no error")
	}
	if err := s.InsertFindings(t.Context(), []event.Finding{{ID: "x"}}); err == nil {
		t.Error("finding without identity: no error")
	}
	if err := s.InsertCoverage(t.Context(), []Coverage{{Node: "n1", From: noon, Until: noon}}); err == nil {
		t.Error("coverage without boot: no error")
	}
	if n := number(t, s, "(SELECT count() FROM observations)"); n != 0 {
		t.Errorf("%d rows stored, want none", n)
	}
}
