# Everything a newcomer or a bare machine needs: `make demo` to look, `make test` to check.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Test processes side by side; `make pytest WORKERS=0 ARGS=...` runs them in one, for a debugger.
WORKERS ?= 3

# llama.cpp is compiled from llama-cpp-python's sdist: leave out what Idlewatt never calls.
# Your own CMAKE_ARGS are added, e.g. CMAKE_ARGS="-DGGML_CUDA=on" make clean demo
override CMAKE_ARGS := -DLLAVA_BUILD=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TOOLS=OFF \
	-DLLAMA_BUILD_SERVER=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF $(CMAKE_ARGS)
export CMAKE_ARGS
# The tools that build it are pinned too. Older pips read the first variable for builds, newer ones the second.
export PIP_CONSTRAINT := requirements-build.lock
export PIP_BUILD_CONSTRAINT := requirements-build.lock
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(shell nproc 2>/dev/null || echo 2)

# pip is quiet for minutes while it compiles: show the compiler's own counter, and keep the whole log.
# `--no-deps`: install exactly what the lock says; no release that is newer than the lock can change it.
PIP_PROGRESS = { $(BIN)/pip install -v --no-deps --require-hashes -r $(1) 2>&1; echo "exit $$?"; } | tee $(VENV)/install.log \
	| awk '/\[[0-9]+\/[0-9]+\]/ { match($$0, /\[[0-9]+\/[0-9]+\]/); printf "\r  compiling llama.cpp %s   ", substr($$0, RSTART, RLENGTH); fflush(); next } \
	/^(Collecting|Building wheel|Installing collected|Successfully)/ { printf "\r%s\n", substr($$0, 1, 110); fflush() } \
	/^ERROR|error:/ { printf "\r%s\n", $$0; fflush() } \
	/^exit / { status = $$2 } END { exit status }'

PIP_CHECK = { $(BIN)/pip check || { echo "Packages of an earlier installation may be in the way: run make clean, then this again. Did pyproject.toml change? Run make lock ARGS=--keep first."; exit 1; }; }

.PHONY: demo help install dev test lint types seams pytest format contracts villains suites bench lock clean

demo: install  ## open the terminal app on the embedded network
	@$(BIN)/idlewatt demo $(ARGS)

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.installed  ## the command, as .venv/bin/idlewatt
dev: $(VENV)/.installed-dev  ## what the checks need as well

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "Idlewatt needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.11 ...")' >&2
	@$(PYTHON) -m venv $(VENV) >&2

$(VENV)/.installed: requirements.lock requirements-build.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing (the first time llama.cpp is compiled: some minutes) ..." >&2
	@$(call PIP_PROGRESS,requirements.lock) >&2
	@$(BIN)/pip install -q --no-deps -e . >&2
	@$(PIP_CHECK) >&2
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock requirements.lock requirements-build.lock pyproject.toml | $(VENV)/bin/python
	@$(call PIP_PROGRESS,requirements-dev.lock) >&2
	@$(BIN)/pip install -q --no-deps -e . >&2
	@$(PIP_CHECK) >&2
	@touch $@ $(VENV)/.installed

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

villains: dev  ## sequencers that misbehave, each against one honest watchtower, as a table
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
