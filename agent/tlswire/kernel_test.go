package tlswire

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/agent/workload"
	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire is the live wire, read by the kernel side.
type wire struct {
	t       testing.TB
	kernel  *bpf.Kernel
	streams *Streams
	events  map[uint64][]Event // by cookie
}

func watch(t testing.TB) *wire {
	t.Helper()
	testenv.RequireKernel(t)
	mount, err := workload.FindMount()
	if err != nil {
		t.Fatal(err)
	}
	k, err := bpf.Load(bpf.Config{CgroupRoot: mount.Path, Hellos: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return &wire{t, k, New(Config{}), map[uint64][]Event{}}
}

func (w *wire) poll() {
	for h, err := range w.kernel.Hellos() {
		if err != nil {
			w.t.Fatal(err)
		}
		if ev, ok := w.streams.Add(&h, time.Now()); ok {
			w.events[h.Cookie] = append(w.events[h.Cookie], ev)
		}
	}
}

// during polls as the agent does, until something is over.
func (w *wire) during(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.poll()
		case <-done:
			w.poll()
			return
		}
	}
}

// said is what a socket's events say, whichever end it is.
func (w *wire) said(cookie uint64, client bool) (got said) {
	w.t.Helper()
	for _, ev := range w.events[cookie] {
		got.add(&ev)
		own := ev.Out == client
		if ev.Certificates != nil && own {
			got.ClientChain = ev.Certificates
		} else if ev.Certificates != nil {
			got.ServerChain = ev.Certificates
		}
		if ev.Client != nil && !own || ev.Server != nil && own {
			w.t.Errorf("hello from the wrong side")
		}
		pid := uint32(0)
		if ev.Out {
			pid = uint32(os.Getpid())
		}
		if ev.TGID != pid || ev.Edge == 0 || ev.At == 0 || ev.Cgroup == 0 {
			w.t.Errorf("event of process %d, edge %d, cgroup %d, at %v", ev.TGID, ev.Edge, ev.Cgroup, ev.At)
		}
	}
	return got
}

func (w *wire) lossless() {
	w.t.Helper()
	l, err := w.kernel.Losses()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, cause := range []string{"hello-ring-full", "hello-cut", "hello-early"} {
		if l[cause] > 0 {
			w.t.Errorf("%s is %d", cause, l[cause])
		}
	}
}

// What both ends of live handshakes say is seen at both sockets.
func TestKernelHellosOfGo(t *testing.T) {
	testenv.OwnNetwork(t, func(t *testing.T) {
		onOneCPU(t)
		w := watch(t)
		cuts := []cut{{}, {1, 1}, {300, 300}}
		for first := 1; first <= 12; first++ { // through all of a header
			cuts = append(cuts, cut{first, 0})
		}
		for _, k := range stacks(t) {
			for _, pieces := range cuts {
				t.Run(fmt.Sprintf("%s, writes of %d, then %d", k.name, pieces.first, pieces.rest), func(t *testing.T) {
					w := &wire{t, w.kernel, New(Config{}), map[uint64][]Event{}}
					if k.warm {
						handshake(t, k.client, k.server)
						w.poll()
					}
					var r shaken
					var err error
					w.during(func() { r, err = shake(k.client, k.server, pieces) })
					if err != nil {
						t.Fatal(err)
					}
					none(t, w.streams)
					for _, end := range []bool{true, false} {
						got := w.said(map[bool]uint64{true: r.client, false: r.server}[end], end)
						if !reflect.DeepEqual(got.plain(), k.want) {
							t.Errorf("seen by the client %t: %v\nwant: %v", end, got.plain(), k.want)
						}
					}
				})
			}
		}
		w.lossless()
	})
}

// onOneCPU keeps loopback in order: packets that two CPUs send overtake each other.
func onOneCPU(t *testing.T) {
	t.Helper()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for i := range 1024 {
		if all.IsSet(i) {
			one.Set(i)
			break
		}
	}
	pinned := map[string]bool{}
	for before := -1; before < len(pinned); { // those to come inherit it, once all have it
		before = len(pinned)
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, thread := range threads {
			tid, err := strconv.Atoi(thread.Name())
			if err == nil {
				err = unix.SchedSetaffinity(tid, &one)
			}
			if err != nil && !errors.Is(err, unix.ESRCH) {
				t.Fatal(err)
			}
			pinned[thread.Name()] = true
		}
	}
}

// Many handshakes at once are told apart.
func TestKernelManyHellos(t *testing.T) {
	testenv.OwnNetwork(t, func(t *testing.T) {
		const many, atOnce = 200, 20 // more of them are more than the ring holds where nobody gets to read it
		w := watch(t)
		all := stacks(t)
		kinds := []stack{all[0], all[2], all[3], all[4], all[6]}
		var results [many]shaken
		var errs [many]error
		for first := 0; first < many; first += atOnce {
			var wg sync.WaitGroup
			for i := first; i < first+atOnce; i++ {
				k := kinds[i%len(kinds)]
				client := k.client.Clone()
				if !k.want.ECH {
					client.ServerName, client.InsecureSkipVerify = fmt.Sprintf("n%d.example", i), true
				}
				client.NextProtos = []string{fmt.Sprintf("p%d", i), "h2"}
				wg.Go(func() { results[i], errs[i] = shake(client, k.server, cut{}) })
			}
			w.during(wg.Wait)
		}
		for i, r := range results {
			if errs[i] != nil {
				t.Fatal(errs[i])
			}
			want := kinds[i%len(kinds)].want
			want.Offers = []string{fmt.Sprintf("p%d", i), "h2"}
			if !want.ECH {
				want.SNI = fmt.Sprintf("n%d.example", i)
			}
			for _, end := range []bool{true, false} {
				got := w.said(map[bool]uint64{true: r.client, false: r.server}[end], end)
				if !reflect.DeepEqual(got.plain(), want) {
					t.Errorf("%d, seen by the client %t:\n%+v\nwant:\n%+v", i, end, got, want)
				}
			}
		}
		none(t, w.streams)
		w.lossless()
	})
}

// Of TLS 1.3, the hellos alone leave the kernel side, to the byte.
func TestKernelOnlyHellosLeave(t *testing.T) {
	testenv.OwnNetwork(t, func(t *testing.T) {
		w := watch(t)
		all := stacks(t)
		late := &tls.Config{RootCAs: all[0].client.RootCAs, ServerName: "db.example", Certificates: all[0].client.Certificates}
		r, err := shake(late, all[0].server, cut{})
		if err != nil {
			t.Fatal(err)
		}
		var told []byte
		for h, err := range w.kernel.Hellos() {
			if err != nil {
				t.Fatal(err)
			}
			if h.Cookie == r.client && h.Out {
				told = append(told, h.Payload...)
			}
		}
		if n := headerBytes + int(r.fromClient[3])<<8 + int(r.fromClient[4]); !slices.Equal(told, r.fromClient[:n]) {
			t.Errorf("%d bytes of the client's left the kernel side, want the %d of its hello", len(told), n)
		}
	})
}
