package detector

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/event"
)

// step is one thing that happens to a detector: a batch of one observation, or of a sighting alone.
type step struct {
	boot    string
	started time.Time
	others  []proof // of other nodes
	o       event.Observation
	sight   bool
}

type proof struct {
	node string
	Span
}

func (s step) feed(d *Detector, m *model, out []event.Finding) []event.Finding {
	for _, p := range s.others {
		d.Cover(p.node, p.Boot, p.From, p.Until)
		if m != nil {
			m.cover(p.node, p.Boot, p.From, p.Until)
		}
	}
	d.Cover(s.o.Node, s.boot, s.started, s.o.Time)
	begin := len(out)
	if s.sight {
		d.Sight(&s.o.Workload, s.o.Node, s.o.Time)
	} else {
		out = d.Observe(&s.o, out)
	}
	if m != nil {
		m.cover(s.o.Node, s.boot, s.started, s.o.Time)
		if s.sight {
			m.sight(s.o.Workload.Identity, s.o.Node, s.o.Time)
		} else {
			m.observe(&s.o)
		}
		m.tell(out[begin:])
	}
	return out
}

// drawSteps makes a life of few identities, nodes and resources, with gaps in watching. If it is prompt, all nodes tell what they see at once,
// else they lag behind each other. There are fewer resources than make a scan: how many came together lately is in a saved state alone, not in reach.
func drawSteps(t *rapid.T, prompt bool, counts ...uint64) []step {
	type watching struct {
		boot    int
		started time.Time
	}
	nodes := [3]watching{{0, epoch}, {0, epoch}, {0, epoch}}
	at := epoch
	var steps []step
	for range rapid.IntRange(1, 60).Draw(t, "steps") {
		at = at.Add(time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "pause")))
		n := rapid.IntRange(0, len(nodes)-1).Draw(t, "node")
		if rapid.IntRange(0, 9).Draw(t, "new boot") == 0 {
			nodes[n] = watching{nodes[n].boot + 1, at}
		}
		o := outbound(fmt.Sprint("shop/s", rapid.IntRange(0, 2).Draw(t, "who")), at, fmt.Sprint("r", rapid.IntRange(0, fanLeast-2).Draw(t, "resource")),
			rapid.SampledFrom(counts).Draw(t, "connections"))
		o.Node = fmt.Sprint("n", n)
		var others []proof
		if prompt {
			for i, w := range nodes {
				others = append(others, proof{fmt.Sprint("n", i), Span{fmt.Sprint("boot", w.boot), w.started, at}})
			}
		} else {
			o.FirstTime = at.Add(-time.Duration(rapid.Int64Range(0, int64(at.Sub(nodes[n].started))).Draw(t, "age")) / 4)
		}
		if rapid.IntRange(0, 5).Draw(t, "inbound") == 0 {
			o.Direction = event.Inbound
		}
		steps = append(steps, step{fmt.Sprint("boot", nodes[n].boot), nodes[n].started, others, o, rapid.IntRange(0, 5).Draw(t, "sight") == 0})
	}
	return steps
}

func drawConfig(t *rapid.T) Config {
	c := onceActive()
	c.Learn = time.Duration(rapid.IntRange(1, 300).Draw(t, "learn")) * time.Second
	c.FindingsPerMinute = rapid.IntRange(1, 4).Draw(t, "findings per minute")
	return c
}

// drawPromptLife makes a life without an order that a rebuilt detector cannot know of. That is also why there are no summaries where edges
// are seen before their first connection: the store keeps one first time for both, so that a summary may miss such an edge.
func drawPromptLife(t *rapid.T) (Config, []step) {
	c := drawConfig(t)
	if rapid.Bool().Draw(t, "open connections") {
		c.FindingsPerMinute = math.MaxInt32
		return c, drawSteps(t, true, 0, 1, 7)
	}
	return c, drawSteps(t, true, 1, 7)
}

func encode(t *rapid.T, findings []event.Finding) string {
	out, err := json.MarshalIndent(findings, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// essence is what of findings can be found again from reach alone: which there are, and their counts and times. How unusual they were follows from
// statistics that only a saved state holds.
func essence(findings []event.Finding) []event.Finding {
	for i := range findings {
		f := &findings[i]
		f.Score, f.Severity, f.Explanation, f.Title = 0, "", nil, ""
	}
	return findings
}

// A detector that was saved and loaded in the middle tells exactly what one tells that was not.
func TestSaveChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, steps := drawConfig(t), drawSteps(t, false, 0, 1, 7, 500)
		c.Occasions = rapid.IntRange(1, 3).Draw(t, "occasions")
		for i := range steps {
			dress(t, &steps[i].o, rapid.IntRange(0, 1<<20).Draw(t, "dress"))
			steps[i].o.Peer.Name = fmt.Sprint("r", rapid.IntRange(0, 30).Draw(t, "many resources")) // scans among them
		}
		cut := rapid.IntRange(0, len(steps)).Draw(t, "cut")
		one, other := New(c), New(c)
		var want, got []event.Finding
		for _, s := range steps {
			want = s.feed(one, nil, want)
		}
		for _, s := range steps[:cut] {
			got = s.feed(other, nil, got)
		}
		var saved, again bytes.Buffer
		if err := other.Save(&saved); err != nil {
			t.Fatal(err)
		}
		other, err := Load(bytes.NewReader(saved.Bytes()), c)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Save(&again); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(saved.Bytes(), again.Bytes()) {
			t.Fatal("what was loaded is saved otherwise")
		}
		for _, s := range steps[cut:] {
			got = s.feed(other, nil, got)
		}
		want, got = one.Pending(want), other.Pending(got)
		if want, got := encode(t, want), encode(t, got); got != want {
			t.Fatalf("uninterrupted %s\nloaded %s", want, got)
		}
	})
}

