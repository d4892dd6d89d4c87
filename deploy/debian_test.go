package deploy

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// debian is a small Debian that systemd has started, in a container.
type debian struct {
	*running
	group *testenv.TestCgroup
	upper string // what was changed in its root, as seen from outside
	bpf   string // its BPF file system, likewise
}

// debianCapabilities are those that systemd and package tools want, as on a machine of its own.
var debianCapabilities = strings.Fields(`AUDIT_WRITE BPF CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL MKNOD NET_ADMIN NET_BIND_SERVICE PERFMON
	SETFCAP SETGID SETPCAP SETUID SYS_ADMIN SYS_CHROOT SYS_NICE SYS_PTRACE`)

// debianRoot is what debroot.sh makes once.
func debianRoot(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("debootstrap"); err != nil {
		missing(t, "packages are installed into a Debian that debootstrap makes: %v", err)
	}
	if out, err := exec.Command("./debroot.sh").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	root, err := filepath.Abs("../.cache/deploy/debroot")
	check(t, err)
	return root
}

// startDebian starts one in the test's network. Sources are files and folders by where they appear there.
func startDebian(t *testing.T, root string, sources map[string]string) *debian {
	t.Helper()
	d := &debian{group: testenv.Cgroup(t, "ambit-debian-*"), upper: t.TempDir(), bpf: bpfMount(t)}
	work, merged := t.TempDir(), t.TempDir()
	c := container{
		rootfs: merged, args: []string{"/sbin/init"}, env: []string{"container=crun", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, capabilities: debianCapabilities, privileges: true,
		before: fmt.Sprintf("mount -t overlay overlay -o lowerdir=%s,upperdir=%s,workdir=%s %s &&", root, d.upper, work, merged),
		mounts: []mount{
			{"/proc", "proc", "proc", nil},
			{"/sys", "sysfs", "sysfs", []string{"ro"}},
			{"/sys/fs/cgroup", "cgroup2", "cgroup2", []string{"rw"}},
			{"/sys/fs/bpf", "bind", d.bpf, []string{"rbind", "rw"}},
			{"/sys/kernel/tracing", "bind", "/sys/kernel/tracing", []string{"rbind", "ro"}},
			{"/dev", "tmpfs", "tmpfs", []string{"nosuid", "mode=755"}},
			{"/dev/pts", "devpts", "devpts", []string{"newinstance", "ptmxmode=0666"}},
			{"/dev/shm", "tmpfs", "tmpfs", nil},
			{"/run", "tmpfs", "tmpfs", []string{"nosuid", "nodev", "mode=755"}},
			{"/tmp", "tmpfs", "tmpfs", nil},
		},
		namespaces: []map[string]string{{"type": "pid"}, {"type": "cgroup"}},
	}
	for at, source := range sources {
		c.mounts = append(c.mounts, mount{at, "bind", source, []string{"rbind", "ro"}})
	}
	d.running = c.start(t, d.group)
	t.Cleanup(func() {
		if t.Failed() {
			said, _ := d.exec("journalctl", "--no-pager", "--lines=50", "--unit=ambit*") // the test has failed already
			t.Log(said)
		}
	})
	await(t, "systemd", time.Minute, func() string {
		out, _ := d.exec("systemctl", "is-system-running") // an error says that it is not
		if out = strings.TrimSpace(out); out == "running" || out == "degraded" {
			return ""
		}
		return out
	})
	return d
}

// do runs a command, which must end well, and gives what it says.
func (d *debian) do(args ...string) string {
	d.t.Helper()
	out, err := d.exec(args...)
	if err != nil {
		d.t.Fatalf("%q: %v: %s", args, err, out)
	}
	return out
}

// write writes a file.
func (d *debian) write(path, text string) {
	d.t.Helper()
	d.do("sh", "-c", `printf %s "$1" >"$0"`, path, text)
}

// pid is that of a unit's process, as numbered outside.
func (d *debian) pid(unit string) int {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.group.Dir(), "system.slice", unit, "cgroup.procs"))
	check(d.t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(string(text), "\n", 2)[0]))
	check(d.t, err)
	return pid
}

