# Everything that people and CI run. "make help" lists it.

SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
PROGRAMS := fleetd fleetctl announcer router fleet-kustomize etcdctl-compat fleet-dev example-app
# Static and stripped. No -trimpath, so that programs and tests share the go command's build cache.
GOFLAGS_BUILD := -ldflags '-s -w -X github.com/fleet-starter/fleet/internal/version.Version=$(VERSION)'
GOFLAGS_REGISTRY := -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## Install the Debian packages that are missing (as root), or say which
	@hack/install-debian.sh

.PHONY: build
build: ## Build the programs into bin/
	@mkdir -p bin
	CGO_ENABLED=0 go build $(GOFLAGS_BUILD) -o bin/ $(PROGRAMS:%=./cmd/%)

PACKAGED := fleetd fleetctl announcer router fleet-kustomize example-app etcdctl-compat
PACKAGE_ARCH := $(or $(GOARCH),$(shell go env GOARCH))
PACKAGE_PROGRAMS := bin/packages/linux-$(PACKAGE_ARCH)

.PHONY: packages
packages: ## Build .deb and .rpm packages into bin/packages/ (GOARCH=arm64)
	@# With -trimpath, which the programs in bin/ do without: where a package was built is not in it.
	CGO_ENABLED=0 GOOS=linux GOARCH=$(PACKAGE_ARCH) go build -trimpath -buildvcs=false $(GOFLAGS_BUILD) -o $(PACKAGE_PROGRAMS)/ $(PACKAGED:%=./cmd/%)
	CGO_ENABLED=0 GOOS=linux GOARCH=$(PACKAGE_ARCH) go -C hack/images build $(GOFLAGS_REGISTRY) -o ../../$(PACKAGE_PROGRAMS)/fleet-registry ./registry
	@cd hack/packages && env -u GOOS -u GOARCH go run . -programs ../../$(PACKAGE_PROGRAMS) -arch $(PACKAGE_ARCH)

.PHONY: registry
registry: ## Build the image registry that machines run, bin/fleet-registry
	@mkdir -p bin
	CGO_ENABLED=0 go -C hack/images build $(GOFLAGS_REGISTRY) -o ../../bin/fleet-registry ./registry

.PHONY: images
images: registry ## Build container images of registry, router and example-app into bin/images/, for "docker load" and "fleetctl push"
	@mkdir -p bin/images/programs
	CGO_ENABLED=0 go build -trimpath -buildvcs=false $(GOFLAGS_BUILD) -o bin/images/programs/ ./cmd/router ./cmd/example-app
	@cp bin/fleet-registry bin/images/programs/
	@cd hack/images && go run ./build -programs ../../bin/images/programs -version $(VERSION) -created $$(git log -1 --format=%ct)

.PHONY: etcd
etcd: ## Have the newest etcd and etcdutl in bin/, and Debian's etcd 3.4: tests run them beside the one that is built in
	@hack/fetch-etcd.sh

.PHONY: fleet1
fleet1: ## Build the original fleet 1.0 into bin/fleet1/: tests run its fleetctl against our fleetd, and ours against its
	@mkdir -p bin/fleet1
	CGO_ENABLED=0 go -C test/fleet1 build -ldflags '-s -w -X github.com/coreos/fleet/version.Version=1.0.0' -o ../../bin/fleet1/fleetd github.com/coreos/fleet
	CGO_ENABLED=0 go -C test/fleet1 build -ldflags '-s -w -X github.com/coreos/fleet/version.Version=1.0.0' -o ../../bin/fleet1/fleetctl github.com/coreos/fleet/fleetctl

.PHONY: up
up: deps build ## Start a local cluster, apply manifests/dev and show what runs (MACHINES=3)
	@hack/up.sh $(if $(MACHINES),--machines $(MACHINES))

.PHONY: down
down: ## End the local cluster and remove what it left
	@if [ -x bin/fleet-dev ]; then bin/fleet-dev down; fi
	@rm -rf .dev

.PHONY: logs
logs: ## Follow the controllers' logs
	@bin/fleet-dev logs -f

.PHONY: azurite
azurite: ## Have Azurite, an Azure Blob server for tests, in bin/
	@hack/fetch-azurite.sh

# Real machines.
LAB := bin/fleet-lab

