"""The published vectors are what the generator writes, and Python and the contract both come to what they say."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from chain.codec import BatchHeader, Frame
from chain.eip712 import SigningDomain
from chain.l1.protocol import InboxMessage
from chain.state import RollupState
from chain.stf import Code, Rules, execute_body
from chain.types import META_KEY, Meta, decode_leaf
from tests.chain.witness_reading import execute_witness, read_witness, root_of_witness
from tests.fuzz.mutate import holds, hunt, instrument, probes, stf_sources, table
from tests.fuzz.prover import Prover, shipped
from tests.fuzz.vectors import FOLDER, files

ROOT = FOLDER.parent.parent
NAMES = ("frames", "inbox", "transactions", "witnesses")


def load(name: str) -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = msgspec.json.decode((FOLDER / f"{name}.json").read_bytes())
    return vectors


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def messages_of(vector: dict[str, Any], cursor: int) -> dict[int, InboxMessage]:
    """The packed messages, read from their description and not by the code that packs them."""
    data, found = unhex(vector["messages"]), {}
    while data:
        at_s = int.from_bytes(data[1:9], "big")
        size = 32 if data[0] == 1 else 2 + int.from_bytes(data[9:11], "big")
        body = data[9 : 9 + size]
        is_deposit = data[0] == 1
        found[cursor] = InboxMessage(
            index=cursor,
            kind="deposit" if is_deposit else "forced",
            owner=body[:20] if is_deposit else bytes(20),
            index_hint=int.from_bytes(body[20:24], "big") if is_deposit else 0,
            amount_nano=int.from_bytes(body[24:], "big") if is_deposit else 0,
            body=b"" if is_deposit else body[2:],
            at_s=at_s,
            l1_block=1,
        )
        cursor, data = cursor + 1, data[9 + size :]
    return found


def rules_of(vector: dict[str, Any]) -> Rules:
    return Rules(
        domain=SigningDomain(vector["l1_chain_id"], unhex(vector["rollup_address"]), unhex(vector["salt"])),
        close_delay_s=int(vector["close_delay_s"]),
        unstake_delay_s=int(vector["unstake_delay_s"]),
    )


def answer_of(vector: dict[str, Any], code: Code, root: bytes) -> bool:
    return vector["code"] == code and (code is not Code.OK or unhex(vector["root"]) == root)


@pytest.fixture(scope="module")
def prover() -> Prover:
    return shipped()


def test_the_generator_writes_the_published_files_byte_for_byte() -> None:
    assert {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")} == files()


@pytest.mark.parametrize("name", NAMES)
def test_python_comes_to_what_the_vectors_say_from_the_leaves_and_from_the_witness(name: str) -> None:
    for vector in load(name):
        if "refused" in vector:
            continue
        rules, frame = rules_of(vector), Frame(post_root=bytes(32), body=unhex(vector["frame"]))
        header = BatchHeader(l2_time_s=int(vector["l2_time_s"]), inbox_to=int(vector["inbox_to"]))
        state = RollupState.from_leaves((key, decode_leaf(unhex(leaf))) for key, leaf in vector["leaves"])
        meta = state.leaf(META_KEY)
        assert isinstance(meta, Meta)
        inbox = messages_of(vector, meta.inbox_cursor).__getitem__
        witness = read_witness(unhex(vector["witness"]))

        assert rules.domain.separator == unhex(vector["domain_separator"])
        assert state.root() == root_of_witness(witness) == unhex(vector["prev_root"])
        by_witness = execute_witness(witness, header, frame, rules, inbox, is_last=vector["is_last"])
        assert answer_of(vector, *by_witness), vector["name"]
        code = execute_body(state, header, frame.body, rules, inbox, is_last=vector["is_last"])
        assert answer_of(vector, code, state.root()), vector["name"]


def test_the_contract_comes_to_what_the_vectors_say(prover: Prover) -> None:
    published = list(probes())

    assert [probe.name for probe in published if not holds(prover, probe)] == []
    assert len(published) == sum(len(load(name)) for name in NAMES)


def test_every_code_that_a_frame_can_come_to_has_a_vector() -> None:
    codes = {Code(vector["code"]) for name in NAMES for vector in load(name) if "code" in vector}

    assert codes == set(Code) - {Code.WRONG_ROOT}


def test_no_check_of_the_contract_escapes_the_tool_that_removes_them() -> None:
    sources, mutants = instrument(stf_sources())
    left = [
        line
        for source in sources.values()
        for line in source.split("\n")
        if re.search(r"\bif \(| && ", line) and "block.number" not in line and not line.strip().startswith("//")
    ]

    assert left == []
    assert len(mutants) > 120


def test_the_vectors_notice_the_absence_of_every_check_as_the_published_table_says() -> None:
    found = list(hunt())

    assert [mutant for mutant, killer in found if killer is None] == []
    assert table(found) in (ROOT / "docs" / "rollup.md").read_text(encoding="utf-8")