// files are those that were made in its root, but for what its own tools keep.
func (d *debian) files() (files []string) {
	d.t.Helper()
	check(d.t, filepath.WalkDir(d.upper, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // in between
			return nil
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, d.upper)
		for _, own := range []string{"/var/lib/dpkg", "/var/log", "/var/cache", "/var/backups", "/var/lib/systemd", "/tmp", "/var/tmp"} {
			if name == own {
				return fs.SkipDir
			}
		}
		files = append(files, name)
		return nil
	}))
	return files
}

// shop is a service that connects again and again; its file has what became of each attempt.
const (
	shopScript = `while sleep 0.05; do
	if said=$( (exec 3<>/dev/tcp/` + far + `/1000) 2>&1); then echo ok; else echo "${said##*: }"; fi >>/var/log/shop
done`
	notPermitted = "Operation not permitted"
)

// said are the lines of the service's file from a place on, and the place after them.
func (d *debian) said(from int) (lines []string, next int) {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.upper, "var/log/shop"))
	check(d.t, err)
	whole := text[from : strings.LastIndexByte(string(text), '\n')+1]
	return strings.Fields(strings.ReplaceAll(string(whole), " ", "_")), from + len(whole)
}

// next waits until the service has connected some times more, and gives what became of that.
func (d *debian) next(times int) []string {
	d.t.Helper()
	_, from := d.said(0)
	var lines []string
	await(d.t, "the service to connect", time.Minute, func() string {
		if lines, _ = d.said(from); len(lines) > times { // the first of them may have begun before
			return ""
		}
		return fmt.Sprintf("it did %d times", len(lines))
	})
	return lines[1:]
}

// enginePackage is what the package ambit-engine would bring, without packing half a gigabyte.
func enginePackage(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("nfpm-engine.yaml")
	check(t, err)
	var engine struct{ Contents []struct{ Src, Dst string } }
	check(t, yaml.Unmarshal(text, &engine))
	sources := map[string]string{}
	for _, c := range engine.Contents {
		at, err := filepath.Abs(filepath.Join("..", c.Src))
		check(t, err)
		if c.Src == "dist/ambit-engine" {
			at = once(t, "engine", func(dir string) { program(t, filepath.Join(dir, "ambit"), older) }) + "/ambit"
		}
		if _, err := os.Stat(at); err != nil {
			missing(t, "the embedded engine: %v; run make engine", err)
		}
		sources[c.Dst] = at
	}
	return sources
}

func all(lines []string, want string) bool {
	return !slices.ContainsFunc(lines, func(l string) bool { return l != strings.ReplaceAll(want, " ", "_") })
}

