package workload

import (
	"strings"
	"testing"
)

func TestUnitOf(t *testing.T) {
	f := func(path, wantUnit string, wantKind unitKind) {
		t.Helper()
		if unit, kind := unitOf(path); unit != wantUnit || kind != wantKind {
			t.Errorf("unitOf(%q) = %q, %d; want %q, %d", path, unit, kind, wantUnit, wantKind)
		}
	}
	named := func(path, unit string) { t.Helper(); f(path, unit, unitNamed) }
	people := func(path string) { t.Helper(); f(path, "", unitOfPeople) }
	none := func(path string) { t.Helper(); f(path, "", unitNone) }

	named("/system.slice/nginx.service", "nginx.service")
	named("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service")
	named("/shop.slice/shop-web.slice/checkout.service", "checkout.service")
	named("/system.slice/systemd-udevd.service/udev", "systemd-udevd.service")
	named("/system.slice/docker.socket", "docker.socket")
	named("/system.slice/data.mount", "data.mount")
	named(`/system.slice/system-openvpn\x2dclient.slice/openvpn-client@a\x2db.service`, `openvpn-client@a\x2db.service`)
	named("/system.slice/_cgroup.service", "cgroup.service")

	named("/nginx.service", "nginx.service") // Slice=-.slice
	named("/system.slice/__odd.service", "_odd.service")
	named("/system.slice/_cpu.service/x", "cpu.service")
	named("/user.slice/user-1000.slice/user-runtime-dir@1000.service", "user-runtime-dir@1000.service")
	named(`/system.slice/system-systemd\x2dcryptsetup.slice/systemd-cryptsetup@luks\x2dhome.service`, `systemd-cryptsetup@luks\x2dhome.service`)
	named("/system.slice/web.service/libpod-payload-0a1b", "web.service") // a container that systemd itself runs

	// Below a unit, names are the unit's own.
	named("/system.slice/outer.service/system.slice/inner.service", "outer.service")
	named("/machine.slice/systemd-nspawn@box.service/payload/system.slice/nginx.service", "systemd-nspawn@box.service")

	// One instance per connection.
	named("/system.slice/system-sshd.slice/sshd@12-10.0.0.1:22-10.0.0.2:50312.service", "sshd@.service")
	named("/system.slice/system-sshd.slice/sshd@0-fd00::1:22-fd00::2:50312.service", "sshd@.service")
	named("/system.slice/system-sshd.slice/sshd@3-8123-10.0.0.1:22-10.0.0.2:50312.service", "sshd@.service") // with the cookie
	named("/system.slice/system-sshd.slice/sshd@4-3:22-2:1025.service", "sshd@.service")                     // vsock
	named("/system.slice/system-db.slice/db@7-1016132-1000.service", "db@.service")                          // process and user
	named("/system.slice/system-db.slice/db@7-1016132_90071-1000.service", "db@.service")                    // the process with its pidfd
	named("/system.slice/system-db.slice/db@7-8123-1016132_90071-1000.service", "db@.service")
	named("/system.slice/system-systemd\\x2dcoredump.slice/systemd-coredump@3-4711-0.service", "systemd-coredump@.service")
	named("/system.slice/system-db.slice/db@1-main.service", "db@1-main.service")

	// A user's unit never meets the system's.
	named("/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service", "user@1000.service/nginx.service")
	named("/user.slice/user-1000.slice/user@1000.service/nginx.service", "user@1000.service/nginx.service")
	named("/user.slice/user-1000.slice/user@1000.service/app.slice/app-foo@autostart.service", "user@1000.service/app-foo@autostart.service")

	named("/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.kde.konsole@0123456789abcdef0123456789abcdef.service",
		"user@1000.service/app-org.kde.konsole@.service")
	named(`/user.slice/user-1000.slice/user@1000.service/app.slice/app-dbus\x2d:1.2\x2dorg.gnome.Foo.slice/dbus-:1.2-org.gnome.Foo@0.service`,
		"user@1000.service/dbus-org.gnome.Foo@.service")
	named("/system.slice/system-dbus\\x2d:1.1\\x2dorg.foo.slice/dbus-:1.17-org.foo@12.service", "dbus-org.foo@.service")

	people("/init.scope")
	people("/system.slice/snap.lxd.lxc-01234567-89ab-cdef-0123-456789abcdef.scope")
	people(`/system.slice/snap.lxd.lxc.01234567\x2d89ab\x2dcdef\x2d0123\x2d456789abcdef.scope`)
	people("/user.slice/user-1000.slice/session-c2.scope")
	people("/user.slice/user-1000.slice/session-3.scope")
	people("/user.slice/user-1000.slice/user@1000.service")
	people("/user.slice/user-1000.slice/user@1000.service/init.scope")
	people("/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-4711.scope")
	people("/system.slice/run-u12.service")
	people("/system.slice/run-r0123456789abcdef0123456789abcdef.scope")
	people("/system.slice/run-p4711-i4712.service")
	named("/system.slice/run-backup.service", "run-backup.service")

	none("")
	none("/")
	none("/system.slice")
	none("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-0a1b.scope")
	none("/kubepods/burstable/pod1/0a1b")
	none("/system.slice/docker-0a1b.scope")
	none("/system.slice/docker-0a1b.scope/system.slice/nginx.service")
	none("/system.slice/crio-0a1b.scope/container")
	none("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-0a1b.scope/container")
	none("/machine.slice/machine-qemu-1-vm.scope")
	none(`/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator`)
	none("/machine.slice/libpod-conmon-0a1b.scope")
	none("/system.slice/backup.scope")
	none("/process_api/0a1b")
}

// A unit of the system and one of a user get different identities, whatever their names.
func FuzzUnitOf(f *testing.F) {
	f.Add("/system.slice/nginx.service")
	f.Add("/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service")
	f.Add("/a.slice/b@1-2:3-4:5.service")
	f.Fuzz(func(t *testing.T, path string) {
		unit, kind := unitOf(path)
		if (unit == "") == (kind == unitNamed) {
			t.Fatalf("unitOf(%q) = %q, %d", path, unit, kind)
		}
		if strings.Contains(unit, "/") != strings.HasPrefix(unit, "user@") && kind == unitNamed {
			t.Fatalf("unitOf(%q) = %q: a user's unit is not told from a system's", path, unit)
		}
	})
}
