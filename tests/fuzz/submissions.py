"""Calldata for `submitBatch` of every shape, and two contracts that take it or not: the rollup, and one without checks.

revm runs both, a hundred times as fast as py-evm; it is asked for answers alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from web3 import Web3

from chain.codec import MAX_BLOB_BYTES, MAX_BODY_BYTES, BatchHeader, Frame, encode_batch
from chain.contracts import build
from chain.l1.artifacts import artifact, error_names
from chain.l1.calldata import SELECTOR, Submission, write_submission
from chain.l1.connection import checksum
from chain.l1.protocol import EMPTY_INBOX_HASH
from chain.signing import keccak256
from tests.chain.contracts.conftest import GENESIS, rollup_parameters

try:
    from pyrevm import EVM, BlockEnv
except ImportError:
    if sys.version_info < (3, 13):
        raise
    pytest.skip("pyrevm has no wheels for Python 3.13; 3.11 and 3.12 run this", allow_module_level=True)

SENDER = "0x" + "ca" * 20
NOW_S = 1_800_000_000
MESSAGES = 3
"""In the inbox; the first batch executes one of them."""
SUBMITTED = keccak256(b"BatchSubmitted(uint256,address,bytes32,bytes32,bytes32,uint32,uint64,uint64)")
WORD = 32
HEAD_BYTES = 4 * WORD
OFFSET_AT = len(SELECTOR) + 3 * WORD
LENGTH_AT = OFFSET_AT + WORD
NUMBERS = (0, 1, 31, 32, 33, 96, 127, 128, 129, 160, 2**16, 2**31, 2**32, 2**63, 2**64 - 1, 2**64, 2**255, 2**256 - 1)


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What the rollup says that it took."""

    batch_id: int
    prev_root: bytes
    post_root: bytes
    frames_root: bytes
    frame_count: int
    l2_time_s: int
    inbox_to: int


class Intake:
    """A rollup with one batch and three inbox messages, and the contract that only reads.

    Args:
        reader: Creation code of ``Submissions``, see `reader_code`.
    """

    def __init__(self, reader: bytes) -> None:
        self._evm = EVM(spec_id="PRAGUE")
        self._evm.set_balance(SENDER, 10**24)
        self._evm.set_block_env(BlockEnv(number=10, timestamp=NOW_S))
        asset, stf = (self._evm.deploy(SENDER, _creation(name)) for name in ("TestUSD", "Stf"))
        self._rollup = self._evm.deploy(SENDER, _creation("Rollup", rollup_parameters(_handle(asset), _handle(stf))))
        self._reader = self._evm.deploy(SENDER, reader)
        self._send("Rollup", self._rollup, "depositBond", value_wei=10**18)
        self._fill_inbox(asset)
        self.head = GENESIS
        self.count = 0
        first = self.base(Random(0), inbox_to=1)
        self._evm.message_call(SENDER, self._rollup, calldata=write_submission(first))
        self.head, self.count = _last_root(first.blob), 1

    def take(self, data: bytes) -> Taken | str:
        """What the rollup took, or why it reverted; nothing is changed for the next call."""
        checkpoint = self._evm.snapshot()
        try:
            self._evm.message_call(SENDER, self._rollup, calldata=data)
            logs = [log.data for log in self._evm.result.logs if log.data[0][0] == SUBMITTED]
            return _taken(*logs[0]) if logs else "another function"
        except RuntimeError as error:
            return _reason(str(error))
        finally:
            self._evm.revert(checkpoint)

    def read(self, data: bytes) -> tuple[int, bytes, bytes, bytes] | None:
        """What Solidity's decoder reads: number, root, inbox hash and the blob's hash; ``None`` where it reverts."""
        try:
            answer = bytes(self._evm.message_call(SENDER, self._reader, calldata=data, is_static=True))
        except RuntimeError:
            return None
        return int.from_bytes(answer[:32], "big"), answer[32:64], answer[64:96], answer[96:128]

    def base(self, rng: Random, inbox_to: int | None = None) -> Submission:
        """A batch that the rollup takes."""
        end = rng.randint(self.count, MESSAGES) if inbox_to is None else inbox_to
        frames = [
            Frame(post_root=rng.randbytes(32), body=rng.randbytes(rng.choice((0, 1, 10, 31, 85, 680, MAX_BODY_BYTES))))
            for _ in range(rng.choice((1, 1, 2, 3, 9)))
        ]
        blob = encode_batch(BatchHeader(l2_time_s=NOW_S, inbox_to=end), frames)
        return Submission(batch_id=self.count, prev_root=self.head, inbox_hash=self.hashes[end], blob=blob)

    def _fill_inbox(self, asset: str) -> None:
        inbox = "0x" + bytes(self._ask("Rollup", self._rollup, "inbox"))[-20:].hex()
        self._send("TestUSD", asset, "mint", checksum(bytes.fromhex(SENDER[2:])), 10**30)
        self._send("TestUSD", asset, "approve", checksum(bytes.fromhex(inbox[2:])), 2**256 - 1)
        for number in range(MESSAGES):
            self._send("Inbox", inbox, "deposit", checksum(bytes([9]) * 20), number, 5)
        self.hashes = [bytes(self._ask("Inbox", inbox, "hashOf", length)) for length in range(MESSAGES + 1)]
        assert self.hashes[0] == EMPTY_INBOX_HASH

    def _send(self, name: str, to: str, function: str, *arguments: Any, value_wei: int = 0) -> None:
        self._evm.message_call(SENDER, to, calldata=_encoded(name, function, arguments), value=value_wei)

    def _ask(self, name: str, to: str, function: str, *arguments: Any) -> Any:
        return self._evm.message_call(SENDER, to, calldata=_encoded(name, function, arguments), is_static=True)


