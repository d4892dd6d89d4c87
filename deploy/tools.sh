#!/bin/sh
# Builds what renders and packs the deployment, once, into .cache/deploy of the repository: helm and nfpm, of pinned versions, from Go's module proxy,
# which checks them by its checksum database. Called by `make deploy-tools`; a second call does nothing until this file changes.
set -eu

helm=helm.sh/helm/v4/cmd/helm@v4.3.1
nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.4

fail() { echo "get deployment tools: $*" >&2; exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/.." && pwd)/.cache
target=$cache/deploy
command -v go >/dev/null || fail "go is not installed; install it and try again"
stamp=$(sha256sum "$here/tools.sh" | cut -d' ' -f1)
have() { [ "$(cat "$target/version" 2>/dev/null)" = "$stamp" ]; }
have && exit 0
mkdir -p "$target"

# Others that build at the same time wait here, and find all of it then.
exec 9>"$cache/.deploy.lock"
flock 9
have && exit 0

echo "Building helm and nfpm, once (a minute or two); 150 MB stay in .cache/deploy."
for tool in "$helm" "$nfpm"; do
	# In a folder without a module: their requirements are not ours.
	(cd "$target" && GOFLAGS=-mod=mod GOBIN="$target" CGO_ENABLED=0 go install -trimpath -ldflags '-s -w' "$tool" >"$target/log" 2>&1) ||
		fail "build $tool: $(tail -3 "$target/log")"
done
echo "$stamp" >"$target/version"
