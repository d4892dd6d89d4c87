package deploy

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// program builds ambit, static and without the embedded engine unless tags say otherwise.
func program(t *testing.T, to, version string, flags ...string) {
	t.Helper()
	args := append([]string{"build", "-trimpath", "-ldflags", "-s -w -X main.version=" + version, "-o", to}, flags...)
	build := exec.Command("go", append(args, "github.com/ambit-nhi/ambit")...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
}

// packages are what `make packages` makes of a version for this machine.
func packages(t *testing.T, version string) (deb, rpm string) {
	t.Helper()
	nfpm := testenv.Program(t, "deploy", "nfpm", "deploy-tools")
	dir := once(t, "packages-"+version, func(dir string) {
		check(t, os.Mkdir(filepath.Join(dir, "dist"), 0o755))
		for _, name := range []string{"deploy", "LICENSE", "README.md"} { // paths in nfpm.yaml are those of the repository
			at, err := filepath.Abs(filepath.Join("..", name))
			check(t, err)
			check(t, os.Symlink(at, filepath.Join(dir, name)))
		}
		program(t, filepath.Join(dir, "dist", "ambit-amd64"), version, "-tags", "noengine")
		for _, kind := range []string{"deb", "rpm"} {
			pack := exec.Command(nfpm, "package", "--config", "deploy/nfpm.yaml", "--packager", kind, "--target", "dist/")
			pack.Dir, pack.Env = dir, append(os.Environ(), "VERSION="+version, "ARCH=amd64")
			if out, err := pack.CombinedOutput(); err != nil {
				t.Fatalf("pack %s: %v: %s", kind, err, out)
			}
		}
	})
	only := func(kind string) string {
		found, err := filepath.Glob(filepath.Join(dir, "dist", "*."+kind))
		if err != nil || len(found) != 1 {
			t.Fatalf("packages: %v: %v", found, err)
		}
		return found[0]
	}
	return only("deb"), only("rpm")
}

// Versions of packages: an untagged commit comes before all releases.
const older, newer = "0.0.0~abc1234", "0.0.1"

// packed are the files that both packages have.
var packed = []string{
	"/etc/ambit/ambit.yaml", "/usr/bin/ambit", "/usr/lib/systemd/system/ambit-agent.service", "/usr/lib/systemd/system/ambit.service", "/usr/share/doc/ambit/LICENSE",
	"/usr/share/doc/ambit/README.md",
}

// TestPackage has the distributions' own tools look at the packages: what is in them, and what removing them does.
func TestPackage(t *testing.T) {
	deb, rpm := packages(t, older)
	tool := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.Command(name, args...).Output()
		var exit *exec.ExitError
		switch {
		case errors.Is(err, exec.ErrNotFound):
			missing(t, "no %s: install it", name)
		case errors.As(err, &exit):
			t.Fatalf("%s: %v: %s", name, err, exit.Stderr)
		case err != nil:
			t.Fatal(err)
		}
		return string(out)
	}
	t.Run("deb", func(t *testing.T) {
		root := t.TempDir()
		tool("dpkg-deb", "--extract", deb, root)
		got := filesBelow(t, root)
		if slices.Sort(got); !slices.Equal(got, packed) {
			t.Errorf("files: %q, want %q", got, packed)
		}
		if said := tool(filepath.Join(root, "usr/bin/ambit"), "version"); !strings.HasPrefix(said, "ambit "+older+" ") {
			t.Errorf("the program in the package: %s", said)
		}
		info, err := os.Stat(filepath.Join(root, "etc/ambit/ambit.yaml"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the settings: %v %v", info, err)
		}
		if out := tool("dpkg-deb", "--info", deb, "conffiles"); strings.TrimSpace(out) != "/etc/ambit/ambit.yaml" {
			t.Errorf("files that stay as people wrote them: %s", out)
		}
		for _, script := range []string{"postinst", "prerm", "postrm"} {
			checkScript(t, script, tool("dpkg-deb", "--info", deb, script))
		}
	})
	t.Run("rpm", func(t *testing.T) {
		got := strings.Fields(tool("rpm", "-qp", "--list", rpm))
		if slices.Sort(got); !slices.Equal(got, packed) {
			t.Errorf("files: %q, want %q", got, packed)
		}
		if out := tool("rpm", "-qp", "--configfiles", rpm); strings.TrimSpace(out) != "/etc/ambit/ambit.yaml" {
			t.Errorf("files that stay as people wrote them: %s", out)
		}
		if out := tool("rpm", "-qp", "--queryformat", "[%{FILENAMES} %{FILEMODES:octal} %{FILEUSERNAME} %{FILEFLAGS:fflags}\n]", rpm); !strings.Contains(out, "/etc/ambit/ambit.yaml 100600 root cn\n") ||
			!strings.Contains(out, "/usr/bin/ambit 100755 root ") {
			t.Errorf("modes, owners and kinds of files:\n%s", out)
		}
		if out := tool("rpm", "-qp", "--queryformat", "%{NAME} %{VERSION} %{ARCH} %{LICENSE}", rpm); out != "ambit "+older+" x86_64 Apache-2.0" {
			t.Errorf("what it says of itself: %s", out)
		}
		for tag, file := range map[string]string{"POSTIN": "postinstall.sh", "PREUN": "preremove.sh", "POSTUN": "postremove.sh"} {
			got := tool("rpm", "-qp", "--queryformat", "%{"+tag+"}", rpm)
			want, err := os.ReadFile(filepath.Join("systemd", file))
			if err != nil || strings.TrimSpace(got) != strings.TrimSpace(string(want)) {
				t.Errorf("%s is not %s: %v:\n%s", tag, file, err, got)
			}
			checkScript(t, file, got)
		}
	})
}

func checkScript(t *testing.T, name, text string) {
	t.Helper()
	sh := exec.Command("sh", "-n")
	sh.Stdin = strings.NewReader(text)
	if out, err := sh.CombinedOutput(); err != nil || text == "" {
		t.Errorf("%s: %v: %s", name, err, out)
	}
}
