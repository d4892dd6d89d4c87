package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/internal/testenv"
)

// A thousand processes that connect and end, each in a fresh cgroup that is removed at once: each has its name, none is lost.
func TestKernelThousandShortProcesses(t *testing.T) {
	const processes = 1000
	u := startUp(t, t.TempDir(), "--interval", "1s")
	server, served := serveTCP(t, "127.0.0.1:0")
	var paths sync.Map
	run := func(n int) {
		group := testenv.Cgroup(t, fmt.Sprintf("ambit-e2e-short-%04d-*", n))
		cmd := trafficCommand(t, "once", "tcp", server, "1", "10")
		group.Start(cmd)
		if err := cmd.Wait(); err != nil {
			t.Errorf("process %d: %v", n, err)
		}
		paths.Store(cgroupIdentity(t, group).String(), false)
		group.Remove()
	}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for n := worker; n < processes; n += 4 {
				run(n)
			}
		})
	}
	wg.Wait()
	if served.Load() != processes {
		t.Fatalf("%d connections served, want %d", served.Load(), processes)
	}
	took := eventually(t, 15*time.Second, func() string {
		seen, connections := 0, uint64(0)
		for cursor := ""; ; {
			var page api.Page[api.Identity]
			u.get("/api/v1/identities?limit=1000&q=ambit-e2e-short&cursor="+cursor, &page)
			for _, i := range page.Items {
				if _, ok := paths.Load(i.Identity.String()); ok {
					seen++
					connections += i.Connections
				} else {
					return fmt.Sprintf("an identity that was not: %s", i.Identity)
				}
			}
			if cursor = page.NextCursor; cursor == "" {
				break
			}
		}
		if seen != processes || connections != processes {
			return fmt.Sprintf("%d identities with %d connections, want %d and %d", seen, connections, processes, processes)
		}
		return ""
	})
	t.Logf("all %d attributed %s after the last ended", processes, took.Round(time.Millisecond))
	var coverage struct {
		Items []struct {
			Lost map[string]uint64 `json:"lost"`
		} `json:"items"`
	}
	eventually(t, 5*time.Second, func() string {
		u.cli(&coverage, "report", "coverage", "--window", "1h")
		if len(coverage.Items) != 1 {
			return fmt.Sprintf("coverage of %d nodes, want 1", len(coverage.Items))
		}
		return ""
	})
	for cause, n := range coverage.Items[0].Lost {
		if n > 0 && (strings.HasSuffix(cause, "-full") || strings.HasPrefix(cause, "cgroup-") || strings.HasPrefix(cause, "edge-")) {
			t.Errorf("lost %d by %s", n, cause)
		}
	}
	t.Logf("counters: %v", coverage.Items[0].Lost)
}
