package collector

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/journal"
	"github.com/ambit-nhi/ambit/event"
)

// TestVerdicts has a person's word reach the detector through the stream, once, and what is not of the partition, or no verdict at all, be refused.
func TestVerdicts(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	r := start(t, bus, s, nil)
	n.publish(10*time.Second, 1)
	n.publish(2*time.Minute, 1)
	n.publish(time.Second, 443)
	n.settled(r)
	told := n.published()
	if len(told) != 1 {
		t.Fatalf("%d findings", len(told))
	}
	f := told[0]
	v := &event.Verdict{
		Finding: f.ID, Rule: f.Rule, Identity: f.Identity, Resource: f.Resource, Kind: event.VerdictApprove, Reason: "new payment service", By: "anna", At: time.Now().UTC(),
	}
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Judge(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{event.VerdictSubject((n.home() + 1) % n.partitions), event.VerdictSubject(n.home())} { // another's, and once more
		if _, err := n.js.Publish(t.Context(), subject, data); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.js.Publish(t.Context(), event.VerdictSubject(n.home()), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	await(t, "the verdicts to be taken", func() bool {
		return value(t, r.metrics.received.WithLabelValues("verdict")) == 2 &&
			value(t, r.metrics.refused.WithLabelValues(causePartition)) == 1 && value(t, r.metrics.refused.WithLabelValues(causeMalformed)) == 1
	})
	n.publish(time.Second, 443)
	n.settled(r)
	r.end(t)
	told = n.published()
	if last := told[len(told)-1]; len(told) != 2 || last.ID != f.ID || last.Verdict != event.VerdictApprove || last.Status != event.StatusResolved || last.By != "anna" {
		t.Errorf("told were %d: %+v", len(told), last)
	}

	// Whoever takes over knows it, from what was saved.
	r = start(t, bus, s, nil)
	n.now = n.now.Add(time.Hour)
	n.publish(time.Second, 443)
	n.settled(r)
	r.end(t)
	if now := n.published(); len(now) != len(told) {
		t.Errorf("told again: %+v", now[len(now)-1])
	}
}

// TestVerdictOutlivesDetectors has a verdict come while nobody works its partition, and somebody else settle a heartbeat behind it: a detector that is
// made from the store learns of it.
func TestVerdictOutlivesDetectors(t *testing.T) {
	s, bus := openStore(t), openBus(t, t.TempDir())
	n := newNode(t, bus, "n1")
	r := start(t, bus, s, nil)
	n.publish(10*time.Second, 1)
	n.publish(2*time.Minute, 1)
	n.publish(time.Second, 443)
	n.settled(r)
	r.end(t)
	f := n.published()[0]
	n.forgetStates()
	v := &event.Verdict{
		Finding: f.ID, Rule: f.Rule, Identity: f.Identity, Resource: f.Resource, Kind: event.VerdictApprove, Reason: "new payment service", By: "anna", At: time.Now().UTC(),
	}
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	ack, err := n.js.Publish(t.Context(), v.Subject(n.partitions), data)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := n.js.Stream(t.Context(), event.StreamObservations)
	if err != nil {
		t.Fatal(err)
	}
	inserts, err := n.js.KeyValue(t.Context(), insertsBucket)
	if err != nil {
		t.Fatal(err)
	}
	other := journal.New(journal.KV{KeyValue: inserts}, event.StreamObservations, stream.CachedInfo().Created, "other")
	claims, err := other.Take(t.Context(), []int{n.partitions}, func(context.Context, *journal.Open) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Done(t.Context(), map[*journal.Claim]uint64{claims[0]: ack.Sequence}); err != nil {
		t.Fatal(err)
	}
	r = start(t, bus, s, nil)
	await(t, "the verdict to be told", func() bool {
		told := n.published()
		return told[len(told)-1].Verdict == event.VerdictApprove
	})
	r.end(t)
}
