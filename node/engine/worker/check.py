"""``python -m node.engine.worker.check FILE``: whether llama.cpp would load a model, without reading its weights.

llama.cpp reads all of the file but the weights: its architecture, numbers, vocabulary, and each tensor's name and
shape. The chat template is tried as it is at load. The answer is one JSON line on standard output; llama.cpp's log goes
to standard error. A file on which llama.cpp ends itself ends this process only.
"""

from __future__ import annotations

import os
import resource
import sys

import msgspec

from node.engine.load_check import Verdict
from node.engine.protocol import EngineError
from node.engine.reason import load_error
from node.engine.worker.abilities import try_template
from node.engine.worker.kind import check_kind, embeds_only
from node.engine.worker.native import build, forget_errors, llama, logged_errors, quiet_log
from node.engine.worker.template import ChatTemplate
from node.engine.worker.vocabulary import Vocabulary


def check(model_path: bytes) -> tuple[str, ...]:
    """Load all but the weights.

    Returns:
        What the chat template can't do, and why.

    Raises:
        EngineError: With code ``model_unusable`` if it can't be used, or isn't of a kind that is served.
    """
    quiet_log()
    llama.llama_backend_init()
    params = llama.llama_model_default_params()
    params.no_alloc = True
    # What isn't read can't be mapped either, and no GPU is needed for it.
    params.load_mode = llama.LLAMA_LOAD_MODE_NONE
    params.n_gpu_layers = 0
    forget_errors()
    model = llama.llama_model_load_from_file(model_path, params)
    if model is None:
        raise load_error(logged_errors(), build=build())
    try:
        check_kind(model)
        vocabulary = Vocabulary(model)
        if embeds_only(model):
            return ()
        source: bytes | None = llama.llama_model_chat_template(model, None)
        # A template without text is none, as it is where the model is loaded.
        text = source.decode("utf-8", "replace") if source else None
        return try_template(ChatTemplate(text, bos=vocabulary.bos_text, eos=vocabulary.eos_text)).notes
    finally:
        llama.llama_model_free(model)


def main() -> None:
    """Check the file that the command line names."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    try:
        verdict = Verdict(notes=check(os.fsencode(sys.argv[1])))
    except EngineError as error:
        verdict = Verdict(code=error.code, message=error.message, fix=error.fix)
    sys.stdout.buffer.write(msgspec.json.encode(verdict) + b"\n")
    sys.stdout.buffer.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