// dress gives an observation more of what rules look at.
func dress(t *rapid.T, o *event.Observation, n int) {
	pick := func(of int) int { defer func() { n /= of }(); return n % of }
	o.Workload.Executable = []string{"", "/app/server", "/usr/bin/curl", "/app/worker"}[pick(4)]
	o.Workload.Image = []string{"", "shop@sha256:1", "shop@sha256:2"}[pick(3)]
	o.Workload.Interactive = pick(8) == 0
	o.Counts.BytesSent = []uint64{0, 100, 2 << 20, 1 << 30}[pick(4)]
	o.Time, o.FirstTime = o.Time.Add(time.Duration(pick(3))*20*24*time.Hour), time.Time{}
	if v := pick(4); v > 0 {
		o.TLS = &event.TLS{Version: []string{"", "1.3", "1.2", "1.0"}[v], Verified: pick(2) == 0, Mutual: pick(2) == 0, Provenance: "full",
			OwnCertificate: &event.Certificate{SHA256: fmt.Sprintf("%064d", pick(4)), NotBefore: epoch, NotAfter: epoch.Add(time.Duration(1+pick(2)*500*24) * time.Hour), Proven: true}}
		o.Workload.Evidence = event.EvidenceSVID
	}
}

// What cannot be read is refused, and is no crash.
func FuzzLoad(f *testing.F) {
	d := New(onceActive())
	o := benchObservation(1, 1)
	d.Cover("n1", "boot", epoch, epoch.Add(time.Hour))
	d.Observe(&o, nil)
	var saved bytes.Buffer
	if err := d.Save(&saved); err != nil {
		f.Fatal(err)
	}
	f.Add(saved.Bytes())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Load(bytes.NewReader(data), onceActive())
		if err != nil {
			return
		}
		o := benchObservation(1, 1)
		d.Observe(&o, nil)
		d.Pending(nil)
	})
}

// A detector that was rebuilt from reach in the middle ends with the same findings as one that was not, where nodes are prompt.
func TestRestoreChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, steps := drawPromptLife(t)
		cut := rapid.IntRange(0, len(steps)).Draw(t, "cut")

		whole, stopped := newModel(), newModel()
		d := New(c)
		for _, s := range steps {
			s.feed(d, whole, nil)
		}
		whole.tell(d.Pending(nil))

		d = New(c)
		for _, s := range steps[:cut] {
			s.feed(d, stopped, nil)
		}
		d = stopped.rebuild(c)
		for _, s := range steps[cut:] {
			s.feed(d, stopped, nil)
		}
		stopped.tell(d.Pending(nil))

		if want, got := encode(t, essence(whole.told())), encode(t, essence(stopped.told())); got != want {
			t.Fatalf("uninterrupted %s\nrebuilt %s", want, got)
		}
	})
}

// A crash after the findings were stored and before the observations were: the batch comes again and counts once.
func TestRedeliveryCountsOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, steps := drawPromptLife(t)
		cut := rapid.IntRange(0, len(steps)-1).Draw(t, "cut")

		whole, crashed := newModel(), newModel()
		d := New(c)
		for _, s := range steps {
			s.feed(d, whole, nil)
		}
		whole.tell(d.Pending(nil))

		d = New(c)
		for _, s := range steps[:cut] {
			s.feed(d, crashed, nil)
		}
		crashed.tell(steps[cut].feed(d, nil, nil)) // the crash
		d = crashed.rebuild(c)
		for _, s := range steps[cut:] {
			s.feed(d, crashed, nil)
		}
		crashed.tell(d.Pending(nil))

		if want, got := encode(t, essence(whole.told())), encode(t, essence(crashed.told())); got != want {
			t.Fatalf("uninterrupted %s\nafter a crash %s", want, got)
		}
	})
}

