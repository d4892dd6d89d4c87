package e2e

import (
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ambit-nhi/ambit/agent/handshake"
	"github.com/ambit-nhi/ambit/agent/tlsprobe"
	"github.com/ambit-nhi/ambit/agent/tlswire"
	"github.com/ambit-nhi/ambit/agent/workload"
	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/svid"
)

// observer sees handshakes as the agent does, and keeps them one by one, which the agent does not.
type observer struct {
	t      testing.TB
	kernel *bpf.Kernel
	probes *bpf.TLS
	finder *tlsprobe.Finder

	lock     sync.Mutex
	seen     []handshake.Handshake
	attached map[file]int      // how often
	counters map[string]uint64 // of the tracker
	losses   map[string]uint64 // of the probes
}

var errNotOurs = errors.New("not a program of this test")

type file struct{ device, inode uint64 }

func observe(t testing.TB, trustDomain, roots string) *observer {
	t.Helper()
	mount, err := workload.FindMount()
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := svid.ParseBundleFile(trustDomain + "=" + roots)
	if err != nil {
		t.Fatal(err)
	}
	authorities, err := svid.NewAuthorities(svid.AuthoritiesConfig{Files: []svid.BundleFile{bundle}})
	if err != nil {
		t.Fatal(err)
	}
	o := &observer{t: t, attached: map[file]int{}}
	if o.kernel, err = bpf.Load(bpf.Config{CgroupRoot: mount.Path, Hellos: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.kernel.Close(); err != nil {
			t.Error(err)
		}
	})
	if o.probes, err = o.kernel.LoadTLS(); err != nil {
		t.Fatal(err)
	}
	for _, m := range o.probes.Missing() {
		t.Logf("this kernel refuses %s: %v", m.Name, m.Err)
	}
	find := tlsprobe.Default()
	find.Delay, find.Attaches, find.Burst, find.Attach = 50*time.Millisecond, 1000, 1000, o.attach
	if o.finder, err = tlsprobe.New(find); err != nil {
		t.Fatal(err)
	}
	tracker := handshake.New(handshake.Config{
		Wall: func(at time.Duration) time.Time { return wallOf(at) },
		Judge: func(chain [][]byte, at time.Time) handshake.Verdict {
			v := authorities.JudgeDER(chain, at)
			out := handshake.Verdict{Verified: v.Verified, Cause: string(v.Cause)}
			if id, err := event.ParseIdentity(v.ID.String()); err == nil {
				out.ID = id
			}
			return out
		},
	})
	ctx, stop := context.WithCancel(context.Background())
	var all errgroup.Group
	all.Go(func() error { return o.finder.Run(ctx) })
	all.Go(func() error { return o.follow(ctx, tracker, tlswire.New(tlswire.Config{})) })
	t.Cleanup(func() {
		stop()
		if err := all.Wait(); err != nil {
			t.Error(err)
		}
	})
	return o
}

func wallOf(at time.Duration) time.Time {
	now, err := bpf.Monotonic()
	if err != nil {
		return time.Time{}
	}
	return time.Now().Add(at - now)
}

// attach leaves alone what others run on this machine: attaching takes the kernel some time for each function.
func (o *observer) attach(path string, target bpf.Target) (io.Closer, error) {
	name, err := os.Readlink(path)
	if err != nil || !strings.Contains(name, "/.cache/tls/") && !strings.HasSuffix(name, "/node") && !strings.Contains(name, "/libssl.so") && !strings.Contains(name, "/libcrypto.so") {
		return nil, errNotOurs
	}
	c, err := o.probes.Attach(path, target)
	if err != nil {
		return nil, err
	}
	if f, err := fileAt(path); err == nil {
		o.lock.Lock()
		o.attached[f]++
		o.lock.Unlock()
	}
	return c, nil
}

func fileAt(path string) (file, error) {
	var st syscall.Stat_t
	err := syscall.Stat(path, &st)
	return file{st.Dev, st.Ino}, err
}

