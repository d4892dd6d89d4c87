package feed

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ambit-nhi/ambit/event"
)

// TestKafka produces to a cluster that speaks the protocol, and is away for a while: all arrives, of each identity in one partition, in order.
func TestKafka(t *testing.T) {
	t.Parallel()
	seed := func(ports ...int) (*kfake.Cluster, error) {
		opts := []kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(4, "findings-high")}
		if len(ports) > 0 {
			opts = append(opts, kfake.Ports(ports...))
		}
		return kfake.NewCluster(opts...)
	}
	cluster, err := seed()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cluster.Close() })
	b := newBus(t)
	findings := burst(t, 2000, 40)
	feeds := b.start(nil, map[string]any{"name": "lake", "transport": "kafka", "brokers": cluster.ListenAddrs(), "topic": "findings-{severity}", "from": "all", "format": "json", "timeout": "2s"})
	b.publish(findings[:1000]...)
	await(t, "the first half", func() bool { return feeds.statusOf("lake").Sequence == 1000 })
	got := consume(t, cluster.ListenAddrs(), 1000)

	var p int
	_, _ = fmt.Sscan(port(cluster.ListenAddrs()[0]), &p)
	cluster.Close()
	b.publish(findings[1000:]...)
	await(t, "the feed to see that", func() bool { return feeds.statusOf("lake").State == StateRetrying })
	if cluster, err = seed(p); err != nil {
		t.Fatal(err)
	}
	await(t, "the second half", func() bool { return feeds.statusOf("lake").Sequence == 2000 })
	got = append(got, consume(t, cluster.ListenAddrs(), 1000)...)
	where := map[string]int32{}
	var order []string
	for i, r := range got {
		var doc struct {
			UID     string
			Finding event.Finding
		}
		if err := json.Unmarshal(r.Value, &doc); err != nil {
			t.Fatal(err)
		}
		if string(r.Key) != doc.Finding.Identity.String() {
			t.Fatalf("the key is %s", r.Key)
		}
		if old, ok := where[string(r.Key)]; ok && old != r.Partition && i != 1000 {
			t.Fatalf("%s is in partitions %d and %d", r.Key, old, r.Partition)
		}
		where[string(r.Key)] = r.Partition
		order = append(order, fmt.Sprintf("%s %d", doc.UID, doc.Finding.Count))
	}
	t.Logf("%d of %d came twice", checkOrder(t, order, findings), len(findings))
	if answer, err := feeds.Test(t.Context(), "lake"); err != nil || answer.Taken { // there is no topic for that severity
		t.Errorf("got %+v, %v", answer, err)
	}
}

// consume reads at least so many records, from the beginning; of each partition they are in order.
func consume(t *testing.T, brokers []string, n int) (out []*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("findings-high"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for len(out) < n {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("%d records came", len(out))
		}
		out = append(out, fetches.Records()...)
	}
	return out
}
