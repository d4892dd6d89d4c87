package feed

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ambit-nhi/ambit/event"
)

func hook(name, url string, more ...any) map[string]any {
	m := map[string]any{"name": name, "transport": "webhook", "url": url, "from": "all"}
	for i := 0; i+1 < len(more); i += 2 {
		m[more[i].(string)] = more[i+1]
	}
	return m
}

// TestOutages has a receiver that is away, fails in every way, and is restarted, beside one that works: all arrives, in order of each identity, and the other
// feed is not held up.
func TestOutages(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	bad, good := newReceiver(t), newReceiver(t)
	var calls atomic.Int64
	var goodHas atomic.Bool
	bad.set(func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		switch n := calls.Add(1); {
		case n <= 2: // resets
			c, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				c.Close()
			}
			return true
		case n <= 3:
			w.WriteHeader(http.StatusInternalServerError)
			return true
		case n <= 4:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		case n <= 5: // slower than the timeout
			select {
			case <-r.Context().Done():
			case <-time.After(5 * time.Second):
			}
			return true
		case n <= 6, !goodHas.Load():
			w.WriteHeader(http.StatusForbidden)
			return true
		case n%3 == 0:
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	})
	findings := burst(t, 1400, 50)
	r := b.start(nil, hook("bad", bad.URL, "timeout", "1s", "batch", map[string]any{"size": 100}), hook("good", good.URL))
	b.publish(findings[:700]...)
	began := time.Now()
	await(t, "the good receiver to have all", func() bool { return complete(good.list(), findings[:700]) })
	await(t, "the bad receiver's failures to be seen", func() bool { return r.statusOf("bad").State == StateRetrying })
	if n := len(bad.list()); n > 0 {
		t.Errorf("the bad receiver has taken %d", n)
	}
	goodHas.Store(true)
	t.Logf("the good receiver has had all after %v", time.Since(began).Round(time.Millisecond))

	await(t, "the bad receiver to take some", func() bool { return len(bad.list()) > 300 })
	r.end() // the collector is restarted meanwhile
	r = b.start(nil, hook("bad", bad.URL, "timeout", "1s", "batch", map[string]any{"size": 100}), hook("good", good.URL))
	b.publish(findings[700:]...)
	await(t, "all to arrive", func() bool { return complete(bad.list(), findings) && complete(good.list(), findings) })
	t.Logf("%d of %d came twice to the bad receiver, %d to the good one", checkOrder(t, bad.list(), findings), len(findings), checkOrder(t, good.list(), findings))
	await(t, "the lag to go", func() bool { s := r.statusOf("bad"); return s.Lag == 0 && s.State == StateWorking && s.Error == "" })
}

// TestAwayLeavesMemoryAlone publishes much to a feed whose receiver is away: it waits in the stream, not in memory.
func TestAwayLeavesMemoryAlone(t *testing.T) {
	b := newBus(t)
	away := newReceiver(t)
	away.Close()
	r := b.start(nil, hook("away", away.URL))
	r.working("away")
	findings := burst(t, 20_000, 500)
	for _, f := range findings {
		f.Explanation = []string{strings.Repeat("x", 1000)}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := 0; i < len(findings); i += 2000 {
		b.publish(findings[i : i+2000]...)
	}
	await(t, "the lag to be seen", func() bool { s := r.statusOf("away"); return s.Lag == 20_000 && s.Attempts > 3 })
	r.end() // after it nobody else touches the queue
	queued := len(r.lanes[0].queue)
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(findings)
	if queued > 2*500+1 {
		t.Errorf("%d records wait in memory", queued)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 24<<20 {
		t.Errorf("the heap has grown by %d bytes, of %d that wait", grown, 20_000*2200)
	} else {
		t.Logf("20000 findings wait, %d in memory; the heap has grown by %d KiB", queued, grown>>10)
	}
}

// TestRefusedDocument has a receiver refuse one document for good, then everything.
func TestRefusedDocument(t *testing.T) {
	b := newBus(t)
	rec := newReceiver(t)
	findings := burst(t, 400, 400)
	poison := findings[137].ID
	rec.set(func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		if strings.Contains(string(body), poison) {
			w.WriteHeader(http.StatusUnprocessableEntity)
			fmt.Fprint(w, "no such thing")
			return true
		}
		return false
	})
	r := b.start(nil, hook("picky", rec.URL))
	b.publish(findings...)
	rest := append(append([]*event.Finding(nil), findings[:137]...), findings[138:]...)
	await(t, "the others to arrive", func() bool { return complete(rec.list(), rest) })
	checkOrder(t, rec.list(), rest)
	await(t, "the dead letter", func() bool { return r.statusOf("picky").Aside == 1 })
	stream, err := b.js.Stream(t.Context(), StreamName)
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.GetLastMsgForSubject(t.Context(), letterSubject+"picky")
	if err != nil {
		t.Fatal(err)
	}
	if m.Header.Get(headerUID) != poison || !strings.Contains(m.Header.Get(headerError), "no such thing") || !strings.Contains(string(m.Data), poison) {
		t.Errorf("the letter is %v %s", m.Header, m.Data)
	}

	// A receiver that refuses everything is wrong itself: nothing is set aside, whenever it recovers.
	more := burst(t, 100, 10)
	for _, f := range more {
		f.Rule = "fan-out"
		f.ID = event.FindingID(f.Identity, f.Rule, f.Resource)
	}
	var alone atomic.Int64
	rec.set(func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		var list []json.RawMessage
		if json.Unmarshal(body, &list) == nil && len(list) == 1 {
			alone.Add(1)
		}
		if alone.Load() > suspects+suspects/3 { // some of a second round are suspected
			return false
		}
		w.WriteHeader(http.StatusBadRequest)
		return true
	})
	b.publish(more...)
	await(t, "all to arrive", func() bool { return complete(rec.list(), more) })
	if s := r.statusOf("picky"); s.Aside != 1 {
		t.Errorf("%d were set aside", s.Aside)
	}
}

