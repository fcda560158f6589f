# PocketVM: everything a fresh Debian or Ubuntu machine needs to run it and to test it.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: bench fuzz help setup build demo windows test lint check-format clippy deny doc unit-tests advisories

# Build results live outside the clone, so that a fresh clone builds fast; the folder may vanish at any time.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/pocketvm/target
export PATH := $(PATH):$(HOME)/.cargo/bin

FACTOR ?= 10
ROUNDS ?= 30
FUZZ_SECONDS ?= 20
SEED ?=
ARGS ?=

help: ## shows this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## installs what is missing for building, the demo and the tests (apt, cargo)
	@scripts/setup.sh build demo test

build: ## builds the program
	@scripts/setup.sh build
	cargo build --locked
	@echo "built: $(CARGO_TARGET_DIR)/debug/pocketvm"

demo: ## the main job: a drive with a real guest, run twice
	@scripts/setup.sh build demo
	@scripts/demo.sh

windows: ## builds for Windows and runs it under Wine; checks the build for macOS
	@scripts/setup.sh build windows
	@scripts/windows.sh

test: setup lint unit-tests advisories ## passes every check and test, with real guests

soak: ## everything at length: power cuts, random sessions, fuzzing, real guests: make soak [FACTOR=10 FUZZ_SECONDS=60 ROUNDS=30 SEED=…]
	@scripts/setup.sh build test fuzz
	POCKETVM_SOAK=$(FACTOR) cargo test --locked -p pocketvm-disk \
		--test crash --test cuts --test recovery --test raw --test hostile --test sessions --test bounds --test overlays_hostile
	POCKETVM_SOAK=$(FACTOR) cargo test --locked -p pocketvm-stick
	@scripts/fuzz.sh $(FUZZ_SECONDS)
	@POCKETVM_SOAK_ROUNDS=$(ROUNDS) POCKETVM_SOAK_SEED=$(SEED) \
		cargo test --locked --test e2e -- --ignored --nocapture nothing_that_was_saved

fuzz: ## fuzzes the parsers of disk images and of guests' disks: make fuzz FUZZ_SECONDS=300
	@scripts/setup.sh build fuzz
	@scripts/fuzz.sh $(FUZZ_SECONDS)

lint: check-format clippy deny doc ## format, clippy, dependencies, documentation

check-format:
	cargo fmt --all --check
	cargo fmt --manifest-path crates/disk/fuzz/Cargo.toml --check
	cargo fmt --manifest-path crates/guest/fuzz/Cargo.toml --check

clippy:
	cargo clippy --locked --workspace --all-targets -- -D warnings

deny:
	cargo deny --locked check bans licenses sources

# Last, so that a machine without a way to the advisory database says so in its last lines.
advisories:
	@if cargo deny --locked fetch db > /dev/null 2>&1; then cargo deny --locked check advisories; \
	else echo "NOT RUN: security advisories: the RustSec database could not be fetched"; fi

bench: ## the shadow merge against qemu-img commit on a simulated stick, as ratios; the window's start; copies: make bench [ARGS="--help"]
	@scripts/setup.sh build bench
	cargo bench --locked --bench merge -- $(ARGS)
	cargo bench --locked --bench copy
	cargo bench --locked --bench window

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

# The end-to-end tests mount loop devices and FUSE file systems: they need root.
unit-tests:
	@scripts/test.sh
