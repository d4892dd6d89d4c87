package testenv

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKernelOwnNetwork(t *testing.T) {
	OwnNetwork(t, func(t *testing.T) {
		interfaces, err := net.Interfaces()
		if err != nil || len(interfaces) != 1 || interfaces[0].Flags&net.FlagUp == 0 {
			t.Fatalf("interfaces %+v, %v; want loopback alone, up", interfaces, err)
		}
		for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
			l, err := net.Listen("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
		own, err := os.ReadFile("/proc/self/cgroup")
		if err != nil || !strings.Contains(string(own), "/"+filepath.Base(OwnCgroup())+"\n") {
			t.Errorf("cgroup %q, %v; want %s", own, err, OwnCgroup())
		}
	})
}
