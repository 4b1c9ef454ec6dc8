# One environment, .venv, made from the lock files with every hash checked. Needs Python 3.11 or later, make and git.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.made
PACKAGES := schemas detectors streams
CHECKED := $(PACKAGES) $(foreach folder,client examples benchmarks,$(if $(wildcard $(folder)/*),$(folder))) tests
CLIENT := $(wildcard client/pyproject.toml)
ARGS ?=

.PHONY: help
help: ## list these targets
	@printf 'driftgauge: make TARGET\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' Makefile
	@printf '\nARGS="…" is handed to the command behind demo, test and bench-…; PYTHON=python3.13 chooses the interpreter.\n'

.PHONY: demo
demo: $(STAMPS)/project ## show drift being found, from events to the Slack message; no Java, no Docker (ARGS="--keep" leaves it running)
	@$(BIN)/driftgauge demo $(ARGS)

.PHONY: test
test: $(STAMPS)/dev $(STAMPS)/project ## run every test this machine can run; STRICT=1 installs and demands the real parts
ifeq ($(STRICT),1)
	@.ci/real-parts
endif
	@$(BIN)/python -m pytest $(ARGS)

.PHONY: check
check: $(STAMPS)/dev $(STAMPS)/project ## lint, format, types, the wheel's contents, freshness of the lock files
	@failed=; \
	$(BIN)/ruff check $(CHECKED) || failed+=' lint'; \
	$(BIN)/ruff format --check $(CHECKED) || failed+=' format'; \
	$(BIN)/mypy $(CHECKED) || failed+=' types'; \
	$(BIN)/python .ci/wheel.py --no-install || failed+=' wheel'; \
	$(BIN)/python .ci/lock.py --check || failed+=' locks'; \
	if [ -n "$$failed" ]; then echo "make check: failed:$$failed" >&2; exit 1; fi

.PHONY: format
format: $(STAMPS)/dev ## format the code and repair what the linter can repair
	@$(BIN)/ruff check --fix --quiet $(CHECKED) || true
	@$(BIN)/ruff format $(CHECKED)

.PHONY: lock
lock: $(STAMPS)/dev ## resolve the dependencies and write the lock files (ARGS=--upgrade takes newer versions)
	@$(BIN)/python .ci/lock.py $(ARGS)

.PHONY: docs
docs: $(STAMPS)/project ## write the tables of docs/operations.md from the code
	@$(BIN)/python -m streams.reference

.PHONY: wheel
wheel: $(STAMPS)/dev ## build the wheel, check its contents and use it in an environment of its own
	@$(BIN)/python .ci/wheel.py

.PHONY: bench-throughput
bench-throughput: $(STAMPS)/dev $(STAMPS)/project ## rows a second through one worker, beside poll-only, decode-only and a stock Faust agent
	@$(BIN)/python -m benchmarks.throughput $(ARGS)

.PHONY: bench-quality
bench-quality: $(STAMPS)/dev $(STAMPS)/project ## false alarms, power and honesty of the default rule: Q1 to Q13 beside their targets
	@$(BIN)/python -m benchmarks.quality $(ARGS)

.PHONY: bench-scale
bench-scale: $(STAMPS)/dev $(STAMPS)/project ## many models and features on one worker: memory, pauses, all windows closing at once (ARGS="--fleet keyed", LONG=1)
	@$(BIN)/python -m benchmarks.scale $(ARGS)

.PHONY: bench-faults
bench-faults: $(STAMPS)/dev $(STAMPS)/project ## kills, stops, broker and sinks down while traffic flows: what is lost or double (ARGS="--seed 1 --seeds 4 --minutes 1", LONG=1)
	@$(BIN)/python -m benchmarks.faults $(ARGS)

.PHONY: bench-latency
bench-latency: $(STAMPS)/dev $(STAMPS)/project ## seconds from the end of a window to its verdict, the page and Slack, and what log() costs (LONG=1)
	@$(BIN)/python -m benchmarks.latency $(ARGS)

.PHONY: secrets
secrets: ## random passwords for docker-compose.yml, into deploy/docker/secrets
	@deploy/docker/make-secrets

.PHONY: setup
setup: $(STAMPS)/dev $(STAMPS)/project ## only make the environment, with everything for development

.PHONY: clean
clean: ## remove the environment and everything that was made
	@rm -rf $(VENV) .demo .bench build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# --- the environment: one stamp a step, so that a second call does nothing --------------------------------------------

$(STAMPS)/python:
	@python='$(PYTHON)'; \
	if [ -z "$$python" ]; then \
	  for candidate in python3 python3.14 python3.13 python3.12 python3.11; do \
	    if command -v $$candidate >/dev/null && $$candidate -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then \
	      python=$$candidate; break; \
	    fi; \
	  done; \
	fi; \
	if [ -z "$$python" ]; then \
	  echo "driftgauge needs Python 3.11, 3.12, 3.13 or 3.14; found: $$(python3 --version 2>&1 || echo none). Install one, or name it: make PYTHON=/path/to/python3.12 …" >&2; exit 2; \
	fi; \
	if ! "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))'; then \
	  echo "PYTHON=$$python is $$("$$python" --version 2>&1); driftgauge needs 3.11 to 3.14" >&2; exit 2; \
	fi; \
	if ! "$$python" -c 'import venv, ensurepip' 2>/dev/null; then \
	  echo "$$python has no venv module; install it (Debian and Ubuntu: apt-get install python3-venv) and call make again" >&2; exit 2; \
	fi; \
	echo "making $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv $(VENV)
	@mkdir -p $(STAMPS)
	@touch $@

$(STAMPS)/runtime: requirements.lock | $(STAMPS)/python
	@echo 'installing the dependencies with their hashes checked: about 340 MB to download and 1.3 GB on disk, once (a minute or two)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@touch $@

$(STAMPS)/dev: requirements-dev.lock | $(STAMPS)/runtime
	@echo 'installing what tests and checks need: about 100 MB more to download, once'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

$(STAMPS)/project: pyproject.toml $(CLIENT) $(STAMPS)/runtime
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . $(if $(CLIENT),--editable ./client)
	@touch $@
