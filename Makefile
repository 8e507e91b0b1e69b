# Everything a newcomer or a bare machine needs: `make demo` to look, `make test` to check.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Test processes side by side; `make pytest WORKERS=0 ARGS=...` runs them in one, for a debugger.
WORKERS ?= 3

# The tools that build llama.cpp are pinned too. Older pips read the first variable for builds, newer ones the second.
export PIP_CONSTRAINT := requirements-build.lock
export PIP_BUILD_CONSTRAINT := requirements-build.lock
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(shell nproc 2>/dev/null || echo 2)

# The reason of a failure is the last line: make itself prints what the installer left in this file.
REASON := $(VENV)/.failed
INSTALL = $(BIN)/python .ci/install.py --reason $(REASON)
BROKE = { test -s $(REASON) || echo "The installer could not be started: see above" > $(REASON); }
SHOW_REASON = $(if $(file <$(REASON)),$(error $(file <$(REASON))))

.PHONY: demo help install dev rebuild test lint types seams pytest format contracts villains suites bench lock clean

demo: install  ## open the terminal app on the embedded network
	@$(BIN)/idlewatt demo $(ARGS)

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: try-install  ## the command, as .venv/bin/idlewatt (CMAKE_ARGS="-DGGML_CUDA=on": for a GPU)
	@$(SHOW_REASON)

dev: try-dev  ## what the checks need as well
	@$(SHOW_REASON)

rebuild: try-rebuild  ## compile llama.cpp again; the old one stays until the new one works
	@$(SHOW_REASON)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "Idlewatt needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.11 ...")' >&2
	@$(PYTHON) -m venv $(VENV) >&2

.PHONY: try-install try-dev try-rebuild
try-install: $(VENV)/bin/python
	@$(INSTALL) requirements.lock || $(BROKE)

try-dev: $(VENV)/bin/python
	@$(INSTALL) requirements-dev.lock || $(BROKE)

try-rebuild: $(VENV)/bin/python
	@$(INSTALL) requirements.lock --rebuild || $(BROKE)

test: lint types seams pytest  ## everything that must hold before a change lands

lint: dev  ## ruff: mistakes and layout; deptry: what is imported is declared, and the other way round
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/deptry app chain node screens wallet
	$(BIN)/deptry bench tests .ci --ignore DEP002,DEP004

types: dev  ## mypy
	$(BIN)/mypy

seams: dev  ## import-linter: who may import whom
	$(BIN)/lint-imports

pytest: dev  ## the test suite, with its coverage (ARGS=... goes to pytest)
	$(BIN)/coverage erase
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal --cov --cov-report=term $(ARGS)

format: dev  ## lay out the code and sort its imports
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

contracts: dev  ## rebuild the contracts' artifacts
	$(BIN)/python -m chain.contracts.build

villains: dev  ## sequencers that misbehave and other attacks, each against what stops it, as two tables
	@$(BIN)/python -m tests.villains $(ARGS)

suites: dev  ## published suites against our code, as a table (SDIST=, SCHEMAS=: copies that are here; ARGS=templates: one)
	@SDIST="$(SDIST)" SCHEMAS="$(SCHEMAS)" $(BIN)/python -m tests.suites $(ARGS)

bench: dev  ## every measured claim, as JSON, then as a table
	@$(BIN)/python -m bench

$(BIN)/uv:
	@$(MAKE) dev

# Not `dev`: a lock that doesn't fit pyproject.toml yet is why one runs this.
lock: $(BIN)/uv  ## pin the newest allowed versions, and say what moved (ARGS=--keep: only what must)
	@$(BIN)/python .ci/lock.py $(ARGS)

clean:  ## remove what was installed and built
	rm -rf $(VENV) build dist *.egg-info
