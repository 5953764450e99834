# A fresh machine needs git, make and python3 (3.11 or newer, with venv). Everything else goes into .venv/.
# `make` alone lists what can be done.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
# Exactly the locked bytes, and never a compiler: every locked package has a wheel.
PIP_LOCKED := $(PIP) install --require-hashes --only-binary :all:
UV_VERSION := 0.13.8
CXX ?= g++
MODEL := build/custody_model
REPORT := build/test
# Side by side; more than there are cores makes tests that wait for each other late.
WORKERS ?= 2
# In memory, where an fsync costs nothing: what a disk makes of one is for the tests of faults.
TEST_FILES := $(wildcard /dev/shm)
QUICK_TESTS := $(wildcard tests/unit tests/spec tests/property tests/simulator tests/mistakes tests/mutation)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ------------------------------------------------------------------------------------------ environment

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null \
	  || { echo "make: no '$(PYTHON)' here; install python3 (3.11 or newer), or name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "make: $$($(PYTHON) -V) is too old, 3.11 is the oldest that works; name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@if $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then $(PYTHON) -m venv $(VENV); \
	elif $(PYTHON) -c 'import virtualenv' 2>/dev/null; then $(PYTHON) -m virtualenv --quiet $(VENV); \
	else echo "make: $(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; fi

# What runs the daemon. Installed again only when a lock or pyproject.toml changes: the package itself is editable.
$(VENV)/run.stamp: requirements/run.txt requirements/build.txt pyproject.toml | $(BIN)/python
	@echo "installing handoffd into $(VENV)"
	@$(PIP_LOCKED) -r requirements/run.txt -r requirements/build.txt
	@$(PIP) install --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/run.stamp
	@echo "installing the tools of the tests into $(VENV)"
	@$(PIP_LOCKED) -r requirements/dev.txt
	@touch $@

.PHONY: venv
venv: $(VENV)/dev.stamp ## make .venv with the package and the tools

# ------------------------------------------------------------------------------------------ using it

.PHONY: demo
demo: $(VENV)/run.stamp ## two daemons, two agents, a call handed over and back
	@$(BIN)/handoffd demo

.PHONY: bench
bench: $(VENV)/dev.stamp ## the benchmark table; ARGS="--quick" and others go to it
	@test -f benchmarks/__main__.py || { echo "make: benchmarks/__main__.py is missing" >&2; exit 1; }
	@$(BIN)/python -m benchmarks $(ARGS)

# ------------------------------------------------------------------------------------------ checking it

.PHONY: check
# Set, it would have every worker and every command compile anew all that it imports, for seconds.
check: export PYTHONDONTWRITEBYTECODE :=
check: $(VENV)/dev.stamp ## style, types, floors and the quick tests; about a minute
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@rm -rf $(REPORT)
	PYTEST_DEBUG_TEMPROOT=$(TEST_FILES) $(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal \
	  --override-ini tmp_path_retention_policy=failed --junitxml=$(REPORT)/quick-tests.xml \
	  $(QUICK_TESTS) -m "not containers and not model and not slow"

.PHONY: test
test: check ## everything: check, faults, model, containers; HANDOFFD_REQUIRE="docker cxx ..." forbids skipping
	@BIN=$(BIN) WORKERS=$(WORKERS) .ci/test

.PHONY: format
format: $(VENV)/dev.stamp ## let ruff put the style right
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

$(MODEL): model/custody_model.cpp $(wildcard model/*.h)
	@command -v $(CXX) >/dev/null \
	  || { echo "make: no C++ compiler '$(CXX)'; on Debian and Ubuntu: apt-get install g++" >&2; exit 1; }
	@mkdir -p $(@D)
	$(CXX) -O2 -std=c++17 -o $@ $<

.PHONY: model
model: $(MODEL) ## every order of events in the custody protocol; about a minute
	$(MODEL)

.PHONY: model-mistakes
model-mistakes: $(MODEL) ## the seeded mistakes, each of which the model must catch
	$(MODEL) --mistakes

.PHONY: pictures
pictures: $(VENV)/dev.stamp ## make the pictures of the status page in docs/images/ anew; needs chromium, chromium-driver, fonts-inter
	@$(BIN)/python -m tests.spec.page.pictures >/dev/null

N ?= 20000
HOSTS ?= 2
SEED ?= 0
.PHONY: simulate
simulate: $(VENV)/dev.stamp ## N=20000 schedules of HOSTS=2 simulated hosts from SEED=0 on, COMPILED=1 for many; failures are shortened and kept
	@$(BIN)/python -m tests.simulator --schedules $(N) --hosts $(HOSTS) --seed $(SEED) $(if $(COMPILED),--compiled)

.PHONY: paths
paths: $(VENV)/dev.stamp $(MODEL) ## what the hosts of N=20000 schedules show, held against the model: each is a path of it
	@$(BIN)/python -m tests.simulator.paths_check --schedules $(N) --model $(MODEL)

$(VENV)/mutation.stamp: requirements/mutation.txt $(VENV)/dev.stamp
	@echo "installing the tool of mutation testing into $(VENV)"
	@$(PIP_LOCKED) -r requirements/mutation.txt
	@touch $@

MODULES ?= protocol
.PHONY: mutate
mutate: $(VENV)/mutation.stamp ## change the code of MODULES="protocol" bit by bit and count what its tests notice; ARGS="--sample 3" for a part
	@$(BIN)/python -m tests.mutation $(ARGS) $(MODULES)

.PHONY: mistakes
mistakes: $(VENV)/dev.stamp ## break every rule in a copy of the code and measure what notices it; some minutes
	@$(BIN)/python -m tests.mistakes

MINUTES ?= 60
.PHONY: soak
soak: $(VENV)/dev.stamp ## two hosts, a handoff a second each way, a fault every 30 s, for MINUTES=60; then the books
	@$(BIN)/python -m tests.fire --minutes $(MINUTES)

.PHONY: hostile
hostile: $(VENV)/dev.stamp ## a million hostile payloads through admission, 100,000 hostile requests to a daemon; some minutes
	@$(BIN)/python -m tests.hostile

.PHONY: crash-points
crash-points: $(VENV)/dev.stamp ## a real process struck at every system call of every story, and every fault of the fake port; needs strace; hours
	@$(BIN)/python -m tests.fault.calls
	@$(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal --whole tests/fault/test_crash_at_every_step.py tests/fault/test_crash_on_*.py

.PHONY: power-cuts
power-cuts: $(VENV)/dev.stamp ## N=20000 power cuts on ext4 and xfs; needs root, e2fsprogs, xfsprogs
	@$(BIN)/python -m tests.fault.cuts --cuts $(N)

# ------------------------------------------------------------------------------------------ shipping it

.PHONY: lock
lock: | $(BIN)/python ## pin the dependencies anew, with hashes
	@test -x build/uv/bin/uv || $(BIN)/python -m venv build/uv
	@build/uv/bin/python -m pip --disable-pip-version-check --quiet install uv==$(UV_VERSION)
	@compile="build/uv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links"; \
	$$compile pyproject.toml --output-file requirements/run.txt; \
	$$compile pyproject.toml --extra dev --constraints requirements/run.txt --output-file requirements/dev.txt; \
	$$compile requirements/build.in --constraints requirements/dev.txt --output-file requirements/build.txt; \
	$$compile requirements/mutation.in --constraints requirements/dev.txt --output-file requirements/mutation.txt

.PHONY: wheel
wheel: $(VENV)/dev.stamp ## build the wheel and the source distribution into dist/
	@rm -f dist/handoffd[-_]*
	@$(BIN)/python -m build --no-isolation --outdir dist .

$(VENV)/docs.stamp: requirements/docs.txt $(VENV)/run.stamp
	@echo "installing the tools of the documentation into $(VENV)"
	@$(PIP_LOCKED) -r requirements/docs.txt
	@touch $@

.PHONY: docs
docs: $(VENV)/docs.stamp ## the documentation as a site in build/site/, its links checked
	@rm -rf build/site build/doctrees
	@$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -c docs/site -b html -d build/doctrees . build/site
	@$(BIN)/python docs/site/check.py build/site

.PHONY: pages
pages: $(VENV)/run.stamp ## write the pages anew that are made from the code
	@for maker in docs/make_*.py; do $(BIN)/python $$maker; done
	@$(BIN)/python -m handoffd.hub.reference docs/http-api.md

.PHONY: package
package: $(VENV)/dev.stamp $(VENV)/docs.stamp wheel ## wheel, source distribution and Debian package in dist/
	@packaging/deb/build dist

.PHONY: image
image: $(VENV)/dev.stamp ## the container image handoffd:latest; BASE_IMAGE=... builds on another base
	@packaging/image/build

.PHONY: clean
clean: ## remove everything that was made here
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
