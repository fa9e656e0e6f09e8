# The plugin's version as Vault wants it: semantic, with a v.
VERSION ?= $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null || echo v0.0.0-dev)
COMMIT ?= $(shell git describe --always --abbrev=40 --dirty --exclude '*' 2>/dev/null || echo unknown)
LDFLAGS = -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
# Where build puts the binary. Vault's -dev-plugin-dir takes every file of a directory for a plugin,
# so the demo builds into one of its own.
BIN ?= bin

# Before a command that may print nothing for a while.
LONG = scripts/progress.sh '$@' '' ''

COVERED := ./client ./internal/store ./backend
COVERAGE := 90
UNITS = $$(go list ./... | grep -v /test/)

.DEFAULT_GOAL := help
.PHONY: help build demo dev test test-all test-busy test-unit test-contract test-terraform test-live test-matrix test-fuzz test-abuse test-faults test-e2e test-soak deps-e2e bench lint vulncheck clean release test-build test-release

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the plugin into bin/
	CGO_ENABLED=0 $(LONG) go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/vault-plugin-secrets-abeja

# What a release is built for.
TARGETS ?= linux/amd64 linux/arm64 linux/arm darwin/amd64 darwin/arm64 windows/amd64 windows/arm64 freebsd/amd64

release: ## build a release into dist/: all platforms, checksums, SBOMs; VERSION=v1.2.3 is its version
	@VERSION='$(VERSION)' LDFLAGS='$(LDFLAGS)' TARGETS='$(TARGETS)' scripts/release.sh

demo: ## show the plugin at work: a dev Vault, the simulator, secrets, policies; ends by itself
	@scripts/demo.sh

dev: ## leave a dev Vault with the plugin and the simulator running until Ctrl-C
	@scripts/dev.sh

# How many inputs each fuzz target gets, or how long it runs: 5000x or 10m. With a time, Go before 1.27 may report
# a failure that is none (https://go.dev/issue/75804).
FUZZTIME ?= 5000x

test: test-unit test-contract test-terraform test-build test-abuse test-faults test-e2e ## run all tests but the long ones, and check the coverage

test-all: test ## run the long ones too: under load, and with random input
	@# The one waits most of its time, and the other computes.
	$(MAKE) -j2 test-soak test-fuzz

test-busy: ## run all tests while other work keeps each core busy: none may depend on how fast the machine is
	scripts/busy.sh $(MAKE) test-all

test-unit: ## run the tests that need no Vault, and check that they cover 90 % of the statements
	@mkdir -p bin
	$(LONG) go test -race -short -timeout=1h $(UNITS)
	@# The race detector makes counting statements take longer than a run of its own does.
	$(LONG) go test -short -coverpkg=$$(echo $(COVERED) | tr ' ' ,) -coverprofile=bin/coverage.out $(COVERED)
	@go tool cover -func=bin/coverage.out | awk -v want=$(COVERAGE) ' \
		/^total:/ { sub("%", "", $$3); got = $$3 } \
		END { printf "%s %% of the statements of client, internal/store and backend are covered\n", got; \
			if (got + 0 < want) { printf "want at least %s %%\n", want; exit 1 } }'

test-contract: ## hold the simulator against what docs/abeja-api.md says, with each switch each way
	$(LONG) go test -race -count=1 ./test/live

test-live: ## the same at a real ABEJA, and find out what is not known of it; then make demo there; LIVEFLAGS=-deep counts versions
	go test -count=1 -timeout=30m -v -run='^TestLive$$' ./test/live -live $(LIVEFLAGS)
	scripts/demo.sh

test-terraform: ## hold examples/terraform against the engine
	$(LONG) go test -C test/terraform -count=1 .

test-build: ## build a release for this machine from two copies, and compare them; check the Dockerfile
	$(LONG) go test -C test/release -count=1 .

test-release: ## the same for all platforms, the second time with empty caches; takes about 17 minutes on 2 cores
	$(LONG) go test -C test/release -count=1 -timeout=0 . -all

test-fuzz: ## run each fuzz target on 5000 inputs; FUZZTIME=10m is for how long
	FUZZTIME=$(FUZZTIME) scripts/fuzz.sh

test-abuse: ## try what callers must not be able to cause
	$(LONG) go test -race -count=1 ./test/abuse

test-faults: ## run each operation under each fault of ABEJA, and hold docs/reliability.md against it
	$(LONG) go test -race -count=1 -timeout=1h ./test/faults

test-e2e: deps-e2e ## run the plugin, and clients of all kinds, in a real Vault; VAULT=/path/to/vault chooses which
	VAULT=$$(scripts/vault.sh) && export VAULT && $(LONG) go test -race -count=1 -timeout=1h -parallel=4 ./test/e2e && $(LONG) go test -count=1 ./test/clients && CGO_ENABLED=0 $(LONG) go test -C test/externalsecrets -count=1 .

# How long each load of test-soak runs.
LENGTH ?= 10s

test-soak: ## break ABEJA, the plugin and Vault under load, and check the history; LENGTH=60s is the long form
	VAULT=$$(scripts/vault.sh) && export VAULT && $(LONG) go test -count=1 -timeout=0 ./test/soak -length=$(LENGTH)

test-matrix: deps-e2e ## run the e2e scripts with other versions of Vault, or with VAULT alone; writes docs/compatibility.md, takes some minutes for each
	scripts/matrix.sh

deps-e2e: ## install what test-e2e runs: hvac, Ansible, node-vault, consul-template, curl, Prometheus
	scripts/deps-e2e.sh

bench: ## measure the plugin beside what one would use in its place; BENCHFLAGS=-short only tries it
	go run -C test/bench . $(BENCHFLAGS)

lint: ## gofmt, go vet, staticcheck, actionlint, who imports whom; shellcheck too if it is installed
	@unformatted=$$(gofmt -l .) && test -z "$$unformatted" || { echo "gofmt -w $$unformatted"; exit 1; }
	$(LONG) go vet ./... && $(LONG) go vet -C test/bench ./...
	$(LONG) go vet -C test/release ./... && $(LONG) go vet -C test/terraform ./...
	CGO_ENABLED=0 $(LONG) go vet -C test/externalsecrets ./...
	$(LONG) go tool -modfile=tools/lint/go.mod staticcheck ./...
	go tool -modfile=tools/lint/go.mod actionlint -shellcheck= -pyflakes= .github/workflows/*.yml
	scripts/imports.sh
	! command -v shellcheck >/dev/null || (cd scripts && shellcheck -x -S warning *.sh ../.ci/run)

vulncheck: ## look in the Go vulnerability database for what the plugin uses
	go tool -modfile=tools/lint/go.mod govulncheck ./...

clean: ## remove what was built
	rm -rf bin dist
