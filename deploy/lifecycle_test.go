package deploy

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// agentValues are those of one node without a Kubernetes API server.
const agentValues = `
trustDomain: shop.example
nats: {urls: [%q], tlsSecret: ambit-nats, replicas: 1}
log: {level: info}
agent: {interval: 1s, config: {kubernetes: {mode: "off"}, deny: {keys: [%q]}}}
`

// TestKernelLifecycle runs the agent's image as the chart has it: it sees who connects, refuses what a decision says, is replaced by another version while
// that stays refused, and is uninstalled, which leaves nothing behind.
func TestKernelLifecycle(t *testing.T) {
	requireCrun(t)
	versions := []string{imageRoot(t, "1.0.0"), imageRoot(t, "1.1.0")}
	testenv.OwnNetwork(t, func(t *testing.T) {
		group := testenv.Cgroup(t, "ambit-pod-*")
		n := &node{t: t, root: t.TempDir(), bpf: bpfMount(t), network: podNetwork(t, group)}
		s := newStage(t, "10.66.0.1")
		n.secrets = map[string]string{"ambit-nats": secret(t, s.nats.Files(testenv.AgentID("n1")))}
		values := filepath.Join(t.TempDir(), "values.yaml")
		check(t, os.WriteFile(values, fmt.Appendf(nil, agentValues, s.nats.URL, s.public), 0o600))
		m := readManifest(t, render(t, "testdata/values/files.yaml", "--values", values))
		agent := func(rootfs string) *running {
			p := m.pods["ambit-agent"]
			return n.container(m, p, p.Containers[0], rootfs).start(t, group)
		}
		const probe = "http://10.66.0.2:9480/readyz"
		first := agent(versions[0])
		first.ready(probe)
		bad, good := s.actor(), s.actor()
		bad.expect("ok")
		if o := s.sees(bad.identity); o.Counts.Connections == 0 || o.Peer.Port != 1000 {
			t.Errorf("what is seen of the connection: %+v", o)
		}
		if said := bad.do("hold", farPort); said != "ok" {
			t.Fatal(said)
		}
		denied := s.deny(bad.identity)
		bad.expect("EPERM")
		if said := bad.do("held"); said != "cut" {
			t.Errorf("the connection that was open: %s", said)
		}
		good.expect("ok")

		// Upgrade.
		over := filepath.Join(t.TempDir(), "over")
		refused := make(chan string, 1)
		go func() {
			defer close(refused) // also when the actor has ended
			refused <- bad.do(farPort, over)
		}()
		first.stop()
		second := agent(versions[1])
		second.ready(probe)
		s.beat("1.1.0")
		check(t, os.WriteFile(over, nil, 0o600))
		if said := <-refused; !strings.HasPrefix(said, "refused ") {
			t.Errorf("during the upgrade, one connection was %s", said)
		}
		s.revoke(denied)
		bad.expect("ok")
		s.deny(bad.identity)
		bad.expect("EPERM")

		// Uninstall: what cleans up may start while the agent still ends.
		var objects kernelObjects
		pins := filepath.Join(n.bpf, "ambit")
		objects.held(t, second.pid())
		if objects.pinned(t, pins) == 0 || len(filesBelow(t, n.path("/var/lib/ambit"))) == 0 {
			t.Fatal("the agent keeps nothing, so nothing could be left")
		}
		clean := func() *running {
			p := m.pods["ambit-unpin"]
			if len(p.InitContainers) != 1 {
				t.Fatalf("what cleans up: %+v, of %v", p, slices.Collect(maps.Keys(m.pods)))
			}
			return n.container(m, p, p.InitContainers[0], versions[1]).start(t, group)
		}
		cleaner := clean()
		second.stop()
		if err := cleaner.wait(time.Minute); err != nil {
			t.Errorf("clean up: %v", err)
		}
		bad.expect("ok")
		objects.gone(t, pins)
		for _, dir := range []string{"/var/lib/ambit", "/run/ambit"} {
			if files := filesBelow(t, n.path(dir)); len(files) > 0 {
				t.Errorf("left in %s: %q", dir, files)
			}
		}
		if err := clean().wait(time.Minute); err != nil {
			t.Errorf("clean up where nothing is: %v", err)
		}
	})
}