# ------------------------------------------------------------------------------------------------------ the mutations

Mutation = Callable[[Random, bytes], bytes]
"""Calldata in, other calldata out."""


def _dirty_padding(rng: Random, data: bytes) -> bytes:
    place = rng.randrange(max(0, len(data) - 31), len(data))
    return data[:place] + rng.randbytes(1) + data[place + 1 :]


def _cut(rng: Random, data: bytes) -> bytes:
    return data[: len(data) - rng.randint(1, 40)]


def _truncate(rng: Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _strip_padding(_: Random, data: bytes) -> bytes:
    return data.rstrip(b"\0")


def _append(rng: Random, data: bytes) -> bytes:
    size = rng.choice((1, 31, 32, 33, 64))
    return data + rng.choice((bytes(size), rng.randbytes(size)))


def _shift_tail(rng: Random, data: bytes) -> bytes:
    """A right encoding with a gap before its tail."""
    gap = rng.choice((1, 4, 31, 32, 64))
    tail = data[LENGTH_AT:]
    return data[:OFFSET_AT] + (HEAD_BYTES + gap).to_bytes(WORD, "big") + rng.randbytes(gap) + tail


def _set_word(at: int) -> Mutation:
    def mutate(rng: Random, data: bytes) -> bytes:
        old = int.from_bytes(data[at : at + WORD], "big")
        near = (old + rng.randint(-33, 33)) % 2**256
        number = rng.choice((near, rng.choice(NUMBERS), rng.randrange(len(data) + 64)))
        return data[:at] + number.to_bytes(WORD, "big") + data[at + WORD :]

    return mutate


def _overlap(rng: Random, data: bytes) -> bytes:
    """The tail lies within the head: the length is one of its words, or a part of two."""
    offset = rng.choice((0, 32, 64, 96, rng.randrange(HEAD_BYTES)))
    changed = data[:OFFSET_AT] + offset.to_bytes(WORD, "big") + data[OFFSET_AT + WORD :]
    at = len(SELECTOR) + offset
    if rng.random() < 0.5 and offset < 96:
        changed = changed[:at] + rng.randrange(len(data)).to_bytes(WORD, "big") + changed[at + WORD :]
        changed = changed[:OFFSET_AT] + offset.to_bytes(WORD, "big") + changed[OFFSET_AT + WORD :]
    return changed


def _selector(rng: Random, data: bytes) -> bytes:
    names = (b"submitBatch(uint256,bytes32,bytes)", b"finalize(uint256)", b"count()", b"freeze()", b"depositBond()")
    return rng.choice((rng.randbytes(4), keccak256(rng.choice(names))[:4])) + data[4:]


def _flip(rng: Random, data: bytes) -> bytes:
    if not data:
        return data
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def _splice(rng: Random, data: bytes) -> bytes:
    begin, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:begin] + rng.choice((b"", rng.randbytes(rng.randrange(40)), data[begin:end] * 2)) + data[end:]


def _random(rng: Random, _: bytes) -> bytes:
    return rng.choice((SELECTOR, b"")) + rng.randbytes(rng.choice((0, 3, 31, 127, 128, 160, 161, 400)))


def _frame_lengths(rng: Random, data: bytes) -> bytes:
    """Another length of the first frame, in otherwise right calldata."""
    at = LENGTH_AT + WORD + 17
    length = rng.choice((0, 1, MAX_BODY_BYTES, MAX_BODY_BYTES + 1, 0xFFFF, rng.randrange(0x10000)))
    return data[:at] + length.to_bytes(2, "big") + data[at + 2 :]