// TestKernelDebian installs the package on a Debian with systemd: nothing is started by itself; the agent's unit works with all that the unit takes from it;
// an upgrade keeps settings and denials; removing takes everything out of the kernel, and purging leaves nothing at all.
func TestKernelDebian(t *testing.T) {
	requireCrun(t)
	root := debianRoot(t)
	old, _ := packages(t, older)
	upgrade, _ := packages(t, newer)
	engine := enginePackage(t)
	testenv.OwnNetwork(t, func(t *testing.T) {
		s := newStage(t, "127.0.0.1")
		certificates := secret(t, s.nats.Files(testenv.AgentID("n1")))
		sources := map[string]string{"/opt/old.deb": old, "/opt/new.deb": upgrade, "/opt/nats": certificates}
		maps.Copy(sources, engine)
		d := startDebian(t, root, sources)
		clean := d.files()

		// Installed, and nothing more.
		d.do("dpkg", "--install", "/opt/old.deb")
		for _, unit := range []string{"ambit", "ambit-agent"} {
			if out, _ := d.exec("systemctl", "is-active", unit); strings.TrimSpace(out) != "inactive" {
				t.Errorf("%s is %s after the package came", unit, out)
			}
			if out, _ := d.exec("systemctl", "is-enabled", unit); strings.TrimSpace(out) != "disabled" {
				t.Errorf("%s is %s after the package came", unit, out)
			}
		}
		if out := d.do("ambit", "doctor"); !strings.Contains(out, "This machine can be watched.") {
			t.Errorf("the doctor:\n%s", out)
		}

		// The units: what systemd thinks of them, and the one for this machine alone with the settings that came.
		d.do("systemd-analyze", "verify", "ambit.service", "ambit-agent.service")
		for _, unit := range []string{"ambit.service", "ambit-agent.service"} { // tenths of what it calls exposure, of 100: most of what is left is watching itself
			if out, err := d.exec("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=35", unit); err != nil {
				t.Errorf("%s: %v\n%s", unit, err, out)
			}
		}
		d.do("systemctl", "start", "ambit")
		d.ready("http://127.0.0.1:8480/readyz")
		if out := d.do("env", "AMBIT_TOKEN_FILE=/var/lib/ambit/token", "ambit", "report", "coverage"); !strings.Contains(out, "watched") {
			t.Errorf("the report:\n%s", out)
		}

		settings := fmt.Sprintf(`node: n1
trust_domain: shop.example
interval: 1s
nats:
  urls: [%q]
  tls: {cert: /opt/nats/tls.crt, key: /opt/nats/tls.key, ca: /opt/nats/ca.crt}
deny: {keys: [%q]}
log: {level: info}
`, s.nats.URL, s.public)
		d.write("/etc/ambit/ambit.yaml", settings)
		d.do("systemctl", "enable", "--now", "ambit-agent")
		if out, _ := d.exec("systemctl", "is-active", "ambit"); strings.TrimSpace(out) != "inactive" {
			t.Errorf("beside the agent alone, ambit.service is %s", out)
		}
		if out := d.do("journalctl", "--unit=ambit*"); strings.Contains(out, "level=ERROR") || strings.Contains(out, "Failed") {
			t.Errorf("one unit after the other:\n%s", out)
		}
		d.do("systemd-run", "--unit=shop", "bash", "-c", shopScript)
		shop := event.UnitIdentity(s.domain, "n1", "shop.service")
		if o := s.sees(shop); o.Workload.Unit != "shop.service" || o.Workload.Evidence != event.EvidenceSystemd {
			t.Errorf("who connects: %+v", o.Workload)
		}
		s.beat(older)
		if lines := d.next(3); !all(lines, "ok") {
			t.Errorf("before the denial: %q", lines)
		}
		s.deny(shop)
		if lines := d.next(3); !all(lines, notPermitted) {
			t.Errorf("denied: %q", lines)
		}

		if out := d.do("journalctl", "--unit=ambit-agent"); strings.Contains(out, "dropping") {
			t.Errorf("in its own network, connections are not ended:\n%s", out)
		}

		// Upgrade.
		_, from := d.said(0)
		before := d.pid("ambit-agent.service")
		d.do("dpkg", "--install", "/opt/new.deb")
		s.beat(newer)
		if d.pid("ambit-agent.service") == before {
			t.Error("the old agent still runs")
		}
		if got := d.do("cat", "/etc/ambit/ambit.yaml"); got != settings {
			t.Errorf("the settings are now\n%s", got)
		}
		d.next(3)
		if lines, _ := d.said(from); !all(lines, notPermitted) {
			t.Errorf("during the upgrade: %q", lines)
		}

		// Remove.
		var objects kernelObjects
		pins := filepath.Join(d.bpf, "ambit")
		objects.held(t, d.pid("ambit-agent.service"))
		objects.pinned(t, pins)
		d.do("dpkg", "--remove", "ambit")
		if lines := d.next(3); !all(lines, "ok") {
			t.Errorf("removed: %q", lines)
		}
		objects.gone(t, pins)
		if got := d.do("cat", "/etc/ambit/ambit.yaml"); got != settings {
			t.Errorf("removing changed the settings: %s", got)
		}
		if out, _ := d.exec("systemctl", "list-units", "--all", "--plain", "--no-legend", "ambit*"); strings.TrimSpace(out) != "" {
			t.Errorf("units that are left: %s", out)
		}

		// Purge.
		d.do("dpkg", "--purge", "ambit")
		d.do("systemctl", "stop", "shop")
		for _, name := range d.files() {
			folder, err := os.Stat(filepath.Join(root, name))
			if known := slices.Contains(clean, name) || err == nil && folder.IsDir(); !known { // of which the overlay keeps the times
				t.Errorf("left behind: %s", name)
			}
		}
		if out := d.do("find", "/run", "-name", "*ambit*"); out != "" {
			t.Errorf("left behind: %s", out)
		}
		if out := d.do("dpkg", "--list"); strings.Contains(out, "ambit") {
			t.Errorf("the package is still known: %s", out)
		}
	})
}
