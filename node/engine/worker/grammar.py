"""``python -m node.engine.worker.grammar``: make a grammar of the JSON schema on stdin, and see llama.cpp take it.

It runs as a process of its own, under limits: a hostile schema may send the converter or llama.cpp's parser into a long
loop, or into an assertion that ends the process, and neither may happen where answers are being written.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

import msgspec

from node.engine.protocol import MAX_SCHEMA_CHARS, EngineError
from node.engine.worker.native import import_part, llama, quiet_log
from node.engine.worker.schema import reduced

CPU_SECONDS = 4
MEMORY_BYTES = 1 << 30
MAX_GRAMMAR_CHARS = 512 * 1024

_converter = import_part("llama_grammar")
_HEX = "[0-9a-fA-F]"
# Of the converter's own rule: control characters can't stand in JSON text, and half of a surrogate pair is no text.
_CHAR = (
    r'[^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | '
    f'"u" ([0-9a-ce-fA-CE-F] {_HEX} {_HEX} {_HEX} | [dD] [0-7] {_HEX} {_HEX}))'
)
_WHOLE = '"0" | [1-9] ' + "([0-9] " * 15 + ")?" * 15


class Made(msgspec.Struct):
    """What the process says: a grammar, or why there is none."""

    grammar: str = ""
    problem: str = ""


_Base: Any = _converter.SchemaConverter


class _Converter(_Base):  # type: ignore[misc]
    """The library's converter, with what it gets wrong put right."""

    def __init__(self) -> None:
        super().__init__(prop_order={}, allow_fetch=False, dotall=False, raw_pattern=False)

    def _format_literal(self, literal: str) -> str:
        """The converter leaves the backslashes of JSON's own escapes to be read as the grammar's."""
        try:
            text = json.dumps(json.loads(literal), ensure_ascii=False)
            text.encode()
        except UnicodeEncodeError:
            text = literal
        escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
        return f'"{escaped}"'

    def _add_primitive(self, name: str, rule: Any) -> Any:
        content = {"char": _CHAR, "integral-part": _WHOLE}.get(name)
        return super()._add_primitive(name, rule if content is None else _converter.BuiltinRule(content, []))


def to_gbnf(text: str) -> str:
    """The grammar of a JSON schema's values.

    Raises:
        EngineError: With code ``bad_request`` if there is none.
    """
    converter = _Converter()
    try:
        schema = reduced(text)
        converter._refs = {f"#/$defs/{name}": part for name, part in schema.pop("$defs", {}).items()}
        converter.visit(schema, "")
        grammar: str = converter.format_grammar()
    except EngineError:
        raise
    except Exception as error:  # the library asserts what it doesn't know
        raise _bad("The JSON schema can't be made into a grammar.") from error
    if len(grammar) > MAX_GRAMMAR_CHARS:
        raise _bad("The JSON schema makes too large a grammar.")
    native = llama.llama_sampler_init_grammar(None, grammar.encode(), b"root")
    if not native:
        raise _bad("llama.cpp can't use the grammar of this JSON schema.")
    llama.llama_sampler_free(native)
    return grammar


def main() -> None:
    """Read a schema, print `Made` as JSON."""
    for limit, most in ((resource.RLIMIT_CPU, CPU_SECONDS), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, None)):
        bound = MEMORY_BYTES if most is None else most
        resource.setrlimit(limit, (bound, bound))
    quiet_log()
    text = sys.stdin.buffer.read(4 * MAX_SCHEMA_CHARS).decode("utf-8", "replace")
    try:
        made = Made(grammar=to_gbnf(text))
    except EngineError as error:
        made = Made(problem=error.message)
    except (MemoryError, RecursionError):
        made = Made(problem="The JSON schema is too large.")
    sys.stdout.buffer.write(msgspec.json.encode(made))


def _bad(message: str) -> EngineError:
    return EngineError(message, code="bad_request", fix="Change the schema.")


if __name__ == "__main__":
    main()