// TestOneOfMany has several collectors: one works a feed, another one goes on when it dies.
func TestOneOfMany(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	rec := newReceiver(t)
	findings := burst(t, 2000, 20)
	var all []*running
	for i := range 3 {
		all = append(all, b.start(func(o *Options) { o.Host = fmt.Sprintf("c%d", i) }, hook("one", rec.URL, "batch", map[string]any{"size": 50})))
	}
	worker := func() (n int) {
		n = -1
		for i, r := range all {
			if r.stop == nil {
				continue
			}
			if s, _ := r.lanes[0].status.take(); s.State != StateWaiting {
				if n >= 0 {
					t.Errorf("%d and %d both work the feed", n, i)
				}
				n = i
			}
		}
		return n
	}
	await(t, "a collector to work the feed", func() bool { return worker() >= 0 })
	b.publish(findings[:700]...)
	first := worker()
	await(t, "some to arrive", func() bool { return len(rec.list()) > 100 })
	all[first].end()
	b.publish(findings[700:1400]...)
	await(t, "another to work the feed", func() bool { n := worker(); return n >= 0 && n != first })
	second := worker()
	// The others see how it is.
	await(t, "the other's status", func() bool {
		for i, r := range all {
			if r.stop != nil && i != second && strings.HasPrefix(r.statusOf("one").Collector, fmt.Sprintf("c%d", second)) {
				return true
			}
		}
		return false
	})
	all[second].end()
	b.publish(findings[1400:]...)
	await(t, "all to arrive", func() bool { return complete(rec.list(), findings) })
	t.Logf("%d of %d came twice", checkOrder(t, rec.list(), findings), len(findings))
}

