# Everything a newcomer or a bare machine needs: `make demo` to look, `make test` to check.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Test processes side by side; `make pytest WORKERS=0 ARGS=...` runs them in one, for a debugger.
WORKERS ?= 2
LOCK := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras --custom-compile-command "make lock"

# llama.cpp is compiled from llama-cpp-python's sdist: leave out what Idlewatt never calls.
# Your own CMAKE_ARGS are added, e.g. CMAKE_ARGS="-DGGML_CUDA=on" make clean demo
override CMAKE_ARGS := -DLLAVA_BUILD=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TOOLS=OFF \
	-DLLAMA_BUILD_SERVER=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF $(CMAKE_ARGS)
export CMAKE_ARGS
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(shell nproc 2>/dev/null || echo 2)

# pip is quiet for minutes while it compiles: show the compiler's own counter, and keep the whole log.
# `--no-deps`: install exactly what the lock says; no release that is newer than the lock can change it.
PIP_PROGRESS = { $(BIN)/pip install -v --no-deps --require-hashes -r $(1) 2>&1; echo "exit $$?"; } | tee $(VENV)/install.log \
	| awk '/\[[0-9]+\/[0-9]+\]/ { match($$0, /\[[0-9]+\/[0-9]+\]/); printf "\r  compiling llama.cpp %s   ", substr($$0, RSTART, RLENGTH); fflush(); next } \
	/^(Collecting|Building wheel|Installing collected|Successfully)/ { printf "\r%s\n", substr($$0, 1, 110); fflush() } \
	/^ERROR|error:/ { printf "\r%s\n", $$0; fflush() } \
	/^exit / { status = $$2 } END { exit status }'

.PHONY: demo install dev test lint types seams pytest contracts villains bench lock clean

demo: install  ## open the terminal app on the embedded network
	@$(BIN)/idlewatt demo $(ARGS)

install: $(VENV)/.installed
dev: $(VENV)/.installed-dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 12) else "Idlewatt needs Python 3.11 or 3.12: make PYTHON=python3.11 ...")' >&2
	@$(PYTHON) -m venv $(VENV) >&2

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing (the first time llama.cpp is compiled: some minutes) ..." >&2
	@$(call PIP_PROGRESS,requirements.lock) >&2
	@$(BIN)/pip install -q --no-deps -e . >&2
	@$(BIN)/pip check >&2
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock requirements.lock pyproject.toml | $(VENV)/bin/python
	@$(call PIP_PROGRESS,requirements-dev.lock) >&2
	@$(BIN)/pip install -q --no-deps -e . >&2
	@$(BIN)/pip check >&2
	@touch $@ $(VENV)/.installed

test: lint types seams pytest  ## everything that must hold before a change lands

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: dev
	$(BIN)/mypy

seams: dev
	$(BIN)/lint-imports

pytest: dev
	$(BIN)/coverage erase
	$(BIN)/python -m pytest -q -n $(WORKERS) --cov --cov-report=term $(ARGS)

contracts: dev  ## rebuild the contracts' artifacts
	$(BIN)/python -m chain.contracts.build

villains: dev  ## sequencers that misbehave, each against one honest watchtower, as a table
	@$(BIN)/python -m tests.villains $(ARGS)

bench: dev  ## every measured claim, as JSON, then as a table
	@$(BIN)/python -m bench

lock: dev  ## refresh the pinned versions
	$(BIN)/uv pip compile pyproject.toml $(LOCK) --upgrade -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --group dev $(LOCK) -c requirements.lock --upgrade -o requirements-dev.lock
	$(BIN)/uv pip compile tests/chain/eels/requirements.in $(LOCK) --upgrade -o tests/chain/eels/requirements.lock

clean:
	rm -rf $(VENV) build dist *.egg-info
