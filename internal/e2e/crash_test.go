package e2e

import (
	"bufio"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// kill -9 in the middle of traffic, three times, and a new start on the same data: the totals are those of the traffic, less at most what the kernel
// and the agent had not handed over yet, and never more.
func TestKernelKill9(t *testing.T) {
	data := t.TempDir()
	server, served := serveTCP(t, "127.0.0.1:0")
	group := testenv.Cgroup(t, "ambit-e2e-crash-*")
	id := cgroupIdentity(t, group)

	total := func(u *ambit) (n uint64) {
		for _, r := range u.reach(id) {
			n += r.Connections
		}
		return n
	}
	var before uint64 // connections stored when the kernel side was gone
	var unseen int64  // connections made while nobody watched, and those that the kernel still held
	for round := range 3 {
		u := startUp(t, data, "--interval", "200ms")
		if round > 0 {
			// Everything that was acknowledged is there, and is not counted again.
			eventually(t, 15*time.Second, func() string {
				if n := total(u); n < before {
					return fmt.Sprintf("round %d: %d connections stored, %d were before the kill", round, n, before)
				}
				return ""
			})
		}
		cmd := trafficCommand(t, "stream", server)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		group.Start(cmd)
		lines := bufio.NewScanner(out)
		mark := func(until int) int {
			n := 0
			for n < until && lines.Scan() {
				n, _ = strconv.Atoi(lines.Text())
			}
			return n
		}
		mark(500)
		eventually(t, 15*time.Second, func() string { // traffic goes on, and is being stored
			if n := total(u); n <= before+300 {
				return fmt.Sprintf("round %d: %d connections stored, want more than %d", round, n, before+300)
			}
			return ""
		})
		before = total(u)
		u.kill()
		atKill := served.Load()
		cmd.Process.Kill()
		for lines.Scan() {
		}
		cmd.Wait()
		unseen = served.Load()
		t.Logf("round %d: killed with %d stored of %d made", round, before, atKill)
	}
	u := startUp(t, data, "--interval", "200ms")
	time.Sleep(3 * time.Second) // a second insert of what was inserted already would show by now
	stored := total(u)
	if stored < before {
		t.Errorf("%d connections stored after the crashes, %d were stored before the last: lost", stored, before)
	}
	if stored > uint64(unseen)+3 { // each kill of the client may leave one connection that the server did not answer
		t.Errorf("%d connections stored, only %d made: counted twice", stored, unseen)
	}
	// Quiet traffic now: every one must arrive, exactly.
	cmd := trafficCommand(t, "once", "tcp", server, "200", "10")
	group.Start(cmd)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, func() string {
		if n := total(u); n != stored+200 {
			return fmt.Sprintf("%d connections stored, want %d", n, stored+200)
		}
		return ""
	})
	t.Logf("made %d, stored %d: the rest was in the kernel or made while nobody watched", served.Load(), stored+200)
}
