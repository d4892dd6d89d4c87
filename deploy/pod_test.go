package deploy

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// pod is what the chart asks of a node.
type pod struct {
	HostPID        bool           `yaml:"hostPID"`
	InitContainers []podContainer `yaml:"initContainers"`
	Containers     []podContainer
	Volumes        []struct {
		Name      string
		HostPath  *struct{ Path string } `yaml:"hostPath"`
		ConfigMap *struct{ Name string } `yaml:"configMap"`
		Secret    *struct {
			SecretName string `yaml:"secretName"`
		}
	}
}

type podContainer struct {
	Args []string
	Env  []struct {
		Name, Value string
		ValueFrom   struct {
			FieldRef struct {
				FieldPath string `yaml:"fieldPath"`
			} `yaml:"fieldRef"`
		} `yaml:"valueFrom"`
	}
	SecurityContext struct {
		RunAsUser                int  `yaml:"runAsUser"`
		AllowPrivilegeEscalation bool `yaml:"allowPrivilegeEscalation"`
		Capabilities             struct{ Add, Drop []string }
		ReadOnlyRootFilesystem   bool `yaml:"readOnlyRootFilesystem"`
	} `yaml:"securityContext"`
	VolumeMounts []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
		SubPath   string `yaml:"subPath"`
		ReadOnly  bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

// manifest is the part of what the chart renders that a node has to do with.
type manifest struct {
	pods    map[string]pod // of DaemonSets, by name
	configs map[string]map[string]string
}

func readManifest(t *testing.T, text string) manifest {
	t.Helper()
	m := manifest{map[string]pod{}, map[string]map[string]string{}}
	for documents := yaml.NewDecoder(strings.NewReader(text)); ; {
		var object struct {
			Kind     string
			Metadata struct{ Name string }
			Data     map[string]string
			Spec     struct{ Template struct{ Spec pod } }
		}
		err := documents.Decode(&object)
		switch {
		case errors.Is(err, io.EOF):
			return m
		case err != nil: // of another shape
		case object.Kind == "DaemonSet":
			m.pods[object.Metadata.Name] = object.Spec.Template.Spec
		case object.Kind == "ConfigMap":
			m.configs[object.Metadata.Name] = object.Data
		}
	}
}

// node is where pods run: its folders, but for those of the kernel, are the test's.
type node struct {
	t       *testing.T
	root    string            // in place of /
	bpf     string            // a BPF file system of the test's own
	secrets map[string]string // folders, by name
	network string            // of pods; empty: each has its own
}

// path is what stands for a path of the node.
func (n *node) path(path string) string {
	n.t.Helper()
	switch {
	case path == "/sys/fs/bpf" && n.bpf != "":
		return n.bpf
	case strings.HasPrefix(path, "/sys/"):
		return path
	}
	at := filepath.Join(n.root, path)
	if err := os.MkdirAll(at, 0o755); err != nil {
		n.t.Fatal(err)
	}
	return at
}

// container is one of a pod, as the kubelet would have it.
func (n *node) container(m manifest, p pod, c podContainer, rootfs string) *container {
	n.t.Helper()
	s := c.SecurityContext
	if !slices.Contains(s.Capabilities.Drop, "ALL") || s.AllowPrivilegeEscalation {
		n.t.Errorf("%q keeps privileges that nobody gave it: %+v", c.Args, s)
	}
	out := &container{
		rootfs: rootfs, readOnly: s.ReadOnlyRootFilesystem, user: s.RunAsUser, args: append([]string{"/ambit"}, c.Args...), capabilities: s.Capabilities.Add,
		mounts: []mount{
			{"/proc", "proc", "proc", []string{"nosuid", "noexec", "nodev"}},
			{"/sys", "sysfs", "sysfs", []string{"nosuid", "noexec", "nodev", "ro"}},
			{"/dev", "tmpfs", "tmpfs", []string{"nosuid", "mode=755", "size=64k"}},
		},
	}
	for _, e := range c.Env {
		switch e.ValueFrom.FieldRef.FieldPath {
		case "":
			out.env = append(out.env, e.Name+"="+e.Value)
		case "spec.nodeName":
			out.env = append(out.env, e.Name+"=n1")
		default:
			n.t.Fatalf("%s is %s, which this node does not know", e.Name, e.ValueFrom.FieldRef.FieldPath)
		}
	}
	network := map[string]string{"type": "network"}
	if n.network != "" {
		network["path"] = n.network
	}
	if out.namespaces = append(out.namespaces, network); !p.HostPID {
		out.namespaces = append(out.namespaces, map[string]string{"type": "pid"})
	}
	for _, at := range c.VolumeMounts {
		source := ""
		for _, v := range p.Volumes {
			switch {
			case v.Name != at.Name:
			case v.HostPath != nil:
				source = n.path(v.HostPath.Path)
			case v.ConfigMap != nil:
				source = n.config(m.configs[v.ConfigMap.Name])
			case v.Secret != nil:
				source = n.secrets[v.Secret.SecretName]
			}
		}
		if source == "" {
			n.t.Fatalf("%q mounts %s, which this node has not", c.Args, at.Name)
		}
		mode := "rw"
		if at.ReadOnly {
			mode = "ro"
		}
		out.mounts = append(out.mounts, mount{at.MountPath, "bind", filepath.Join(source, at.SubPath), []string{"rbind", mode}})
	}
	return out
}

func (n *node) config(data map[string]string) string {
	n.t.Helper()
	dir := n.t.TempDir()
	for name, text := range data {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			n.t.Fatal(err)
		}
	}
	return dir
}
