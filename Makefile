# Everything a newcomer or a machine needs to start: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK_FLAGS := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock"

# llama.cpp is compiled from the sdist of llama-cpp-python: leave out what Idlewatt never calls.
# Set CMAKE_ARGS yourself to add a backend, e.g. CMAKE_ARGS="-DGGML_CUDA=on" make demo
LLAMA_CMAKE := -DLLAVA_BUILD=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF
export CMAKE_ARGS := $(LLAMA_CMAKE) $(CMAKE_ARGS)
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(shell nproc)

.PHONY: demo install dev test lint types seams pytest lock clean

demo: install
	$(BIN)/idlewatt demo $(ARGS)

lock:
	$(BIN)/uv pip compile pyproject.toml $(LOCK_FLAGS) --upgrade -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --group dev $(LOCK_FLAGS) -c requirements.lock --upgrade -o requirements-dev.lock
