package scope

import (
	"slices"
	"strings"
	"testing"

	"github.com/ambit-nhi/ambit/event"
)

// A service account of another trust domain is not the one of its name here: no policy may allow that in its place.
func TestForeignPeers(t *testing.T) {
	s := &event.Scope{Identity: identity(t, checkout), Entries: []event.ScopeEntry{
		{Resource: "spiffe://other.example/ns/data/sa/db:5432/tcp", Direction: event.Outbound},
		{Resource: "spiffe://other.example/ns/data/sa/db:8443/tcp", Direction: event.Inbound},
	}}
	for _, f := range []Format{Cilium, Kubernetes, Calico} {
		p, err := Write(s, f)
		if err != nil {
			t.Fatal(f, err)
		}
		lines := slices.DeleteFunc(strings.Split(p.Text, "\n"), func(l string) bool { return strings.HasPrefix(l, "#") })
		if strings.Contains(strings.Join(lines, "\n"), "db") || len(p.Missing) != 2 {
			t.Errorf("%s: %+v\n%s", f, p.Missing, p.Text)
		}
	}
}
