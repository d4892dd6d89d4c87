#!/bin/sh
# Makes a small Debian with systemd, once, into .cache/deploy/debroot of the repository: what packages are installed into by the tests. Takes it from
# where this system takes its own packages. Called by them; a second call does nothing until this file changes.
set -eu

suite=bookworm
packages=systemd-sysv

fail() { echo "make a Debian to install into: $*" >&2; exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/.." && pwd)/.cache
target=$cache/deploy/debroot
stamp=$(sha256sum "$here/debroot.sh" | cut -d' ' -f1)
have() { [ -d "$target/var/lib/dpkg" ] && [ "$(cat "$target.version" 2>/dev/null)" = "$stamp" ]; }
have && exit 0
command -v debootstrap >/dev/null || fail "debootstrap is not installed; install it and try again"
[ "$(id -u)" = 0 ] || fail "it takes root"
mkdir -p "$cache/deploy"

# Others that do the same wait here, and find it then.
exec 9>"$cache/.debroot.lock"
flock 9
have && exit 0

mirror=$(apt-get indextargets --no-release-info --format '$(REPO_URI) $(COMPONENT)' 'Created-By: Packages' |
	awk '$2 == "main" && $1 ~ /\/debian\/?$/ { print $1; exit }')
rm -rf "$target" "$target.new"
debootstrap --variant=minbase --include="$packages" "$suite" "$target.new" "${mirror:-http://deb.debian.org/debian}" >"$cache/deploy/debroot.log" 2>&1 ||
	fail "$(tail -3 "$cache/deploy/debroot.log")"
# What only installing more would need, and what differs from machine to machine.
rm -rf "$target.new/var/cache/apt/archives" "$target.new/var/lib/apt/lists" "$target.new/etc/resolv.conf" "$target.new/etc/hostname"
mv "$target.new" "$target"
echo "$stamp" >"$target.version"
