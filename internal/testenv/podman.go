package testenv

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPodman is a container engine of a test's own, with one image.
type TestPodman struct {
	t       testing.TB
	dir     string
	parent  *TestCgroup
	service *exec.Cmd
}

// PodmanImage is the name of the image that the engine has; busybox is all that is in it.
const PodmanImage = "localhost/shop/checkout:1.2"

// Podman makes a container engine that knows no other containers than its own. It skips the test where Podman, crun or a static busybox are not
// installed, or the test may not use them; in CI it fails instead. Its service is not running yet.
//
// Podman asks for its cgroups at /sys/fs/cgroup, so it runs in a mount namespace where the cgroup2 hierarchy stands there, also on hybrid systems.
func Podman(t testing.TB) *TestPodman {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "podman tests need root")
	}
	for _, program := range []string{"podman", "crun", "busybox"} {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, "podman tests need podman, crun and busybox-static: "+err.Error())
		}
	}
	dir, err := os.MkdirTemp("", "ambit-podman") // t.TempDir has long names, and sockets have short ones
	if err != nil {
		t.Fatal(err)
	}
	p := &TestPodman{t: t, dir: dir}
	t.Cleanup(func() {
		p.settle()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	p.parent = Cgroup(t, "/ambit-podman*")
	p.write("storage.conf", fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = \"%[1]s/root\"\nrunroot = \"%[1]s/run\"\n", dir))
	p.write("containers.conf", fmt.Sprintf(`[containers]
netns = "host"
cgroupns = "host"
pids_limit = 0
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
exit_command_delay = 0
runtime = "crun"
tmp_dir = "%[1]s/tmp"
static_dir = "%[1]s/static"
volume_path = "%[1]s/volumes"
`, dir))
	root := filepath.Join(dir, "rootfs")
	for _, folder := range []string{"bin", "proc", "sys", "dev", "etc", "tmp", "run"} {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p.command("sh", "-c", `cp "$(command -v busybox)" "$0/bin/" && tar -C "$0" -cf "$0.tar" .`, root)
	p.command("podman", "import", "--quiet", root+".tar", PodmanImage)
	return p
}

func (p *TestPodman) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *TestPodman) environment() []string {
	return append(os.Environ(), "CONTAINERS_CONF="+filepath.Join(p.dir, "containers.conf"), "CONTAINERS_STORAGE_CONF="+filepath.Join(p.dir, "storage.conf"),
		"TMPDIR="+p.dir)
}

func (p *TestPodman) command(name string, args ...string) string {
	p.t.Helper()
	out, err := p.try(name, args...)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

func (p *TestPodman) try(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = p.environment()
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, said.String())
	}
	return strings.TrimSpace(out.String()), nil
}

// Socket is where the service listens.
func (p *TestPodman) Socket() string { return filepath.Join(p.dir, "s") }

// Start starts the service and waits until it answers. The end of the test removes its containers and stops it.
func (p *TestPodman) Start() {
	p.t.Helper()
	first := p.service == nil
	p.service = exec.Command("sh", "-c", `mount -t cgroup2 none /sys/fs/cgroup && exec podman system service --time=0 "unix://$0"`, p.Socket())
	p.service.Env = p.environment()
	log, err := os.Create(filepath.Join(p.dir, "log")) // a file needs no goroutine
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.service.Stdout, p.service.Stderr = log, log
	p.service.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := p.service.Start(); err != nil {
		p.t.Fatalf("start podman's service: %v", err)
	}
	if first {
		p.t.Cleanup(func() {
			if p.service.ProcessState != nil {
				return
			}
			if _, err := p.try("podman", p.remote("rm", "--all", "--force", "--time", "0")...); err != nil {
				p.t.Error(err)
			}
			p.Stop()
		})
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		_, err := p.try("podman", p.remote("version")...)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			said, _ := os.ReadFile(log.Name())
			p.t.Fatalf("podman's service does not answer: %v: %s", err, said)
		}
	}
}

// Stop stops the service. The containers go on.
func (p *TestPodman) Stop() {
	p.t.Helper()
	if err := p.service.Process.Kill(); err != nil {
		p.t.Errorf("stop podman's service: %v", err)
	}
	_ = p.service.Wait() // it was killed
}

// settle waits for what monitors containers and cleans up after them: it would make the folder again.
func (p *TestPodman) settle() {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			p.t.Fatal(err)
		}
		busy := ""
		for _, name := range lines {
			if line, err := os.ReadFile(name); err == nil && bytes.Contains(line, []byte(p.dir+"/")) {
				busy = strings.ReplaceAll(string(line), "\x00", " ")
			}
		}
		if busy == "" {
			return
		}
		if time.Now().After(end) {
			p.t.Errorf("podman left behind: %s", busy)
			return
		}
	}
}

func (p *TestPodman) remote(args ...string) []string {
	return append([]string{"--remote", "--url", "unix://" + p.Socket()}, args...)
}

// Do runs a podman command against the service, and gives what it prints.
func (p *TestPodman) Do(args ...string) string {
	p.t.Helper()
	return p.command("podman", p.remote(args...)...)
}

// Run starts a container, with flags such as --name, and gives its id. It sleeps until it is removed.
func (p *TestPodman) Run(flags ...string) string {
	p.t.Helper()
	return p.run(append([]string{"--detach"}, flags...), "sleep", "600")
}

// Once runs a command of busybox in a container of a name, which is removed when the command ends.
func (p *TestPodman) Once(name string, command ...string) {
	p.t.Helper()
	p.run([]string{"--rm", "--name", name}, command...)
}

func (p *TestPodman) run(flags []string, command ...string) string {
	p.t.Helper()
	// Privileged: otherwise crun loads a program for devices, for which it wants more locked memory than a test may have.
	args := append([]string{"run", "--privileged", "--cgroup-parent", p.parent.Path()}, flags...)
	return p.Do(append(append(args, PodmanImage, "/bin/busybox"), command...)...)
}

// Cgroup gives path and id of the cgroup that a container runs in.
func (p *TestPodman) Cgroup(container string) (path string, id uint64) {
	p.t.Helper()
	data, err := os.ReadFile("/proc/" + p.Do("inspect", "--format", "{{.State.Pid}}", container) + "/cgroup")
	if err != nil {
		p.t.Fatal(err)
	}
	_, path, _ = strings.Cut(string(data), "0::")
	path = strings.TrimSpace(path)
	mount, err := cgroupMount()
	if err != nil {
		p.t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(mount, path), &st); err != nil {
		p.t.Fatal(err)
	}
	return path, st.Ino
}
