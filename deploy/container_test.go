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
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// image builds the image for this machine, and unpacks it.
func image(t *testing.T) (rootfs string) {
	t.Helper()
	dir := t.TempDir()
	layout := filepath.Join(dir, "image")
	digest := func() string {
		out, err := exec.Command("go", "run", "../internal/image", "-out", layout, "-version", "test", "-platforms", "linux/amd64").Output()
		if err != nil {
			t.Fatalf("build the image: %v", err)
		}
		return strings.Fields(string(out))[0]
	}
	first := digest()
	if again := digest(); first != again {
		t.Errorf("the same sources gave %s and %s", first, again)
	}
	blob := func(digest string, into any) []byte {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(layout, "blobs", strings.Replace(digest, ":", "/", 1)))
		if err == nil && into != nil {
			err = json.Unmarshal(data, into)
		}
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	type described struct{ Digest string }
	var index struct{ Manifests []described }
	data, err := os.ReadFile(filepath.Join(layout, "index.json"))
	if err != nil || json.Unmarshal(data, &index) != nil || len(index.Manifests) != 1 {
		t.Fatalf("the index is %s: %v", data, err)
	}
	var manifest struct{ Layers []described }
	blob(index.Manifests[0].Digest, &manifest)
	rootfs = filepath.Join(dir, "rootfs")
	for _, layer := range manifest.Layers {
		unpack(t, blob(layer.Digest, nil), rootfs)
	}
	return rootfs
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
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, os.FileMode(h.Mode))
		} else {
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

// pod is what the chart asks of a node for the agent.
type pod struct {
	Containers []struct {
		SecurityContext struct {
			Capabilities           struct{ Add []string }
			ReadOnlyRootFilesystem bool `yaml:"readOnlyRootFilesystem"`
		} `yaml:"securityContext"`
		VolumeMounts []struct {
			Name      string
			MountPath string `yaml:"mountPath"`
			ReadOnly  bool   `yaml:"readOnly"`
		} `yaml:"volumeMounts"`
	}
	Volumes []struct {
		Name     string
		HostPath struct{ Path string } `yaml:"hostPath"`
	}
}

func agentPod(t *testing.T, manifest string) pod {
	t.Helper()
	for documents := yaml.NewDecoder(strings.NewReader(manifest)); ; {
		var object struct {
			Kind string
			Spec struct{ Template struct{ Spec pod } }
		}
		err := documents.Decode(&object)
		if errors.Is(err, io.EOF) {
			t.Fatal("there is no DaemonSet")
		}
		if err == nil && object.Kind == "DaemonSet" {
			return object.Spec.Template.Spec
		}
	}
}

// TestKernelContainer runs the image as the chart does, in a real container: with its capabilities, its mounts and nothing to write on, everything
// that watching needs is there. Without one of them, it says which.
func TestKernelContainer(t *testing.T) {
	crun, err := exec.LookPath("crun")
	if err != nil || os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatalf("containers need root and crun: %v", err)
		}
		t.Skipf("containers need root and crun: %v", err)
	}
	rootfs := image(t)
	p := agentPod(t, render(t, "testdata/values/files.yaml"))
	c := p.Containers[0]
	if !c.SecurityContext.ReadOnlyRootFilesystem {
		t.Error("the root file system can be written")
	}
	run := func(capabilities []string, args ...string) (string, error) {
		t.Helper()
		for i := range capabilities {
			capabilities[i] = "CAP_" + capabilities[i]
		}
		type mount struct {
			Destination string   `json:"destination"`
			Type        string   `json:"type,omitempty"`
			Source      string   `json:"source"`
			Options     []string `json:"options"`
		}
		mounts := []mount{{"/proc", "proc", "proc", []string{"nosuid", "noexec", "nodev"}}, {"/sys", "sysfs", "sysfs", []string{"nosuid", "noexec", "nodev", "ro"}}}
		data := t.TempDir()
		for _, m := range c.VolumeMounts {
			for _, v := range p.Volumes {
				if v.Name != m.Name || v.HostPath.Path == "" {
					continue
				}
				source, mode := v.HostPath.Path, "rw"
				switch {
				case m.ReadOnly:
					mode = "ro"
				case !strings.HasPrefix(source, "/sys"): // what the node would keep
					source = data
				}
				mounts = append(mounts, mount{m.MountPath, "bind", source, []string{"rbind", mode}})
			}
		}
		caps := map[string][]string{}
		for _, set := range []string{"bounding", "effective", "permitted"} {
			caps[set] = capabilities
		}
		bundle := t.TempDir()
		spec, err := json.Marshal(map[string]any{
			"ociVersion": "1.0.2",
			"root":       map[string]any{"path": rootfs, "readonly": true},
			"process":    map[string]any{"user": map[string]int{"uid": 0, "gid": 0}, "args": append([]string{"/ambit"}, args...), "cwd": "/", "capabilities": caps, "noNewPrivileges": true},
			"mounts":     mounts,
			"linux":      map[string]any{"namespaces": []map[string]string{{"type": "mount"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}}}, // hostPID
		})
		if err == nil {
			err = os.WriteFile(filepath.Join(bundle, "config.json"), spec, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		// On machines that still mount the old cgroups, crun finds the new ones where nodes have them.
		out, err := exec.Command("unshare", "--mount", "sh", "-c", `mount -t cgroup2 none /sys/fs/cgroup && exec "$0" "$@"`,
			crun, "--root", t.TempDir(), "--cgroup-manager", "disabled", "run", "--bundle", bundle, "ambit-"+strconv.Itoa(os.Getpid())).CombinedOutput()
		return string(out), err
	}
	all := c.SecurityContext.Capabilities.Add
	out, err := run(slices.Clone(all), "doctor")
	if err != nil || !strings.Contains(out, "This machine can be watched.") {
		t.Errorf("with all capabilities: %v\n%s", err, out)
	}
	if strings.Contains(out, "degraded") {
		t.Errorf("the doctor finds something:\n%s", out)
	}
	for i, name := range all {
		out, _ := run(slices.Delete(slices.Clone(all), i, i+1), "doctor")
		if !strings.Contains(out, "CAP_"+name) {
			t.Errorf("without %s, nothing says so:\n%s", name, out)
		}
	}
}
