package workload

import (
	"iter"
	"strings"
)

// containerIDs gives what may be ids of containers in a cgroup's path, the outermost first: what stands below a container, the container named.
// Engines name cgroups docker-<id>.scope, libpod-<id>.scope and nerdctl-<id>.scope where systemd makes them, otherwise <id> and libpod-<id>, in
// any cgroup that people choose. Where users may name cgroups there is none that an engine of the node made.
func containerIDs(path string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for rest := strings.TrimPrefix(path, "/"); rest != ""; {
			segment, below, _ := strings.Cut(rest, "/")
			if lent(segment) {
				return
			}
			if id := containerOfSegment(segment); id != "" && !yield(id) {
				return
			}
			rest = below
		}
	}
}

func containerOfSegment(segment string) string {
	name := strings.TrimSuffix(segment, ".scope")
	if i := strings.LastIndexByte(name, '-'); i >= 0 {
		switch name[:i] {
		case "docker", "libpod", "nerdctl":
			name = name[i+1:]
		}
	}
	return containerID(name)
}
