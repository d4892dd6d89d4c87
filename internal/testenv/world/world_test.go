package world

import (
	"os"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// A world holds something of all that pages show.
func TestFill(t *testing.T) {
	c := store.Default()
	c.Socket = testenv.Engine(t)
	s, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	w, err := Fill(t.Context(), s, time.Now(), Small)
	if err != nil {
		t.Fatal(err)
	}
	severities, statuses := map[event.Severity]int{}, map[event.Status]int{}
	stored, _, err := s.Findings(t.Context(), store.FindingFilter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for i := range stored {
		severities[stored[i].Severity]++
		statuses[stored[i].Status]++
	}
	if len(w.Identities) < Small.Identities/2 || len(stored) != len(w.Findings) || len(w.Hostile) != 2 || len(w.Nodes) == 0 || w.Busiest.IsZero() {
		t.Errorf("%d identities, %d findings, %d stored, %d hostile, nodes %v, busiest %s", len(w.Identities), len(w.Findings), len(stored), len(w.Hostile), w.Nodes, w.Busiest)
	}
	if len(severities) < 4 || len(statuses) < 3 {
		t.Errorf("severities %v, statuses %v", severities, statuses)
	}
	t.Logf("severities %v, statuses %v, %d identities on %v", severities, statuses, len(w.Identities), w.Nodes)
}