def _header(rng: Random, data: bytes) -> bytes:
    """Another version, time or inbox end."""
    at, size = rng.choice(((0, 1), (1, 8), (9, 8)))
    at += LENGTH_AT + WORD
    number = rng.choice((0, 1, 2, 3, 4, 2 ** (8 * size) - 1))
    return data[:at] + number.to_bytes(size, "big") + data[at + size :]


MUTATIONS: dict[str, Mutation] = {
    "dirty padding": _dirty_padding, "cut": _cut, "truncated": _truncate, "no padding": _strip_padding,
    "longer": _append, "gap": _shift_tail, "offset": _set_word(OFFSET_AT), "length": _set_word(LENGTH_AT),
    "number": _set_word(len(SELECTOR)), "root": _set_word(len(SELECTOR) + WORD),
    "inbox hash": _set_word(len(SELECTOR) + 2 * WORD), "overlap": _overlap, "selector": _selector, "flip": _flip,
    "splice": _splice, "random": _random, "frame length": _frame_lengths, "header": _header,
}  # fmt: skip


def calls(intake: Intake, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Calldata by the name of what was done to it; one in eight is left right, some are changed more than once."""
    rng = Random(seed)
    names = list(MUTATIONS)
    for number in range(count):
        data = write_submission(intake.base(rng))
        if number % 997 == 996:
            data = write_submission(_longest(intake, rng))
        if number % 8 == 0:
            yield "right", data
            continue
        chosen = [names[(number - number // 8) % len(names)], *rng.choices(names, k=rng.choice((0, 0, 1, 2)))]
        for name in chosen:
            data = MUTATIONS[name](rng, data or bytes(LENGTH_AT))
        yield chosen[0], data


def _longest(intake: Intake, rng: Random) -> Submission:
    """A blob of about the greatest length."""
    head = encode_batch(BatchHeader(l2_time_s=NOW_S, inbox_to=1), [])
    size = MAX_BLOB_BYTES - len(head) + rng.choice((-1, 0, 0, 1))
    parts, body = b"", 500
    while size - len(parts) > 2 * (body + 34):
        parts += body.to_bytes(2, "big") + rng.randbytes(32) + bytes(body)
    rest = (size - len(parts)) // 2 - 34
    for length in (rest, size - len(parts) - rest - 68):
        parts += length.to_bytes(2, "big") + rng.randbytes(32) + bytes(length)
    return Submission(batch_id=1, prev_root=intake.head, inbox_hash=intake.hashes[1], blob=head + parts)


# -------------------------------------------------------------------------------------------------------- the plumbing


def reader_code() -> bytes:
    """The creation code of the contract without checks, compiled now."""
    source = Path(__file__).parents[1] / "chain" / "contracts" / "src" / "Submissions.sol"
    contracts: dict[str, Any] = build.compile_sources({source.name: source.read_text(encoding="utf-8")})[0]
    return bytes.fromhex(contracts[source.name]["Submissions"]["evm"]["bytecode"]["object"])


def _taken(topics: list[bytes], data: bytes) -> Taken:
    words = [data[start : start + WORD] for start in range(0, len(data), WORD)]
    return Taken(
        batch_id=int.from_bytes(topics[1], "big"),
        prev_root=words[0],
        post_root=words[1],
        frames_root=words[2],
        frame_count=int.from_bytes(words[3], "big"),
        l2_time_s=int.from_bytes(words[4], "big"),
        inbox_to=int.from_bytes(words[5], "big"),
    )


def _reason(text: str) -> str:
    output = text.rsplit("output: 0x", 1)[-1] if "output: 0x" in text else ""
    try:
        return error_names().get(bytes.fromhex(output[:8]), "solidity's own decoder")
    except ValueError:
        return "solidity's own decoder"


def _last_root(blob: bytes) -> bytes:
    from chain.codec import decode_batch

    return decode_batch(blob).frames[-1].post_root


def _handle(address: str) -> Any:
    return SimpleNamespace(contract=SimpleNamespace(address=checksum(bytes.fromhex(address[2:]))))


@cache
def _contract(name: str) -> Any:
    return Web3().eth.contract(abi=artifact(name).abi, bytecode=artifact(name).bytecode)


def _creation(name: str, *arguments: Any) -> bytes:
    return bytes.fromhex(_contract(name).constructor(*arguments).data_in_transaction[2:])


def _encoded(name: str, function: str, arguments: tuple[Any, ...]) -> bytes:
    return bytes.fromhex(_contract(name).encode_abi(function, list(arguments))[2:])
