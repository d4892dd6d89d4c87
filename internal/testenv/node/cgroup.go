package node

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// newContainerID is a name as runtimes give it.
func newContainerID() string {
	var id [32]byte
	rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// podCgroup is the path of a pod's cgroup below kubelet's root, by driver and quality of service.
func (n *Node) podCgroup(uid string, qos QoS) string {
	if n.cfg.Cgroupfs {
		class := string(qos)
		if qos == Guaranteed {
			class = ""
		}
		return filepath.Join("kubepods", class, "pod"+uid)
	}
	slice := "kubepods"
	path := slice + ".slice"
	if qos != Guaranteed {
		slice += "-" + string(qos)
		path = filepath.Join(path, slice+".slice")
	}
	return filepath.Join(path, slice+"-pod"+strings.ReplaceAll(uid, "-", "_")+".slice")
}

// containerCgroup is the name of a container's cgroup in its pod's.
func (n *Node) containerCgroup(id string) string {
	prefix := map[Runtime]string{Containerd: "cri-containerd", CRIO: "crio", Docker: "docker"}[n.cfg.Runtime]
	if n.cfg.Cgroupfs {
		if n.cfg.Runtime == CRIO {
			return "crio-" + id
		}
		return id
	}
	return prefix + "-" + id + ".scope"
}

// scheme stands in front of container ids in the API.
func (n *Node) scheme() string { return string(n.cfg.Runtime) + "://" }

// removeCgroups removes a pod's cgroups, the containers' first. A process that was killed leaves its cgroup only when it has ended.
func removeCgroups(dir string) error {
	inside, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("remove cgroup: %w", err)
	}
	for _, entry := range inside {
		if entry.IsDir() {
			if err := removeCgroups(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		err := os.Remove(dir)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
			return fmt.Errorf("remove cgroup: %w", err)
		}
	}
}
