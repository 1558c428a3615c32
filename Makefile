# What people type. `make help` lists it.
#
# Needed: Go, Node with npm, a C compiler and make. `make test` installs what the
# tests need besides (as root on Debian; elsewhere it says what is missing).

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

# The versions of the tools that check the code.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

# A release sets VERSION and, if it has a destination for telemetry, the other
# variables that cmd/blindai/options.go documents.
VERSION ?= 0.1.0-dev
LDFLAGS := -X main.version=$(VERSION)

# Where onnxruntime-node keeps its library for this machine.
ORT_OS   := $(shell uname -s | tr A-Z a-z)
ORT_ARCH := $(shell uname -m | sed -e s/x86_64/x64/ -e s/aarch64/arm64/)
ORT_LIB  := node_modules/onnxruntime-node/bin/napi-v6/$(ORT_OS)/$(ORT_ARCH)/libonnxruntime.so.1

ARGS ?=

.PHONY: help
help: ## list what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

.PHONY: build
build: bin/libonnxruntime.so console/dist/console.js ## build bin/blindai, bin/blindai-collector and the library
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/blindai ./cmd/blindai-collector

.PHONY: run
run: build ## see the main job at work, until Ctrl-C; ARGS=--once checks itself and ends
	@go build -o bin/demo ./internal/demo # "go run" would end with an error after Ctrl-C
	bin/demo $(ARGS)

.PHONY: test
test: test-needs build check test-go ## everything that CI runs
	go run ./internal/demo --once

.PHONY: test-go
test-go: ## all Go tests of all modules, with the race detector (needs make build)
	BLINDAI_BIN=$(CURDIR)/bin go test -race $$(go list work | grep -v /peers/conformance)
	@# After the others: SDKs that wait for a second send otherwise where nothing else gets a turn.
	go test -race ./peers/conformance

.PHONY: bench
bench: build ## the tables of docs/benchmarks.md, peers measured in the same run (6 minutes; on a machine that is at rest)
	go run ./peers/bench/report
	go run ./peers/bench/ingest

.PHONY: soak
soak: build ## the long fault run: the collector is killed 200 times under load, and 50 times while sessions are erased
	BLINDAI_BIN=$(CURDIR)/bin KILLS=200 go test -count=1 -timeout 30m -run TestKill -v ./internal/demo

.PHONY: check
check: ## formatting, vet, staticcheck, known vulnerabilities
	@out=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); \
	  if [ -n "$$out" ]; then echo "not formatted; run gofmt -w on:" $$out; exit 1; fi
	go vet work
	go run $(STATICCHECK) work
	@for os in linux darwin windows freebsd; do \
	  CGO_ENABLED=0 GOOS=$$os go build github.com/blindai-go/blindai/telemetry/... || { echo "telemetry does not build for $$os"; exit 1; }; \
	done
	@rc=0; out=$$(go run $(GOVULNCHECK) work 2>&1) || rc=$$?; \
	  if [ $$rc -ne 0 ] && grep -qE 'fetching vulnerabilities|no such host|dial tcp|connection refused' <<<"$$out"; then \
	    echo "govulncheck: its database cannot be reached from here, so nothing was checked for known vulnerabilities"; \
	  else echo "$$out"; exit $$rc; fi

.PHONY: clean
clean: ## remove what was built
	rm -rf bin node_modules
	find console/dist -type f ! -name .gitignore -delete

# --- what the above stand on ---

.PHONY: needs
needs:
	@for tool in go node npm gcc; do \
	  command -v $$tool >/dev/null || { echo "$$tool is missing; install Go (the version in go.mod or newer), Node with npm, and gcc, then try again"; exit 1; }; \
	done

# The browser tests drive Chromium, the test of telemetry switched off reads a
# system-call trace.
.PHONY: test-needs
test-needs: needs
	@missing=""; for tool in chromium strace; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing for the tests:$$missing"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing fonts-dejavu-core >/dev/null; \
	else echo "missing for the tests:$$missing; install them (on Debian, as root: apt-get install$$missing), then try again"; exit 1; fi

node_modules/.package-lock.json: package.json package-lock.json | needs
	npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

bin/libonnxruntime.so: node_modules/.package-lock.json
	@mkdir -p bin
	@test -f $(ORT_LIB) || { echo "onnxruntime-node has no library for $(ORT_OS)/$(ORT_ARCH); build or get ONNX Runtime 1.27 and set BLINDAI_ONNXRUNTIME to its file"; exit 1; }
	cp $(ORT_LIB) $@

console/dist/console.js: node_modules/.package-lock.json $(wildcard console/web/*)
	npm run --silent build
	@touch $@
