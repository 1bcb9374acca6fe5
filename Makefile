# make demo      the whole story in a scratch directory: back up a real PostgreSQL, lose a table, get it back
# make test      everything that must hold before a change is merged
# make soak      kills everything at every step, for SECONDS (two hours) or until KILLS kills; SEED repeats a run
# make fuzz      feeds every parser of foreign bytes with mutations, for SECONDS (a minute) each
# make bench     measures beside cp, pgBackRest, wal-rus and pg_receivewal, and writes docs/benchmarks.md (SIZE=small: 3 minutes, no document)
# make install   the three programs into PREFIX/bin (/usr/local by default)
#
# All but the last install what they need first (scripts/install, as root or with sudo). Rust comes from https://rustup.rs.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

CARGO ?= cargo
SHIMS := -p holdfast-archive-command -p holdfast-restore-command

PREFIX ?= /usr/local
TARGET_DIRECTORY = $$($(CARGO) metadata --locked --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')

SECONDS ?= 7200
KILLS ?= 1000000
SEED ?=

.PHONY: help demo install bench soak fuzz test installed toolchain format lint tidy deny shims images tests doctests

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo:
	scripts/install demo
	$(CARGO) build --locked --release -p holdfast $(SHIMS)
	"$(TARGET_DIRECTORY)/release/holdfast" demo

install:
	$(CARGO) build --locked --release -p holdfast
	$(CARGO) build --locked --profile shim $(SHIMS)
	install -d "$(DESTDIR)$(PREFIX)/bin"
	install -m 755 "$(TARGET_DIRECTORY)/release/holdfast" "$(TARGET_DIRECTORY)/shim/holdfast-archive-command" \
		"$(TARGET_DIRECTORY)/shim/holdfast-restore-command" "$(DESTDIR)$(PREFIX)/bin"

# The shims as they are shipped, as in `make install`. ROWS="archive streaming" measures only these.
SIZE ?= full
ROWS ?=

bench:
	scripts/install bench
	$(CARGO) build --locked --release -p holdfast
	$(CARGO) build --locked --profile shim $(SHIMS)
	PYTHONDONTWRITEBYTECODE=1 python3 -m bench --programs "$(TARGET_DIRECTORY)/release" --shims "$(TARGET_DIRECTORY)/shim" --size $(SIZE) \
		$(if $(ROWS),--only $(ROWS)) $(if $(filter full,$(SIZE)),$(if $(ROWS),,--report docs/benchmarks.md))

# The crash harness as a long run; its result is written into docs/reliability.md.
soak: installed shims
	$(CARGO) build --locked --tests
	HOLDFAST_SOAK_SECONDS=$(SECONDS) HOLDFAST_SOAK_KILLS=$(KILLS) $(if $(SEED),HOLDFAST_TEST_SEED=$(SEED)) \
		HOLDFAST_SOAK_REPORT="$(CURDIR)/docs/reliability.md" $(CARGO) test --locked --test crash nothing_acknowledged -- --nocapture

fuzz: SECONDS = 60
fuzz: installed
	HOLDFAST_FUZZ_SECONDS=$(SECONDS) $(if $(SEED),HOLDFAST_TEST_SEED=$(SEED)) $(CARGO) test --locked --lib no_message -- --nocapture
	HOLDFAST_FUZZ_SECONDS=$(SECONDS) $(if $(SEED),HOLDFAST_TEST_SEED=$(SEED)) $(CARGO) test --locked --test fuzz -- --nocapture

test: installed toolchain format tidy lint deny shims images tests doctests
	@echo "make test: everything passed"

installed:
	scripts/install test

toolchain:
	@$(CARGO) fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@$(CARGO) clippy --version >/dev/null 2>&1 || rustup component add clippy

format:
	$(CARGO) fmt --all -- --check

lint:
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

tidy:
	$(CARGO) test --locked --quiet --test tidy

# Licences, forbidden crates and sources can be checked anywhere. Advisories are looked up on the net, where it can be reached;
# they change without a change here, so they are shown and do not fail the run.
deny:
	$(CARGO) deny --log-level error check licenses bans sources
	@if GIT_TERMINAL_PROMPT=0 timeout 120 $(CARGO) deny --log-level error fetch db >/dev/null 2>&1; \
	then $(CARGO) deny --log-level error check advisories || echo "make test: ADVISORIES above concern a crate in use"; \
	else echo "make test: LEFT OUT: security advisories (their database cannot be reached from here)"; fi

# As they are shipped: PostgreSQL starts one per segment, and the tests measure that.
shims:
	$(CARGO) build --locked --profile shim $(SHIMS)

# For the tests that run PostgreSQL in a container.
images:
	@if docker info >/dev/null 2>&1; then scripts/images; \
	else echo "make test: LEFT OUT: PostgreSQL in a container (docker does not answer)"; fi

# The tidy test has run already; it is quick.
tests:
	@if $(CARGO) nextest --version >/dev/null 2>&1; \
	then $(CARGO) nextest run --locked --workspace --profile ci; \
	else $(CARGO) test --locked --workspace --all-targets --no-fail-fast -- --test-threads=2; fi

doctests:
	$(CARGO) test --locked --workspace --doc --quiet
