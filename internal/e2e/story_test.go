package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// A process in a cgroup of its own is seen with all it reached; once it is known well, a new resource is a finding, once.
func TestKernelStory(t *testing.T) {
	const learn = 20 * time.Second
	u := startUp(t, t.TempDir(), "--learn", learn.String())
	four, _ := serveTCP(t, "127.0.0.1:0")
	six, _ := serveTCP(t, "[::1]:0")
	udp := serveUDP(t, "127.0.0.1:0")
	group := testenv.Cgroup(t, "ambit-e2e-story-*")
	id := cgroupIdentity(t, group)
	c := startClient(t, group)

	first := time.Now()
	c.do("tcp %s 3 1000", four)
	c.do("tcp %s 2 70", six)
	c.do("udp %s 4 60", udp)
	want := map[string]event.Counts{
		netResource(four, "tcp"): {Connections: 3, BytesSent: 3000, BytesReceived: 3 * answerBytes},
		netResource(six, "tcp"):  {Connections: 2, BytesSent: 140, BytesReceived: 2 * answerBytes},
		netResource(udp, "udp"):  {Connections: 4, BytesSent: 240, BytesReceived: 4 * answerBytes},
	}
	took := eventually(t, 15*time.Second, func() string { return sameReach(u.reach(id), want) })
	t.Logf("reach complete after %s", took.Round(time.Millisecond))

	var identities api.Page[api.Identity]
	u.cli(&identities, "identities")
	found := false
	for _, i := range identities.Items {
		if i.Identity == id {
			found = true
			if i.Evidence != event.EvidenceCgroup || i.Connections != 9 || i.Resources != 3 || i.State == "stable" {
				t.Errorf("identity: %+v", i)
			}
		}
	}
	if !found {
		t.Errorf("ambit identities does not list %s", id)
	}
	var reach api.Page[api.Reach]
	u.cli(&reach, "reach", id.String())
	if s := sameReach(reach.Items, want); s != "" {
		t.Errorf("ambit reach: %s", s)
	}

	// Known resources again, until the learning time is over: no finding.
	for time.Since(first) < learn+2*time.Second {
		c.do("tcp %s 1 10", four)
		time.Sleep(200 * time.Millisecond)
	}
	if f := mine(u.findings(), id); len(f) != 0 {
		t.Fatalf("findings before anything new: %+v", f)
	}
	fourth, _ := serveTCP(t, "127.0.0.1:0")
	began := time.Now()
	c.do("tcp %s 1 10", fourth)
	took = eventually(t, 2*time.Second, func() string {
		if f := mine(u.findings(), id); len(f) != 1 {
			return fmt.Sprintf("%d findings, want 1", len(f))
		}
		return ""
	})
	t.Logf("finding after %s", took.Round(time.Millisecond))
	f := mine(u.findings(), id)[0]
	if f.Rule != "new-reach" || f.Resource.String() != netResource(fourth, "tcp") || f.FirstTime.Before(began.Add(-time.Second)) ||
		len(f.Explanation) < 2 || len(f.Baseline) == 0 || f.Status != event.StatusNew {
		t.Errorf("finding: %+v", f)
	}

	// The same again and again, over a drain: still one.
	for range 30 {
		c.do("tcp %s 5 10", fourth)
		time.Sleep(400 * time.Millisecond)
	}
	if f := mine(u.findings(), id); len(f) != 1 {
		t.Errorf("%d findings after repetition, want 1", len(f))
	}
	var state api.Page[api.Identity]
	u.cli(&state, "identities")
	for _, i := range state.Items {
		if i.Identity == id && i.State != "stable" {
			t.Errorf("state %s (%s) after the learning time", i.State, i.Progress.Reason)
		}
	}
	var coverage struct {
		Items []struct {
			Node string            `json:"node"`
			Lost map[string]uint64 `json:"lost"`
		} `json:"items"`
	}
	u.cli(&coverage, "report", "coverage", "--window", "1h")
	if len(coverage.Items) != 1 || coverage.Items[0].Node != "n1" {
		t.Errorf("coverage: %+v", coverage)
	}
}

func mine(all []event.Finding, id event.Identity) []event.Finding {
	var out []event.Finding
	for _, f := range all {
		if f.Identity == id {
			out = append(out, f)
		}
	}
	return out
}

func netResource(address, protocol string) string {
	host, port, _ := strings.Cut(strings.ReplaceAll(address, "[::1]", "::1/128"), "/128:")
	if port != "" {
		return "net:" + host + "/128:" + port + "/" + protocol
	}
	host, port, _ = strings.Cut(address, ":")
	return "net:" + host + "/32:" + port + "/" + protocol
}

func sameReach(got []api.Reach, want map[string]event.Counts) string {
	if len(got) != len(want) {
		return fmt.Sprintf("%d resources, want %d: %+v", len(got), len(want), got)
	}
	for _, r := range got {
		w := want[r.Resource.String()]
		if r.Connections != w.Connections || r.Failed != w.Failed || r.BytesSent != w.BytesSent || r.BytesReceived != w.BytesReceived {
			return fmt.Sprintf("%s: %+v, want %+v", r.Resource, r, w)
		}
	}
	return ""
}
