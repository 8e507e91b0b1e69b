"""What a whole fraud proof costs on py-evm under Prague, the calldata floor of EIP-7623 included."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from chain.codec import BatchData, BatchHeader, Frame, encode_batch
from chain.eip712 import SigningDomain
from chain.l1.protocol import EMPTY_INBOX_HASH
from chain.signing import sign_digest
from chain.state import RollupState
from chain.tree import DEPTH, EMPTY
from chain.txs import CloseTogether, Transfer
from chain.types import META_KEY, Account, Channel, Leaf, Meta, channel_key
from chain.witness import Witness
from tests.chain.contracts.conftest import inbox_of
from tests.chain.contracts.harness import Handle, Ledger
from tests.chain.contracts.l2 import L2, Posted
from tests.chain.support import key, owner
from tests.chain.witness_reading import root_of_witness

FRAME_ITEMS = 8
FRAMES = 125
"""Frames of a batch of 1,000 transactions."""
LIE = b"\x66" * 32

Deploy = Callable[..., Handle]


def bonded(deploy_rollup: Deploy, genesis_root: bytes) -> Handle:
    rollup = deploy_rollup(genesisRoot=genesis_root)
    rollup.send("depositBond", value_wei=10**18)
    return rollup


def test_proving_eight_transfers_among_2000_accounts_wrong_costs_at_most_400_000(
    ledger: Ledger, deploy_rollup: Deploy, asset: Handle
) -> None:
    leaves: list[tuple[int, Leaf]] = [
        (number, Account(owner=owner(number), balance_nano=10**9 + number, nonce=5)) for number in range(1, 2_001)
    ]
    leaves.append((META_KEY, Meta(next_account=2_001, fee_pool_nano=10**9, supply_nano=10**13)))
    state = RollupState.from_leaves(leaves)
    rollup = bonded(deploy_rollup, state.root())
    l2 = L2(ledger, rollup, inbox_of(ledger, rollup, asset))
    l2.state = state
    senders = Random(1).sample(range(1, 2_001), FRAME_ITEMS * FRAMES)
    receivers = Random(2).sample(range(1, 2_001), FRAME_ITEMS * FRAMES)
    raw = [
        tx.encode(sign_digest(key(tx.sender), tx.digest(l2.domain, 5, owner(tx.receiver))))
        for tx in (Transfer(sender, to, 12_345, 1_000) for sender, to in zip(senders, receivers, strict=True))
    ]
    bodies = [b"".join(raw[start : start + FRAME_ITEMS]) for start in range(0, len(raw), FRAME_ITEMS)]
    posted = l2.post(*bodies, lies={FRAMES - 1: LIE})

    gas = l2.prove(posted.proof(FRAMES - 1)).gas_used

    print(f"8 transfers at 2,000 accounts: {gas:,} gas, witness {len(posted.witnesses[-1]):,} bytes")
    assert rollup.call("count") == 0
    assert gas <= 400_000


def test_proving_the_worst_frame_on_full_regions_wrong_costs_less_than_a_million(
    ledger: Ledger, deploy_rollup: Deploy, asset: Handle
) -> None:
    """Eight closes touch 24 leaves that share no path, and every sibling is a hash."""
    rng = Random(2)
    closes = [(channel, *rng.sample(range(1, 1 << 30), 2), rng.getrandbits(62)) for channel in _channels(rng)]
    leaves = crowd(closes, rng)
    witness = crowded(leaves, rng)
    genesis_root = root_of_witness(witness)
    rollup = bonded(deploy_rollup, genesis_root)
    l2 = L2(ledger, rollup, inbox_of(ledger, rollup, asset))
    body = b"".join(close(channel, payee, redeemed, l2.domain) for channel, _, payee, redeemed in closes)
    # The first frame claims to change nothing, so that the second stands on a root proven by a path of its own.
    frames = [Frame(post_root=genesis_root, body=b""), Frame(post_root=LIE, body=body)]
    frames += [Frame(post_root=LIE, body=bytes([number])) for number in range(FRAMES - 2)]
    batch = BatchData(header=BatchHeader(l2_time_s=ledger.now_s, inbox_to=0), frames=tuple(frames))
    rollup.send("submitBatch", 0, genesis_root, EMPTY_INBOX_HASH, encode_batch(batch.header, frames))
    nothing = (b"",) * FRAMES
    posted = Posted(batch_id=0, batch=batch, witnesses=(b"", witness.encode(), *nothing), messages=(b"", *nothing))

    sent = l2.prove(posted.proof(1))

    hashes = sum(sibling != EMPTY for sibling in witness.siblings)
    print(f"worst frame: {sent.gas_used:,} gas, {hashes} hashes, witness {len(witness.encode()):,} bytes")
    assert sent.event("FraudProven")["code"] == 8
    assert len(leaves) == 3 * FRAME_ITEMS + 1
    assert sent.gas_used < 1_000_000


def _channels(rng: Random) -> list[int]:
    return rng.sample(range(1, 1 << 30), FRAME_ITEMS)


def close(channel: int, payee: int, redeemed: int, domain: SigningDomain) -> bytes:
    tx = CloseTogether(channel, redeemed)
    return tx.encode(sign_digest(key(payee), tx.digest(domain, owner(payee))))


def crowd(closes: list[tuple[int, int, int, int]], rng: Random) -> dict[int, Leaf | None]:
    leaves: dict[int, Leaf | None] = {
        number: Account(
            owner=owner(number),
            balance_nano=rng.getrandbits(100),
            nonce=rng.getrandbits(60),
            stake_nano=rng.getrandbits(100),
            unlocking_nano=rng.getrandbits(100),
            unlock_at_s=rng.getrandbits(60),
            channels=rng.randrange(1, 2**32),
            slash_from=rng.getrandbits(32),
        )
        for _, payer, payee, _ in closes
        for number in (payer, payee)
    }
    for channel, payer, payee, redeemed in closes:
        leaves[channel_key(channel)] = Channel(
            payer=payer,
            payee=payee,
            signer=owner(payee),
            deposit_nano=redeemed + rng.getrandbits(100),
            redeemed_nano=redeemed,
            expiry_s=rng.getrandbits(62),
        )
    counters = {"next_account": 2**30 - 7, "next_channel": 2**30 - 9, "next_withdrawal": 2**30 - 1}
    leaves[META_KEY] = Meta(**counters, fee_pool_nano=rng.getrandbits(120), supply_nano=rng.getrandbits(126))
    return leaves


def crowded(leaves: dict[int, Leaf | None], rng: Random) -> Witness:
    """A witness of these leaves in a state where every subtree beside their paths is populated, but the meta leaf's."""
    order = sorted(leaves)
    siblings: list[bytes] = []
    nodes = order
    for level in range(DEPTH):
        present = set(nodes)
        for index in nodes:
            if index ^ 1 not in present:
                is_metas = level < DEPTH - 2 and index == META_KEY >> level
                siblings.append(EMPTY if is_metas else rng.randbytes(32))
        nodes = sorted({index >> 1 for index in nodes})
    return Witness(leaves=tuple((index, leaves[index]) for index in order), siblings=tuple(siblings))
