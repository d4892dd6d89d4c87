package bpf

import (
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// testConfig finds the cgroup2 mount, which is not always /sys/fs/cgroup.
func testConfig(t testing.TB) Config {
	t.Helper()
	testenv.RequireKernel(t)
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); f[2] == "cgroup2" {
			return Config{CgroupRoot: f[1], Hellos: true}
		}
	}
	t.Fatal("no cgroup2 is mounted")
	return Config{}
}

// watchSpec loads a changed object: smaller maps, or without a program.
func watchSpec(t testing.TB, cfg Config, spec *ebpf.CollectionSpec) *watcher {
	t.Helper()
	k, err := load(spec, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := k.Tick(); err != nil {
		t.Fatal(err)
	}
	return &watcher{k, t, map[Number]bool{}}
}
