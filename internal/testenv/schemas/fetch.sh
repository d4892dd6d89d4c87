#!/bin/sh
# Get the schemas by which other systems judge policies, once, into .cache/schemas of the repository: custom resource definitions of Cilium, Istio and
# Calico, and the JSON schema of Cerbos's policies, each from the project's own Go module, whose checksum is below. Called by `make deploy-tools`; a second
# call does nothing until this file changes.
set -eu

# Calico's module has types only; its definitions are made from these by controller-gen, as Calico itself makes them.
cilium=github.com/cilium/cilium@v1.20.2
cilium_sum=h1:dqiEGIcXc+gqCLYG/l7VCFJ8GHyb4HUrwbZOpkX5dL8=
istio=istio.io/api@v1.31.1
istio_sum=h1:5Yb5ihcz4YQsCkciusK7DnFpBMwRB6EFWeUKH1Atuyk=
calico=github.com/projectcalico/api@v0.0.0-20250916150628-d4009e4d7c50
calico_sum=h1:uawQ+eFENhBbwlOy0ooDwnzVWN2KP6X//GuJMXauyew=
cerbos=github.com/cerbos/cerbos@v0.54.0
cerbos_sum=h1:s3ajsCE/iXg92gNzIhSvDyM1198hv+j3GBgZkhv7M5A=
generator=sigs.k8s.io/controller-tools/cmd/controller-gen@v0.20.1

fail() { echo "get schemas of policies: $*" >&2; exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/../../.." && pwd)/.cache
target=$cache/schemas
for tool in go flock sha256sum; do
	command -v "$tool" >/dev/null || fail "$tool is not installed; install it and try again"
done
stamp=$(sha256sum "$here/fetch.sh" | cut -d' ' -f1)
have() { [ "$(cat "$target/version" 2>/dev/null)" = "$stamp" ]; }
have && exit 0
mkdir -p "$target"

# Others that fetch at the same time wait here, and find all of it then.
exec 9>"$cache/.schemas.lock"
flock 9
have && exit 0

work=$cache/.schemas.$$
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$work"
echo "Getting the schemas of Cilium, Istio, Calico and Cerbos from their Go modules, 45 MB, once; 2 MB stay in .cache/schemas."

# The modules go to a cache of their own, which is thrown away: Cilium's is 200 MB when it is unpacked. What the generator is built of stays in Go's.
# Go checks modules by its checksum database, and this what was written down.
fetch() {
	said=$(cd "$work" && GOMODCACHE=$work/modules GOFLAGS=-modcacherw go mod download -json "$1" 2>&1) || fail "fetch $1: $(echo "$said" | grep -i error | head -1)"
	got=$(echo "$said" | sed -n 's/^\t"Sum": "\(.*\)",$/\1/p')
	[ "$got" = "$2" ] || fail "checksum of $1 is $got and must be $2; nothing was installed"
	folder=$work/modules/$1
}
mkdir "$work/found"
fetch "$cilium" "$cilium_sum"
cp "$folder/pkg/k8s/apis/cilium.io/client/crds/v2/ciliumnetworkpolicies.yaml" "$work/found/cilium.yaml"
fetch "$istio" "$istio_sum"
cp "$folder/kubernetes/customresourcedefinitions.gen.yaml" "$work/found/istio.yaml"
fetch "$cerbos" "$cerbos_sum"
cp "$folder/schema/jsonschema/cerbos/policy/v1/Policy.schema.json" "$work/found/cerbos.json"

fetch "$calico" "$calico_sum"
(cd "$work" && GOFLAGS=-mod=mod GOBIN=$work CGO_ENABLED=0 go install -trimpath "$generator" >"$work/log" 2>&1) || fail "build $generator: $(tail -3 "$work/log")"
(cd "$folder" && GOFLAGS=-mod=readonly "$work/controller-gen" crd:crdVersions=v1,allowDangerousTypes=true paths=./pkg/apis/projectcalico/v3 "output:crd:dir=$work/calico" >"$work/log" 2>&1) ||
	fail "make Calico's definitions: $(tail -3 "$work/log")"
cp "$work/calico/projectcalico.org_stagednetworkpolicies.yaml" "$work/found/calico.yaml"

chmod -R u+w "$work"
rm -f "$target/version"
mv "$work/found/"* "$target/"
echo "$stamp" >"$target/version"
