package decision_test

import (
	"fmt"
	"testing"

	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/collector/decision"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// testPermissions: with the rights that deploy/nats gives to a collector and to an agent, a decision is asked for, approved, delivered, acknowledged, and revoked.
func testPermissions(t *testing.T, s *store.Store) {
	server := testenv.StartNATSUsers(t, "n1")
	bus := collector.DefaultBusConfig()
	bus.URLs, bus.TLS, bus.Logger = []string{server.URL}, server.TLS(testenv.CollectorID), quiet
	w := startOn(t, s, bus, func(c *decision.Config) {
		c.Approval = decision.ApprovalAll
		c.Automatic = []decision.Rule{{Rule: "x", Severity: event.High, To: "*", Mode: event.DryRun, For: c.MaxLife}}
	})
	agentBus, err := collector.OutsideBus(collector.BusConfig{
		URLs: []string{server.URL}, TLS: server.TLS(testenv.AgentID("n1")), Inbox: event.AgentInbox("n1"), MaxBytes: bus.MaxBytes, MaxAge: bus.MaxAge, Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := agentBus.Connect("agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	a := startAgent(t, nc, "n1", w.public)
	asked, err := w.Issue(t.Context(), "ada", wish(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	d, err := w.Approve(t.Context(), "grace", asked.Waiting.ID)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		v, err := w.Get(t.Context(), d.ID)
		if err != nil || v.Acks.Nodes[event.AckInForce] != 1 || !a.holds(d.ID) {
			return fmt.Sprintf("it is %+v, %v", v, err)
		}
		return ""
	})
	if _, err := w.Nodes(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := w.Revoke(t.Context(), "grace", d.ID, "over"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if v, err := w.Get(t.Context(), d.ID); err != nil || v.Acks.Nodes[event.AckEnded] != 1 || a.holds(d.ID) {
			return fmt.Sprintf("it is %+v, %v", v, err)
		}
		return ""
	})
	if err := nc.LastError(); err != nil {
		t.Errorf("the server complains of the agent: %v", err)
	}
	if err := w.nc.LastError(); err != nil {
		t.Errorf("the server complains of the collector: %v", err)
	}
}