// TestLife follows a finding from its beginning to its end, across a restart: the uid stays, and what is told is what changed.
func TestLife(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	rec := newReceiver(t)
	config := func() map[string]any { return hook("life", rec.URL, "format", "ocsf") }
	r := b.start(nil, config(), hook("changes", rec.URL+"/changes", "updates", "changes"))
	var lives []string
	rec.set(func(w http.ResponseWriter, q *http.Request, body []byte) bool {
		var docs []json.RawMessage
		if err := json.Unmarshal(body, &docs); err != nil {
			t.Errorf("%v in %s", err, body)
		}
		rec.mu.Lock()
		defer rec.mu.Unlock()
		for _, d := range docs {
			if q.URL.Path == "/changes" {
				var plain struct{ Activity string }
				_ = json.Unmarshal(d, &plain)
				lives = append(lives, "changes:"+plain.Activity)
				continue
			}
			doc, err := checkOCSF(d)
			if err != nil {
				t.Error(err)
			}
			lives = append(lives, fmt.Sprint(doc["activity_name"], " ", doc["status"], " ", at(doc, "finding_info.uid")))
		}
		return true
	})
	has := func(list []string, want ...string) bool {
		for _, w := range want {
			found := false
			for _, l := range list {
				found = found || l == w
			}
			if !found {
				return false
			}
		}
		return true
	}
	sees := func(n int, want ...string) {
		t.Helper()
		await(t, fmt.Sprintf("%v", want), func() bool {
			rec.mu.Lock()
			defer rec.mu.Unlock()
			return len(lives) >= n && has(lives, want...)
		})
	}
	f := finding(t)
	b.publish(f)
	sees(2, "Create New "+f.ID, "changes:create")
	f.Count++
	b.publish(f)
	sees(3, "Update New "+f.ID)
	await(t, "both to be done", func() bool { return r.statusOf("life").Sequence == 2 && r.statusOf("changes").Sequence == 2 })
	r.end()
	r = b.start(nil, config(), hook("changes", rec.URL+"/changes", "updates", "changes"))
	f.Status, f.Verdict, f.By, f.Decided = event.StatusAcknowledged, event.VerdictAcknowledge, "alice", noon
	b.publish(f)
	sees(5, "Update In Progress "+f.ID, "changes:update")
	f.Status, f.Verdict = event.StatusResolved, event.VerdictFalsePositive
	b.publish(f, f)
	sees(7, "Close Resolved "+f.ID, "changes:close")
	f.Status = event.StatusNew
	b.publish(f)
	sees(9, "Update New "+f.ID)
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if len(lives) != 9 {
		t.Errorf("told %d times: %v", len(lives), lives)
	}
}

// TestFilters sends what its filters let through only, with owners.
func TestFilters(t *testing.T) {
	b := newBus(t)
	pay, rest, low := newReceiver(t), newReceiver(t), newReceiver(t)
	owner := func(_ any, id event.Identity) (string, error) {
		if strings.HasSuffix(id.String(), "s1") {
			return "payments", nil
		}
		return "", nil
	}
	r := b.start(func(o *Options) {
		o.Owner = func(ctx context.Context, id event.Identity) (string, error) { return owner(ctx, id) }
	},
		hook("pay", pay.URL, "filter", map[string]any{"owner": "payments"}),
		hook("rest", rest.URL, "filter", map[string]any{"unrouted": true, "severity": "high", "namespace": []any{"*", "!dev-*"}}),
		hook("low", low.URL, "filter", map[string]any{"severity": "critical", "rule": "new-*"}))
	list := burst(t, 4, 4)
	list[2].Severity = event.Low
	list[3].Workload.Namespace = "dev-3"
	b.publish(list...)
	critical := *list[0]
	critical.Severity, critical.Count = event.Critical, 2
	b.publish(&critical)
	calm := critical
	calm.Severity, calm.Count = event.Low, 3 // what was told goes on being told
	b.publish(&calm)
	await(t, "all to be done", func() bool {
		for _, name := range []string{"pay", "rest", "low"} {
			if s := r.statusOf(name); s.Sequence != 6 {
				return false
			}
		}
		return true
	})
	check := func(rec *receiver, want ...string) {
		t.Helper()
		if got := fmt.Sprint(rec.list()); got != fmt.Sprint(want) {
			t.Errorf("got %s, want %v", got, want)
		}
	}
	check(pay, list[1].ID+" 1")
	check(rest, list[0].ID+" 1", list[0].ID+" 2", list[0].ID+" 3")
	check(low, list[0].ID+" 2", list[0].ID+" 3")
}

// TestRate sends so many, and one summary of the others.
func TestRate(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	rec := newReceiver(t)
	r := b.start(nil, hook("slow", rec.URL, "rate", map[string]any{"limit": 10, "per": "2s"}))
	r.working("slow")
	findings := burst(t, 200, 200)
	b.publish(findings...)
	plain, summaries, left := 0, 0, uint64(0)
	await(t, "all to be told", func() bool { // while a slow machine publishes, more than one window may be over
		plain, summaries, left = 0, 0, 0
		for _, g := range rec.list() {
			uid, n, _ := strings.Cut(g, " ")
			if !strings.HasPrefix(uid, "feed-summary-slow-") {
				plain++
				continue
			}
			summaries++
			var k uint64
			_, _ = fmt.Sscan(n, &k)
			left += k
		}
		return uint64(plain)+left == 200
	})
	if summaries == 0 || plain < 10 || plain > 10*(summaries+1) {
		t.Errorf("%d came one by one, %d summaries tell of %d", plain, summaries, left)
	}
	await(t, "the status", func() bool { s := r.statusOf("slow"); return s.Limited == left && s.Lag == 0 })
}

