"""The published test vectors of the state transition: ``python -m tests.fuzz.vectors`` writes ``tests/vectors``.

One for every way in which every type of transaction can end, for deposits, forced transactions and frames, and for
what a challenger may not hand over. ``docs/vectors.md`` says how another implementation uses them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

from msgspec.structs import replace

from chain.stf import Code
from chain.tx_format import TxType
from tests.fuzz.cases import kinds
from tests.fuzz.prover import Call, examine
from tests.fuzz.scenarios import SCENARIOS
from tests.fuzz.witnesses import inbox_case, right_case, wrong_calls
from tests.fuzz.world import Case

FOLDER = Path(__file__).resolve().parent.parent / "vectors"
FORCED = (
    TxType.CREATE_ACCOUNT,
    TxType.TRANSFER,
    TxType.WITHDRAW,
    TxType.OPEN_CHANNEL,
    TxType.TOP_UP,
    TxType.STAKE,
    TxType.COLLECT_FEES,
    TxType.PRUNE,
)
DRAWN = {Code.MALLEABLE_SIGNATURE, Code.CHANNEL_UNAVAILABLE}
"""Codes whose scenarios draw the place of the fault."""


def vector_cases() -> Iterator[tuple[str, Case]]:
    """The file that each published case stands in, and the case."""
    makers = dict(sorted(kinds(), key=lambda kind: kind[0]))
    types: set[TxType] = set()
    # By name, so that a scenario that is added later moves no other's vector.
    for one in sorted(SCENARIOS, key=lambda one: one.name):
        # A scenario of several faults draws one of them: enough draws have them all.
        places = range(8) if "_or_" in one.name else range(4) if one.code in DRAWN else (crc32(one.name.encode()) % 3,)
        names = [("transactions", f"{one.name}@{place}") for place in places]
        if one.tx_type in FORCED:
            names.append(("inbox", f"forced/{one.name}@0"))
        if one.tx_type not in types:
            names.append(("frames", f"truncated/{one.name}@0"))
        types.add(one.tx_type)
        for file, name in names:
            yield file, _named(name, makers[name](Random(name)))
    for name, make in makers.items():
        if name.startswith("deposit/") and name.endswith("@0"):
            yield "inbox", _named(name, make(Random(name)))
        if name.startswith("mixed/") and name.rsplit("/", 1)[1] in ("0", "1", "2", "3"):
            yield "frames", _named(name, make(Random(name)))
        if name.startswith("frame/") and int(name[-1]) < 4:
            yield "frames", _named(name, make(Random(name)))


def files() -> dict[str, str]:
    """The vectors' files by name."""
    found: dict[str, list[dict[str, Any]]] = {}
    for file, case in vector_cases():
        found.setdefault(file, []).append(vector(case))
    found["witnesses"] = [vector(right_case()), vector(inbox_case())]
    found["witnesses"] += [{"name": wrong.name, **_call(wrong.call), "refused": wrong.error} for wrong in wrong_calls()]
    return {f"{file}.json": _text(vectors) for file, vectors in found.items()}


def vector(case: Case) -> dict[str, Any]:
    """A case as JSON values."""
    call, code, root = examine(case)
    domain = case.rules.domain
    return {
        "name": case.name,
        "l1_chain_id": domain.l1_chain_id,
        "rollup_address": _hex(domain.rollup_address),
        "salt": _hex(domain.salt),
        "leaves": [[key, _hex(leaf.encode())] for key, leaf in sorted(case.leaves)],
        **_call(call),
        "code": int(code),
        "root": _hex(root) if code == 0 else None,
    }


def read_call(values: dict[str, Any]) -> Call:
    """What a vector tells the contract."""
    texts = ("domain_separator", "prev_root", "frame", "messages", "witness")
    numbers = ("close_delay_s", "unstake_delay_s", "l2_time_s", "inbox_to")
    return Call(
        **{name: bytes.fromhex(values[name][2:]) for name in texts},
        **{name: int(values[name]) for name in numbers},
        is_last=values["is_last"],
    )


def main() -> int:
    """Write every file."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


def _named(name: str, case: Case) -> Case:
    return replace(case, name=name)


def _call(call: Call) -> dict[str, Any]:
    return {
        "domain_separator": _hex(call.domain_separator),
        "close_delay_s": str(call.close_delay_s),
        "unstake_delay_s": str(call.unstake_delay_s),
        "l2_time_s": str(call.l2_time_s),
        "inbox_to": str(call.inbox_to),
        "is_last": call.is_last,
        "prev_root": _hex(call.prev_root),
        "frame": _hex(call.frame),
        "messages": _hex(call.messages),
        "witness": _hex(call.witness),
    }


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _text(vectors: list[dict[str, Any]]) -> str:
    return "[\n" + ",\n".join(json.dumps(one, ensure_ascii=False) for one in vectors) + "\n]\n"


if __name__ == "__main__":
    raise SystemExit(main())
