package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/event"
)

// TestTLSForms compares what is said of certificates and handshakes with golden files.
func TestTLSForms(t *testing.T) {
	validity := func(name byte, kind string, state report.CredentialState, ends time.Duration) api.Validity {
		return api.Validity{SHA256: strings.Repeat(string(name), 64), Kind: kind, State: state, NotBefore: now.Add(ends - 3*time.Hour), NotAfter: now.Add(ends),
			LastSeen: now, LastPresented: now.Add(-time.Minute)}
	}
	id := func(name string) event.Identity { return identity(t, "spiffe://shop.example/ns/shop/sa/"+name) }
	one := api.Identity{Identity: id("checkout"), Kind: "service-account", State: "stable", Evidence: event.EvidenceSVID, Nodes: []string{"n1"}, LastSeen: now,
		Credential: &api.LastCredential{Validity: validity('a', "svid", report.CredentialValid, 43*time.Minute), Count: 3}, Credentials: []api.Credential{
			{Validity: validity('a', "svid", report.CredentialValid, 43*time.Minute), Verified: true, Roles: []string{"own", "peer"}, Serial: "0a", Issuer: "CN=shop.example,O=\x1b[2JSPIRE",
				FirstSeen: now.Add(-time.Hour), Presented: 12, Received: 11, Nodes: []string{"n1", "n2"}, Peers: []string{id("db").String(), id("mail").String()}},
			{Validity: validity('b', "x509", report.CredentialMisused, -72*time.Hour), Roles: []string{"own"}, FirstSeen: now.Add(-time.Hour), Presented: 1, Nodes: []string{"n1"}},
		}}
	list := []api.Identity{one}
	list[0].Credentials = nil
	for state, ends := range map[report.CredentialState]time.Duration{report.CredentialEnding: 10 * time.Minute, report.CredentialExpired: -25 * time.Hour,
		report.CredentialMisused: -time.Hour, report.CredentialNotYet: 5 * time.Hour} {
		list = append(list, api.Identity{Identity: id(string(state)), Credential: &api.LastCredential{Validity: validity('c', "x509", state, ends), Count: 1}})
	}
	list = append(list, api.Identity{Identity: id("unknown"), Credential: &api.LastCredential{Validity: api.Validity{Kind: "x509", State: report.CredentialUnstated}, Count: 1}})
	slices.SortFunc(list, func(a, b api.Identity) int { return strings.Compare(a.Identity.String(), b.Identity.String()) })
	golden(t, "identities-credentials", list, identityColumns(now))
	plain := api.Identity{Identity: id("plain"), Kind: "service-account", State: "stable"}
	for form, ending := range forms {
		compare(t, "identity."+ending, func(w io.Writer) error { return printIdentity(w, form, &one, now) })
		compare(t, "identity-plain."+ending, func(w io.Writer) error { return printIdentity(w, form, &plain, now) })
	}

	kind := func(version, provenance string, verified, mutual bool, n uint64) api.ReachTLS {
		return api.ReachTLS{Version: version, Provenance: provenance, Verified: verified, Mutual: mutual, Connections: n, LastTime: now}
	}
	named := kind("1.3", "full", true, true, 12)
	named.SNI, named.ALPN = []string{"db", "db.shop\x1b"}, []string{"h2"}
	reach := func(text string, d event.Direction, tls ...api.ReachTLS) api.Reach {
		return api.Reach{Resource: resource(t, text), Direction: d, Protocol: event.TCP, FirstTime: now.Add(-time.Hour), LastTime: now, Connections: 30, TLS: tls}
	}
	golden(t, "reach-tls", []api.Reach{
		reach("spiffe://shop.example/ns/shop/sa/db:5432/tcp", event.Outbound, named, kind("1.3", "resumed", true, true, 3), kind("1.2", "wire-only", false, false, 2)),
		reach("dns:old.example:443/tcp", event.Outbound, kind("1.2", "full", false, false, 1)),
		reach("dns:java.example:443/tcp", event.Outbound, kind("", "wire-only", false, false, 1)),
		reach("dns:plain.example:80/tcp", event.Outbound),
		reach("net:10.0.0.1/32:8443/tcp", event.Inbound, kind("1.3", "full", false, false, 1), kind("1.3", "inferred", false, true, 1)),
	}, reachColumns(now))

	node := func(name string, tls *report.NodeTLS) report.NodeCoverage {
		return report.NodeCoverage{Node: name, Watched: 100, LastTime: now, TLS: tls}
	}
	many := map[string]uint64{}
	for i := range 8 {
		many[fmt.Sprintf("go1.2%d", i)] = uint64(i)
	}
	nodes := []report.NodeCoverage{
		node("n1", &report.NodeTLS{TLS: report.TLS{Connections: 100, Full: 9, Resumed: 1, Inferred: 2, WireOnly: 3, Failed: 4, None: 81},
			Stacks: map[string]uint64{"openssl-3.0.17": 2, "go1.25.1": 1}, Blind: []string{"TLS of go1.99 programs: its layout is not known (/app/\x1bx)"}}),
		node("n2", nil),
		node("n3", &report.NodeTLS{Stacks: many, Blind: []string{"TLS of go1.99 programs: its layout is not known (/app/\x1bx)", "3 connections seen on the wire only"}}),
	}
	golden(t, "coverage-tls", nodes, coverageColumns(now))
	compare(t, "coverage-tls-more.txt", func(w io.Writer) error { return printTLS(w, nodes) })
	for i := range 30 {
		nodes = append(nodes, node(fmt.Sprintf("m%02d", i), &report.NodeTLS{Blind: []string{fmt.Sprintf("something %02d", i), "what all are"}}))
	}
	compare(t, "coverage-tls-many.txt", func(w io.Writer) error { return printTLS(w, nodes) })
	compare(t, "coverage-tls-old.txt", func(w io.Writer) error { return printTLS(w, nodes[1:2]) })
}
