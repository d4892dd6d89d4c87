package collector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// The tracker of a partition is written down every minute, as of a message that is in the store, and made again at a start from that and from
// the messages between that one and the last that is in the store. So what it knows is neither behind the store, which would count messages twice that
// were, nor ahead of it, which would drop good ones. Where nothing is written down, it knows nothing and believes every message.

const (
	checkpointInterval = time.Minute
	shards             = 64 // nodes are spread over as many entries, since one has a bound of size
)

// checkpoint is the tracker of a partition, encoded as of a message.
type checkpoint struct {
	asOf   uint64
	prefix string // of its keys
	shards map[int][]byte
	head   []byte
}

// writtenHead says which shards count: those that are older are left from nodes that were forgotten.
type writtenHead struct {
	Stream  time.Time `json:"stream"` // as in entry
	AsOf    uint64    `json:"as_of"`
	Unknown time.Time `json:"unknown"`
}

type writtenShard struct {
	Stream time.Time     `json:"stream"`
	AsOf   uint64        `json:"as_of"`
	Nodes  []writtenNode `json:"nodes"`
}

type writtenNode struct {
	Node    string          `json:"node"`
	Unknown time.Time       `json:"unknown,omitzero"`
	Boots   []writtenWindow `json:"boots"`
}

type writtenWindow struct {
	Boot    string            `json:"boot"`
	Started time.Time         `json:"started"`
	Until   time.Time         `json:"until"`
	Unknown uint64            `json:"unknown,omitempty"`
	High    uint64            `json:"high"`
	Missing []uint64          `json:"missing,omitempty"`
	Told    []uint64          `json:"told,omitempty"`
	Mark    uint64            `json:"mark,omitempty"`
	Since   time.Time         `json:"since,omitzero"`
	Lost    map[string]uint64 `json:"lost,omitempty"`
}

func writeWindow(w *window) writtenWindow {
	out := writtenWindow{
		Boot: w.boot, Started: w.started, Until: w.until, Unknown: w.unknown, High: w.high, Mark: w.mark, Since: w.since, Lost: w.lost,
	}
	for n := w.low() + 1; n <= w.high; n++ {
		if !w.seen.get(n) {
			out.Missing = append(out.Missing, n)
		}
		if w.told.get(n) {
			out.Told = append(out.Told, n)
		}
	}
	return out
}

func readWindow(r *writtenWindow) *window {
	w := &window{
		boot: r.Boot, started: r.Started, until: r.Until, unknown: r.Unknown, high: r.High, mark: r.Mark, since: r.Since, lost: r.Lost,
	}
	w.counted = w.lost[causeGap]
	for n := w.low() + 1; n <= w.high; n++ {
		w.seen.set(n)
	}
	for _, n := range r.Missing {
		w.seen.clear(n)
	}
	for _, n := range r.Told {
		w.told.set(n)
	}
	return w
}

func keysOf(partition int) string { return strconv.Itoa(partition) + "." }

func shardOf(node string) int {
	h := fnv.New32a()
	h.Write([]byte(node))
	return int(h.Sum32() % shards)
}

// write encodes the tracker as of a message of a stream.
func (t *tracker) write(stream time.Time, asOf uint64) (*checkpoint, error) {
	nodes := map[int][]writtenNode{}
	for _, x := range t.writtenNodes() {
		nodes[shardOf(x.Node)] = append(nodes[shardOf(x.Node)], x)
	}
	c := &checkpoint{asOf: asOf, prefix: keysOf(t.partition), shards: map[int][]byte{}}
	var err error
	for i, list := range nodes {
		if c.shards[i], err = json.Marshal(writtenShard{stream, asOf, list}); err != nil {
			return nil, fmt.Errorf("encode what came of agents: %w", err)
		}
	}
	if c.head, err = json.Marshal(writtenHead{stream, asOf, t.unknown}); err != nil {
		return nil, fmt.Errorf("encode what came of agents: %w", err)
	}
	return c, nil
}

// writtenNodes are the windows of all nodes, those that were heard of last at the end.
func (t *tracker) writtenNodes() (out []writtenNode) {
	for name, n := range t.nodes.All() {
		x := writtenNode{Node: name, Unknown: n.unknown}
		for _, w := range n.boots {
			x.Boots = append(x.Boots, writeWindow(w))
		}
		out = append(out, x)
	}
	slices.Reverse(out)
	return out
}

// read takes in windows as they were written.
func (t *tracker) read(nodes []writtenNode) {
	for i := range nodes {
		n := &nodes[i]
		x := trackedNode{unknown: n.Unknown}
		for k := range n.Boots {
			x.boots = append(x.boots, readWindow(&n.Boots[k]))
		}
		t.nodes.Put(n.Node, x)
	}
}

// save writes a checkpoint, its head last.
func (c *checkpoint) save(ctx context.Context, kv jetstream.KeyValue) error {
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i, data := range c.shards {
		g.Go(func() error {
			_, err := kv.Put(inner, c.prefix+strconv.Itoa(i), data)
			return err
		})
	}
	err := g.Wait()
	if err == nil {
		_, err = kv.Put(ctx, c.prefix+"head", c.head)
	}
	if err != nil {
		return fmt.Errorf("write what came of agents: %w", err)
	}
	return nil
}

// loadTracker makes the tracker of a partition as it was written down last. known is up to where of the stream it knows, by shard: the messages
// from there until done must be noted by it, in their order. They are all behind the lowest.
func (c *Collector) loadTracker(ctx context.Context, kv jetstream.KeyValue, created time.Time, partition int, done uint64) (t *tracker, known [shards]uint64, lowest uint64, err error) {
	t = newTracker(partition)
	var head writtenHead
	found, err := c.readJSON(ctx, kv, keysOf(partition)+"head", &head)
	if err != nil {
		return nil, known, 0, err
	}
	for i := range known {
		known[i] = done
	}
	if !found || !head.Stream.Equal(created) || head.AsOf > done {
		if done > 0 {
			t.unknown = time.Now().Add(maxAhead) // by the agents' clocks
		}
		return t, known, done, nil
	}
	t.unknown = head.Unknown
	for i := range known {
		known[i] = head.AsOf
		var s writtenShard
		switch found, err := c.readJSON(ctx, kv, keysOf(partition)+strconv.Itoa(i), &s); {
		case err != nil:
			return nil, known, 0, err
		case !found || !s.Stream.Equal(created) || s.AsOf < head.AsOf:
			continue
		case s.AsOf > done: // the stream went back: better too many messages than too few
			t.unknown = time.Now().Add(maxAhead)
			continue
		}
		known[i] = s.AsOf
		t.read(s.Nodes)
	}
	return t, known, head.AsOf, nil
}

// readJSON reads an entry. One that is damaged is as good as none: what is missing then is only that of the past.
func (c *Collector) readJSON(ctx context.Context, kv jetstream.KeyValue, key string, v any) (found bool, err error) {
	stored, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read what came of agents: %w", err)
	}
	if err := json.Unmarshal(stored.Value(), v); err != nil {
		c.log.Warn("cannot read which messages came of some agents; all are believed", "entry", key, "error", err)
		return false, nil
	}
	return true, nil
}
