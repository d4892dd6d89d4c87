# Ambit's menu. `make` alone prints it.
SHELL := /bin/bash -o pipefail
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
ARGS    ?=

.PHONY: help build engine up demo test lint generate bench clean

help: ## this menu
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/ambit, static; needs Go only
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ambit .

engine: ## fetch the embedded ClickHouse once into .cache/ (178 MB) and check its sha512
	@collector/engine/fetch.sh

up: build engine ## watch this machine (as root); ARGS='--learn 1h' passes flags on
	bin/ambit up $(ARGS)

demo: build engine ## a story in 90 seconds: learn, leave the normal reach, fall silent (as root)
	go run ./internal/demo -ambit bin/ambit

test: engine ## all tests, also those against the live kernel (as root)
	go test -timeout 9m ./bpf/... ./event/... ./detector/...
	go test -race -timeout 9m $$(go list ./... | grep -vE '/(bpf|event|detector)$$')

lint: ## gofmt, vet, staticcheck, tidy modules
	@out=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); [ -z "$$out" ] || { echo "gofmt would change:"; echo "$$out"; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	go mod tidy -diff

generate: ## BPF objects and their Go types, with clang-19
	go generate ./bpf

bench: engine ## all benchmarks
	go test -run '^$$' -bench . -benchmem ./...

clean: ## remove what was built; the engine in .cache/ stays
	rm -rf bin
