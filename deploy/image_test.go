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
	"strings"
	"testing"
)

// layout is an OCI image layout in a folder.
type layout struct {
	t      *testing.T
	dir    string
	digest string // that the program said
}

// buildImage builds images from the sources, as `make image` does.
func buildImage(t *testing.T, args ...string) layout {
	t.Helper()
	l := layout{t: t, dir: filepath.Join(t.TempDir(), "image")}
	cmd := exec.Command("go", append([]string{"run", "../internal/image", "-out", l.dir}, args...)...)
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
				err = errors.Join(os.Chmod(path, os.FileMode(h.Mode)), os.Chown(path, h.Uid, h.Gid))
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

// images are the root file systems of versions of the image for this machine, built once for a test and the process that it starts.
func images(t *testing.T, versions ...string) []string {
	t.Helper()
	const built = "AMBIT_DEPLOY_IMAGES"
	if dirs := os.Getenv(built); dirs != "" {
		return strings.Split(dirs, ":")
	}
	var dirs []string
	for _, v := range versions {
		dir := filepath.Join(t.TempDir(), "rootfs")
		buildImage(t, "-version", v, "-platforms", "linux/amd64").rootfs("amd64", dir)
		dirs = append(dirs, dir)
	}
	t.Setenv(built, strings.Join(dirs, ":"))
	return dirs
}
