package workload

import (
	"slices"
	"strings"
	"testing"
)

func TestContainerIDs(t *testing.T) {
	b := strings.Repeat("b", 64)
	f := func(path string, want ...string) {
		t.Helper()
		if got := slices.Collect(containerIDs(path)); !slices.Equal(got, want) {
			t.Errorf("containers of %s: %q, want %q", path, got, want)
		}
	}
	f("")
	f("/")
	f("/system.slice/docker-"+containerA+".scope", containerA)
	f("/docker/"+containerA, containerA)
	f("/docker/"+containerA+"/docker/"+b, containerA, b)
	f("/machine.slice/libpod-"+containerA+".scope/container", containerA)
	f("/machine.slice/machine-libpod_pod_"+b+".slice/libpod-"+containerA+".scope", containerA)
	f("/libpod_parent/libpod-"+containerA, containerA)
	f("/libpod_parent/"+b+"/"+containerA, b, containerA)
	f("/default/"+containerA, containerA)
	f("/system.slice/nerdctl-"+containerA+".scope", containerA)
	f("/shop.slice/docker-"+containerA+".scope/system.slice/nginx.service", containerA)
	f("/system.slice/docker.service/docker/"+containerA, containerA)

	f("/machine.slice/libpod-conmon-" + containerA + ".scope")                              // the monitor is not the container
	f("/system.slice/docker-" + containerA[1:] + ".scope")                                  // too short
	f("/system.slice/docker-" + strings.ToUpper(containerA) + ".scope")                     //
	f("/system.slice/evil-" + containerA + ".scope")                                        //
	f("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + containerA)      // by any user
	f("/system.slice/web.service/libpod-payload-" + containerA)                             // the unit's own
	f("/system.slice/evil.service/docker-" + containerA + ".scope" /* none: it was lent */) //
}

func FuzzContainerIDs(f *testing.F) {
	f.Add("/system.slice/docker-" + containerA + ".scope")
	f.Fuzz(func(t *testing.T, path string) {
		for id := range containerIDs(path) {
			if containerID(id) != id || !strings.Contains(path, id) || strings.HasPrefix(path, "/user.slice/") {
				t.Fatalf("%q in %q", id, path)
			}
		}
	})
}
