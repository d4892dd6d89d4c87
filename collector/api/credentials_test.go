package api

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

const payments = "spiffe://shop.example/ns/shop/sa/payments"

// TestTLSAnswers adds two services that know each other by their SVIDs, one of which is late, and asks for them.
func TestTLSAnswers(t *testing.T) {
	s, _ := newServer(t)
	now := s.now()
	certificate := func(name string, from, until time.Time) *event.Certificate {
		return &event.Certificate{SHA256: strings.Repeat(name, 32), Serial: "0" + name, Issuer: "CN=shop.example", NotBefore: from, NotAfter: until, Proven: name != "eb"}
	}
	server := certificate("5e", now.Add(-50*time.Minute), now.Add(10*time.Minute))
	late := certificate("1a", now.Add(-3*time.Hour), now.Add(-time.Hour))
	web := certificate("eb", now.AddDate(0, -1, 0), now.AddDate(0, 2, 0))
	observation := func(id string, direction event.Direction, before time.Duration, connections uint64, peer event.Peer, tls *event.TLS) event.Observation {
		return event.Observation{Time: now.Add(-before), Node: "n1", Workload: event.Workload{Identity: identity(t, id), Evidence: event.EvidenceSVID},
			Direction: direction, Protocol: event.TCP, Peer: peer, TLS: tls, Counts: event.Counts{Connections: connections}}
	}
	toServer := event.Peer{Address: netip.MustParseAddr("10.0.0.7"), Port: 8443, Identity: identity(t, payments), Evidence: event.EvidenceSVID}
	fromClient := event.Peer{Address: netip.MustParseAddr("10.0.0.8"), Port: 8443, Identity: identity(t, checkout), Evidence: event.EvidenceSVID}
	all := []event.Observation{
		observation(checkout, event.Outbound, 2*time.Hour, 4, toServer,
			&event.TLS{Version: "1.3", Provenance: "full", Verified: true, Mutual: true, SNI: "payments", ALPN: "h2", PeerCertificate: server, OwnCertificate: late}),
		observation(checkout, event.Outbound, time.Minute, 1, toServer,
			&event.TLS{Version: "1.3", Provenance: "resumed", Verified: true, Mutual: true, SNI: "payments", PeerCertificate: server, OwnCertificate: late}),
		observation(payments, event.Inbound, time.Minute, 5, fromClient,
			&event.TLS{Version: "1.3", Provenance: "full", Verified: true, Mutual: true, PeerCertificate: late, OwnCertificate: server}),
		observation(checkout, event.Outbound, time.Minute, 2, event.Peer{Address: netip.MustParseAddr("192.0.2.7"), Port: 443, Name: "api.example.com", NameSource: event.NameDNS},
			&event.TLS{Version: "1.2", Provenance: "wire-only", SNI: "api.example.com", PeerCertificate: web}),
	}
	var rows []store.ObservationRow
	for i := range all {
		rows = append(rows, store.RowOf(&all[i], all[i].Time, uint64(i)))
	}
	s2 := s.Inventory.(*store.Store)
	if err := s2.InsertObservations(t.Context(), "tls", rows); err != nil {
		t.Fatal(err)
	}
	if err := s2.InsertCoverage(t.Context(), []store.Coverage{{Node: "n1", Boot: "b1", From: noon, Until: now, Version: "v1", Kernel: "6.1",
		Missing: []string{"TLS of go1.99 programs: its layout is not known (/app/x)", "UDP over IPv6"},
		TLS: map[string]uint64{"connections": 100, "tls-full": 9, "tls-resumed": 1, "tls-inferred": 0, "tls-wire-only": 2, "tls-failed": 1,
			"tls-stack:openssl-3.0.17": 2, "tls-stack:go1.25.1": 1}}}); err != nil {
		t.Fatal(err)
	}
	at := func(id string) string { return "/api/v1/identities/" + url.PathEscape(id) }
	for _, c := range []struct{ name, target string }{
		{"identities_credentials", "/api/v1/identities?expiring=7d"},
		{"identity_credentials", at(payments)},
		{"identity_expired", at(checkout)},
		{"reach_tls", at(checkout) + "/reach"},
		{"coverage_tls", "/api/v1/reports/coverage?window=1h"},
	} {
		w := ask(t, s, "GET", c.target, "")
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d: %s", c.target, w.Code, w.Body)
			continue
		}
		golden(t, c.name, w.Body.Bytes())
	}
	for _, target := range []string{"/api/v1/identities?expiring=7", "/api/v1/identities?expiring=", "/api/v1/identities?expiring=9999d"} {
		if w := ask(t, s, "GET", target, ""); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "expiring") {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
}
