package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// ledger is what a test was told of losses.
type ledger struct{ losses []Loss }

func (l *ledger) note(x Loss) []byte {
	l.losses = append(l.losses, x)
	return fmt.Appendf(nil, "%d losses", len(l.losses))
}

func (l *ledger) sum(cause string) (messages, observations uint64) {
	for _, x := range l.losses {
		if x.Cause == cause {
			messages += x.Messages
			observations += x.Observations
		}
	}
	return messages, observations
}

func config(dir string, l *ledger) Config {
	cfg := Default()
	cfg.Dir, cfg.Node = dir, "n1"
	if l != nil {
		cfg.Lost = l.note
	}
	return cfg
}

func open(t testing.TB, cfg Config) *Spool {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() }) // the second time, it fails
	return s
}

// message has a number, from which all of it follows.
func message(n int) *Message {
	return &Message{
		Subject: fmt.Sprintf("ambit.v1.obs.%d.n1", n%16), ID: fmt.Sprintf("n1/b1/%d", n), Boot: "b1", Observations: uint32(n % 100),
		Data: bytes.Repeat([]byte{byte(n)}, 200+n%700), From: noon.Add(time.Duration(n) * time.Second), Until: noon.Add(time.Duration(n+10) * time.Second),
	}
}

func number(t testing.TB, m *Message) int {
	t.Helper()
	var n int
	if _, err := fmt.Sscanf(m.ID, "n1/b1/%d", &n); err != nil {
		t.Fatal(err)
	}
	want := message(n)
	if m.Subject != want.Subject || m.ID != want.ID || m.Boot != want.Boot || m.Observations != want.Observations || !bytes.Equal(m.Data, want.Data) ||
		!m.From.Equal(want.From) || !m.Until.Equal(want.Until) {
		t.Fatalf("a message that nobody wrote: %+v", m)
	}
	return n
}

func add(t testing.TB, s *Spool, from, to int) {
	t.Helper()
	var ms []*Message
	for n := from; n < to; n++ {
		ms = append(ms, message(n))
	}
	if _, n, err := s.Append(ms, 0); err != nil || n != len(ms) {
		t.Fatalf("%d of %d appended: %v", n, len(ms), err)
	}
}

// read gives the numbers of what is there from a position on.
func read(t testing.TB, s *Spool, position uint64) (numbers []int) {
	t.Helper()
	for {
		m, at, ok, err := s.Read(position, noon)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return numbers
		}
		numbers = append(numbers, number(t, m))
		position = at + 1
	}
}

func sequence(t testing.TB, numbers []int, from, to int) {
	t.Helper()
	if len(numbers) != to-from {
		t.Fatalf("%d messages, want %d", len(numbers), to-from)
	}
	for i, n := range numbers {
		if n != from+i {
			t.Fatalf("message %d stands where %d should", n, from+i)
		}
	}
}

func TestKeepsOrderAcrossRestarts(t *testing.T) {
	l := &ledger{}
	cfg := config(t.TempDir(), l)
	s := open(t, cfg)
	add(t, s, 0, 500)
	sequence(t, read(t, s, 0), 0, 500)
	for p := range uint64(100) {
		if err := s.Settle(p+1, uint32(p%100), noon); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, cfg)
	add(t, s, 500, 600)
	sequence(t, read(t, s, 0), 100, 600)
	if messages, _, _ := s.Waiting(); messages != 500 {
		t.Errorf("%d messages wait, want 500", messages)
	}
	for p := uint64(600); p > 100; p-- { // in any order
		if err := s.Settle(p, message(int(p-1)).Observations, noon); err != nil {
			t.Fatal(err)
		}
	}
	if messages, observations, bytes := s.Waiting(); messages != 0 || observations != 0 || bytes != 2*slotBytes {
		t.Errorf("%d messages, %d observations and %d bytes are left", messages, observations, bytes)
	}
	if left, err := filepath.Glob(filepath.Join(cfg.Dir, "*"+suffix)); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, cfg)
	add(t, s, 600, 610)
	if m, at, ok, err := s.Read(0, noon); err != nil || !ok || at != 601 || number(t, m) != 600 {
		t.Errorf("position %d, %v, %v", at, ok, err)
	}
	if len(l.losses) > 0 {
		t.Errorf("lost %+v", l.losses)
	}
}

func TestPermissionsAndLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "agent", "spool")
	s := open(t, config(dir, nil))
	add(t, s, 0, 3)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if got, want := info.Mode().Perm(), map[bool]fs.FileMode{true: 0o700, false: 0o600}[e.IsDir()]; got != want {
			t.Errorf("%s is %o, want %o", path, got, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(config(dir, nil))
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("in use by pid %d", os.Getpid())) || strings.Contains(err.Error(), "\n") {
		t.Errorf("a second one: %v", err)
	}
}

func TestRefusesOthersMessages(t *testing.T) {
	cfg := config(t.TempDir(), nil)
	s := open(t, cfg)
	add(t, s, 0, 3)
	s.Close()
	other := cfg
	other.Node = "n2"
	if _, err := Open(other); err == nil || !strings.Contains(err.Error(), `messages of node "n1", and this is "n2": start`) {
		t.Errorf("of another node: %v", err)
	}
	name := filepath.Join(cfg.Dir, (&segment{first: 1}).name())
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b := (&segment{first: 1}).header("n1")
	b[8] = version + 1
	copy(b[headerBytes-4:], binarySum(b[:headerBytes-4]))
	copy(data, b)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "its format is 2, and this program knows 1: start the version") {
		t.Errorf("of a newer format: %v", err)
	}
}

func binarySum(b []byte) []byte {
	n := checksum(b)
	return []byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}
}

// What is dropped is counted to the message, with the span of its observations, and what is under way stays.
func TestDropsTheOldestWhenFull(t *testing.T) {
	l := &ledger{}
	cfg := config(t.TempDir(), l)
	cfg.MaxBytes = minBytes
	s := open(t, cfg)
	const many = 6000
	var all, settled uint64
	for n := range many {
		if n == 30 { // some of the first segment are settled, in no order
			for _, p := range []uint64{2, 1, 9} {
				if err := s.Settle(p, message(int(p-1)).Observations, message(int(p-1)).Until); err != nil {
					t.Fatal(err)
				}
				settled += uint64(message(int(p - 1)).Observations)
			}
		}
		add(t, s, n, n+1)
		all += uint64(message(n).Observations)
		if _, _, bytes := s.Waiting(); bytes > cfg.MaxBytes {
			t.Fatalf("%d bytes", bytes)
		}
	}
	messages, observations := l.sum(Full)
	waiting, left, bytes := s.Waiting()
	if messages == 0 || messages+waiting+3 != many || observations+left+settled != all || bytes < cfg.MaxBytes*9/10 {
		t.Errorf("%d messages lost, %d wait in %d bytes, of %d; %d observations lost, %d wait, %d settled, of %d", messages, waiting, bytes, many, observations, left, settled, all)
	}
	got := read(t, s, 0)
	sequence(t, got, many-int(waiting), many)
	until := message(0).Until
	for i, x := range l.losses {
		if i > 0 && x.From.After(until) || x.Until.Before(x.From) {
			t.Errorf("loss %d is from %s to %s, behind one until %s", i, x.From, x.Until, until)
		}
		until = x.Until
	}
	if last := message(got[0] - 1).Until; !until.Equal(last) {
		t.Errorf("losses until %s, want %s", until, last)
	}
	if note := string(s.Note()); note != fmt.Sprintf("%d losses", len(l.losses)) {
		t.Errorf("note %q", note)
	}
	position := s.Next() - waiting
	var ms []*Message
	for n := many; n < 2*many; n++ {
		ms = append(ms, message(n))
	}
	if _, n, err := s.Append(ms, position); !errors.Is(err, ErrHeld) {
		t.Errorf("%d appended: %v", n, err)
	}
	if m, at, _, _ := s.Read(0, noon); at != position || number(t, m) != got[0] {
		t.Error("what was under way is gone")
	}
	s.Close()
	if s = open(t, cfg); string(s.Note()) != fmt.Sprintf("%d losses", len(l.losses)) {
		t.Errorf("note %q after a restart", s.Note())
	}
}

func TestDropsWhatIsTooOld(t *testing.T) {
	l := &ledger{}
	cfg := config(t.TempDir(), l)
	cfg.MaxAge = time.Hour
	s := open(t, cfg)
	add(t, s, 0, 100)
	now := message(49).Until.Add(time.Hour + time.Millisecond) // 50 are older
	m, at, ok, err := s.Read(0, now)
	if err != nil || !ok || at != 51 || number(t, m) != 50 {
		t.Fatalf("position %d, %v, %v", at, ok, err)
	}
	if messages, observations := l.sum(Age); messages != 50 || observations != 49*50/2 {
		t.Errorf("%d messages, %d observations", messages, observations)
	}
	if err := s.Expire(now.Add(time.Hour), 51); err != nil { // still under way
		t.Fatal(err)
	}
	if messages, _, _ := s.Waiting(); messages != 50 {
		t.Errorf("%d messages wait", messages)
	}
	if err := s.Expire(now.Add(time.Hour), 0); err != nil {
		t.Fatal(err)
	}
	if messages, _ := l.sum(Age); messages != 100 {
		t.Errorf("%d messages are lost", messages)
	}
}

