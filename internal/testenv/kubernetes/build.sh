#!/bin/sh
# Build the Kubernetes API server and etcd that tests run, once, into .cache/kubernetes of the repository.
# Called by `make kube-apiserver`; a second call does nothing until go.mod, go.sum or Go's version changes.
set -eu

fail() { echo "build kube-apiserver: $*" >&2; exit 1; }

module=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$module/../../.." && pwd)/.cache
target=$cache/kubernetes
cd "$module"
for tool in go sha256sum flock; do
	command -v "$tool" >/dev/null || fail "$tool is not installed; install it and try again"
done
go=$(go env GOVERSION) || fail "the Go that go.mod asks for is not to be had; check the network and GOPROXY"
version=$({ echo "$go $(go env GOARCH)"; cat go.mod go.sum build.sh; } | sha256sum | cut -d' ' -f1)
have() { [ -x "$target/kube-apiserver" ] && [ -x "$target/etcd" ] && [ "$(cat "$target/version" 2>/dev/null)" = "$version" ]; }
have && exit 0
mkdir -p "$target"

# Others that build at the same time wait here, and find the programs then.
exec 9>"$cache/.kubernetes.lock"
flock 9
have && exit 0

work=$cache/.kubernetes.$$
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$work"
kubernetes=$(go list -mod=readonly -m -f '{{.Version}}' k8s.io/kubernetes) || fail "cannot read go.mod; see above"
etcd=$(go list -mod=readonly -m -f '{{.Version}}' go.etcd.io/etcd/server/v3) || fail "cannot read go.mod; see above"
echo "Building kube-apiserver $kubernetes and etcd $etcd from their Go modules: 4 minutes on 2 cores, 130 MB in .cache/kubernetes, once."
build() {
	CGO_ENABLED=0 go build -mod=readonly -trimpath -buildvcs=false -ldflags "-s -w $3" -o "$work/$1" "$2" >"$work/log" 2>&1 ||
		fail "$(tail -5 "$work/log")"
}
build etcd go.etcd.io/etcd/server/v3 ""
build kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver "-X k8s.io/component-base/version.gitVersion=$kubernetes"
rm -f "$target/version"
mv "$work/etcd" "$work/kube-apiserver" "$target/"
echo "$version" >"$target/version"