// TestTooMuchAtOnce has a receiver that cannot take a whole batch, and says only that it is not able to.
func TestTooMuchAtOnce(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	rec := newReceiver(t)
	rec.set(func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		var list []json.RawMessage
		if json.Unmarshal(body, &list) == nil && len(list) > 20 {
			w.WriteHeader(http.StatusInternalServerError)
			return true
		}
		return false
	})
	findings := burst(t, 100, 100)
	b.publish(findings...)
	r := b.start(nil, hook("small", rec.URL))
	await(t, "all to arrive", func() bool { return complete(rec.list(), findings) })
	if s := r.statusOf("small"); s.Aside != 0 {
		t.Errorf("%d were set aside", s.Aside)
	}
}

// TestObservationsAndDecisions sends them where they are asked for.
func TestObservationsAndDecisions(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	rec := newReceiver(t)
	var classes []string
	rec.set(func(w http.ResponseWriter, q *http.Request, body []byte) bool {
		var docs []json.RawMessage
		_ = json.Unmarshal(body, &docs)
		rec.mu.Lock()
		defer rec.mu.Unlock()
		for _, d := range docs {
			doc, err := checkOCSF(d)
			if err != nil {
				t.Error(err)
			}
			classes = append(classes, fmt.Sprint(doc["class_uid"], " ", doc["activity_name"]))
		}
		return true
	})
	b.start(nil, hook("more", rec.URL, "format", "ocsf", "send", []any{"observations", "decisions"}))
	o := observationRecord(t).Observation
	batch := event.NewBatchBuilder("n1", "boot", noon)
	batch.Add(o)
	data, err := batch.Encode(1, 1, noon)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.js.Publish(t.Context(), event.ObservationSubject(3, "n1"), data); err != nil {
		t.Fatal(err)
	}
	decisions, err := b.js.KeyValue(t.Context(), event.BucketDecisions)
	if err != nil {
		t.Fatal(err)
	}
	put := func(d *event.Decision) {
		t.Helper()
		data, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decisions.Put(t.Context(), d.ID, data); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now().UTC().Truncate(time.Second)
	d1, d2 := *decisionRecord(t).Decision, *decisionRecord(t).Decision
	d1.Issued, d1.Expires = now, now.Add(time.Hour)
	d2.ID, d2.Issued, d2.Expires = "d2", now, now.Add(2*time.Second)
	put(&d1)
	put(&d2)
	d1.Revoked, d1.RevokedBy, d1.RevokedWhy, d1.Serial = now.Add(time.Second), "bob", "fine", 4
	put(&d1)
	await(t, "all to arrive", func() bool {
		rec.mu.Lock()
		defer rec.mu.Unlock()
		return len(classes) >= 5
	})
	rec.mu.Lock()
	defer rec.mu.Unlock()
	count := map[string]int{}
	for _, c := range classes {
		count[c]++
	}
	if len(classes) != 5 || count["4001 Traffic"] != 1 || count["3004 Suspend"] != 2 || count["3004 Resume"] != 2 {
		t.Errorf("got %v", classes)
	}
}

// TestLostAreCounted drops findings from the stream before the feed has read them.
func TestLostAreCounted(t *testing.T) {
	b := newBus(t)
	rec := newReceiver(t)
	r := b.start(nil, hook("late", rec.URL))
	findings := burst(t, 30, 30)
	b.publish(findings[:10]...)
	await(t, "the first to arrive", func() bool { return r.statusOf("late").Sequence == 10 })
	r.end()
	b.publish(findings[10:]...)
	stream, err := b.js.Stream(t.Context(), event.StreamFindings)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(26)); err != nil {
		t.Fatal(err)
	}
	r = b.start(nil, hook("late", rec.URL))
	await(t, "the rest to arrive", func() bool { return r.statusOf("late").Sequence == 30 })
	if s := r.statusOf("late"); s.Lost != 15 || len(rec.list()) != 15 {
		t.Errorf("%d are lost, %d came", s.Lost, len(rec.list()))
	}
}

// TestMalformedMessage sets aside what cannot be read.
func TestMalformedMessage(t *testing.T) {
	b := newBus(t)
	rec := newReceiver(t)
	r := b.start(nil, hook("robust", rec.URL))
	if _, err := b.js.Publish(t.Context(), "ambit.v1.finding.high.x", []byte(`{"id":`)); err != nil {
		t.Fatal(err)
	}
	findings := burst(t, 3, 3)
	b.publish(findings...)
	await(t, "the rest to arrive", func() bool { return complete(rec.list(), findings) && r.statusOf("robust").Aside == 1 })
}
