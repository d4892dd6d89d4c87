package audit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is an archive that can be away, which a real one cannot be made to be at a point.
type memory struct {
	mu      sync.Mutex
	away    bool
	records []Record
}

func (m *memory) InsertAudit(_ context.Context, records []Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return errors.New("away")
	}
	m.records = append(m.records, records...)
	return nil
}

func (m *memory) LastAudit(context.Context) (last Record, ok bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.records {
		if r.Number > last.Number {
			last, ok = r, true
		}
	}
	return last, ok, nil
}

// all gives what the database would: sorted, each once.
func (m *memory) all() iter.Seq2[Record, error] {
	m.mu.Lock()
	defer m.mu.Unlock()
	byNumber := map[uint64]Record{}
	var most uint64
	for _, r := range m.records {
		byNumber[r.Number] = r
		most = max(most, r.Number)
	}
	return func(yield func(Record, error) bool) {
		for n := range most {
			if r, ok := byNumber[n+1]; ok && !yield(r, nil) {
				return
			}
		}
	}
}

func (m *memory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := map[uint64]bool{}
	for _, r := range m.records {
		seen[r.Number] = true
	}
	return len(seen)
}

func stream(t *testing.T) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(testenv.NATSServer(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), Stream()); err != nil {
		t.Fatal(err)
	}
	return js
}

func run(t *testing.T, js jetstream.JetStream, archive Archive) (l *Log, stop func()) {
	t.Helper()
	l = New(archive)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- l.Run(ctx, js, slog.New(slog.DiscardHandler), func() { close(ready) }) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	<-ready
	return l, stop
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 60s for %s", what)
		}
	}
}

