package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/event"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// A container of a real engine is known by its name, from its first connection on, also where it lives for a moment only.
func TestKernelContainers(t *testing.T) {
	testenv.RequireKernel(t)
	podman := testenv.Podman(t)
	podman.Start()
	podman.Run("--name", "web")
	t.Setenv("AMBIT_CONTAINERS_SOCKETS", podman.Socket())
	u := startUp(t, t.TempDir(), "--interval", "1s")
	server, _ := serveTCP(t, "127.0.0.1:0")
	host, port, _ := strings.Cut(server, ":")
	say := "echo hi | busybox nc " + host + " " + port

	eventually(t, time.Minute, func() string { // from here on the engine is followed
		podman.Do("exec", "web", "/bin/busybox", "sh", "-c", "PATH=/bin; "+say)
		if got := u.reach(containerIdentity(t, "web")); len(got) == 0 {
			return "web is not known by its name"
		}
		return ""
	})
	jobs := []string{"job1", "job2", "job3"}
	for _, job := range jobs {
		podman.Once(job, "sh", "-c", "PATH=/bin; "+say)
	}
	for _, job := range jobs {
		eventually(t, 30*time.Second, func() string {
			return sameReach(u.reach(containerIdentity(t, job)), map[string]event.Counts{
				netResource(server, "tcp"): {Connections: 1, BytesSent: 3, BytesReceived: answerBytes},
			})
		})
	}

	var unknown api.Page[api.Identity]
	u.cli(&unknown, "identities", "--unattributed", "--query", "podman")
	for _, i := range unknown.Items {
		t.Errorf("not attributed: %s: %+v", i.Identity, i.Unattributed)
	}
	var coverage report.List[report.NodeCoverage]
	u.cli(&coverage, "report", "coverage", "--window", "1h")
	if a := coverage.Coverage.Attribution; a == nil || a.Attributed < 4 || !strings.Contains(coverage.Coverage.Statement, "Attributed: ") {
		t.Errorf("attribution %+v in %q", a, coverage.Coverage.Statement)
	}
}

func containerIdentity(t *testing.T, name string) event.Identity {
	t.Helper()
	td, err := event.ParseTrustDomain("ambit.local")
	if err != nil {
		t.Fatal(err)
	}
	return event.ContainerIdentity(td, "n1", name)
}
