# What to type; `make help` lists it. Make only prepares the machine and calls cargo and the binary.

# Build outputs live outside the checkout, so that RocksDB, a quarter of an hour, is compiled once for all of them.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/quorate
export CARGO_TARGET_DIR ?= $(CACHE)/target
# Where rustup puts Rust, for a shell that has not been restarted since.
export PATH := $(PATH):$(HOME)/.cargo/bin

# One profile for everything, for the same reason.
PROFILE := --release
QUORATE := $(CARGO_TARGET_DIR)/release/quorate
# More flags, for `quorate testnet up` or for a measurement: make testnet ARGS="--validators 7"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help testnet build test prepare prepare-tests format mutants quotes lint unit simulator verifier end-to-end fuzz \
	latency recovery where

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

testnet: build ## Build, start four validators, stay until Ctrl-C stops them (ARGS="…" for more flags)
	@exec "$(QUORATE)" testnet up $(ARGS)

build: prepare ## Build the binary
	@cargo build $(PROFILE) --locked -p quorate-node

test: prepare-tests ## Run every test that CI runs
	@exec scripts/test.sh

prepare: ## Install what the build needs and this machine lacks
	@scripts/prepare.sh

prepare-tests: ## The same, and what only the tests need
	@scripts/prepare.sh --tests

format mutants quotes lint unit verifier simulator end-to-end: prepare-tests
	@exec scripts/test.sh $@

format: ## One stage of the tests: formatting
mutants: ## … that the planted faults of tests/mutants still apply
quotes: ## … that what tests quote stands in docs
lint: ## … clippy, warnings as errors
unit: ## … unit, integration and doc tests of the crates
verifier: ## … unit tests of the independent verifier
simulator: ## … scenarios and seeds on the simulator
end-to-end: ## … scenarios on real processes

fuzz: prepare-tests ## Run every fuzz target for a minute each (FUZZ_SECONDS=600 for ten)
	@exec scripts/fuzz.sh

latency: build ## Measure commit latency and an idle node on this machine
	@QUORATE_BIN="$(QUORATE)" cargo run $(PROFILE) --locked -p quorate-tests --bin latency

recovery: build ## Measure how soon a chain goes on when validators die and return (ARGS="primary --tries 5")
	@QUORATE_BIN="$(QUORATE)" cargo run $(PROFILE) --locked -p quorate-tests --bin recovery -- $(ARGS)

where: ## Print the path of the binary
	@echo "$(QUORATE)"
