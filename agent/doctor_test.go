package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ambit-nhi/ambit/agent/workload"
	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// goodHost is a machine where everything is there, in a folder that tests take away from.
func goodHost(t *testing.T) *host {
	t.Helper()
	h := &host{root: t.TempDir(), release: "6.1.0-28-amd64", mount: func() (workload.Mount, error) {
		return workload.Mount{Path: "/sys/fs/cgroup", Root: "/"}, nil
	}}
	h.write(t, "/proc/self/status", "Name:\tambit\nCapPrm:\t000001ffffffffff\nCapEff:\t000001ffffffffff\nCapBnd:\t000001ffffffffff\n")
	h.write(t, "/sys/kernel/btf/vmlinux", "BTF")
	h.write(t, "/sys/kernel/security/lockdown", "[none] integrity confidentiality\n")
	h.write(t, "/proc/sys/net/core/bpf_jit_enable", "1\n")
	if err := os.MkdirAll(filepath.Join(h.root, "/proc/self/ns"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("pid:[4026531836]", filepath.Join(h.root, "/proc/self/ns/pid")); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *host) write(t *testing.T, path, text string) {
	t.Helper()
	path = filepath.Join(h.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func goodHooks() []bpf.HookStatus {
	return []bpf.HookStatus{{Name: "tp_btf/a", Purpose: "TCP", Needed: true}, {Name: "cgroup/b", Purpose: "UDP"}}
}

func TestDiagnose(t *testing.T) {
	f := func(what string, change func(*host), check string, want CheckStatus, inMeaning string) {
		t.Helper()
		h := goodHost(t)
		if change != nil {
			change(h)
		}
		d := h.diagnose(goodHooks)
		found := false
		for _, c := range d.Checks {
			wantHere := CheckOK
			if c.Name == check {
				found, wantHere = true, want
				if !strings.Contains(c.Meaning, inMeaning) {
					t.Errorf("%s: meaning %q does not tell %q", what, c.Meaning, inMeaning)
				}
			}
			if c.Name == "hooks" && want == CheckMissing {
				wantHere = CheckDegraded // cannot be tried
			}
			if c.Status != wantHere {
				t.Errorf("%s: %s is %s, want %s", what, c.Name, c.Status, wantHere)
			}
			if (c.Status == CheckOK) != (c.Meaning == "" && c.Remedy == "") || c.Found == "" {
				t.Errorf("%s: %s does not say what it means: %+v", what, c.Name, c)
			}
		}
		if !found && check != "" {
			t.Errorf("%s: no check %q", what, check)
		}
		if d.Ready != (want != CheckMissing) {
			t.Errorf("%s: ready is %v", what, d.Ready)
		}
		err := h.preflight()
		if (err != nil) != (want == CheckMissing) {
			t.Errorf("%s: preflight: %v", what, err)
		}
		if err != nil && (strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), inMeaning) || !strings.Contains(err.Error(), "--no-agent")) {
			t.Errorf("%s: preflight says %q", what, err)
		}
	}
	capabilities := func(set string) func(*host) {
		return func(h *host) { h.write(t, "/proc/self/status", "Name:\tambit\nCapEff:\t"+set+"\nCapBnd:\t0\n") }
	}
	f("all is there", nil, "", CheckOK, "")
	f("old kernel", func(h *host) { h.release = "4.19.0-27-amd64"; h.memlock = 1 << 40 }, "kernel", CheckMissing, "4.19.0-27-amd64")
	f("no BTF", func(h *host) { os.Remove(filepath.Join(h.root, "/sys/kernel/btf/vmlinux")) }, "BTF", CheckMissing, "/sys/kernel/btf/vmlinux")
	f("no cgroup2", func(h *host) {
		h.mount = func() (workload.Mount, error) { return workload.Mount{}, workload.ErrNoMount }
	}, "cgroup2", CheckMissing, "cgroup2")
	f("part of cgroup2", func(h *host) {
		h.mount = func() (workload.Mount, error) { return workload.Mount{Path: "/sys/fs/cgroup", Root: "/box"}, nil }
	}, "cgroup2", CheckDegraded, "/box")
	f("lockdown", func(h *host) { h.write(t, "/sys/kernel/security/lockdown", "none integrity [confidentiality]\n") }, "lockdown", CheckMissing, "confidentiality")
	f("mild lockdown", func(h *host) { h.write(t, "/sys/kernel/security/lockdown", "none [integrity] confidentiality\n") }, "lockdown", CheckOK, "")
	f("no lockdown file", func(h *host) { os.RemoveAll(filepath.Join(h.root, "/sys/kernel/security")) }, "lockdown", CheckOK, "")
	f("interpreter", func(h *host) { h.write(t, "/proc/sys/net/core/bpf_jit_enable", "0\n") }, "compiler", CheckDegraded, "costs")
	f("container", func(h *host) {
		path := filepath.Join(h.root, "/proc/self/ns/pid")
		os.Remove(path)
		os.Symlink("pid:[4026532200]", path)
	}, "process namespace", CheckDegraded, "container")
	f("little locked memory is nothing to new kernels", func(h *host) { h.memlock = 1 << 16 }, "locked memory", CheckOK, "")
	f("root may lock on old kernels", func(h *host) { h.release, h.memlock = "5.10.0", 1<<16 }, "locked memory", CheckOK, "")

	// CAP_BPF (39), CAP_PERFMON (38), CAP_SYS_PTRACE (19), CAP_NET_ADMIN (12), CAP_DAC_READ_SEARCH (2)
	f("just enough", capabilities("000000c000081004"), "", CheckOK, "")
	f("without CAP_BPF", capabilities("0000004000081004"), "privileges", CheckMissing, "CAP_BPF")
	f("without ptrace", capabilities("000000c000001004"), "other processes", CheckDegraded, "executables")
	f("without other users' files", capabilities("000000c000081000"), "other users' files", CheckDegraded, "TLS libraries")
	f("little locked memory on an old kernel", func(h *host) {
		capabilities("000000c000081004")(h)
		h.release, h.memlock = "5.10.0", 1<<16
	}, "locked memory", CheckMissing, "64 KiB")
}

func TestDiagnoseHooks(t *testing.T) {
	h := goodHost(t)
	refused := errors.New("invalid argument")
	f := func(needed bool, wantStatus CheckStatus, wantReady bool) {
		t.Helper()
		d := h.diagnose(func() []bpf.HookStatus {
			return append(goodHooks(), bpf.HookStatus{Name: "tp_btf/c", Purpose: "names", Needed: needed, Err: refused})
		})
		c := d.Checks[len(d.Checks)-1]
		if c.Status != wantStatus || d.Ready != wantReady || !strings.Contains(c.Meaning, "names") || !strings.Contains(c.Found, "invalid argument") {
			t.Errorf("%+v, ready %v", c, d.Ready)
		}
	}
	f(true, CheckMissing, false)
	f(false, CheckDegraded, true)
}

func TestKernelDiagnose(t *testing.T) {
	testenv.RequireKernel(t)
	if err := Preflight(); err != nil {
		t.Error(err)
	}
	d := Diagnose()
	hooks := 0
	for _, c := range d.Checks {
		t.Logf("%-30s %-9s %s", c.Name, c.Status, c.Found)
		if strings.Contains(c.Name, "/") {
			hooks++
		}
	}
	if !d.Ready || hooks < 5 || d.Kernel == "" {
		t.Errorf("ready %v, %d hooks: missing %q", d.Ready, hooks, d.Missing())
	}
}
