package collector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/event"
)

// smallDisk is a file system that can be filled.
type smallDisk struct {
	testing.TB
	dir string
}

func newSmallDisk(t testing.TB, size string) smallDisk {
	t.Helper()
	d := smallDisk{t, t.TempDir()}
	if err := unix.Mount("ambit-test", d.dir, "tmpfs", 0, "mode=700,size="+size); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("mount a small disk: %v", err)
		}
		t.Skipf("mount a small disk: %v; it takes root", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d smallDisk) filler() string { return filepath.Join(d.dir, "filler") }

// fill takes all space but so much.
func (d smallDisk) fill(left int64) {
	d.Helper()
	f, err := os.Create(d.filler())
	if err != nil {
		d.Fatal(err)
	}
	defer f.Close()
	var zero zeros
	n, err := io.Copy(f, zero)
	if !errors.Is(err, unix.ENOSPC) {
		d.Fatalf("fill the disk: %v", err)
	}
	if err := f.Truncate(n - left); err != nil {
		d.Fatal(err)
	}
}

func (d smallDisk) free() {
	d.Helper()
	if err := os.Remove(d.filler()); err != nil {
		d.Fatal(err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestDiskFull fills the disk under the stream and frees it again, several times, with traffic going on: each time the bus says so, works
// again by itself, and in the end all that was acknowledged counted once.
func TestDiskFull(t *testing.T) {
	disk := newSmallDisk(t, "64m")
	s, bus := openStore(t), openBus(t, filepath.Join(disk.dir, "nats"))
	ctx, cancel := context.WithCancel(t.Context())
	running := make(chan error, 1)
	go func() { running <- bus.Run(ctx) }()
	n := newNode(t, bus, "n1")
	r := start(t, bus, s, nil)
	n.publish(time.Second, 1, 2)
	n.settled(r)
	if err := bus.Ready(); err != nil {
		t.Fatal(err)
	}

	// send sends one batch as an agent does: again under the same id until it is acknowledged, with refused between. It says whether the first
	// attempt was good.
	send := func(refused func()) bool {
		t.Helper()
		n.now = n.now.Add(time.Second)
		b := event.NewBatchBuilder(n.name, "boot", epoch)
		n.sequence++
		for port := range uint16(100) {
			o := observation(n.now, port)
			b.Add(&o)
			sum := n.sent[event.ResourceOf(&o)]
			sum.Add(o.Counts)
			n.sent[event.ResourceOf(&o)] = sum
		}
		data, err := b.Encode(n.sequence, n.sequence, n.now)
		if err != nil {
			t.Fatal(err)
		}
		for attempt := 0; ; attempt++ {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			ack, err := n.js.Publish(ctx, event.ObservationSubject(n.home(), n.name), data, jetstream.WithMsgID(fmt.Sprint(n.sequence)))
			cancel()
			if err == nil {
				n.noteLast(event.ObservationSubject(n.home(), n.name), ack.Sequence)
				return attempt == 0
			}
			refused()
		}
	}
	for round := range 3 {
		disk.fill(32 << 10)
		var full sync.Once
		for send(func() {
			full.Do(func() {
				await(t, "the bus to say that it is not well", func() bool { return bus.Ready() != nil })
				err := bus.Ready()
				t.Logf("round %d, message %d: %v", round, n.last+1, err)
				if !strings.Contains(err.Error(), "no space left") || !strings.Contains(err.Error(), disk.dir) {
					t.Errorf("the bus is not ready: %v", err)
				}
				disk.free()
				begin := time.Now()
				await(t, "the bus to be well", func() bool { return bus.Ready() == nil })
				t.Logf("well again after %s", time.Since(begin))
			})
		}) {
		}
		for range 5 {
			send(func() {})
		}
	}
	begin := time.Now()
	n.settled(r)
	t.Logf("settled after %s", time.Since(begin))
	r.end(t)
	n.checkTotals(s)
	cancel()
	if err := receive(t, "the end", running); err != nil {
		t.Errorf("the bus ended with %v", err)
	}
	stream, err := n.js.Stream(t.Context(), event.StreamObservations)
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(event.SubjectObservations))
	if err != nil {
		t.Fatal(err)
	}
	var got uint64
	for _, messages := range info.State.Subjects {
		got += messages
	}
	if got != n.sequence {
		t.Errorf("the stream holds %d messages of observations, want %d", got, n.sequence)
	}
}
