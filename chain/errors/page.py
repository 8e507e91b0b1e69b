"""The documentation's page of error codes, made from the registry."""

from __future__ import annotations

from typing import Final

from chain.errors.entry import EXIT_USAGE, HTTP_BAD_REQUEST, ErrorEntry, JsonRpc
from chain.errors.registry import AREAS

_INTRODUCTION: Final = """# Error codes

`python -m chain.errors > docs/errors.md` writes this page from the registry in `chain/errors/`.

Every failure that a person or a peer should read is an `IdlewattError`: one line, a code, and a fix. A code keeps its
meaning. This is what each one becomes:

* **Exit**: the exit status of a command. 0 is success, and 130 is an interrupted command.
* **JSON-RPC**: the error number of the rollup's RPC. `data.code` holds the code.
* **HTTP**: the status of an HTTP answer that reports it.
* **Relay**: the status with which a relay closes the WebSocket of a node, after a `failure` with the code. *circuit*
  marks the closing codes that a relay, or its client, ends a circuit with.
* **Again**: whether the same request may succeed later, with nothing changed.

Numbers in brackets hold where the code is raised as the caller's own mistake (`UsageError`).

A peer, a server or a contract may send a word that is not listed here. The error then has the code that its kind of
failure falls back to, and keeps the word beside it (`IdlewattError.peer_code`).
"""
_HEAD: Final = "| Code | Meaning | Exit | JSON-RPC | HTTP | Relay | Again |\n|---|---|---|---|---|---|---|\n"


def errors_page() -> str:
    """The whole page, as Markdown."""
    parts = [_INTRODUCTION]
    for area, entries in AREAS.items():
        rows = "".join(_row(code, entries[code]) for code in sorted(entries))
        parts.append(f"\n## {area}\n\n{_HEAD}{rows}")
    return "".join(parts)


def _row(code: str, entry: ErrorEntry) -> str:
    relay = [str(entry.websocket_close)] if entry.websocket_close is not None else []
    relay += ["circuit"] if entry.ends_circuit else []
    cells = (
        f"`{code}`",
        entry.meaning,
        _either(entry.exit_status, EXIT_USAGE, entry),
        _either(entry.json_rpc.value, JsonRpc.INVALID_PARAMS.value, entry),
        _either(entry.http_status, HTTP_BAD_REQUEST, entry),
        ", ".join(relay),
        "yes" if entry.is_retryable else "",
    )
    return f"| {' | '.join(cells)} |\n"


def _either(usual: int, as_usage: int, entry: ErrorEntry) -> str:
    return f"{usual} ({as_usage})" if entry.as_usage and usual != as_usage else str(usual)
