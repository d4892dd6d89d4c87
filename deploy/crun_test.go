package deploy

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// container is what crun runs, in words of the OCI runtime specification.
type container struct {
	rootfs       string
	readOnly     bool // the root
	user         int
	args, env    []string
	capabilities []string // without CAP_
	mounts       []mount
	namespaces   []map[string]string
	privileges   bool   // more may be gained, as by system services
	before       string // commands of a shell in the mount namespace in which crun runs
}

type mount struct {
	Destination string   `json:"destination"`
	Type        string   `json:"type,omitempty"`
	Source      string   `json:"source"`
	Options     []string `json:"options,omitempty"`
}

// requireCrun skips a test where containers cannot be run. In CI it fails instead.
func requireCrun(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("crun"); err != nil || os.Geteuid() != 0 {
		missing(t, "containers need root and crun: %v", err)
	}
	testenv.RequireKernel(t)
}

func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

var containers atomic.Int64

// running is a container that was started.
type running struct {
	t     *testing.T
	id    string
	state string // folder
	cmd   *exec.Cmd
	log   *lockedBuffer
	ended chan struct{}
}

// lockedBuffer may be read while a container writes.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start starts a container in a cgroup. The end of the test kills it.
func (c *container) start(t *testing.T, group *testenv.TestCgroup) *running {
	t.Helper()
	r := &running{t: t, id: "ambit-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(containers.Add(1), 10), state: t.TempDir(), log: &lockedBuffer{}, ended: make(chan struct{})}
	bundle := t.TempDir()
	capabilities := make([]string, len(c.capabilities))
	for i, name := range c.capabilities {
		capabilities[i] = "CAP_" + name
	}
	sets := map[string][]string{"bounding": capabilities, "effective": capabilities, "permitted": capabilities}
	if c.user != 0 { // as Kubernetes: who is not root gets none
		sets = map[string][]string{"bounding": capabilities}
	}
	spec, err := json.Marshal(map[string]any{
		"ociVersion": "1.0.2",
		"root":       map[string]any{"path": c.rootfs, "readonly": c.readOnly},
		"process": map[string]any{
			"user": map[string]int{"uid": c.user, "gid": c.user}, "args": c.args, "env": c.env, "cwd": "/", "capabilities": sets, "noNewPrivileges": !c.privileges,
		},
		"mounts": c.mounts,
		"linux":  map[string]any{"namespaces": append([]map[string]string{{"type": "mount"}, {"type": "ipc"}, {"type": "uts"}}, c.namespaces...)},
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(bundle, "config.json"), spec, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	// On machines that still mount the old cgroups, crun finds the new ones where nodes have them.
	r.cmd = exec.Command("unshare", "--mount", "sh", "-c", c.before+` mount -t cgroup2 none /sys/fs/cgroup && exec "$0" "$@"`,
		"crun", "--root", r.state, "--cgroup-manager", "disabled", "run", "--bundle", bundle, r.id)
	r.cmd.Stdout, r.cmd.Stderr = r.log, r.log
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	r.cmd.WaitDelay = 10 * time.Second
	group.Start(r.cmd)
	go func() {
		defer close(r.ended)
		_ = r.cmd.Wait() // whoever cares looks at its state
	}()
	t.Cleanup(func() {
		select {
		case <-r.ended:
		default:
			if out, err := r.crun("delete", "--force", r.id); err != nil {
				t.Errorf("end the container: %v: %s", err, out)
			}
			_ = r.cmd.Process.Kill() // it may have ended
			<-r.ended
		}
		if t.Failed() {
			t.Logf("%q said:\n%s", c.args, r.log)
		}
	})
	return r
}

// run runs a container to its end, and gives what it said.
func (c *container) run(t *testing.T, group *testenv.TestCgroup) (string, error) {
	t.Helper()
	r := c.start(t, group)
	err := r.wait(2 * time.Minute)
	return r.log.String(), err
}

func (r *running) crun(args ...string) (string, error) {
	out, err := exec.Command("crun", append([]string{"--root", r.state}, args...)...).CombinedOutput()
	return string(out), err
}

// exec runs a command in the container.
func (r *running) exec(args ...string) (string, error) {
	return r.crun(append([]string{"exec", "--env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", r.id}, args...)...)
}

// pid is that of the container's first process.
func (r *running) pid() int {
	r.t.Helper()
	var state struct{ Pid int }
	out, err := r.crun("state", r.id)
	if err == nil {
		err = json.Unmarshal([]byte(out), &state)
	}
	if err != nil || state.Pid == 0 {
		r.t.Fatalf("state of the container: %v: %s", err, out)
	}
	return state.Pid
}

// stop asks it to end, and waits until it has.
func (r *running) stop() {
	r.t.Helper()
	r.terminate()
	if err := r.wait(time.Minute); err != nil {
		r.t.Errorf("it ended with %v:\n%s", err, r.log)
	}
}

func (r *running) terminate() {
	r.t.Helper()
	if out, err := r.crun("kill", r.id, "TERM"); err != nil {
		r.t.Errorf("stop the container: %v: %s", err, out)
	}
}

// wait waits for its end, and gives an error if that was none as it should be.
func (r *running) wait(within time.Duration) error {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(within):
		r.t.Fatalf("it does not end within %s:\n%s", within, r.log)
	}
	if r.cmd.ProcessState.Success() {
		return nil
	}
	return &exec.ExitError{ProcessState: r.cmd.ProcessState}
}

// ready waits until a probe says that it is ready.
func (r *running) ready(probe string) {
	r.t.Helper()
	await(r.t, probe, 2*time.Minute, func() string {
		select {
		case <-r.ended:
			r.t.Fatalf("it ended:\n%s", r.log)
		default:
		}
		response, err := http.Get(probe)
		if err != nil {
			return err.Error()
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return response.Status
		}
		return ""
	})
}

// await waits until something is so, and fails with what it says otherwise.
func await(t *testing.T, what string, within time.Duration, look func() string) {
	t.Helper()
	said := ""
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if said = look(); said == "" {
			return
		}
	}
	t.Fatalf("wait %s for %s: %s", within, what, said)
}
