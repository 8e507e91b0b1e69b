"""``python -m bench.python_server [--no-repack] …``: `llama_cpp.server` with its own options.

It has no option for what crashes on some processors (see `node/engine/worker/model.py`), so that one is set here.
"""

from __future__ import annotations

import sys
from typing import Any

import llama_cpp
from llama_cpp.server.__main__ import main as serve

NO_REPACK = "--no-repack"


def main() -> None:
    """Start it."""
    if NO_REPACK in sys.argv:
        sys.argv.remove(NO_REPACK)
        library: Any = llama_cpp.llama_cpp
        defaults = library.llama_model_default_params

        def without_repacking() -> Any:
            params = defaults()
            params.use_extra_bufts = False
            return params

        library.llama_model_default_params = without_repacking
    serve()


if __name__ == "__main__":
    main()
