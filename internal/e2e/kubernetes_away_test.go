package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
	"github.com/ambit-nhi/ambit/internal/testenv/node"
	talk "github.com/ambit-nhi/ambit/internal/testenv/traffic"
)

// The Kubernetes API is away for a minute, and Ambit is restarted meanwhile. The pods that run keep their identities; one that is new is told as what it is, a pod
// that nobody knows; coverage says what was blind; and when the API is back, all is as before.
func TestKernelKubernetesAway(t *testing.T) {
	testenv.OwnNetwork(t, func(t *testing.T) {
		const away = time.Minute
		cluster := testenv.Kubernetes(t)
		n := node.New(t, cluster, node.Config{})
		cluster.Apply("../../deploy/rbac/agent.yaml")
		pod := func(account string) *node.Pod {
			t.Helper()
			if err := n.Account(t.Context(), "shop", account); err != nil {
				t.Fatal(err)
			}
			p, err := n.Create(t.Context(), node.PodSpec{Namespace: "shop", Name: account + "-1", ServiceAccount: account})
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		web, db, ghost := pod("web"), pod("db"), pod("ghost")
		if err := ghost.Delete(t.Context()); err != nil { // it starts later all the same
			t.Fatal(err)
		}
		for _, p := range []*node.Pod{web, db} {
			start(t, p)
			if err := p.Report(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Programs[0].Serve(talk.Serve{TCP: []uint16{appPort}}); err != nil {
			t.Fatal(err)
		}
		t.Setenv("AMBIT_KUBERNETES_MODE", "on")
		t.Setenv("AMBIT_KUBERNETES_KUBECONFIG", cluster.KubeconfigFor("ambit", "ambit-agent"))
		t.Setenv("AMBIT_KUBERNETES_NODE", n.Name())
		args := []string{"--trust-domain", "shop.example", "--interval", "1s"}
		data := t.TempDir()
		u := startUp(t, data, args...)
		identity := func(account string) event.Identity { return podIdentity(t, account) }

		// Before.
		dial(t, web, db, 3)
		eventually(t, 15*time.Second, func() string {
			return reaches(u, identity("web"), 3, identity("db").String()+":8080/tcp")
		})

		// Away.
		cluster.Stop()
		stopped := time.Now()
		dial(t, web, db, 2)
		eventually(t, 15*time.Second, func() string { return reaches(u, identity("web"), 5, "") })
		u.stop()
		u = startUp(t, data, args...)
		dial(t, web, db, 2)
		eventually(t, 15*time.Second, func() string { return reaches(u, identity("web"), 7, "") })
		start(t, ghost)
		dial(t, ghost, db, 4)
		took := eventually(t, 20*time.Second, func() string { return unknownPod(u, ghost.UID, 4) })
		t.Logf("a pod that the API never told of was told as such after %s", took.Round(time.Millisecond))
		time.Sleep(time.Until(stopped.Add(away)))

		// Back.
		cluster.Start()
		back := time.Now()
		if err := n.Account(t.Context(), "shop", "late"); err != nil {
			t.Fatal(err)
		}
		late, err := n.Run(t.Context(), node.PodSpec{Namespace: "shop", Name: "late-1", ServiceAccount: "late"})
		if err != nil {
			t.Fatal(err)
		}
		dial(t, late, db, 6)
		eventually(t, 30*time.Second, func() string {
			return reaches(u, identity("late"), 6, identity("db").String()+":8080/tcp")
		})
		t.Logf("%s after the API was back, a new pod's connections were told with both identities", time.Since(back).Round(time.Millisecond))
		if s := unknownPod(u, ghost.UID, 4); s != "" {
			t.Error(s)
		}
		u.stop()
		u = startUp(t, data, args...)
		var coverage report.List[report.NodeCoverage]
		u.cli(&coverage, "report", "coverage", "--window", "1h")
		t.Log(coverage.Coverage.Statement)
		if s := coverage.Coverage.Lost["kubernetes-away-seconds"]; s < 30 || s > 90 {
			t.Errorf("coverage says that the Kubernetes API was away for %d s; it was for %s, less a restart", s, away)
		}
		if !slices.ContainsFunc(coverage.Coverage.Missing, func(b report.BlindSpot) bool { return strings.Contains(b.What, "Kubernetes API") }) {
			t.Errorf("coverage does not say what could not be seen: %+v", coverage.Coverage.Missing)
		}
		if coverage.Coverage.Complete {
			t.Error("coverage is called complete")
		}
	})
}

func podIdentity(t *testing.T, account string) event.Identity {
	t.Helper()
	td, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		t.Fatal(err)
	}
	return event.KubernetesIdentity(td, "shop", account)
}

func start(t *testing.T, p *node.Pod) {
	t.Helper()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
}

func dial(t *testing.T, from, to *node.Pod, times int) {
	t.Helper()
	result, err := from.Programs[0].Dial(talk.Dial{Network: "tcp", Address: netip.AddrPortFrom(to.Addresses[0], appPort).String(), Times: times})
	if err != nil || result[0].Done != times {
		t.Fatalf("%s to %s: %+v, %v", from.Spec.Name, to.Spec.Name, result, err)
	}
}

// reaches says what is missing until an identity has made that many connections, toward one resource if one is named.
func reaches(u *ambit, id event.Identity, connections uint64, resource string) string {
	u.t.Helper()
	var sum uint64
	var to []string
	for _, r := range u.reach(id) {
		sum += r.Connections
		to = append(to, r.Resource.String())
	}
	if sum != connections || resource != "" && !slices.Equal(to, []string{resource}) {
		return fmt.Sprintf("%s made %d connections to %s, want %d to %q", id, sum, to, connections, resource)
	}
	return ""
}

// unknownPod says what is missing until the connections of a pod are listed as not attributed, by the pod's cgroup.
func unknownPod(u *ambit, uid string, connections uint64) string {
	u.t.Helper()
	var page api.Page[api.Identity]
	u.cli(&page, "identities", "--unattributed")
	for _, i := range page.Items {
		for _, why := range i.Unattributed {
			if strings.Contains(why.Cgroup, strings.ReplaceAll(uid, "-", "_")) {
				if why.Reason != event.UnattributedPod || why.Connections != connections || why.Remedy == "" {
					return fmt.Sprintf("not attributed: %+v, want %d connections as %s", why, connections, event.UnattributedPod)
				}
				return ""
			}
		}
	}
	return fmt.Sprintf("no pod with UID %s among %d that are not attributed", uid, len(page.Items))
}
