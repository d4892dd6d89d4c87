package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/agent/workload"
)

// host is a machine as the checks see it: its files below root, and the rest as found.
type host struct {
	root    string // "" for this machine
	release string
	memlock uint64 // soft limit in bytes
	mount   func() (workload.Mount, error)
}

func thisHost() *host {
	h := &host{release: kernelRelease(), mount: workload.FindMount}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) == nil {
		h.memlock = limit.Cur
	}
	return h
}

func (h *host) read(path string) (string, error) {
	b, err := os.ReadFile(filepath.Join(h.root, path))
	return strings.TrimSpace(string(b)), err
}

// olderThan compares the kernel's release, such as "5.10.0-28-cloud-amd64". What cannot be read counts as new.
func (h *host) olderThan(major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(h.release, "%d.%d", &a, &b); n < 2 {
		return false
	}
	return a < major || a == major && b < minor
}

func (h *host) checkKernel() Check {
	c := Check{Name: "kernel", Status: CheckOK, Found: h.release}
	if h.olderThan(5, 10) {
		c.Status = CheckMissing
		c.Meaning = "the kernel " + h.release + " is older than 5.10 and lacks hooks that everything stands on"
		c.Remedy = "use a kernel from 5.10 on"
	}
	return c
}

// The capabilities that watching takes. CAP_SYS_ADMIN stands for all three, as it did before they existed.
var needed = []struct {
	bit  uint
	name string
}{
	{unix.CAP_BPF, "CAP_BPF"}, {unix.CAP_PERFMON, "CAP_PERFMON"}, {unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"},
}

// capable says whether this process has a capability.
func (h *host) capable(bit uint) bool {
	status, err := h.read("/proc/self/status")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(status, "\nCapEff:")
	line, _, _ := strings.Cut(rest, "\n")
	set, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	return err == nil && set>>bit&1 == 1
}

func (h *host) checkPrivileges() Check {
	c := Check{Name: "privileges", Status: CheckOK, Found: "CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"}
	if h.capable(unix.CAP_SYS_ADMIN) {
		c.Found = "CAP_SYS_ADMIN"
		return c
	}
	var missing []string
	for _, n := range needed {
		if !h.capable(n.bit) {
			missing = append(missing, n.name)
		}
	}
	if len(missing) > 0 {
		c.Status = CheckMissing
		c.Found = "without " + strings.Join(missing, ", ")
		c.Meaning = "loading programs into the kernel needs root, or " + strings.Join(missing, ", ")
		c.Remedy = "run it as root, for example with sudo"
	}
	return c
}

func (h *host) checkBTF() Check {
	const path = "/sys/kernel/btf/vmlinux"
	c := Check{Name: "BTF", Status: CheckOK, Found: path}
	if _, err := os.Stat(filepath.Join(h.root, path)); err != nil {
		c.Status = CheckMissing
		c.Found = "no " + path
		c.Meaning = "the kernel has no type information (BTF) in " + path
		c.Remedy = "mount sysfs there, or use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as those of all large distributions are"
	}
	return c
}

func (h *host) checkCgroups() Check {
	c := Check{Name: "cgroup2", Status: CheckOK}
	mount, err := h.mount()
	switch {
	case err != nil:
		c.Status = CheckMissing
		c.Found = err.Error()
		c.Meaning = "no cgroup2 hierarchy is mounted, so connections cannot be tied to workloads"
		c.Remedy = "mount one: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified"
	case mount.Root != "/":
		c.Status = CheckDegraded
		c.Found = mount.Path + " shows only " + mount.Root
		c.Meaning = "workloads outside of " + mount.Root + " are not seen"
		c.Remedy = "run it in the host's cgroup namespace, with the host's /sys/fs/cgroup mounted"
	default:
		c.Found = mount.Path
	}
	return c
}

func (h *host) checkLockdown() Check {
	c := Check{Name: "lockdown", Status: CheckOK, Found: "none"}
	modes, err := h.read("/sys/kernel/security/lockdown")
	if err != nil { // a kernel without it, or securityfs is not mounted: then loading tells
		return c
	}
	if _, mode, ok := strings.Cut(modes, "["); ok {
		c.Found, _, _ = strings.Cut(mode, "]")
	}
	if c.Found == "confidentiality" {
		c.Status = CheckMissing
		c.Meaning = "the kernel's lockdown mode \"confidentiality\" forbids programs that read kernel memory"
		c.Remedy = "start the machine with lockdown=integrity"
	}
	return c
}

// checkMemlock matters before 5.11, where maps counted as locked memory.
func (h *host) checkMemlock() Check {
	c := Check{Name: "locked memory", Status: CheckOK, Found: "not limited"}
	const enough = 256 << 20
	switch {
	case !h.olderThan(5, 11):
		c.Found = "not counted on this kernel"
	case h.memlock >= enough || h.capable(unix.CAP_SYS_RESOURCE):
	default:
		c.Status = CheckMissing
		c.Found = fmt.Sprintf("%d KiB", h.memlock>>10)
		c.Meaning = fmt.Sprintf("kernels before 5.11 count maps as locked memory, of which %s are allowed", c.Found)
		c.Remedy = "run it as root, or set the limit first: ulimit -l unlimited (systemd: LimitMEMLOCK=infinity)"
	}
	return c
}

func (h *host) checkPtrace() Check {
	c := Check{Name: "other processes", Status: CheckOK, Found: "CAP_SYS_PTRACE"}
	if !h.capable(unix.CAP_SYS_PTRACE) {
		c.Status = CheckDegraded
		c.Found = "without CAP_SYS_PTRACE"
		c.Meaning = "executables of other users' processes are known only by the name they were started with"
		c.Remedy = "run it as root, or grant CAP_SYS_PTRACE"
	}
	return c
}

// checkFiles matters in containers, where root often has no right to all files.
func (h *host) checkFiles() Check {
	c := Check{Name: "other users' files", Status: CheckOK, Found: "CAP_DAC_READ_SEARCH"}
	if !h.capable(unix.CAP_DAC_READ_SEARCH) && !h.capable(unix.CAP_DAC_OVERRIDE) {
		c.Status = CheckDegraded
		c.Found = "without CAP_DAC_READ_SEARCH"
		c.Meaning = "TLS libraries and programs in folders that only other users may enter are not watched"
		c.Remedy = "run it as root, or grant CAP_DAC_READ_SEARCH"
	}
	return c
}

// checkNamespace tells a container's PID namespace by the inode number that the kernel reserves for the first one.
func (h *host) checkNamespace() Check {
	c := Check{Name: "process namespace", Status: CheckOK, Found: "the host's"}
	const first = 0xEFFFFFFC // PROC_PID_INIT_INO
	link, err := os.Readlink(filepath.Join(h.root, "/proc/self/ns/pid"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EINVAL) {
		c.Found = "not told"
		return c
	}
	if link != fmt.Sprintf("pid:[%d]", uint32(first)) {
		c.Status = CheckDegraded
		c.Found = "one of its own"
		c.Meaning = "processes outside of this container are known only by the name of their executable, and not sighted unless they connect"
		c.Remedy = "run it in the host's PID namespace (docker: --pid=host, Kubernetes: hostPID: true)"
	}
	return c
}

func (h *host) checkJIT() Check {
	c := Check{Name: "compiler", Status: CheckOK, Found: "programs are compiled"}
	mode, err := h.read("/proc/sys/net/core/bpf_jit_enable")
	if err == nil && mode == "0" {
		c.Status = CheckDegraded
		c.Found = "programs are interpreted"
		c.Meaning = "nothing is lost, but each connection costs several times as much"
		c.Remedy = "sysctl -w net.core.bpf_jit_enable=1"
	}
	return c
}
