"""Wrong witnesses and messages: what a challenger may not hand over, and the error that refuses each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

from msgspec.structs import replace

from chain.codec import BatchHeader, Frame, encode_inbox_body
from chain.state import RollupState
from chain.tree import EMPTY
from chain.txs import TopUp
from chain.types import META_KEY, account_key
from chain.witness import Witness
from tests.chain.witness_reading import read_witness
from tests.fuzz.prover import Call, examine
from tests.fuzz.world import Case, World

SEED = "wrong witnesses"


class WrongCall(NamedTuple):
    """A call that must be refused."""

    name: str
    call: Call
    error: str


def right_case() -> Case:
    """A top-up in a frame of its own, with a channel and accounts beside it."""
    world = World(Random(SEED))
    payer = world.account()
    channel = world.channel(payer, world.account())
    return _case(world, world.signed(TopUp(channel, 5, 7), payer))


def inbox_case() -> Case:
    """A frame of two inbox messages: a deposit and a forced transaction, or the other way round."""
    world = World(Random(SEED))
    messages = (world.filler_message(0), world.filler_message(1), world.filler_message(2))
    case = _case(world, encode_inbox_body(0, len(messages)))
    return replace(case, messages=messages, header=replace(case.header, inbox_to=len(messages)))


def wrong_calls() -> Iterator[WrongCall]:
    """Every kind of wrong witness for one right frame, and of wrong messages for another."""
    case = right_case()
    call, _, _ = examine(case)
    witness = read_witness(call.witness)
    for name, wrong, error in _wrong_witnesses(case, witness):
        yield WrongCall(name, replace(call, witness=wrong), error)
    bare = case.state()
    bare.write(META_KEY, None)
    yield WrongCall(
        "a state without a meta leaf",
        replace(call, prev_root=bare.root(), witness=_of(bare, [key for key, _ in witness.leaves]).encode()),
        "MetaLeafMissing",
    )
    yield from _wrong_messages()


def pack(leaves: Sequence[tuple[int, bytes]], siblings: Sequence[bytes], declared_bits: int | None = None) -> bytes:
    """A witness's bytes, whatever they say."""
    parts = [len(leaves).to_bytes(2, "big")]
    parts += [key.to_bytes(4, "big") + bytes([len(encoding)]) + encoding for key, encoding in leaves]
    bits = "".join("0" if sibling == EMPTY else "1" for sibling in siblings)
    padded = bits + "0" * (-len(bits) % 8)
    parts.append((len(bits) if declared_bits is None else declared_bits).to_bytes(2, "big"))
    parts.append(bytes(int(padded[start : start + 8], 2) for start in range(0, len(padded), 8)))
    return b"".join(parts + [sibling for sibling in siblings if sibling != EMPTY])


def _case(world: World, body: bytes) -> Case:
    return Case(
        name=SEED,
        leaves=world.finished(0),
        rules=world.rules,
        header=BatchHeader(l2_time_s=world.now_s, inbox_to=0),
        frame=Frame(post_root=bytes(32), body=body),
    )


def _of(state: RollupState, keys: Sequence[int]) -> Witness:
    order = sorted(keys)
    return Witness(leaves=tuple((key, state.leaf(key)) for key in order), siblings=tuple(state.multiproof(order)))


def _wrong_witnesses(case: Case, witness: Witness) -> Iterator[tuple[str, bytes, str]]:
    right = witness.encode()
    leaves = [(key, leaf.encode() if leaf is not None else b"") for key, leaf in witness.leaves]
    siblings = list(witness.siblings)
    state = case.state()
    keys = [key for key, _ in leaves]
    accounts = [place for place, (key, _) in enumerate(leaves) if key < 1 << 30]
    first = leaves[accounts[0]]

    def with_leaf(place: int, leaf: tuple[int, bytes]) -> bytes:
        return pack([*leaves[:place], leaf, *leaves[place + 1 :]], siblings)

    for place, (key, _) in enumerate(leaves[:-1]):
        rest = _of(state, [other for other in keys if other != key])
        yield f"without leaf {place}", rest.encode(), "LeafMissing"
    for place, (key, encoding) in enumerate(leaves):
        changed = encoding[:-1] + bytes([encoding[-1] ^ 1])
        yield f"leaf {place} of another content", with_leaf(place, (key, changed)), "WrongPreviousState"
    yield "an absent leaf in a present one's place", with_leaf(accounts[0], (first[0], b"")), "WrongPreviousState"
    for place, sibling in enumerate(siblings):
        if sibling != EMPTY:
            wrong = [*siblings[:place], sibling[:-1] + bytes([sibling[-1] ^ 1]), *siblings[place + 1 :]]
            yield f"another sibling {place}", pack(leaves, wrong), "WrongPreviousState"
    yield "a trailing byte", right + b"\0", "WrongWitnessLength"
    yield "a trailing hash", right + bytes(range(32)), "WrongWitnessLength"
    yield "a byte too few", right[:-1], "WrongWitnessLength"
    yield "a bit too many", pack(leaves, siblings, len(siblings) + 1), "WrongWitnessLength"
    yield "a bit too few", pack(leaves, siblings, len(siblings) - 1), "WrongWitnessLength"
    yield "leaves out of order", pack([leaves[1], leaves[0], *leaves[2:]], siblings), "LeavesOutOfOrder"
    yield "a leaf twice", pack([leaves[0], *leaves], siblings), "LeavesOutOfOrder"
    yield "a leaf behind the meta leaf", _of(state, [*keys, META_KEY + 1]).encode(), "MetaLeafMissing"
    yield "no meta leaf", _of(state, keys[:-1]).encode(), "MetaLeafMissing"
    yield "no leaf at all", pack([], siblings), "MetaLeafMissing"
    yield "nothing", b"", "MetaLeafMissing"
    yield "a leaf a byte too short", with_leaf(accounts[0], (first[0], first[1][:-1])), "NotALeaf"
    yield "a leaf as long as a node", with_leaf(accounts[0], (first[0], bytes([1]) + bytes(63))), "NotALeaf"
    yield "a leaf with another tag", with_leaf(accounts[0], (first[0], b"\x02" + first[1][1:])), "NotALeaf"
    free = next(number for number in range(1, 1000) if account_key(number) not in dict(case.leaves))
    channel = next(encoding for key, encoding in leaves if key >> 30 == 1)
    extra = sorted([*leaves, (account_key(free), channel)])
    yield "a channel among the accounts", pack(extra, siblings), "NotALeaf"


def _wrong_messages() -> Iterator[WrongCall]:
    call, _, _ = examine(inbox_case())
    yield WrongCall("a trailing byte of messages", replace(call, messages=call.messages + b"\0"), "WrongMessages")
    yield WrongCall("no messages", replace(call, messages=b""), "WrongMessages")
    yield WrongCall("an unknown message", replace(call, messages=b"\x03" + call.messages[1:]), "WrongMessages")