.PHONY: lab
lab: packages ## Start three real machines on this computer, with systemd, docker, etcd and fleet's package (as root; MACHINES=3)
	@hack/install-debian.sh lab
	@go build -o $(LAB) ./test/lab/fleet-lab
	@$(LAB) up --machines $(or $(MACHINES),3) bin/packages/*.deb

.PHONY: lab-down
lab-down: ## Stop the real machines and remove them
	@go build -o $(LAB) ./test/lab/fleet-lab
	@$(LAB) down

# "go test", with the tests that were skipped named at the end. Modules of their own run it in their directory. AGAIN=1 is for
# tests with limits in seconds, on a computer that may be busy just then: what fails is told, and run once more.
GOTEST := SKIPS=$(SKIPS) $(CURDIR)/bin/gotest

.PHONY: gotest
gotest:
	@go build -o bin/gotest ./hack/gotest

.PHONY: test-lab
test-lab: packages images azurite gotest ## Run the tests on real machines alone (as root)
	@hack/install-debian.sh lab
	@$(GOTEST) -timeout 45m $(TESTFLAGS) -- ./test/lab

.PHONY: test
test: deps build packages images etcd azurite fleet1 gotest ## Run every test, with real etcd, real systemd and real nginx (SKIPS=fail: none may be skipped)
	@$(MAKE) --no-print-directory -j3 -Otarget test-hack-packages test-hack-images test-hack-provision test-large
	@# The same seeds give the same run: what fails here is a fault, and is not tried again.
	@$(GOTEST) -timeout 20m $(TESTFLAGS) -- ./test/sim/mutants ./test/sim
	@AGAIN=1 $(GOTEST) -timeout 20m $(TESTFLAGS) -- $$(go list ./... | grep -v '/test/e2e\|/test/compat\|/test/lab\|/test/large\|/test/sim')
	@# What waits more than it computes comes last, side by side.
	@$(MAKE) --no-print-directory -j2 -Otarget test-clusters test-machines

.PHONY: test-hack-packages test-hack-images test-hack-provision
test-hack-packages test-hack-images test-hack-provision: test-hack-%:
	@cd hack/$* && $(GOTEST) -timeout 10m $(TESTFLAGS) -- ./...

# It writes more than 1 GB: beside an etcd it would delay that.
.PHONY: test-large
test-large:
	@$(GOTEST) -timeout 10m $(TESTFLAGS) -- ./test/large

.PHONY: test-clusters test-machines
test-clusters:
	@AGAIN=1 hack/apart.sh env $(GOTEST) -timeout 40m $(TESTFLAGS) -- ./test/e2e
test-machines:
	@AGAIN=1 hack/apart.sh env $(GOTEST) -timeout 10m $(TESTFLAGS) -- ./test/compat
	@AGAIN=1 $(GOTEST) -timeout 45m $(TESTFLAGS) -- ./test/lab

.PHONY: race
race: deps ## Run the tests of what is concurrent under the race detector
	go test -race -timeout 20m ./internal/... ./controllers/...

.PHONY: fuzz
fuzz: ## Run every fuzz target in turn (TIME=30s each)
	@hack/fuzz.sh $(or $(TIME),30s)

.PHONY: bench
bench: build ## Measure speed and size, minutes long: a table, and bench.json (BENCHFLAGS="--size small --only placement/")
	go run ./test/bench $(BENCHFLAGS)

.PHONY: sim
sim: ## Simulate the whole cluster with faults, one seed after the other (SEEDS=2000, FIRST=1)
	SIM_SEED=$(or $(FIRST),1) SIM_SEEDS=$(or $(SEEDS),2000) go test -count=1 -timeout 0 -run 'TestSeeds' $(TESTFLAGS) ./test/sim

.PHONY: mutate
mutate: ## Change a package bit by bit and see whether a test notices (PKG=./controllers/app, MUTATEFLAGS="-n 50 -seeds 40"; -tests ./controllers/schedule for its rooms)
	go run ./hack/mutate $(MUTATEFLAGS) $(or $(PKG),$(error say which package, such as PKG=./controllers/app))

.PHONY: lint
lint: ## gofmt, go vet, staticcheck
	@hack/verify-lint.sh

.PHONY: verify
verify: ## Every check that is not a test: lint, go.mod, generated files
	@set -e; for check in hack/verify-*.sh; do echo "$$check"; $$check; done

.PHONY: generate
generate: ## Write the generated files anew
	@set -e; for update in hack/update-*.sh; do echo "$$update"; $$update; done
