package deploy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// layout is an OCI image layout in a folder.
type layout struct {
	t      *testing.T
	dir    string
	digest string // that the program said
}

// buildImage builds images from the sources, as `make image` does.
func buildImage(t *testing.T, dir string, args ...string) layout {
	t.Helper()
	l := layout{t: t, dir: dir}
	cmd := exec.Command("go", append([]string{"run", "../internal/image", "-epoch", "1000000000", "-out", l.dir}, args...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("build the image: %v: %s", err, errs.String())
	}
	l.digest = strings.Fields(string(out))[0]
	return l
}

func (l layout) blob(digest string, into any) []byte {
	l.t.Helper()
	data, err := os.ReadFile(filepath.Join(l.dir, "blobs", strings.Replace(digest, ":", "/", 1)))
	if err == nil && into != nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return data
}

// rootfs unpacks the image for an architecture.
func (l layout) rootfs(architecture, to string) {
	l.t.Helper()
	type described struct {
		Digest   string
		Platform struct{ Architecture string }
	}
	var index struct{ Manifests []described }
	data, err := os.ReadFile(filepath.Join(l.dir, "index.json"))
	if err == nil {
		err = json.Unmarshal(data, &index)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	for _, m := range index.Manifests {
		if m.Platform.Architecture != architecture {
			continue
		}
		var manifest struct{ Layers []described }
		l.blob(m.Digest, &manifest)
		for _, layer := range manifest.Layers {
			unpack(l.t, l.blob(layer.Digest, nil), to)
		}
		return
	}
	l.t.Fatalf("there is no image for %s: %s", architecture, data)
}

func unpack(t *testing.T, layer []byte, to string) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(layer))
	if err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(z); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(to, h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(path, os.FileMode(h.Mode))
			if err == nil {
				err = errors.Join(os.Chmod(path, h.FileInfo().Mode()), os.Chown(path, h.Uid, h.Gid))
			}
		case tar.TypeSymlink:
			err = os.Symlink(h.Linkname, path)
		default:
			var data []byte
			if data, err = io.ReadAll(files); err == nil {
				err = os.WriteFile(path, data, os.FileMode(h.Mode))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// imageRoot is the root file system of a version of the image for this machine.
func imageRoot(t *testing.T, version string) string {
	t.Helper()
	return once(t, "image-"+version, func(dir string) {
		l := buildImage(t, filepath.Join(dir, "image"), "-version", version, "-platforms", "linux/amd64")
		check(t, os.WriteFile(filepath.Join(dir, "digest"), []byte(l.digest), 0o600))
		l.rootfs("amd64", filepath.Join(dir, "rootfs"))
	}) + "/rootfs"
}

// TestImageIsReproducible builds the same image twice.
func TestImageIsReproducible(t *testing.T) {
	first, err := os.ReadFile(filepath.Join(filepath.Dir(imageRoot(t, "1.0.0")), "digest"))
	check(t, err)
	again := buildImage(t, filepath.Join(t.TempDir(), "image"), "-version", "1.0.0", "-platforms", "linux/amd64")
	if string(first) != again.digest {
		t.Errorf("the same sources gave %s and %s", first, again.digest)
	}
}

// TestBillOfMaterials holds what the bill of materials says to what Go and npm say of the program.
func TestBillOfMaterials(t *testing.T) {
	dir := filepath.Dir(imageRoot(t, "1.0.0"))
	text, err := os.ReadFile(filepath.Join(dir, "image-amd64.cdx.json"))
	check(t, err)
	var bill struct {
		SpecVersion string
		Metadata    struct {
			Component struct{ Name, Version string }
		}
		Components []struct{ Name, Version, Purl string }
	}
	check(t, json.Unmarshal(text, &bill))
	if c := bill.Metadata.Component; bill.SpecVersion != "1.5" || c.Name != "github.com/ambit-nhi/ambit" || c.Version != "1.0.0" {
		t.Errorf("the bill is of %+v", bill.Metadata)
	}
	has := map[string]bool{}
	for _, c := range bill.Components {
		if has[c.Purl] {
			t.Errorf("%s is there twice", c.Purl)
		}
		has[c.Purl] = true
	}
	list := exec.Command("go", "list", "-deps", "-tags", "noengine", "-f", "{{with .Module}}{{if not .Main}}pkg:golang/{{.Path}}@{{.Version}}{{end}}{{end}}", "github.com/ambit-nhi/ambit")
	list.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := list.Output()
	check(t, err)
	want := strings.Fields(string(out))
	text, err = os.ReadFile("../collector/web/package.json")
	check(t, err)
	var web struct{ Dependencies map[string]string }
	check(t, json.Unmarshal(text, &web))
	if _, err := os.Stat("../collector/web/dist/manifest.json"); err != nil {
		missing(t, "the pages are not bundled: %v; run make web", err)
	}
	for name, version := range web.Dependencies {
		want = append(want, "pkg:npm/"+name+"@"+version)
	}
	slices.Sort(want)
	for _, purl := range slices.Compact(want) {
		if !has[purl] {
			t.Errorf("%s is not in the bill", purl)
		}
		delete(has, purl)
	}
	for purl := range has {
		if !strings.HasPrefix(purl, "pkg:golang/std@go") && !strings.HasPrefix(purl, "pkg:golang/") {
			t.Errorf("%s is in the bill, and not in the program", purl)
		}
	}
	if len(want) < 50 {
		t.Errorf("only %d modules", len(want))
	}
}

// TestImageEngine runs the image with the embedded engine where nothing but its data can be written, as a user without rights.
func TestImageEngine(t *testing.T) {
	requireCrun(t)
	library, err := filepath.Abs("../.cache/libchdb.so")
	check(t, err)
	if _, err := os.Stat(library); err != nil {
		missing(t, "no embedded engine: %v; run make engine", err)
	}
	rootfs := once(t, "image-engine", func(dir string) {
		l := buildImage(t, filepath.Join(dir, "image"), "-version", "1.0.0", "-platforms", "linux/amd64", "-engine", library)
		l.rootfs("amd64", filepath.Join(dir, "rootfs"))
	}) + "/rootfs"
	testenv.OwnNetwork(t, func(t *testing.T) {
		data := t.TempDir()
		check(t, os.Chown(data, 65532, 65532))
		c := container{
			rootfs: rootfs, readOnly: true, user: 65532, args: []string{"/ambit", "up", "--no-agent", "--data", "/var/lib/ambit", "--node", "n1"},
			mounts: []mount{
				{"/proc", "proc", "proc", []string{"nosuid", "noexec", "nodev"}},
				{"/sys", "sysfs", "sysfs", []string{"nosuid", "noexec", "nodev", "ro"}},
				{"/dev", "tmpfs", "tmpfs", []string{"nosuid", "mode=755", "size=64k"}},
				{"/var/lib/ambit", "bind", data, []string{"rbind", "rw"}},
			},
			namespaces: []map[string]string{{"type": "pid"}},
		}
		r := c.start(t, testenv.Cgroup(t, "ambit-engine-*"))
		r.ready("http://127.0.0.1:8480/readyz")
		r.stop()
	})
}

// TestImageArm64 has QEMU run the image's program for arm64. It knows nothing of bpf(2): what the kernel would do on such machines is not shown.
func TestImageArm64(t *testing.T) {
	qemu, err := exec.LookPath("qemu-aarch64-static")
	if err != nil {
		missing(t, "programs for arm64 are run by qemu-user-static: %v", err)
	}
	l := buildImage(t, filepath.Join(t.TempDir(), "image"), "-version", "1.0.0", "-platforms", "linux/arm64")
	rootfs := filepath.Join(t.TempDir(), "rootfs")
	l.rootfs("arm64", rootfs)
	run := func(args ...string) (string, error) {
		out, err := exec.Command(qemu, append([]string{filepath.Join(rootfs, "ambit")}, args...)...).CombinedOutput()
		return string(out), err
	}
	if out, err := run("version"); err != nil || !strings.HasPrefix(out, "ambit 1.0.0 go") || !strings.Contains(out, "linux/arm64") {
		t.Errorf("version: %v: %s", err, out)
	}
	if out, err := run("--help"); err != nil || !strings.Contains(out, "Available Commands:") {
		t.Errorf("help: %v: %s", err, out)
	}
	out, err := run("doctor")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(out, "cannot be watched; missing: ") {
		t.Errorf("the doctor: %v\n%s", err, out)
	}
}
