package deploy

import (
	"slices"
	"strings"
	"testing"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// TestKernelContainer runs the image's doctor as the chart does, in a real container: with its capabilities, its mounts and nothing to write on, everything
// that watching needs is there. Without one of the capabilities, it says which.
func TestKernelContainer(t *testing.T) {
	requireCrun(t)
	rootfs := imageRoot(t, "1.0.0")
	m := readManifest(t, render(t, "testdata/values/files.yaml"))
	p := m.pods["ambit-agent"]
	if len(p.Containers) != 1 || !p.HostPID {
		t.Fatalf("the agent's pod: %+v", p)
	}
	n := &node{t: t, root: t.TempDir(), secrets: map[string]string{"ambit-nats": t.TempDir()}}
	group := testenv.Cgroup(t, "ambit-container-*")
	c := n.container(m, p, p.Containers[0], rootfs)
	if !c.readOnly {
		t.Error("the root file system can be written")
	}
	c.args = []string{"/ambit", "doctor"}
	out, err := c.run(t, group)
	if err != nil || !strings.Contains(out, "This machine can be watched.") {
		t.Errorf("with all capabilities: %v\n%s", err, out)
	}
	if strings.Contains(out, "degraded") {
		t.Errorf("the doctor finds something:\n%s", out)
	}
	all := c.capabilities
	for i, name := range all {
		c.capabilities = slices.Delete(slices.Clone(all), i, i+1)
		if out, _ := c.run(t, group); !strings.Contains(out, "CAP_"+name) {
			t.Errorf("without %s, nothing says so:\n%s", name, out)
		}
	}
}