// An edge has one finding, of a time after its identity was learned, and none that was used before. The oracle counts second by second.
func TestOneFindingPerNewEdge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, steps := drawConfig(t), drawSteps(t, false, 0, 1, 7)
		c.FindingsPerMinute = math.MaxInt32
		d, m := New(c), newModel()
		told := map[modelEdge]string{}
		for _, s := range steps {
			edge := modelEdge{s.o.Workload.Identity, event.ResourceOf(&s.o)}
			_, known := m.reach[edge]
			for _, f := range s.feed(d, m, nil) {
				if f.Identity != edge.id || f.Resource != edge.resource {
					t.Fatalf("%s was told of another edge", f.Title)
				}
				id, before := told[edge]
				if before && id != f.ID {
					t.Fatalf("%s has two findings", f.Title)
				}
				if !before && known && m.reach[edge].connections > s.o.Counts.Connections {
					t.Fatalf("%s, but it was used before", f.Title)
				}
				told[edge] = f.ID
				if observed := oracle(m, f.Identity, f.FirstTime); observed < c.Learn {
					t.Fatalf("%s after only %s of %s", f.Title, observed, c.Learn)
				}
			}
			if s.sight || s.o.Direction != event.Outbound || s.o.Counts.Connections == 0 || known {
				continue
			}
			if _, ok := told[edge]; !ok && oracle(m, edge.id, s.o.First().Truncate(time.Microsecond)) >= c.Learn {
				t.Fatalf("%s reached %s and nothing was told", edge.id, edge.resource)
			}
		}
		if n := len(told); len(m.findings) != n {
			t.Fatalf("%d findings of %d edges", len(m.findings), n)
		}
	})
}

// oracle is the observed time of an identity by another way: it adds up the pieces between all marks in time.
func oracle(m *model, id event.Identity, until time.Time) time.Duration {
	var marks []time.Time
	for k, first := range m.identities {
		if k.id == id {
			marks = append(marks, first)
		}
	}
	for _, spans := range m.spans {
		for _, s := range spans {
			marks = append(marks, s.From, s.Until)
		}
	}
	marks = append(marks, until)
	slices.SortFunc(marks, time.Time.Compare)
	var total time.Duration
	for i := 1; i < len(marks); i++ {
		from, to := marks[i-1], marks[i]
		if to.After(until) {
			break
		}
		watched := false
		for k, first := range m.identities {
			if k.id != id || first.After(from) {
				continue
			}
			for _, s := range m.spans[k.node] {
				watched = watched || !s.From.After(from) && !s.Until.Before(to)
			}
		}
		if watched {
			total += to.Sub(from)
		}
	}
	return total
}

// Proofs of watching and sightings may come in any order, and more than once.
func TestProgressDoesNotDependOnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, steps := drawConfig(t), drawSteps(t, false, 0, 1, 7)
		shuffled := rapid.Permutation(append(slices.Clone(steps), steps[:len(steps)/2]...)).Draw(t, "order")
		a, b := New(c), New(c)
		for _, s := range steps {
			s.sight = true
			s.feed(a, nil, nil)
		}
		for _, s := range shuffled {
			s.sight = true
			s.feed(b, nil, nil)
		}
		for i := range 3 {
			id := testIdentity(fmt.Sprint("shop/s", i))
			pa, oka := a.Progress(id)
			pb, okb := b.Progress(id)
			if pa != pb || oka != okb {
				t.Fatalf("in order %+v\nshuffled %+v", pa, pb)
			}
		}
	})
}

// Among very many nodes the earliest count, in whatever order they come.
func TestManyNodesDoNotDependOnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := onceActive()
		c.Learn = time.Hour
		order := rapid.Permutation(slices.Collect(func(yield func(int) bool) {
			for i := range 4 * maxSeen {
				if !yield(i) {
					return
				}
			}
		})).Draw(t, "order")
		w := event.Workload{Identity: testIdentity("shop/everywhere")}
		progress := func(order []int) Progress {
			d := New(c)
			for _, i := range order {
				node, at := fmt.Sprint("n", i), epoch.Add(time.Duration(i/2)*time.Minute)
				d.Cover(node, "boot", epoch, epoch.Add(30*time.Minute+time.Duration(i)*time.Second))
				d.Sight(&w, node, at)
			}
			p, _ := d.Progress(w.Identity)
			return p
		}
		if a, b := progress(order), progress(slices.Sorted(slices.Values(order))); a != b {
			t.Fatalf("%+v and %+v", a, b)
		}
	})
}

// Any valid observation is taken without a panic, whatever its times.
func TestObserveTakesAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := New(drawConfig(t))
		at := rapid.Int64Range(time.Date(1991, 1, 1, 0, 0, 0, 0, time.UTC).Unix(), time.Date(2199, 1, 1, 0, 0, 0, 0, time.UTC).Unix())
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			o := outbound("shop/cart", time.Unix(at.Draw(t, "time"), 0), rapid.StringN(1, 20, -1).Draw(t, "name"), rapid.Uint64().Draw(t, "connections"))
			o.Counts.Failed = rapid.Uint64().Draw(t, "failed")
			if err := o.Validate(); err != nil {
				t.Fatal(err)
			}
			d.Cover("n1", "boot", time.Unix(at.Draw(t, "from"), 0), time.Unix(at.Draw(t, "until"), 0))
			for _, f := range append(d.Observe(&o, nil), d.Pending(nil)...) {
				if _, err := json.Marshal(f); err != nil {
					t.Fatal(err)
				}
				if f.Confidence < 0 || f.Confidence > 1 || f.Score < 0 || f.Score > 1 {
					t.Fatalf("score %v, confidence %v", f.Score, f.Confidence)
				}
			}
		}
	})
}
