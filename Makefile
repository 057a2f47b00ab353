# The commands of this repository. Each installs what it needs on a Debian machine with Go and make, and builds
# nothing twice.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
MAKEFLAGS += --no-builtin-rules --no-print-directory

# gVisor cannot run in a binary with cgo, and nothing else needs cgo.
export CGO_ENABLED := 0
export PATH := $(PATH):/usr/local/go/bin

STATE   := $(shell tools/state)
BIN     := build/bin/cellhold
RUNNER  := internal/runnerbin/bin/cellhold-runner
VENV    := build/testvenv
BENCHVENV := build/benchvenv
SUITES  := build/suites
CLIENTVENV := build/clientvenv
CLIENTS := build/clients
PYVENV  := build/pyvenv
PYWHEELS := build/pywheels
WHEELS  := build/wheels
TESTENVS := $(VENV)/.done $(SUITES)/.done $(CLIENTVENV)/.done $(CLIENTS)/.done $(WHEELS)/.done $(PYWHEELS)/.done
SLIM    := -trimpath -ldflags "-s -w"
# No finding of vet is ignored. staticcheck.conf lists the checks of staticcheck.
LINT    := go tool -modfile=tools.mod staticcheck

# Tests with real sandboxes find the stock image in this home.
export CELLHOLD_TEST_HOME := $(STATE)

.PHONY: build demo test check dist bench gobench clean image polyglot needs-test

## build: the binary, with the guest's binary and the runner inside
build:
	@[ -e $(BIN) ] || echo "building; the first time takes some minutes"
	@tools/modules
	@go build -buildvcs=false $(SLIM) -o internal/guestbin/bin/cellhold-guest ./cmd/cellhold-guest
	@go build -buildvcs=false $(SLIM) -o build/bin/cellhold-runner ./cmd/cellhold-runner
	@[ $(RUNNER).gz -nt build/bin/cellhold-runner ] || tools/pack build/bin/cellhold-runner $(RUNNER)
	@go build $(SLIM) -o $(BIN) ./cmd/cellhold

## demo: a server, and a client that analyses data on it
demo: image
	@go run ./demo -cellhold $(BIN) -home $(STATE) -out build/demo

## test: everything, with real sandboxes and a real Jupyter kernel
# The environments wait for the network and for one processor most of the time, so they are made during the check.
# Most packages run only under the race detector. Packages that cannot, and those whose tests are shorter there, run
# without it. Tests that call t.Parallel mostly wait, so three at once suit two cores. vet is part of check.
test: needs-test
	@$(MAKE) --jobs=3 --output-sync=target check image polyglot $(TESTENVS)
	@go run ./demo -cellhold $(BIN) -home $(STATE) -out build/demo
	CELLHOLD_TEST_JITTER=1 CGO_ENABLED=1 go run ./test/report -race -vet=off -short -timeout 60m $$(tools/race-packages)
	CELLHOLD_TEST_JITTER=1 go run ./test/report -vet=off -p 1 -parallel 3 -timeout 45m $$(tools/race-packages --rest)

## check: format, vet, staticcheck, the rules of the code, and the types of the Python package
check: build $(PYVENV)/.done
	@unformatted=$$(gofmt -l $$(find . -path ./build -prune -o -name '*.go' -print)); \
	if [ -n "$$unformatted" ]; then echo "run gofmt -w on:" $$unformatted; exit 1; fi
	go vet ./...
	@tools/modules -modfile=tools.mod
	$(LINT) ./...
	go test . ./test/prose ./test/docs
	$(PYVENV)/bin/python python/tools/generate.py --check
	$(PYVENV)/bin/ruff check --quiet --no-cache python
	$(PYVENV)/bin/ruff format --quiet --no-cache --check python
	cd python && ../$(PYVENV)/bin/mypy --cache-dir ../build/mypy

## dist: the wheels of the Python packages, in build/dist
dist: build $(PYVENV)/.done
	@tools/wheels $(PYVENV)/bin/python $(BIN) build/dist

## bench: measures cellhold and other tools on this machine; QUICK=1 takes a few minutes, ONLY=first,cell selects figures
bench: image $(BENCHVENV)/.done
	@bench/docker-image $(BIN) $(STATE)
	@go run ./bench -cellhold $(BIN) -home $(STATE) $(if $(QUICK),-quick) $(if $(ONLY),-only $(ONLY)) $(if $(WITH),-with $(WITH))

## gobench: the Go benchmarks
gobench: image
	go test -run '^$$' -bench . ./...

## clean: removes everything that was built, images included
clean:
	rm -rf build internal/guestbin/bin/cellhold-guest $(RUNNER).*
	rm -rf $(filter /var/lib/cellhold-dev %/cellhold-dev,$(STATE))

image: build
	@tools/packages mmdebstrap=mmdebstrap unshare=util-linux newuidmap=uidmap
	@$(BIN) --home $(STATE) image build

# The image with more languages, for its test.
polyglot: image
	@$(BIN) --home $(STATE) image build polyglot

needs-test:
	@tools/packages gcc=gcc,libc6-dev python3=python3 curl=curl chromium=chromium zsh=zsh fish=fish

$(VENV)/.done: test/requirements.txt
$(BENCHVENV)/.done: bench/requirements.txt
$(CLIENTVENV)/.done: test/clients/requirements.txt
$(PYVENV)/.done: python/requirements.txt
build/%venv/.done:
	@tools/packages python3=python3
	@python3 -c 'import venv, ensurepip' 2>/dev/null || tools/packages no-such-command=python3-venv
	rm -rf $(@D)
	python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --retries 10 --disable-pip-version-check --require-hashes --only-binary :all: -r $<
	@touch $@

$(SUITES)/.done: test/suites.txt $(VENV)/.done
	rm -rf $(@D)
	$(VENV)/bin/pip download --quiet --retries 10 --disable-pip-version-check --no-deps --no-binary ipykernel --require-hashes -r $< -d $(@D)
	@touch $@

# The packages for a fresh environment, in the test of the wheels.
$(PYWHEELS)/.done: python/runtime.txt $(PYVENV)/.done
	rm -rf $(@D)
	$(PYVENV)/bin/pip download --quiet --retries 10 --disable-pip-version-check --no-deps --only-binary :all: --require-hashes -r $< -d $(@D)
	@touch $@

# Packages that a notebook installs in its sandbox.
$(WHEELS)/.done: test/wheels.txt $(CLIENTVENV)/.done
	rm -rf $(@D)
	$(CLIENTVENV)/bin/pip download --quiet --retries 10 --disable-pip-version-check --no-deps --only-binary :all: --require-hashes -r $< -d $(@D)
	@touch $@

# Published JavaScript clients. Their install scripts do not run.
$(CLIENTS)/.done: test/clients/package.json test/clients/package-lock.json
	@tools/packages node=nodejs npm=npm
	rm -rf $(@D)
	@mkdir -p $(@D)
	cp $^ $(@D)
	cd $(@D) && npm ci --silent --ignore-scripts --no-audit --no-fund
	@touch $@
