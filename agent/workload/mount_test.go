package workload

import (
	"errors"
	"strings"
	"testing"
)

func TestFindMount(t *testing.T) {
	f := func(table string, want Mount, wantErr error) {
		t.Helper()
		got, err := findMount(strings.NewReader(table))
		if got != want || !errors.Is(err, wantErr) {
			t.Errorf("got %+v, %v; want %+v, %v", got, err, want, wantErr)
		}
	}
	// unified
	f("25 30 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n28 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
		Mount{Path: "/sys/fs/cgroup", Root: "/"}, nil)
	// hybrid
	f("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
		Mount{Path: "/sys/fs/cgroup/unified", Root: "/"}, nil)
	// only a part is visible, then the whole
	f("40 31 0:38 /box /box\\040one rw - cgroup2 cgroup2 rw\n41 31 0:38 / /host rw - cgroup2 cgroup2 rw\n", Mount{Path: "/host", Root: "/"}, nil)
	f("40 31 0:38 /box /box\\040one rw - cgroup2 cgroup2 rw\n", Mount{Path: "/box one", Root: "/box"}, nil)
	// version 1 only
	f("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", Mount{}, ErrNoMount)
	f("", Mount{}, ErrNoMount)
	f("garbage - cgroup2\n - cgroup2 x\n", Mount{}, ErrNoMount)
}

func TestUnescape(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := unescape(in); got != want {
			t.Errorf("unescape(%q) = %q, want %q", in, got, want)
		}
	}
	f(`/a`, "/a")
	f(`/a\040b\134`, `/a b\`)
	f(`\0`, `\0`)
	f(`\zzz\040`, `\zzz `)
}

func TestCgroupPath(t *testing.T) {
	f := func(m Mount, dir, want string) {
		t.Helper()
		if got := m.cgroupPath(dir); got != want {
			t.Errorf("%+v: %q is %q, want %q", m, dir, got, want)
		}
	}
	f(Mount{"/sys/fs/cgroup", "/"}, "/sys/fs/cgroup", "/")
	f(Mount{"/sys/fs/cgroup", "/"}, "/sys/fs/cgroup/a/b", "/a/b")
	f(Mount{"/box", "/in/box"}, "/box/a", "/in/box/a")
	f(Mount{"/box", "/../.."}, "/box/a", "/a")
}
