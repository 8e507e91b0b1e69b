"""Writes a contract's interface file from what the compiler says of it: its ABI and its NatSpec notices.

What calls a contract from Solidity imports that file and nothing else. It is written, and not kept by hand, so that it
can't differ from the contract; a test compiles it and compares the ABIs.
"""

from __future__ import annotations

import textwrap
from typing import Any

_WIDTH = 118
_INDENT = "    "


def interface_text(name: str, abi: list[dict[str, Any]], notices: dict[str, Any]) -> str:
    """The Solidity interface ``I<name>`` of a contract.

    Args:
        name: The contract's.
        abi: Its ABI, in the compiler's JSON form.
        notices: Its ``userdoc``, in the compiler's JSON form.
    """
    structs: dict[str, list[str]] = {}
    parts: list[str] = []
    for kind, write in (("event", _event), ("error", _error), ("function", _function)):
        found = (entry for entry in abi if entry["type"] == kind)
        for entry in sorted(found, key=_signature):
            for field in [*entry["inputs"], *entry.get("outputs", ())]:
                _collect(field, structs)
            parts.append(_commented(_notice(notices, kind, _signature(entry)), write(entry)))
    definitions = ["\n".join([f"struct {struct} {{", *lines, "}"]) for struct, lines in sorted(structs.items())]
    body = "\n\n".join([*definitions, *parts])
    title = _commented(f"What the contract `{name}` offers; written from it by `chain.contracts.build`.", "", "@title")
    head = "// SPDX-License-Identifier: Apache-2.0\npragma solidity ^0.8.28;\n"
    return f"{head}\n{title}interface I{name} {{\n{textwrap.indent(body, _INDENT)}\n}}\n"


def _function(entry: dict[str, Any]) -> str:
    mutability = "" if entry["stateMutability"] == "nonpayable" else f" {entry['stateMutability']}"
    outputs = entry["outputs"]
    returns = f" returns ({', '.join(_fields(outputs, 'memory'))})" if outputs else ""
    fields = _fields(entry["inputs"], "calldata")
    return _laid_out(f"function {entry['name']}", fields, f"external{mutability}{returns}")


def _event(entry: dict[str, Any]) -> str:
    fields = [f"{_type(field)}{' indexed' if field['indexed'] else ''} {field['name']}" for field in entry["inputs"]]
    return _laid_out(f"event {entry['name']}", fields)


def _error(entry: dict[str, Any]) -> str:
    fields = [f"{_type(field)} {field['name']}" for field in entry["inputs"]]
    return _laid_out(f"error {entry['name']}", fields)


def _laid_out(name: str, fields: list[str], tail: str = "") -> str:
    """A declaration on one line, or with a line for each of its fields where that is too long."""
    end = f" {tail};" if tail else ";"
    line = f"{name}({', '.join(fields)}){end}"
    if len(line) + len(_INDENT) <= _WIDTH:
        return line
    rows = ",\n".join(_INDENT + field for field in fields)
    return f"{name}(\n{rows}\n){end}"


def _fields(fields: list[dict[str, Any]], place: str) -> list[str]:
    return [" ".join(filter(None, (_type(field), _place(field, place), field["name"]))) for field in fields]


def _place(field: dict[str, Any], place: str) -> str:
    """Where a value of more than one word lives."""
    kind = field["type"]
    return place if kind in ("bytes", "string") or kind.endswith("]") or kind.startswith("tuple") else ""


def _type(field: dict[str, Any]) -> str:
    kind: str = field["type"]
    if kind.startswith("tuple"):
        return _struct_name(field) + kind.removeprefix("tuple")
    return kind


def _struct_name(field: dict[str, Any]) -> str:
    name: str = field["internalType"].removeprefix("struct ").split("[")[0]
    return name.split(".")[-1]


def _collect(field: dict[str, Any], structs: dict[str, list[str]]) -> None:
    """Note the structs that a field is made of."""
    if not field["type"].startswith("tuple"):
        return
    for member in field["components"]:
        _collect(member, structs)
    structs[_struct_name(field)] = [f"{_INDENT}{_type(member)} {member['name']};" for member in field["components"]]


def _signature(entry: dict[str, Any]) -> str:
    return f"{entry['name']}({','.join(_canonical(field) for field in entry['inputs'])})"


def _canonical(field: dict[str, Any]) -> str:
    kind: str = field["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(_canonical(member) for member in field['components'])}){kind.removeprefix('tuple')}"


def _notice(notices: dict[str, Any], kind: str, signature: str) -> str:
    found = notices.get("methods" if kind == "function" else f"{kind}s", {}).get(signature, {})
    # An error's notice stands in a list: contracts may define it more than once.
    entry = found[0] if isinstance(found, list) else found
    text: str = entry.get("notice", "")
    return text


def _commented(text: str, code: str, tag: str = "@notice") -> str:
    if not text:
        return code
    lines = textwrap.wrap(f"{tag} {text}", _WIDTH - len(_INDENT) - 4)
    return "".join(f"/// {line}\n" for line in lines) + code
