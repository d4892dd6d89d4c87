package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// A person denies an identity an address: it gets EPERM a moment later and nobody else does, what it has open is cut, a killed Ambit changes nothing, and
// what is revoked is over.
func TestKernelDeny(t *testing.T) {
	testenv.OwnNetwork(t, func(t *testing.T) {
		const far = "192.0.2.1"
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(far), Mask: net.CIDRMask(32, 32)}})
		}
		if err != nil {
			t.Fatal(err)
		}
		pins := fmt.Sprintf("/sys/fs/bpf/ambit-e2e-%d", os.Getpid())
		t.Setenv("AMBIT_DENY_PINS", pins)
		t.Setenv("AMBIT_DENY_BREAK_GLASS", filepath.Join(t.TempDir(), "break-glass"))
		t.Cleanup(func() { // after ambit has ended
			if out, err := exec.Command(binary, "agent", "unpin").CombinedOutput(); err != nil {
				t.Errorf("unpin: %v: %s", err, out)
			}
			if _, err := os.Stat(pins); !os.IsNotExist(err) {
				t.Errorf("pins are left: %v", err)
			}
		})
		data := t.TempDir()
		t.Setenv("AMBIT_TOKEN_FILE", filepath.Join(data, "token"))
		u := startUp(t, data, "--learn", "1h", "--interval", "1s")
		server, _ := serveTCP(t, far+":0")
		bad, good := testenv.Cgroup(t, "ambit-e2e-deny-*"), testenv.Cgroup(t, "ambit-e2e-other-*")
		id := cgroupIdentity(t, bad)
		c, other := startClient(t, bad), startClient(t, good)
		c.do("tcp %s 1 10", server)
		other.do("tcp %s 1 10", server)
		c.do("hold %s", server)
		eventually(t, 30*time.Second, func() string {
			if len(u.reach(id)) == 0 {
				return "it is not known yet"
			}
			return ""
		})

		command := func(args ...string) string {
			t.Helper()
			out, err := exec.Command(binary, append(args, "--server", u.url)...).CombinedOutput()
			if err != nil {
				t.Fatalf("ambit %s: %v: %s", strings.Join(args, " "), err, out)
			}
			return string(out)
		}
		refused := func() string {
			if said := c.try("tcp %s 1 may-fail", server); !strings.Contains(said, "operation not permitted") {
				return said
			}
			return ""
		}
		t.Logf("%s", command("deny", id.String(), "--to", "net:"+far+"/32", "--for", "10m", "--reason", "test", "--preview"))
		command("deny", id.String(), "--to", "net:"+far+"/32", "--for", "10m", "--reason", "test", "--yes")
		for range 20 { // a dry run
			c.do("tcp %s 1 10", server)
		}
		command("deny", id.String(), "--to", "net:"+far+"/32", "--for", "10m", "--reason", "test", "--enforce", "--yes")
		took := eventually(t, 10*time.Second, refused)
		t.Logf("refused %s after the command ended", took.Round(time.Millisecond))
		if said := c.try("held"); strings.Contains(said, "timeout") || said == "ok" {
			t.Errorf("what was open goes on: %s", said)
		}
		other.do("tcp %s 50 10", server)

		var decisions struct {
			Items []struct {
				ID   string `json:"id"`
				Mode string `json:"mode"`
			} `json:"items"`
		}
		u.cli(&decisions, "decisions")
		enforced := ""
		for _, d := range decisions.Items {
			if d.Mode == "enforce" {
				enforced = d.ID
			}
		}
		if len(decisions.Items) != 2 || enforced == "" {
			t.Fatalf("decisions: %+v", decisions)
		}
		eventually(t, 30*time.Second, func() string {
			if text := command("decisions", enforced); !strings.Contains(text, "in-force") {
				return text
			}
			return ""
		})

		u.kill()
		for range 20 {
			if said := refused(); said != "" {
				t.Fatalf("without Ambit: %s", said)
			}
			other.do("tcp %s 1 10", server)
		}
		u = startUp(t, data, "--learn", "1h", "--interval", "1s")
		if said := refused(); said != "" {
			t.Fatalf("after the restart: %s", said)
		}
		command("revoke", enforced, "--reason", "over")
		took = eventually(t, 10*time.Second, func() string {
			if said := c.try("tcp %s 1 may-fail", server); said != "ok" {
				return said
			}
			return ""
		})
		t.Logf("reached again %s after it was revoked", took.Round(time.Millisecond))
		command("decisions", "audit", "--verify")
		u.stop()
	})
}
