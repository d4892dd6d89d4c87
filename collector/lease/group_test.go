package lease

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestConfigIsChecked(t *testing.T) {
	w := newWorld(t, 1)
	f := func(want string, change func(*Config)) {
		t.Helper()
		cfg := Config{JetStream: w.js, Bucket: w.kv, Member: "a", Partitions: 1}
		change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f("bucket", func(c *Config) { c.Bucket = nil })
	f("letters", func(c *Config) { c.Member = "a.b" })
	f("letters", func(c *Config) { c.Member = "" })
	f("0 partitions", func(c *Config) { c.Partitions = 0 })
	f("whole seconds", func(c *Config) { c.TTL = 1500 * time.Millisecond })
}

func TestAgree(t *testing.T) {
	w := newWorld(t, 1)
	for _, n := range []int{16, 16} {
		if err := Agree(t.Context(), w.kv, n); err != nil {
			t.Fatal(err)
		}
	}
	err := Agree(t.Context(), w.kv, 32)
	if err == nil || !strings.Contains(err.Error(), "partitions is 32 here and 16 in the bucket") {
		t.Errorf("got %v", err)
	}
}

// TestMembersComeAndGo has one member take all, shares with a second and a third, and has them leave in order.
func TestMembersComeAndGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	a := w.join("a", nil)
	t.Logf("one member has all after %s", w.settle(17))
	b := w.join("b", nil)
	t.Logf("two share after %s", w.settle(8, 9))
	if w.moves != 17+8 && w.moves != 17+9 {
		t.Errorf("%d leases were gained until two share", w.moves)
	}
	c := w.join("c", nil)
	t.Logf("three share after %s", w.settle(5, 6, 6))
	if s := c.Status(); s.Err != nil || s.Members != 3 || len(s.Held) < 5 {
		t.Errorf("the status is %+v", s)
	}
	for _, m := range []*member{c, a} {
		m.end()
		if err := <-m.done; err != nil {
			t.Fatal(err)
		}
		if s := m.Status(); len(s.Held) != 0 || s.Members != 0 {
			t.Errorf("the status after the end is %+v", s)
		}
	}
	took := w.settle(17)
	t.Logf("one has all %s after two left", took)
	if took > DefaultTTL/2 {
		t.Errorf("what was given back moved after %s only", took)
	}
	b.end()
	if err := <-b.done; err != nil {
		t.Fatal(err)
	}
	a = w.join("a", nil)
	if took := w.settle(17); took > DefaultTTL/5 {
		t.Errorf("after all have left in order, the next one has all after %s only", took)
	}
	if err := a.Status().Err; err != nil {
		t.Error(err)
	}
}

// TestKilledMember kills a member that is a process of its own.
func TestKilledMember(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	dying := exec.Command(os.Args[0])
	dying.Env = append(os.Environ(), childURL+"="+w.URL())
	dying.Stderr = os.Stderr
	if err := dying.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	kill := func() {
		if !killed {
			killed = true
			_ = dying.Process.Kill()
			_ = dying.Wait() // it was killed
		}
	}
	t.Cleanup(kill)
	all := func() bool {
		for p := range partitions {
			if e, err := w.kv.Get(t.Context(), partitionPrefix+strconv.Itoa(p)); err != nil || !strings.HasPrefix(string(e.Value()), "child-") {
				return false
			}
		}
		return true
	}
	for deadline := time.Now().Add(time.Minute); !all(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the child has not taken all after a minute")
		}
	}
	a := w.join("a", nil)
	for deadline := time.Now().Add(time.Minute); len(a.Status().Held) < 8; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the child has not given its half back after a minute")
		}
	}
	kill()
	took := w.settle(17)
	t.Logf("the partitions of a killed member have moved after %s", took)
	if took > 10*time.Second {
		t.Errorf("that is more than 10s")
	}
}

// cut is a JetStream whose publishing can be made to fail, as that of a process that does not get to run.
type cut struct {
	jetstream.JetStream
	off atomic.Bool
}

func (c *cut) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if c.off.Load() {
		return nil, errors.New("cut off")
	}
	return c.JetStream.PublishMsg(ctx, m, opts...)
}

// TestMemberThatCannotRenew loses its leases by itself before others get them: the world complains of two holders otherwise. Then it comes back.
func TestMemberThatCannotRenew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	wire := &cut{}
	a := w.join("a", func(c *Config, _ *member) { wire.JetStream, c.JetStream = c.JetStream, wire })
	w.join("b", nil)
	w.settle(8, 9)
	ends := make(chan time.Time, 1)
	var lease Lease
	a.leases.Range(func(_, l any) bool { lease = l.(Lease); return false })
	context.AfterFunc(lease.Context(), func() { ends <- time.Now() })
	began := time.Now()
	wire.off.Store(true)
	took := w.settle(17)
	local := (<-ends).Sub(began)
	t.Logf("it has lost its leases after %s, others have got them after %s", local, took)
	if local >= took || local > DefaultTTL {
		t.Error("the member was too late")
	}
	if a.Status().Err == nil {
		t.Error("the status does not tell")
	}
	wire.off.Store(false)
	t.Logf("it has its share again after %s", w.settle(8, 9))
}

// TestSlowWork keeps a partition from others until its work has stopped, for longer than the TTL.
func TestSlowWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	slow := func(c *Config, m *member) {
		c.TTL = time.Second
		m.stopped = func(int) time.Duration { return 2500 * time.Millisecond }
	}
	a := w.join("a", slow)
	w.settle(17)
	w.join("b", slow)
	w.settle(8, 9)
	a.end()
	if took := w.settle(17); took < 2400*time.Millisecond {
		t.Errorf("others got the partitions after %s, while work went on", took)
	}
}

// TestGainedFails ends Run, which gives all back.
func TestGainedFails(t *testing.T) {
	w := newWorld(t, 1)
	g, err := New(Config{JetStream: w.js, Bucket: w.kv, Member: "a", Partitions: 3, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	var lost atomic.Int64
	wrong := errors.New("wrong")
	if err := g.Run(t.Context(), func([]Lease) error { return wrong }, func(int) { lost.Add(1) }); !errors.Is(err, wrong) || lost.Load() != 3 {
		t.Errorf("Run ends with %v, %d leases were lost", err, lost.Load())
	}
	e, err := w.kv.Get(t.Context(), partitionPrefix+"0")
	if err != nil || len(e.Value()) != 0 {
		t.Errorf("the partition's key is %q, %v", e.Value(), err)
	}
}
