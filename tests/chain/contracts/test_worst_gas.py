"""What the worst frames that the contract takes cost to disprove: never more than a million gas.

Most of it is the price of data (EIP-7623: 40 gas a byte), so the worst frames touch as many leaves as eight
transactions can, spread over full regions so that no path is shared, and are filled up with garbage to the bound.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from chain.codec import (
    FRAME_HEAD_BYTES,
    HEADER_BYTES,
    MAX_BLOB_BYTES,
    MAX_BODY_BYTES,
    BatchData,
    BatchHeader,
    Frame,
    encode_batch,
    encode_inbox_body,
)
from chain.tree import EMPTY
from chain.txs import Expire
from chain.types import META_KEY, Account, Channel, Leaf, Meta
from chain.watchtower.open import MAX_PROOF_GAS
from chain.witness import Witness, encode_messages, named_messages
from tests.chain.contracts.conftest import inbox_of
from tests.chain.contracts.harness import KEYS, Handle, Ledger
from tests.chain.contracts.l2 import L2, Posted
from tests.chain.contracts.test_stf_gas import FRAME_ITEMS, LIE, bonded, close, crowd, crowded
from tests.chain.witness_reading import root_of_witness

Close = tuple[int, int, int, int]
"""Channel, payer, payee, and what was redeemed."""


def spread(bits: int, rng: Random) -> list[int]:
    """Numbers in each of so many equal parts of a region: their paths meet as late as they can."""
    rest = 30 - bits
    return [part << rest | rng.getrandbits(rest) | 1 for part in range(1 << bits)]


def full(leaf: Leaf | None) -> Leaf | None:
    """A leaf without a zero byte where it may have none, since those cost a fourth."""
    if isinstance(leaf, Account):
        much = int.from_bytes(b"\x7f" * 16, "big")
        time_s = int.from_bytes(b"\x7f" * 8, "big")
        return replace(
            leaf, balance_nano=much, nonce=time_s, stake_nano=much, unlocking_nano=much, unlock_at_s=time_s,
            channels=0x7F7F7F7F, slash_from=0x7F7F7F7F,
        )  # fmt: skip
    if isinstance(leaf, Channel):
        return replace(leaf, deposit_nano=int.from_bytes(b"\x7f" * 16, "big"))
    return leaf


class World:
    """Eight channels of sixteen people among full regions, before a rollup that starts from them.

    Args:
        is_expired: Whether the channels' time is over.
    """

    def __init__(self, ledger: Ledger, deploy_rollup: Any, asset: Handle, *, is_expired: bool = False) -> None:
        rng = Random(3)
        channels, people = spread(3, rng), spread(4, rng)
        self.closes: list[Close] = [
            (channels[n], people[2 * n], people[2 * n + 1], rng.getrandbits(62)) for n in range(FRAME_ITEMS)
        ]
        leaves = {key: full(leaf) for key, leaf in crowd(self.closes, rng).items()}
        if is_expired:
            leaves = {k: replace(v, expiry_s=1) if isinstance(v, Channel) else v for k, v in leaves.items()}
        meta = leaves[META_KEY]
        assert isinstance(meta, Meta)
        self.witness: Witness = crowded(leaves, rng)
        self.root = root_of_witness(self.witness)
        self.rollup = bonded(deploy_rollup, self.root)
        self.l2 = L2(ledger, self.rollup, inbox_of(ledger, self.rollup, asset))
        # Taking somebody off the list costs more where others stand behind it.
        self.rollup.send("depositBond", key=KEYS[1], value_wei=10**18)

    def disprove(self, body: bytes, inbox_to: int = 0) -> tuple[int, int]:
        """Post it as a wrong frame among as many as fit into a batch; the code and the gas of its proof."""
        header = BatchHeader(l2_time_s=self.l2.ledger.now_s, inbox_to=inbox_to)
        # The first frame claims to change nothing, so that the second stands on a root proven by a path of its own.
        frames = [Frame(post_root=self.root, body=b""), Frame(post_root=LIE, body=body)]
        room = MAX_BLOB_BYTES - HEADER_BYTES - 2 * FRAME_HEAD_BYTES - len(body)
        frames += [Frame(post_root=LIE, body=b"")] * (room // FRAME_HEAD_BYTES)
        self.l2.submit(0, inbox_to, encode_batch(header, frames))
        nothing = (b"",) * (len(frames) - 2)
        messages = encode_messages(named_messages(body, self.l2.messages))
        posted = Posted(
            batch_id=0,
            batch=BatchData(header=header, frames=tuple(frames)),
            witnesses=(b"", self.witness.encode(), *nothing),
            messages=(b"", messages, *nothing),
        )
        sent = self.l2.prove(posted.proof(1))
        return sent.event("FraudProven")["code"], sent.gas_used


def garbage(body: bytes) -> bytes:
    """A body filled up to the bound, without a zero byte."""
    return body + Random(9).randbytes(MAX_BODY_BYTES - len(body)).replace(b"\0", b"\1")


def eight_closes(world: World) -> bytes:
    return b"".join(close(channel, payee, redeemed, world.l2.domain) for channel, _, payee, redeemed in world.closes)


def eight_expiries(world: World) -> bytes:
    return b"".join(Expire(channel).encode() for channel, *_ in world.closes)


@pytest.fixture
def world(ledger: Ledger, deploy_rollup: Callable[..., Handle], asset: Handle, request: Any) -> World:
    return World(ledger, deploy_rollup, asset, is_expired=getattr(request, "param", False))


def test_the_worlds_paths_share_no_more_than_they_must(world: World) -> None:
    """24 leaves in two regions and the meta leaf: 27 levels below each of 8 channels, 26 below each of 16 accounts."""
    hashes = sum(sibling != EMPTY for sibling in world.witness.siblings)

    assert hashes == 8 * 27 + 16 * 26 + 1


def test_eight_closes_and_garbage_up_to_the_bound(world: World) -> None:
    code, gas = world.disprove(garbage(eight_closes(world)))

    print(f"eight closes, then garbage: {gas:,} gas")
    assert code == 9
    assert gas <= MAX_PROOF_GAS


@pytest.mark.parametrize("world", [True], indirect=True)
def test_eight_expiries_and_garbage_up_to_the_bound(world: World) -> None:
    code, gas = world.disprove(garbage(eight_expiries(world)))

    print(f"eight expiries, then garbage: {gas:,} gas")
    assert code == 9
    assert gas <= MAX_PROOF_GAS


@pytest.mark.parametrize("is_last_forged", [False, True])
def test_eight_forced_closes_in_an_inbox_frame(world: World, is_last_forged: bool) -> None:
    for number, (channel, _, payee, redeemed) in enumerate(world.closes):
        body = close(channel, payee, redeemed, world.l2.domain)
        # A message that fails is undone, and undoing costs too.
        world.l2.force(body[:-1] + bytes([body[-1] ^ 1]) if is_last_forged and number % 2 else body)

    code, gas = world.disprove(encode_inbox_body(0, FRAME_ITEMS), inbox_to=FRAME_ITEMS)

    print(f"eight forced closes: {gas:,} gas")
    assert code == 8
    assert gas <= MAX_PROOF_GAS


def test_garbage_alone_costs_little(world: World) -> None:
    code, gas = world.disprove(garbage(b"\xff"))

    assert code == 2
    assert gas <= MAX_PROOF_GAS
