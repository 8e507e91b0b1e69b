"""``python -m node.engine.worker.grammar``: make grammars of the JSON schema on stdin, and see them taken.

It runs as a process of its own, under limits: a hostile schema may send its reader, llguidance or llama.cpp's parser
into a long loop, or into an assertion that ends the process, and neither may happen where answers are being written.
"""

from __future__ import annotations

import resource
import sys

import msgspec

from node.engine.protocol import EngineError
from node.engine.worker.gbnf import gbnf
from node.engine.worker.lark import lark
from node.engine.worker.native import llama, quiet_log
from node.engine.worker.schema.reducer import Reduced, reduced
from node.engine.worker.tokens import TokenTable
from node.values.inference import MAX_SCHEMA_CHARS

CPU_SECONDS = 4
MEMORY_BYTES = 1 << 30
MAX_GRAMMAR_CHARS = 512 * 1024


class Made(msgspec.Struct):
    """What the process says: grammars, or why there are none."""

    lark: str = ""
    """For this node's own worker, in llguidance's notation."""
    gbnf: str = ""
    """For servers of llama.cpp, in theirs."""
    problem: str = ""
    gbnf_problem: str = ""
    """Why there is none for servers of llama.cpp alone."""


def made(text: str) -> Made:
    """The grammars of a JSON schema's values.

    Raises:
        EngineError: With code ``bad_request`` if there are none.
    """
    found = reduced(text)
    grammars = Made(lark(found.root, found.shared))
    if len(grammars.lark) > MAX_GRAMMAR_CHARS:
        raise _bad("The JSON schema makes too large a grammar.")
    # A table of single bytes: what a grammar costs to compile hardly depends on the vocabulary.
    TokenTable([bytes([byte]) for byte in range(256)], ()).matcher(grammars.lark)
    try:
        grammars.gbnf = _gbnf(found)
    except EngineError as error:
        grammars.gbnf_problem = error.message
    return grammars


def _gbnf(found: Reduced) -> str:
    made = gbnf(found.root, found.shared)
    if len(made) > MAX_GRAMMAR_CHARS:
        raise _bad("The JSON schema makes too large a grammar for llama.cpp.")
    native = llama.llama_sampler_init_grammar(None, made.encode(), b"root")
    if not native:
        raise _bad("llama.cpp can't use the grammar of this JSON schema.")
    llama.llama_sampler_free(native)
    return made


def main() -> None:
    """Read a schema, print `Made` as JSON."""
    for limit, most in ((resource.RLIMIT_CPU, CPU_SECONDS), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, None)):
        bound = MEMORY_BYTES if most is None else most
        resource.setrlimit(limit, (bound, bound))
    quiet_log()
    text = sys.stdin.buffer.read(4 * MAX_SCHEMA_CHARS).decode("utf-8", "replace")
    try:
        answer = made(text)
    except EngineError as error:
        answer = Made(problem=error.message)
    except (MemoryError, RecursionError):
        answer = Made(problem="The JSON schema is too large.")
    sys.stdout.buffer.write(msgspec.json.encode(answer))


def _bad(message: str) -> EngineError:
    return EngineError(message, code="bad_request", fix="Change the schema.")


if __name__ == "__main__":
    main()