// Whatever becomes of the files: no message that was not written, in order, and nothing is lost in silence.
func TestDamage(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	const many, rounds = 3000, 60
	base := config(quickDir(t), nil)
	base.MaxBytes = 32 * 64 << 10 // small segments
	s := open(t, base)
	add(t, s, 0, many)
	for p := range uint64(20) {
		if err := s.Settle(p+1, message(int(p)).Observations, noon); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	for round := range rounds {
		l := &ledger{}
		cfg := base
		cfg.Dir, cfg.Lost = filepath.Join(quickDir(t), "copy"), l.note
		if err := os.CopyFS(cfg.Dir, os.DirFS(base.Dir)); err != nil {
			t.Fatal(err)
		}
		what := spoil(t, r, cfg.Dir)
		s, err := Open(cfg)
		if err != nil {
			t.Fatalf("round %d, %s: %v", round, what, err)
		}
		got := read(t, s, 0)
		last := -1
		for _, n := range got {
			if n <= last {
				t.Fatalf("round %d, %s: message %d stands behind %d", round, what, n, last)
			}
			last = n
		}
		lost, _ := l.sum(Damaged)
		tail := 0 // of a damaged end, it is not known how much it held
		if len(got) == 0 || got[len(got)-1] != many-1 {
			tail = many
		}
		first := 20
		if len(got) > 0 {
			first = min(first, got[0]) // the state may be gone, then settled ones come again
		}
		if lost+uint64(len(got)) > uint64(many-first) || lost+uint64(len(got))+uint64(tail) < uint64(many-20) || tail == 0 && len(got) < many-20 && lost == 0 {
			t.Errorf("round %d, %s: %d messages and %d lost, of %d", round, what, len(got), lost, many-20)
		}
		add(t, s, many, many+10) // and it goes on
		if all := read(t, s, 0); len(all) != len(got)+10 {
			t.Errorf("round %d, %s: %d messages after 10 more than %d", round, what, len(all), len(got))
		}
		s.Close()
		again := open(t, cfg)
		if all := read(t, again, 0); len(all) != len(got)+10 {
			t.Errorf("round %d, %s: %d messages after a restart, want %d", round, what, len(all), len(got)+10)
		}
		again.Close()
	}
}

// A process that is killed while it writes leaves any part of a record.
func TestTornTail(t *testing.T) {
	base := config(quickDir(t), nil)
	s := open(t, base)
	add(t, s, 0, 5)
	s.Close()
	name := (&segment{first: 1}).name()
	whole, err := os.ReadFile(filepath.Join(base.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	size := int(message(4).size())
	for cut := 1; cut < size; cut++ {
		l := &ledger{}
		cfg := config(quickDir(t), l)
		if err := os.WriteFile(filepath.Join(cfg.Dir, name), whole[:len(whole)-cut], 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, cfg)
		sequence(t, read(t, s, 0), 0, 4)
		known := uint64(1) // at least
		if size-cut >= headBytes {
			known = 4
		}
		if messages, observations := l.sum(Damaged); messages != 1 || observations != known {
			t.Fatalf("%d bytes less: %d messages and %d observations are lost", cut, messages, observations)
		}
		add(t, s, 4, 6)
		s.Close()
		s = open(t, cfg)
		sequence(t, read(t, s, 0), 0, 6)
		if len(l.losses) != 1 {
			t.Fatalf("%d bytes less: told again: %+v", cut, l.losses)
		}
		s.Close()
	}
}

// spoil does something to one of the files, and says what.
func spoil(t *testing.T, r *rand.Rand, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	name := names[r.IntN(len(names))]
	if r.IntN(3) == 0 {
		name = names[len(names)-2] // the last segment, before the state
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) == 0 {
		return "nothing"
	}
	at := r.IntN(len(data))
	var what string
	switch r.IntN(4) {
	case 0:
		data, what = data[:at], "cut"
	case 1:
		data[at] ^= 1 << r.IntN(8)
		what = "a bit"
	case 2:
		n := min(r.IntN(4096), len(data)-at)
		clear(data[at : at+n])
		what = "zeros"
	case 3:
		if strings.HasSuffix(name, suffix) && name != names[len(names)-2] { // nothing knows of a last one that is gone
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
			return "without " + name
		}
		what = "nothing"
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s at %d of %s", what, at, name)
}

// A real file system without room.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		missing(t, "mounting a small file system needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		missing(t, "mount a small file system: "+err.Error())
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	l := &ledger{}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	s := open(t, config(filepath.Join(dir, "spool"), l)) // full from the start
	if _, _, err := s.Append([]*Message{message(0)}, 0); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := s.Keep(nil); err != nil { // writes the state
		t.Fatal(err)
	}
	n := 0
	for ; ; n++ {
		_, taken, err := s.Append([]*Message{message(n)}, 0)
		if taken == 1 && err == nil {
			continue
		}
		if !errors.Is(err, unix.ENOSPC) || taken != 0 {
			t.Fatalf("%d taken: %v", taken, err)
		}
		break
	}
	for range 3 {
		if _, _, err := s.Append([]*Message{message(n)}, 0); !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
	sequence(t, read(t, s, 0), 0, n)
	for p := range uint64(n / 2) { // the state is written in place
		if err := s.Settle(p+1, message(int(p)).Observations, noon); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, config(filepath.Join(dir, "spool"), l))
	sequence(t, read(t, s, 0), n/2, n)
	for p := uint64(n / 2); p < uint64(n); p++ {
		if err := s.Settle(p+1, message(int(p)).Observations, noon); err != nil {
			t.Fatal(err)
		}
	}
	add(t, s, n, n+100) // there is room again
	sequence(t, read(t, s, 0), n, n+100)
	if len(l.losses) > 0 {
		t.Errorf("lost %+v", l.losses)
	}
}

func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func TestValidate(t *testing.T) {
	cfg := Config{MaxBytes: 1, MaxAge: time.Second}
	err := cfg.Validate()
	for _, want := range []string{"folder", "node name", "spool.max_bytes is 1", "spool.max_age is 1s"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not tell of %s", err, want)
		}
	}
	if cfg = config("x", nil); cfg.Validate() != nil {
		t.Error(cfg.Validate())
	}
}

func BenchmarkAppend(b *testing.B) {
	cfg := config(b.TempDir(), nil)
	cfg.MaxBytes = 64 << 20
	s := open(b, cfg)
	m := message(1)
	m.Data = make([]byte, 8<<10)
	ms := []*Message{m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m} // an interval of 16 partitions
	b.SetBytes(m.size() * int64(len(ms)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.Append(ms, 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(ms))/b.Elapsed().Seconds(), "messages/s")
}

func BenchmarkRead(b *testing.B) {
	s := open(b, config(b.TempDir(), nil))
	m := message(1)
	m.Data = make([]byte, 8<<10)
	for range 4000 {
		if _, _, err := s.Append([]*Message{m}, 0); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(m.size())
	position := uint64(0)
	for b.Loop() {
		_, at, ok, err := s.Read(position, noon)
		if err != nil {
			b.Fatal(err)
		}
		if position = at + 1; !ok {
			position = 0
		}
	}
}

// quickDir is a folder of the test that no disk slows down, if there is one.
func quickDir(t testing.TB) string {
	t.Helper()
	parent := "/dev/shm"
	if unix.Access(parent, unix.W_OK) != nil {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "ambit-spool-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// A segment that somebody else wrote.
func FuzzSegment(f *testing.F) {
	g := &segment{first: 1, from: noon.UnixNano()}
	whole := g.header("n1")
	for n := range 3 {
		whole = appendRecord(whole, uint64(n+1), message(n))
	}
	f.Add(whole, []byte{})
	f.Add(whole[:len(whole)-5], g.header("n1"))
	f.Add(whole[headerBytes:], whole)
	f.Fuzz(func(t *testing.T, data, state []byte) {
		dir := quickDir(t)
		for name, b := range map[string][]byte{g.name(): data, stateName: state} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Open(config(dir, &ledger{}))
		if err != nil {
			return
		}
		defer s.Close()
		position := uint64(0)
		for {
			m, at, ok, err := s.Read(position, noon)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			if !bytes.Contains(data, appendRecord(nil, at, m)[headBytes:]) {
				t.Fatalf("a message that stands nowhere: %+v", m)
			}
			position = at + 1
		}
	})
}