// follow does what the agent's loop does.
func (o *observer) follow(ctx context.Context, tracker *handshake.Tracker, streams *tlswire.Streams) error {
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	if err := o.kernel.Tick(); err != nil {
		return err
	}
	holes := uint64(0)
	for turn := 0; ; turn++ {
		select {
		case <-ctx.Done():
			return nil
		case <-poll.C:
		}
		for _, err := range o.kernel.NewEdges() {
			if err != nil {
				return err
			}
		}
		for _, err := range o.kernel.Answers() {
			if err != nil {
				return err
			}
		}
		if err := o.hear(tracker, streams, &holes); err != nil {
			return err
		}
		now, err := bpf.Monotonic()
		if err != nil {
			return err
		}
		due := tracker.Due(now)
		o.lock.Lock()
		o.seen = append(o.seen, due...)
		if turn%20 == 0 {
			o.counters = tracker.Counters()
			maps.Copy(o.counters, streams.Counters())
		}
		o.lock.Unlock()
		tracker.Unbound(o.finder.Unbound)
		tracker.Blind(o.finder.Blind)
	}
}

// hear gives the tracker what the wire and the probes told since the last time.
func (o *observer) hear(tracker *handshake.Tracker, streams *tlswire.Streams, holes *uint64) error {
	for hello, err := range o.kernel.Hellos() {
		if err != nil {
			return err
		}
		if ev, ok := streams.Add(&hello, time.Now()); ok {
			tracker.Wire(&ev)
		}
	}
	for record, err := range o.probes.Records() {
		if err != nil {
			return err
		}
		tracker.Record(&record)
	}
	losses, err := o.probes.Losses()
	if err != nil {
		return err
	}
	o.lock.Lock()
	o.losses = losses
	o.lock.Unlock()
	if n := losses["tls-ring-full"]; n > *holes {
		*holes = n
		tracker.Lost()
	}
	return nil
}

// take gives what was seen since the last call.
func (o *observer) take() []handshake.Handshake {
	o.lock.Lock()
	defer o.lock.Unlock()
	seen := o.seen
	o.seen = nil
	return seen
}

// await waits until what a process has of a stack is probed: its program, or its OpenSSL.
func (o *observer) await(t testing.TB, pid int, probed string) {
	t.Helper()
	o.awaitTimes(t, o.filesOf(t, pid, probed), 1)
}

// awaitTimes waits until files were attached to so often: once for what tells of most handshakes, again for the rest.
func (o *observer) awaitTimes(t testing.TB, files []file, times int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !o.probedTimes(files, times); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("one of %v is not probed %d times; missing: %v", files, times, o.finder.Missing())
		}
	}
}

func (o *observer) probedTimes(files []file, times int) bool {
	o.lock.Lock()
	defer o.lock.Unlock()
	return !slices.ContainsFunc(files, func(f file) bool { return o.attached[f] < times })
}

func (o *observer) filesOf(t testing.TB, pid int, probed string) (files []file) {
	t.Helper()
	if probed == "exe" {
		f, err := fileAt("/proc/" + strconv.Itoa(pid) + "/exe")
		if err != nil {
			t.Fatal(err)
		}
		return []file{f}
	}
	list, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/maps")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[file]bool{}
	for line := range strings.Lines(string(list)) {
		fields := strings.Fields(line)
		if len(fields) < 6 || !strings.Contains(fields[5], "/libssl.so") && !strings.Contains(fields[5], "/libcrypto.so") {
			continue
		}
		if f, err := fileAt(fields[5]); err == nil && !seen[f] {
			seen[f] = true
			if strings.Contains(fields[5], "/libssl.so") {
				files = append([]file{f}, files...)
			} else {
				files = append(files, f)
			}
		}
	}
	if len(files) != 2 {
		t.Fatalf("process %d has %d files of OpenSSL", pid, len(files))
	}
	return files // libssl first
}

// holdOpenSSL keeps the system's OpenSSL in use, so that programs that end at once find it probed.
func (o *observer) holdOpenSSL(t testing.TB) []file {
	t.Helper()
	cmd := exec.Command("/usr/bin/python3", "-c", "import ssl, sys; print('ready', flush=True); sys.stdin.read()")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	files := o.filesOf(t, cmd.Process.Pid, "libssl")
	o.awaitTimes(t, files, 1)
	return files
}
