package node

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ambit-nhi/ambit/internal/testenv"
	"github.com/ambit-nhi/ambit/internal/testenv/traffic"
)

func TestKernelNode(t *testing.T) {
	testenv.OwnNetwork(t, func(t *testing.T) {
		ctx := t.Context()
		check := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		n := New(t, testenv.Kubernetes(t), Config{})
		check(n.Account(ctx, "shop", "web"))
		check(n.Account(ctx, "shop", "db"))
		owner, labels, err := n.Own(ctx, "Deployment", "shop", "db")
		check(err)
		run := func(spec PodSpec) *Pod {
			t.Helper()
			p, err := n.Run(ctx, spec)
			check(err)
			return p
		}
		var servers []*Pod
		for _, name := range []string{"db-1", "db-2", "db-3"} {
			p := run(PodSpec{Namespace: "shop", Name: name, ServiceAccount: "db", Owner: owner, Labels: labels})
			check(p.Programs[0].Serve(traffic.Serve{TCP: []uint16{5432}, UDP: []uint16{53}}))
			servers = append(servers, p)
		}
		web := run(PodSpec{Namespace: "shop", Name: "web", ServiceAccount: "web", Containers: []string{"app", "proxy"}})
		host := run(PodSpec{Namespace: "shop", Name: "host", ServiceAccount: "web", HostNetwork: true, QoS: Guaranteed})
		check(host.Programs[0].Serve(traffic.Serve{Address: Address4.String(), TCP: []uint16{9100}}))

		tcp, err := n.Service(ctx, ServiceSpec{Namespace: "shop", Name: "db", Selector: labels, Port: 80, Target: 5432})
		check(err)
		udp, err := n.Service(ctx, ServiceSpec{Namespace: "shop", Name: "dns", Selector: labels, Port: 53, Protocol: "udp"})
		check(err)
		check(tcp.Endpoints(ctx, servers...))
		check(udp.Endpoints(ctx, servers...))

		dial := func(p *Program, failed int, dials ...traffic.Dial) {
			t.Helper()
			results, err := p.Dial(dials...)
			check(err)
			for i, r := range results {
				if r.Done != dials[i].Times-failed || r.Failed != failed {
					t.Errorf("%s dials %+v: %+v", p.Name, dials[i], r)
				}
			}
		}
		for family := range 2 {
			dial(web.Programs[0], 0,
				traffic.Dial{Network: "tcp", Address: tcp.At(family).String(), Times: 60},
				traffic.Dial{Network: "udp", Address: udp.At(family).String(), Times: 60},
				traffic.Dial{Network: "tcp", Address: netip.AddrPortFrom(servers[0].Addresses[family], 5432).String(), Times: 3})
		}
		dial(web.Programs[1], 0, traffic.Dial{Network: "tcp", Address: netip.AddrPortFrom(Address4, 9100).String(), Times: 4})
		outside, err := n.Outside()
		check(err)
		check(outside.Serve(traffic.Serve{TCP: []uint16{443}}))
		for _, a := range []netip.Addr{Outside4, Outside6} {
			dial(web.Programs[0], 0, traffic.Dial{Network: "tcp", Address: netip.AddrPortFrom(a, 443).String(), Times: 2})
		}
		dial(host.Programs[0], 0, traffic.Dial{Network: "tcp", Address: tcp.At(0).String(), Times: 20})
		checkCgroup(t, web, 1)

		// The address changes hands.
		check(tcp.Endpoints(ctx, servers[1:]...))
		check(udp.Endpoints(ctx, servers[1:]...))
		served, err := servers[0].Programs[0].Stop()
		check(err)
		sums := make(map[traffic.Served]int)
		add := func(served []traffic.Served) {
			for _, s := range served {
				times := s.Times
				s.Times = 0
				sums[s] += times
			}
		}
		add(served)
		check(servers[0].Remove(ctx))
		next := run(PodSpec{Namespace: "shop", Name: "next", ServiceAccount: "web"})
		if next.Addresses != servers[0].Addresses {
			t.Errorf("the next pod has %v, want %v", next.Addresses, servers[0].Addresses)
		}
		dial(web.Programs[0], 2, traffic.Dial{Network: "tcp", Address: netip.AddrPortFrom(next.Addresses[0], 5432).String(), Times: 2})
		dial(web.Programs[0], 0, traffic.Dial{Network: "tcp", Address: tcp.At(0).String(), Times: 10})

		for i, s := range servers[1:] {
			served, err := s.Programs[0].Stop()
			check(err)
			if len(served) == 0 {
				t.Errorf("server %d was never chosen", i+1)
			}
			add(served)
		}
		want := map[traffic.Served]int{
			{Network: "tcp", Port: 5432, From: "shop/web/app"}:  2*60 + 2*3 + 10,
			{Network: "udp", Port: 53, From: "shop/web/app"}:    2 * 60,
			{Network: "tcp", Port: 5432, From: "shop/host/app"}: 20,
		}
		if len(sums) != len(want) {
			t.Errorf("served %+v, want %+v", sums, want)
		}
		for k, v := range want {
			if sums[k] != v {
				t.Errorf("served %+v %d times, want %d", k, sums[k], v)
			}
		}
		pods, err := n.Client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
		check(err)
		if len(pods.Items) != 5 {
			t.Errorf("%d pods in the API, want 5", len(pods.Items))
		}
	})
}

// checkCgroup looks where a container's process really is.
func checkCgroup(t *testing.T, p *Pod, container int) {
	t.Helper()
	pid := p.Programs[container].cmd.Process.Pid
	got, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	if err != nil {
		t.Fatal(err)
	}
	uid := strings.ReplaceAll(p.UID, "-", "_")
	want := "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uid + ".slice/cri-containerd-" + p.ids[container] + ".scope\n"
	if !strings.Contains(string(got), want) {
		t.Errorf("process %d is in %q, want …%s", pid, got, want)
	}
}
