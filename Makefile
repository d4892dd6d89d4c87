# Ambit's menu. `make` alone prints it.
SHELL := /bin/bash -o pipefail
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
ARGS    ?=
# Packages want a version that counts: an untagged commit comes before all releases.
PACKAGE_VERSION = $(shell echo $(VERSION) | grep -E '^v?[0-9]+\.[0-9]+\.' || echo 0.0.0~$(VERSION))

# Packages whose tests gain nothing from the race detector: no goroutines of ours, or other programs do the work.
UNRACED := /(bpf|event|detector|collector/store|deploy)$$
# Linking takes half as long without what debuggers read, and vetting is the job of make lint.
QUICK   := -vet=off -ldflags=-w
# The whole, in real time, and a browser: they run alone.
WHOLE   := /(internal/e2e|collector/web)$$

.PHONY: help build web image manifests packages engine kube-apiserver tls-stacks deploy-tools up demo test test-kernels lint generate bench bench-node bench-agent bench-tls bench-pipeline bench-detect bench-web test-chaos clean

help: ## this menu
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: web ## bin/ambit; needs Go, and Node for the pages. With the embedded engine it wants a C library; `make image` builds the static one
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ambit .

# Scripts and styles of the pages, of which the program has none when they were not made. Their sources are looked at, so that nothing is done twice.
WEB := collector/web

web: $(WEB)/dist/manifest.json ## bundle the pages' scripts and styles with npm's packages of package-lock.json

$(WEB)/dist/manifest.json: $(WEB)/package.json $(WEB)/build.mjs $(wildcard $(WEB)/src/*) $(WEB)/node_modules/.package-lock.json
	cd $(WEB) && node build.mjs

$(WEB)/node_modules/.package-lock.json: $(WEB)/package-lock.json
	cd $(WEB) && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

image: web ## dist/image: an OCI image layout for amd64 and arm64, with bills of materials; ARGS='-platforms linux/amd64 -engine .cache/libchdb.so'
	go run ./internal/image -version $(VERSION) -revision $$(git rev-parse HEAD) $(ARGS)

manifests: deploy-tools ## plain manifests and the table of values, from the chart
	go test ./deploy -run 'TestManifests|TestValuesTable' -update

packages: web engine deploy-tools ## dist/*.deb and *.rpm for amd64 and arm64, and ambit-engine with the embedded ClickHouse for amd64
	@mkdir -p dist
	for arch in amd64 arm64; do \
		CGO_ENABLED=0 GOARCH=$$arch go build -tags noengine -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o dist/ambit-$$arch . && \
		for kind in deb rpm; do VERSION=$(PACKAGE_VERSION) ARCH=$$arch .cache/deploy/nfpm package --config deploy/nfpm.yaml --packager $$kind --target dist/ || exit 1; done || exit 1; \
	done
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o dist/ambit-engine .
	for kind in deb rpm; do VERSION=$(PACKAGE_VERSION) .cache/deploy/nfpm package --config deploy/nfpm-engine.yaml --packager $$kind --target dist/ || exit 1; done

engine: ## fetch the embedded ClickHouse once into .cache/ (178 MB) and check its sha512
	@collector/engine/fetch.sh

kube-apiserver: ## build the Kubernetes API server and etcd for tests once into .cache/ (4 minutes)
	@internal/testenv/kubernetes/build.sh

tls-stacks: ## get the TLS stacks that tests need and Debian has not, once into .cache/tls (a minute)
	@internal/testenv/tlsstacks/fetch.sh

deploy-tools: ## build helm and nfpm, and get the schemas of policies, once into .cache (two minutes)
	@deploy/tools.sh
	@internal/testenv/schemas/fetch.sh

up: build engine ## watch this machine (as root); ARGS='--learn 1h' passes flags on
	bin/ambit up $(ARGS)

demo: build engine ## a story in 90 seconds: learn, leave the normal reach, fall silent (as root)
	go run ./internal/demo -ambit bin/ambit

test: web engine kube-apiserver tls-stacks deploy-tools ## all tests, also those against the live kernel (as root)
	@failed=; \
	go test $(QUICK) -race -timeout 20m $$(go list ./... | grep -vE '$(UNRACED)|$(WHOLE)') || failed=1; \
	go test $(QUICK) -timeout 20m $$(go list ./... | grep -E '$(UNRACED)') || failed=1; \
	go test $(QUICK) -race -timeout 20m -skip TestBrowser ./collector/web || failed=1; \
	go test $(QUICK) -p 1 -timeout 20m $$(go list ./... | grep -E '$(WHOLE)') || failed=1; \
	[ -z "$$failed" ] # all are run, so that one failure does not hide another

test-kernels: ## the live kernel tests on Linux 5.10, 6.1, 6.12 and 7.x, in QEMU; ARGS='-only 5.10 -run TCP'
	go run ./internal/kernels $(ARGS)

lint: ## gofmt, vet, staticcheck, tidy modules
	@out=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); [ -z "$$out" ] || { echo "gofmt would change:"; echo "$$out"; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	go mod tidy -diff

generate: ## BPF objects and their Go types, with clang-19
	go generate ./bpf

bench: engine ## all benchmarks
	go test -run '^$$' -bench . -benchmem ./...

bench-node: ## what watching costs a node, beside tcplife and tcpstates of libbpf-tools (as root)
	go run ./internal/nodebench

bench-agent: build ## what the agent takes of a node that churns: memory, CPU, losses; ARGS='-load 1m' (as root)
	go run ./internal/agentbench -ambit bin/ambit $(ARGS)

bench-tls: build tls-stacks ## what watching TLS costs programs and the agent; ARGS='-rounds 30' (as root)
	go run ./internal/tlsbench -ambit bin/ambit $(ARGS)

bench-pipeline: build engine ## the way from eight nodes to ClickHouse, beside clickhouse-go alone; ARGS='-n 600000'
	go run ./internal/pipelinebench -ambit bin/ambit $(ARGS)

bench-detect: ## what the detector finds in a simulated cluster, and what that costs people; ARGS='-seeds 5'
	go run ./internal/detectbench $(ARGS)

bench-web: web engine ## the pages of 50,000 identities, 1,000,000 edges and 20,000 findings, in a browser
	go test ./collector/web -run '^TestScale$$' -v -count=1 -timeout 30m -args -scale

test-chaos: build engine ## kill and cut what carries observations, and count what arrives; ARGS='-short' (as root)
	go run ./internal/chaos -ambit bin/ambit $(ARGS)

clean: ## remove what was built; what is in .cache/ stays
	rm -rf bin
