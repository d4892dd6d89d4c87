#!/bin/sh
# Fetch the ClickHouse engine, libchdb.so, once into .cache/ of the repository.
# Called by `make engine`; a second call does nothing.
set -eu

package=@chdb/lib-linux-x64-gnu
version=26.7.3-stable.1
# What the registry states for this version (npm view $package@$version dist.integrity).
integrity=sha512-XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw==

fail() { echo "fetch engine: $*" >&2; exit 1; }

cache=$(cd "$(dirname "$0")/../.." && pwd)/.cache
library=$cache/libchdb.so
stamp=$cache/libchdb.version
have() { [ -f "$library" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$version $integrity" ]; }
have && exit 0

[ "$(uname -s)/$(uname -m)" = Linux/x86_64 ] ||
	fail "there is an engine for Linux on x86_64 only and this is $(uname -s) on $(uname -m); set clickhouse.addresses to a ClickHouse server instead"
for tool in npm openssl tar flock; do
	command -v "$tool" >/dev/null || fail "$tool is not installed; install it (Debian: apt-get install npm openssl tar util-linux) and try again"
done
mkdir -p "$cache"

# Others that fetch at the same time wait here, and find the library then.
exec 9>"$cache/.fetch.lock"
flock 9
have && exit 0

work=$cache/.fetch.$$
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$work"
echo "Fetching the ClickHouse engine ($package $version) from npm: 178 MB, unpacked 566 MB in .cache/, once."
(cd "$work" && npm pack --loglevel=error "$package@$version" >npm.log 2>&1) ||
	fail "npm cannot fetch $package@$version ($(sed -n 's/^npm error code //p' "$work/npm.log" | head -1)); check the network and npm's configuration"
tarball=$(find "$work" -name '*.tgz')
[ -n "$tarball" ] || fail "npm left no archive of $package@$version"
got=sha512-$(openssl dgst -sha512 -binary "$tarball" | openssl base64 -A)
[ "$got" = "$integrity" ] ||
	fail "checksum of $package@$version is $got and must be $integrity; nothing was installed"
tar -xmzf "$tarball" -C "$work" package/libchdb.so || fail "cannot unpack libchdb.so; is the disk full?"
chmod 0755 "$work/package/libchdb.so"
mv "$work/package/libchdb.so" "$library"
echo "$version $integrity" >"$stamp"
echo "The engine is in .cache/libchdb.so."
