package report

import (
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
)

func TestStateOfCredential(t *testing.T) {
	at := func(d time.Duration) time.Time { return noon.Add(d) }
	f := func(notBefore, notAfter, presented time.Time, want CredentialState) {
		t.Helper()
		if got := StateOfCredential(notBefore, notAfter, presented, noon); got != want {
			t.Errorf("from %s until %s, presented %s: %s, want %s", notBefore, notAfter, presented, got, want)
		}
	}
	f(time.Time{}, time.Time{}, noon, CredentialUnstated)
	f(at(-time.Hour), at(time.Hour), noon, CredentialValid)
	f(at(-40*time.Minute), at(20*time.Minute), noon, CredentialValid)
	f(at(-40*time.Minute), at(20*time.Minute-time.Second), noon, CredentialEnding)
	f(at(-365*day), at(7*day), noon, CredentialValid)
	f(at(-365*day), at(7*day-1), noon, CredentialEnding)
	f(time.Time{}, at(7*day-1), noon, CredentialEnding)
	f(at(time.Second), at(time.Hour), noon, CredentialNotYet)
	f(at(-time.Hour), noon, noon, CredentialExpired)
	f(at(-time.Hour), at(-time.Minute), time.Time{}, CredentialExpired)
	f(at(-time.Hour), at(-10*time.Minute), at(-5*time.Minute), CredentialExpired) // it may have been told late
	f(at(-time.Hour), at(-10*time.Minute), at(-5*time.Minute+1), CredentialMisused)
}

// TestCoverageTLS tells two nodes that watch TLS, one of them over a restart of its agent, and one whose agent is older.
func TestCoverageTLS(t *testing.T) {
	w := &world{t: t, s: open(t)}
	w.watch(store.Coverage{Node: "n1", Boot: "a", From: ago(20 * day), Until: ago(11 * day), Version: "2", TLS: map[string]uint64{"connections": 50, "tls-full": 50}})
	w.watch(store.Coverage{Node: "n1", Boot: "a", From: ago(20 * day), Until: ago(5 * day), Version: "2", Missing: []string{"UDP over IPv6"}, TLS: map[string]uint64{
		"connections": 1050, "tls-full": 150, "tls-resumed": 20, "tls-inferred": 1, "tls-wire-only": 1234, "tls-failed": 3, "tls-stack:openssl-3.0.17": 2}})
	w.watch(store.Coverage{Node: "n1", Boot: "b", From: ago(5 * day), Until: noon, Version: "3", Missing: []string{"TLS of go1.99 programs: its layout is not known (/app/x)"},
		TLS: map[string]uint64{"connections": 10, "tls-full": 4, "tls-stack:openssl-3.0.17": 1, "tls-stack:go1.25.1": 3}})
	w.watch(store.Coverage{Node: "n2", Boot: "a", From: ago(20 * day), Until: noon, Version: "3", TLS: map[string]uint64{"connections": 0, "tls-full": 0}})
	w.watch(store.Coverage{Node: "n3", Boot: "a", From: ago(20 * day), Until: noon, Version: "1"})
	got, err := New(w.s, nil).Coverage(t.Context(), noon, 10*day, Paging{})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "coverage-tls.json", got)
	if got.Items[2].TLS != nil {
		t.Errorf("an older agent tells %+v of TLS", got.Items[2].TLS)
	}
	if n := got.Items[0].TLS; n.None != 6 || n.Connections != 1010 {
		t.Errorf("%+v, want 6 without a handshake, of 1010", n) // those of b; where more was seen than counted, as of a, it is none
	}
}
