"""Whether a build of llama.cpp works here: it loads a model and produces a token. Needs no other package.

The installer runs this file before it installs a build, and `idlewatt doctor` afterwards. ``python -P selftest.py
FOLDER MODEL``, with the folder that holds the package ``llama_cpp``, prints one JSON object: ``token``, ``backends``
(the names under which ggml's backends register) and ``devices`` (``name``, ``description``, and ``is_gpu``). It runs in
a process of its own, since a library that doesn't fit the machine may end it.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import json
import sys
import types
import typing
from pathlib import Path
from typing import Any

PROMPT = b"What is 17 + 25?"
MAX_PROMPT_TOKENS = 64
_GPU_TYPES = (1, 2)
"""``GGML_BACKEND_DEVICE_TYPE_GPU`` and ``_IGPU`` of ggml-backend.h."""


def binding(folder: Path) -> Any:
    """The low-level binding in ``folder``, without the high-level part, which needs other packages.

    Raises:
        ImportError: If it is not there, or its library doesn't load.
    """
    package = types.ModuleType("llama_cpp")
    package.__path__ = [str(folder / "llama_cpp")]
    sys.modules["llama_cpp"] = package
    if importlib.util.find_spec("typing_extensions") is None:
        sys.modules["typing_extensions"] = typing  # which has the names that the binding takes from it
    return importlib.import_module("llama_cpp.llama_cpp")


def one_token(llama: Any, model_path: Path) -> str:
    """Load the model and let it continue a question by its likeliest token.

    Raises:
        RuntimeError: If llama.cpp refuses, with what it refused to do.
    """
    llama.llama_backend_init()
    params = llama.llama_model_default_params()
    # As the engine loads models (`node/engine/worker/model.py`): GCC 12's kernels for AMX crash.
    params.use_extra_bufts = b"AMX_INT8 = 1" not in llama.llama_print_system_info()
    model = llama.llama_model_load_from_file(str(model_path).encode(), params)
    if not model:
        raise RuntimeError("it can't load the demo model")
    context_params = llama.llama_context_default_params()
    context_params.n_ctx = context_params.n_batch = MAX_PROMPT_TOKENS
    context = llama.llama_init_from_model(model, context_params)
    if not context:
        raise RuntimeError("it can't make a context")
    vocabulary = llama.llama_model_get_vocab(model)
    tokens = (ctypes.c_int32 * MAX_PROMPT_TOKENS)()
    count = llama.llama_tokenize(vocabulary, PROMPT, len(PROMPT), tokens, MAX_PROMPT_TOKENS, True, True)
    if count <= 0 or llama.llama_decode(context, llama.llama_batch_get_one(tokens, count)) != 0:
        raise RuntimeError("it can't read a prompt")
    size = llama.llama_vocab_n_tokens(vocabulary)
    logits = llama.llama_get_logits_ith(context, -1)[:size]
    if not all(abs(logit) < float("inf") for logit in logits):
        raise RuntimeError("its results are not numbers")
    likeliest = max(range(size), key=logits.__getitem__)
    piece = (ctypes.c_char * 64)()
    length = llama.llama_token_to_piece(vocabulary, likeliest, piece, len(piece), 0, True)
    llama.llama_free(context)
    llama.llama_model_free(model)
    return piece.raw[: max(length, 0)].decode("utf-8", "replace")


def backends(library: Any) -> list[str]:
    """The names of the backends that are built in or were found beside the library."""
    name = _question(library, "ggml_backend_reg_name", ctypes.c_char_p, ctypes.c_void_p)
    get = _question(library, "ggml_backend_reg_get", ctypes.c_void_p, ctypes.c_size_t)
    count = _question(library, "ggml_backend_reg_count", ctypes.c_size_t)
    return [name(get(index)).decode() for index in range(count())]


def devices(library: Any) -> list[dict[str, Any]]:
    """The devices that these backends see on this machine."""
    name = _question(library, "ggml_backend_dev_name", ctypes.c_char_p, ctypes.c_void_p)
    description = _question(library, "ggml_backend_dev_description", ctypes.c_char_p, ctypes.c_void_p)
    kind = _question(library, "ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)
    get = _question(library, "ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
    count = _question(library, "ggml_backend_dev_count", ctypes.c_size_t)
    found = [get(index) for index in range(count())]
    return [
        {
            "name": name(device).decode("utf-8", "replace"),
            "description": description(device).decode("utf-8", "replace"),
            "is_gpu": kind(device) in _GPU_TYPES,
        }
        for device in found
    ]


def _question(library: Any, name: str, result: Any, *arguments: Any) -> Any:
    # Of the library's own dependencies: looked up through it, they are the ones that it uses.
    function = getattr(library, name)
    function.restype, function.argtypes = result, list(arguments)
    return function


def main(arguments: list[str]) -> int:
    """Print what was found; the exit status is 1, and the last line of stderr the reason, if it doesn't work."""
    folder, model_path = map(Path, arguments)
    try:
        llama = binding(folder)
        token = one_token(llama, model_path)
    except Exception as error:  # whatever it is, this build must not be installed
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    found = {"token": token, "backends": backends(llama._lib), "devices": devices(llama._lib)}
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
