package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// TestPackage packs what is installed on plain hosts, and has Debian's own tools look at it: what is in it, what removing it does.
func TestPackage(t *testing.T) {
	nfpm := testenv.Program(t, "deploy", "nfpm", "deploy-tools")
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "dist"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"deploy", "LICENSE", "README.md"} { // paths in nfpm.yaml are those of the repository
		at, err := filepath.Abs(filepath.Join("..", name))
		if err == nil {
			err = os.Symlink(at, filepath.Join(dir, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-tags", "noengine", "-o", filepath.Join(dir, "dist", "ambit-amd64"), "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	for _, kind := range []string{"deb", "rpm"} {
		pack := exec.Command(nfpm, "package", "--config", "deploy/nfpm.yaml", "--packager", kind, "--target", "dist/")
		pack.Dir, pack.Env = dir, append(os.Environ(), "VERSION=0.0.0~abc1234", "ARCH=amd64")
		if out, err := pack.CombinedOutput(); err != nil {
			t.Fatalf("pack %s: %v: %s", kind, err, out)
		}
	}
	debs, err := filepath.Glob(filepath.Join(dir, "dist", "*.deb"))
	if err != nil || len(debs) != 1 {
		t.Fatalf("packages: %v: %v", debs, err)
	}
	root := filepath.Join(dir, "root")
	if out, err := exec.Command("dpkg-deb", "--extract", debs[0], root).CombinedOutput(); err != nil {
		t.Fatalf("unpack: %v: %s", err, out)
	}
	if out, err := exec.Command(filepath.Join(root, "usr/bin/ambit"), "version").CombinedOutput(); err != nil {
		t.Errorf("the program in the package: %v: %s", err, out)
	}
	info, err := os.Stat(filepath.Join(root, "etc/ambit/ambit.yaml"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the settings: %v %v", info, err)
	}
	out, err := exec.Command("dpkg-deb", "--info", debs[0], "conffiles").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "/etc/ambit/ambit.yaml" {
		t.Errorf("files that stay as people wrote them: %s: %v", out, err)
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		out, err := exec.Command("dpkg-deb", "--info", debs[0], script).Output()
		if err != nil {
			t.Errorf("%s: %v", script, err)
		}
		check := exec.Command("sh", "-n")
		check.Stdin = strings.NewReader(string(out))
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", script, err, out)
		}
	}
	for _, unit := range []string{"ambit.service", "ambit-agent.service"} {
		text, err := os.ReadFile(filepath.Join(root, "usr/lib/systemd/system", unit))
		if err != nil {
			t.Fatal(err)
		}
		for _, capability := range []string{"CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"} {
			if !strings.Contains(string(text), capability) {
				t.Errorf("%s leaves out %s", unit, capability)
			}
		}
	}
}
