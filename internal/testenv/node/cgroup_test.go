package node

import (
	"path"
	"testing"
)

func TestCgroupNames(t *testing.T) {
	const uid, id = "0c5b0c4e-6a1f-4a1e-9b1c-0d3f5a7b9c1d", "4f2a"
	f := func(cfg Config, qos QoS, want string) {
		t.Helper()
		n := &Node{cfg: cfg}
		if got := path.Join(n.podCgroup(uid, qos), n.containerCgroup(id)); got != want {
			t.Errorf("%+v %s: %s, want %s", cfg, qos, got, want)
		}
	}
	const slice = "0c5b0c4e_6a1f_4a1e_9b1c_0d3f5a7b9c1d.slice"
	f(Config{Runtime: Containerd}, Burstable, "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod"+slice+"/cri-containerd-4f2a.scope")
	f(Config{Runtime: CRIO}, BestEffort, "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod"+slice+"/crio-4f2a.scope")
	f(Config{Runtime: Docker}, Guaranteed, "kubepods.slice/kubepods-pod"+slice+"/docker-4f2a.scope")
	f(Config{Runtime: Containerd, Cgroupfs: true}, Burstable, "kubepods/burstable/pod"+uid+"/4f2a")
	f(Config{Runtime: CRIO, Cgroupfs: true}, BestEffort, "kubepods/besteffort/pod"+uid+"/crio-4f2a")
	f(Config{Runtime: Docker, Cgroupfs: true}, Guaranteed, "kubepods/pod"+uid+"/4f2a")
}

func TestAddresses(t *testing.T) {
	var a addresses
	first, second := a.take(), a.take()
	if first == second || !Pods4.Contains(first[0]) || !Pods6.Contains(first[1]) {
		t.Errorf("addresses %v and %v", first, second)
	}
	a.give(first)
	if again := a.take(); again != first {
		t.Errorf("%v was given back, and %v is taken", first, again)
	}
}
