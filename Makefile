# `make help` lists the targets. Each installs or fetches what it needs (scripts/setup), and is quick when that is done.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run build test check fmt sim cuts bench fuzz venv clean

ARCH := $(shell uname -m)
# .cargo/config.toml knows the folder for x86_64; other machines have theirs beside it.
ifneq ($(ARCH),x86_64)
export DUCKDB_LIB_DIR := $(CURDIR)/.duckdb/$(ARCH)
endif

# Seeds of `make sim`.
N ?= 200

# Of each target of `make fuzz`.
SECONDS ?= 60

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

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

fuzz: ## the decoders of MQTT and the bus and the MQTT door under arbitrary input, SECONDS=60 each (nightly Rust)
	@scripts/setup fuzz
	@for target in mqtt_decoder mqtt_session bus_frames; do \
	  (cd fuzz && cargo +nightly fuzz run --sanitizer none $$target -- -max_total_time=$(SECONDS) -print_final_stats=1) || exit 1; \
	done

venv: ## .venv with the Python clients of the README
	@scripts/setup python

clean: ## removes what was built and fetched; the data of `make run` stays
	rm -rf target .duckdb .venv
