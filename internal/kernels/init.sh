#!/bin/busybox sh
# The first and only program of a guest: makes a machine of it, and runs the tests. The kernel has the first serial port for itself; all that is
# said on the second one is lines of tests between lines that begin with @ambit.
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /root /etc
/bin/busybox --install -s /bin 2>/dev/null
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t securityfs securityfs /sys/kernel/security
chmod 1777 /tmp
ip link set lo up || ifconfig lo 127.0.0.1 up
ulimit -n 1048576
stty -F /dev/ttyS1 raw -echo
exec >/dev/ttyS1 2>&1 </dev/null

export PATH=/bin HOME=/root TMPDIR=/tmp CI=true AMBIT_GUEST="$(uname -r)"
echo "@ambit boot $AMBIT_GUEST"
while read -r package folder; do
	cd "$folder" || continue
	printf '\n@ambit begin %s\n' "$package"
	./test -test.v=test2json -test.run "$(cat /t/run)" -test.timeout "$(cat /t/timeout)"
	printf '\n@ambit end %s %s\n' "$package" $?
done </t/plan
echo "@ambit done"
poweroff -f