// Several collectors write one chain, and all of it comes into the archive, also what was written while that was away.
func TestOneChain(t *testing.T) {
	js, archive := stream(t), &memory{}
	a, _ := run(t, js, archive)
	b, stop := run(t, js, archive)
	archive.mu.Lock()
	archive.away = true
	archive.mu.Unlock()
	const each = 20
	var writers errgroup.Group
	for i, l := range []*Log{a, b, a} {
		writers.Go(func() error {
			for n := range each {
				if _, err := l.Append(t.Context(), fmt.Sprint("writer ", i), "finding.resolve", fmt.Sprint(n), map[string]string{"why": "\x00\xff'\"<b>"}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := writers.Wait(); err != nil {
		t.Fatal(err)
	}
	archive.mu.Lock()
	archive.away = false
	archive.mu.Unlock()
	await(t, "all records", func() bool { return archive.count() == 3*each })
	if err := Verify(archive.all()); err != nil {
		t.Error(err)
	}
	stop()
	if _, err := b.Append(t.Context(), "x", "finding.resolve", "", nil); !errors.Is(err, errStopped) {
		t.Errorf("a log that does not run says %v", err)
	}
	s, err := js.Stream(t.Context(), event.StreamAudit)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteMsg(t.Context(), 1); err == nil {
		t.Error("a record can be deleted from the stream")
	}
	if err := s.Purge(t.Context()); err == nil {
		t.Error("the stream can be emptied")
	}
}

// A stream that was made anew goes on where the archive ends.
func TestNewStream(t *testing.T) {
	archive := &memory{}
	for i := range 2 {
		js := stream(t)
		l, stop := run(t, js, archive)
		for range 3 {
			if _, err := l.Append(t.Context(), "a", "scope.apply", "s", nil); err != nil {
				t.Fatal(err)
			}
		}
		await(t, "records", func() bool { return archive.count() == 3*(i+1) })
		stop()
	}
	if err := Verify(archive.all()); err != nil {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	l, _ := run(t, stream(t), &memory{})
	f := func(actor, action string, detail map[string]string) {
		t.Helper()
		if _, err := l.Append(t.Context(), actor, action, "", detail); err == nil {
			t.Errorf("%q %q is taken", actor, action)
		}
	}
	f("", "a.b", nil)
	f("a", "a", nil)
	f("a", "a.b.c", nil)
	f("a", "a.>", nil)
	f("a", "A.b", nil)
	many := map[string]string{}
	for i := range maxDetail + 1 {
		many[fmt.Sprint(i)] = ""
	}
	f("a", "a.b", many)
	r, err := l.Append(t.Context(), strings.Repeat("ü", maxText), "a.b", "\xff", nil)
	if err != nil || len(r.Actor) > maxText+3 || r.Subject != "\uFFFD" {
		t.Errorf("%v %d %q", err, len(r.Actor), r.Subject)
	}
}

// Whatever is changed in a chain, Verify says the first record that does not fit.
func TestVerify(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(0, 8, 16)
		n := rapid.IntRange(1, 12).Draw(t, "records")
		var chain []Record
		for i := range n {
			var before *Record
			if i > 0 {
				before = &chain[i-1]
			}
			r, err := newRecord(before, time.UnixMicro(rapid.Int64Range(0, 1<<51).Draw(t, "time")), "a"+text.Draw(t, "actor"), "a.b", text.Draw(t, "subject"),
				rapid.MapOfN(text, text, 0, 3).Draw(t, "detail"))
			if err != nil {
				t.Fatal(err)
			}
			chain = append(chain, r)
		}
		seq := func(list []Record) iter.Seq2[Record, error] {
			return func(yield func(Record, error) bool) {
				for _, r := range list {
					if !yield(r, nil) {
						return
					}
				}
			}
		}
		if err := Verify(seq(chain)); err != nil {
			t.Fatalf("a good chain: %v", err)
		}
		i := rapid.IntRange(0, n-1).Draw(t, "which")
		bad := append([]Record(nil), chain...)
		want := uint64(i + 1)
		switch rapid.SampledFrom([]string{"actor", "subject", "time", "detail", "hash", "previous", "remove", "twice", "rewrite"}).Draw(t, "change") {
		case "actor":
			bad[i].Actor += "x"
		case "subject":
			bad[i].Subject += "x"
		case "time":
			bad[i].Time = bad[i].Time.Add(time.Microsecond)
		case "detail":
			bad[i].Detail = maps.Clone(bad[i].Detail)
			if bad[i].Detail == nil {
				bad[i].Detail = map[string]string{}
			}
			bad[i].Detail["new key"] = ""
		case "hash":
			bad[i].Hash = strings.Repeat("0", 64)
		case "previous":
			bad[i].Previous += "0"
		case "remove":
			bad = append(bad[:i], bad[i+1:]...)
			if i == n-1 { // nothing tells that there was one more
				return
			}
		case "twice":
			bad = append(bad[:i+1], bad[i:]...)
		case "rewrite": // with a hash that fits what it says now
			bad[i].Actor += "x"
			bad[i].Hash = bad[i].sum()
			want++
			if i == n-1 {
				return
			}
		}
		var broken *Broken
		if err := Verify(seq(bad)); !errors.As(err, &broken) || broken.Number != want {
			t.Fatalf("%v, want record %d", err, want)
		}
	})
	away := errors.New("away")
	if err := Verify(func(yield func(Record, error) bool) { yield(Record{}, away) }); !errors.Is(err, away) {
		t.Errorf("an error becomes %v", err)
	}
}

// The hash is a promise: of other collectors and later versions.
func TestHash(t *testing.T) {
	r, err := newRecord(&Record{Number: 6, Hash: "ab"}, time.Date(2026, 3, 2, 12, 0, 0, 123456789, time.UTC), "alice", "scope.apply", "spiffe://a/b", map[string]string{"z": "1", "aa": "2"})
	if err != nil {
		t.Fatal(err)
	}
	if want := "64776a3a6f49f2260feb54d945ec7753c9d57ce54a831a7c425a0682044ae621"; r.Hash != want {
		t.Errorf("the hash is %s, want %s", r.Hash, want)
	}
}
