package workload

import "strings"

// podPath is where a cgroup stands in a pod.
type podPath struct {
	uid       string // as the cgroup is named: the API server's, or, for static pods, the hash of their configuration
	container string // the engine's id; empty for the pod's own cgroup and for what is no container
}

// parsePodPath reads pod and container from a cgroup's path, as kubelet and the engines make it:
//
//	/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/cri-containerd-<id>.scope   systemd driver; also crio-, docker-
//	/kubepods/burstable/pod<uid>/<id>                                                                      cgroupfs driver; also crio-<id>
//	/system.slice/containerd.service/kubepods-burstable-pod<uid>.slice:cri-containerd:<id>                 kubelet's by systemd, the engine's not
//
// with anything below the container, and below a kubelet that has a root of its own or runs in a container itself. The outermost pod counts: what
// stands below it, the pod named itself. For the same reason nothing counts that stands below a cgroup where a user or a service may name cgroups.
// An engine's container is not among those: kubelet itself may run in one, and who may write cgroups there is as good as root.
func parsePodPath(path string) (podPath, bool) {
	parent, above := "", ""
	for rest := strings.TrimPrefix(path, "/"); rest != ""; {
		segment, below, _ := strings.Cut(rest, "/")
		if p, ok := podOfSlice(segment); ok {
			if p.container == "" {
				p.container = containerOf(below)
			}
			return p, true
		}
		if uid, ok := strings.CutPrefix(segment, "pod"); ok && validUID(uid) && (parent == "kubepods" || above == "kubepods" && isClass(parent)) {
			return podPath{uid, containerOf(below)}, true
		}
		if lent(segment) {
			break
		}
		above, parent, rest = parent, segment, below
	}
	return podPath{}, false
}

// PodUID gives the UID of the pod that a cgroup is of, by its path: the API server's, but for static pods.
func PodUID(cgroup string) (uid string, ok bool) {
	p, ok := parsePodPath(cgroup)
	return p.uid, ok
}

// podOfSlice reads names such as kubepods-burstable-pod<uid>.slice, where systemd wants "_" for the "-" of the uid.
func podOfSlice(segment string) (podPath, bool) {
	slice, engine, colon := strings.Cut(segment, ":")
	name, ok := strings.CutSuffix(slice, ".slice")
	i := strings.LastIndex(name, "-pod")
	if !ok || i < 0 {
		return podPath{}, false
	}
	head, uid := name[:i], strings.ReplaceAll(name[i+len("-pod"):], "_", "-")
	if j := strings.LastIndexByte(head, '-'); j >= 0 && isClass(head[j+1:]) {
		head = head[:j]
	}
	if head != "kubepods" && !strings.HasSuffix(head, "-kubepods") || !validUID(uid) {
		return podPath{}, false
	}
	p := podPath{uid: uid}
	if colon {
		_, id, _ := strings.Cut(engine, ":")
		p.container = containerID(id)
	}
	return p, true
}

// isClass knows the names of the classes of service that have cgroups.
func isClass(name string) bool {
	return name == "burstable" || name == "besteffort" || name == "guaranteed"
}

// validUID leaves room for static pods whose configuration names a uid.
func validUID(uid string) bool {
	for i := range len(uid) {
		c := uid[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return uid != "" && len(uid) <= 128
}

// containerOf reads the container from what follows the pod's cgroup: <id>, crio-<id> or cri-containerd-<id>.scope.
func containerOf(below string) string {
	name, _, _ := strings.Cut(below, "/")
	name = strings.TrimSuffix(name, ".scope")
	if strings.Contains(name, "conmon") { // a container's monitor is not the container
		return ""
	}
	return containerID(name[strings.LastIndexByte(name, '-')+1:])
}

func containerID(id string) string {
	if len(id) != 64 || strings.Trim(id, "0123456789abcdef") != "" {
		return ""
	}
	return id
}

// lent says that below a cgroup its user may make cgroups by any name. That holds for the sessions and services of users, and for services that
// systemd delegates to; what engines run as services is as good as root.
func lent(segment string) bool {
	service, ok := strings.CutSuffix(segment, ".service")
	if !ok {
		return segment == "user.slice"
	}
	switch service {
	case "containerd", "crio", "docker", "cri-docker", "kubelet", "k3s", "k3s-agent", "rke2-server", "rke2-agent", "k0scontroller", "k0sworker",
		"snap.microk8s.daemon-containerd":
		return false
	}
	return true
}
