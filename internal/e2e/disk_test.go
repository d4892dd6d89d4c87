package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// The disk of the data folder fills while programs connect, and is freed: Ambit says so meanwhile, goes on by itself, and every connection is
// counted once in the end.
func TestKernelDiskFull(t *testing.T) {
	testenv.RequireKernel(t)
	data := t.TempDir()
	if err := unix.Mount("ambit-test", data, "tmpfs", 0, "mode=700,size=512m"); err != nil {
		t.Fatalf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(data, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	u := startUp(t, data, "--interval", "1s")
	server, _ := serveTCP(t, "127.0.0.1:0")
	group := testenv.Cgroup(t, "ambit-e2e-disk-*")
	id, connections := cgroupIdentity(t, group), uint64(0)
	connect := func() {
		t.Helper()
		cmd := trafficCommand(t, "once", "tcp", server, "1", "10")
		group.Start(cmd)
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		connections++
	}
	counted := func() string {
		var got uint64
		for _, r := range u.reach(id) {
			got += r.Connections
		}
		if got != connections {
			return fmt.Sprintf("%d connections are counted, %d were made", got, connections)
		}
		return ""
	}
	ready := func() (status int, says string) {
		t.Helper()
		r, err := http.Get(u.url + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(b)
	}
	connect()
	eventually(t, 15*time.Second, counted)
	if status, says := ready(); status != http.StatusOK {
		t.Fatalf("not ready: %d %s", status, says)
	}

	filler := filepath.Join(data, "filler")
	fill(t, filler)
	eventually(t, 30*time.Second, func() string {
		connect()
		if status, says := ready(); status != http.StatusServiceUnavailable || !strings.Contains(says, "no space left") {
			return fmt.Sprintf("with a full disk: %d %s", status, says)
		}
		return ""
	})
	connect()
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	took := eventually(t, 30*time.Second, func() string {
		if status, says := ready(); status != http.StatusOK {
			return fmt.Sprintf("with space again: %d %s", status, says)
		}
		return ""
	})
	t.Logf("ready again %s after there was space", took.Round(time.Millisecond))
	connect()
	took = eventually(t, 60*time.Second, counted)
	t.Logf("all %d connections are counted after %s more", connections, took.Round(time.Millisecond))
}

// fill writes a file until the disk is full.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		_, err := f.Write(make([]byte, size))
		switch {
		case errors.Is(err, unix.ENOSPC):
			size /= 2
		case err != nil:
			t.Fatal(err)
		}
	}
}
