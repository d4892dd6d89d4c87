package cut

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// Of a network namespace only what matches is ended, at both ends; who opened it is told.
func TestSweep(t *testing.T) {
	testenv.OwnNetwork(t, func(t *testing.T) {
		own, err := OwnCgroup()
		if err != nil {
			t.Fatal(err)
		}
		var st syscall.Stat_t
		if err := syscall.Stat(testenv.OwnCgroup(), &st); err != nil || st.Ino != own {
			t.Errorf("the own cgroup is %d, want %d (%v)", own, st.Ino, err)
		}
		listener, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
		must(t, err)
		must(t, unix.Bind(listener, &unix.SockaddrInet6{Port: 1000}))
		must(t, unix.Listen(listener, 10))
		var clients []int
		for _, to := range []unix.Sockaddr{
			&unix.SockaddrInet4{Port: 1000, Addr: [4]byte{127, 0, 0, 1}}, &unix.SockaddrInet6{Port: 1000, Addr: [16]byte{15: 1}}, &unix.SockaddrInet4{Port: 1000, Addr: [4]byte{127, 0, 0, 2}},
		} {
			family := unix.AF_INET
			if _, six := to.(*unix.SockaddrInet6); six {
				family = unix.AF_INET6
			}
			c, err := unix.Socket(family, unix.SOCK_STREAM, 0)
			must(t, err)
			must(t, unix.Connect(c, to))
			_, _, err = unix.Accept(listener)
			must(t, err)
			clients = append(clients, c)
		}
		open, err := Namespaces([]string{testenv.OwnCgroup(), filepath.Join(testenv.OwnCgroup(), "gone")})
		must(t, err)
		if len(open) != 1 {
			t.Fatalf("%d network namespaces", len(open))
		}
		defer open[0].Close()
		before, err := os.Readlink("/proc/thread-self/ns/net")
		must(t, err)
		seen, accepted := 0, 0
		swept, err := Sweep(open[0], func(s *Socket) bool {
			if s.Cgroup != own {
				t.Errorf("%+v is of cgroup %d, want %d", s, s.Cgroup, own)
			}
			seen++
			if s.Accepted {
				accepted++
			}
			return !s.Accepted && !strings.HasSuffix(s.Remote.Addr().String(), ".2")
		})
		must(t, err)
		if seen != 6 || accepted != 3 || swept.Cut != 2 || len(swept.Left) != 0 {
			t.Errorf("%d ends are seen, %d accepted, %d were cut, %d left", seen, accepted, swept.Cut, len(swept.Left))
		}
		for i, c := range clients {
			_, err := unix.Write(c, []byte("x"))
			if cut := err != nil; cut != (i < 2) {
				t.Errorf("connection %d: %v", i, err)
			}
		}
		if after, err := os.Readlink("/proc/thread-self/ns/net"); err != nil || after != before {
			t.Errorf("the thread is in %s, and was in %s (%v)", after, before, err)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
