# `make help` lists the targets. Each installs or fetches what it needs (scripts/setup), and is quick when that is done.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run build test check fmt sim cuts bench fuzz hostile venv clean
.PHONY: cross-aarch64 cross-armv7 cross-test deb deb-test units appliance-test firmware

ARCH := $(shell uname -m)
# .cargo/config.toml knows the folder for x86_64; other machines have theirs beside it.
ifneq ($(ARCH),x86_64)
export DUCKDB_LIB_DIR := $(CURDIR)/.duckdb/$(ARCH)
endif

# Debian's name of a machine, for packages and the boot test.
DEB_ARCH ?= arm64

# Seeds of `make sim`.
N ?= 200

# Power cuts of `make appliance-test`.
CUTS ?= 20

# Of each target of `make fuzz`.
SECONDS ?= 60

help: ## what can be made
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 30

run: build ## builds and starts the gateway on this machine, with history in ./data
	@scripts/try-next
	@exec target/release/rembus-gateway run --data ./data --schema schemas/telemetry.json

build: ## the release binary, target/release/rembus-gateway
	@scripts/setup build
	cargo build --release --locked

test: ## everything: unit, property, simulation and real clients
	@scripts/setup test
	cargo test --locked

check: ## formats, lints with warnings as errors, audits dependencies
	@scripts/setup build
	cargo fmt --all
	cargo clippy --locked --all-targets -- -D warnings
	scripts/audit

fmt: ## formats
	cargo fmt --all

sim: ## the simulation with N=200 seeds
	@scripts/setup build
	SIM_RUNS=$(N) cargo test --locked --test it sim::

cuts: ## N=200 power cuts on a disk that forgets what was not synced
	@scripts/setup test
	CUTS=$(N) cargo test --locked --test it power:: -- --nocapture

bench: ## measures beside mosquitto and the Python broker, and prints a table
	@scripts/setup bench
	bench/run

fuzz: ## decoders, dialogues, names and stored frames under arbitrary input, SECONDS=60 each, going on where it was (nightly Rust)
	@scripts/setup fuzz
	@SECONDS_EACH=$(SECONDS) scripts/fuzz

hostile: build ## attacks the release build as strangers do, with honest clients beside it, under the unit's limits
	@scripts/setup test
	.venv/bin/python tests/hostile/run $(HOSTILE)

cross-aarch64: ## the packaged binary for 64-bit boards, target/packages/aarch64/rembus-gateway
	scripts/cross aarch64

cross-armv7: ## the packaged binary for 32-bit boards (lite store), target/packages/armv7/rembus-gateway
	scripts/cross armv7

cross-test: ## starts both under emulation, publishes and asks
	@scripts/setup test
	tests/cross/run aarch64 armv7

deb: ## a Debian package: DEB_ARCH=arm64, armhf or amd64
	@scripts/setup packages
	scripts/deb $(DEB_ARCH)

deb-test: ## installs, updates, downgrades, removes and purges the package of this machine's developer build in a folder
	@scripts/setup packages
	cargo build --locked
	tests/packages/run

units: ## the systemd files: no mistakes, and no more rights than needed
	@scripts/setup packages
	tests/packages/units

appliance-test: ## boots DEB_ARCH=arm64, armhf or amd64 with the real systemd and pulls the plug CUTS=20 times (root)
	@scripts/setup appliance
	tests/appliance/run $(DEB_ARCH) $(CUTS)

firmware: ## checks the Yocto layer and tries its scripts (building an image: yocto/README.md)
	@scripts/setup yocto
	cargo build --locked
	tests/yocto/lint
	tests/yocto/scripts

venv: ## .venv with the Python clients of the README
	@scripts/setup python

clean: ## removes what was built and fetched; the data of `make run` stays
	rm -rf target .duckdb .venv .venv-yocto
