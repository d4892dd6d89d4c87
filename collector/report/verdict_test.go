package report

import (
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

func unit(t *testing.T, node string) event.Identity {
	t.Helper()
	id, err := event.ParseIdentity("spiffe://shop.example/node/" + node + "/unit/idle.service")
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func told(node, cause string, from, until time.Duration) store.Gap {
	return store.Gap{Node: node, Gap: event.Gap{Cause: cause, From: ago(from), Until: ago(until), Lost: 1}}
}

func TestVerdict(t *testing.T) {
	const window = 100 * time.Hour
	nodes := cover([]store.Watched{boot("good", 200*time.Hour, 0), boot("half", 200*time.Hour, 50*time.Hour), boot("late", 10*time.Hour, 0),
		boot("lossy", 200*time.Hour, 0), boot("away", 200*time.Hour, 0), boot("blink", 200*time.Hour, 0)},
		[]store.Gap{told("lossy", "spool-full", 90*time.Hour, 80*time.Hour), told("lossy", "dns-evicted", 70*time.Hour, 10*time.Hour),
			told("away", "api-away", 60*time.Hour, 40*time.Hour), told("blink", "clock", 61*time.Minute, time.Minute)}, ago(window), noon)
	w := newWitness(nodes, window)
	f := func(id event.Identity, evidence event.Evidence, seen time.Duration, watched float64, want string, lived ...string) {
		t.Helper()
		verdict, reason, share := w.judge(&store.Member{Identity: id, Evidence: evidence, LastSeen: ago(seen), Lived: lived}, ago(window))
		if want == "" && verdict != VerdictUnused || want != "" && verdict != VerdictCannotTell || reason != want || share != watched {
			t.Errorf("%v: %s %v %q, want %v %q", lived, verdict, share, reason, watched, want)
		}
	}
	const svid, kubernetes, systemd = event.EvidenceSVID, event.EvidenceKubernetes, event.EvidenceSystemd
	pod := account(t, "x")
	f(pod, kubernetes, time.Hour, 100, "", "good")
	f(pod, svid, time.Hour, 100, "", "good", "away")
	f(pod, svid, time.Hour, 99, "", "blink")
	f(unit(t, "good"), systemd, 150*time.Hour, 100, "", "good")
	f(pod, kubernetes, time.Hour, 80, "node away was watched, and knew its pods, for 80.00%; its longest gap is from 2026-11-18T00:00:00Z to 2026-11-18T20:00:00Z: the Kubernetes API was away", "away")
	f(pod, svid, time.Hour, 75, "node half was watched for 50.00%; its longest gap is from 2026-11-18T10:00:00Z to 2026-11-20T12:00:00Z: it was not heard of since", "good", "half")
	f(pod, svid, time.Hour, 90, "node lossy was watched for 90.00%; its longest gap is from 2026-11-16T18:00:00Z to 2026-11-17T04:00:00Z: its agent could neither send nor keep what it saw", "lossy")
	f(unit(t, "late"), systemd, time.Hour, 10, "node late was watched for 10.00%; its longest gap is from 2026-11-16T08:00:00Z to 2026-11-20T02:00:00Z: it was not watched yet", "late")
	f(unit(t, "gone"), systemd, 150*time.Hour, 0, "node gone was not watched", "gone")
	f(pod, svid, 150*time.Hour, 100, "it was not seen running, and may have run on any node: all of them together were watched for 74.83%", "good")
	f(pod, svid, 150*time.Hour, 0, "it is not known where it ran")
}

// TestGapsOfNode: what was lost takes from what was watched only what it concerns.
func TestGapsOfNode(t *testing.T) {
	const h = time.Hour
	gaps := []store.Gap{
		told("a", "spool-full", 9*h, 8*h), told("a", "spool-full", 8*h, 7*h), told("a", "spool-full", 9*h, 8*h+h/2), // one gap, told in parts
		told("a", "api-away", 8*h, 5*h), told("a", "tls-ring-full", 4*h, 3*h), told("a", "stream", 20*h, 11*h),
		{Node: "a", Hourly: true, Boot: "10h0m0s", Gap: event.Gap{Cause: "edges-full", From: ago(90 * time.Minute), Until: ago(30 * time.Minute), Lost: 4}},
		told("b", "stream", 9*h, 0), // a node that nobody watched
	}
	nodes := cover([]store.Watched{boot("a", 10*h, h), boot("a", h, 0)}, gaps, ago(10*h), noon)
	golden(t, "gaps.json", nodes)
	n := nodes[0]
	if len(nodes) != 1 || n.Watched != 75 || n.Identified != 55 {
		t.Errorf("%+v", nodes)
	}
}

func TestTrim(t *testing.T) {
	var gaps []store.Gap
	for i := range MaxNodeSpans + 1 {
		gaps = append(gaps, told("a", "stream", time.Duration(2*i+1)*time.Minute, time.Duration(2*i)*time.Minute))
	}
	nodes := cover([]store.Watched{boot("a", 50*day, 0)}, gaps, ago(40*day), noon)
	n := &nodes[0]
	spans, watched := len(n.Spans), n.Watched
	n.trim()
	if len(n.Gaps) != MaxNodeSpans || len(n.Spans) != MaxNodeSpans || spans != MaxNodeSpans+1 || n.GapCount != MaxNodeSpans+1 || n.Watched != watched ||
		!n.Gaps[MaxNodeSpans-1].Until.Equal(noon) {
		t.Errorf("%d gaps, %d spans of %d, %v%%", len(n.Gaps), len(n.Spans), spans, n.Watched)
	}
}

// TestMeanings: every cause has words, and what is not known is taken for the worst.
func TestMeanings(t *testing.T) {
	f := func(cause, why string, concerns Concern) {
		t.Helper()
		m := meaningOf(cause)
		if m.why != why || m.concerns != concerns || whys[m.why] == "" {
			t.Errorf("%s: %+v, want %s, %s", cause, m, why, concerns)
		}
	}
	f("spool-full", WhySpool, ConcernConnections)
	f("publish-queue-full", WhySpool, ConcernConnections)
	f("edges-full", WhyKernel, ConcernConnections)
	f("edge-ring-full", WhyKernel, ConcernDetails)
	f("api-away", WhyAPIAway, ConcernIdentities)
	f("kubernetes-away-seconds", WhyAPIAway, ConcernIdentities)
	f("clock", WhyClock, ConcernConnections)
	f("stream", WhyStream, ConcernConnections)
	f("tls-window-lost", WhyTLS, ConcernDetails)
	f(store.CauseMany, WhyOther, ConcernConnections)
	f("of-a-newer-agent", WhyOther, ConcernConnections)
	for cause, m := range meanings {
		f(cause, m.why, m.concerns)
	}
	for word, m := range meaningsByWord {
		f(word+"-x", m.why, m.concerns)
	}
	for _, cause := range detailCauses {
		if m := meaningOf(cause); m.concerns != ConcernDetails {
			t.Errorf("%s concerns %s", cause, m.concerns)
		}
	}
	for _, c := range []Concern{ConcernConnections, ConcernIdentities, ConcernDetails} {
		if _, ok := severity[c]; !ok {
			t.Errorf("%s has no severity", c)
		}
	}
}
