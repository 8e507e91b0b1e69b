"""What re-executing a frame costs on py-evm under Prague, the calldata floor of EIP-7623 included."""

from __future__ import annotations

from random import Random

from chain.codec import BatchHeader, Frame
from chain.signing import sign_digest
from chain.state import State
from chain.stf import Code
from chain.tree import DEPTH
from chain.txs import CloseTogether, Transfer
from chain.types import META_KEY, Account, Channel, Leaf, Meta, channel_key
from chain.witness import Witness, root_of_witness
from tests.chain.contracts.harness import Handle, Ledger
from tests.chain.support import DOMAIN, RULES, key, owner, signed
from tests.fuzz.prover import Call, examine
from tests.fuzz.world import Case

FRAME_ITEMS = 8
NOW_S = 1_800_000_000


def sent(stf: Handle, call: Call) -> int:
    """The gas of a transaction that asks for this, which must come to OK."""
    context = (
        call.domain_separator,
        call.close_delay_s,
        call.unstake_delay_s,
        call.l2_time_s,
        call.inbox_to,
        call.is_last,
    )
    arguments = (context, call.prev_root, call.frame, call.messages, call.witness)
    assert stf.call("execute", *arguments)[0] == Code.OK
    return stf.send("execute", *arguments).gas_used


def test_eight_transfers_among_2000_accounts_cost_at_most_300_000(ledger: Ledger) -> None:
    rng = Random(1)
    leaves: dict[int, Leaf] = {
        number: Account(owner=owner(number), balance_nano=10**9 + number, nonce=5) for number in range(1, 2_001)
    }
    leaves[META_KEY] = Meta(next_account=2_001, l2_time_s=NOW_S, fee_pool_nano=10**9, supply_nano=10**13)
    picked = rng.sample(range(1, 2_001), 2 * FRAME_ITEMS)
    pairs = list(zip(picked[::2], picked[1::2], strict=True))
    body = b"".join(signed(Transfer(sender, to, 12_345, 1_000), sender, 5) for sender, to in pairs)
    case = Case(
        name="transfers",
        leaves=tuple(leaves.items()),
        rules=RULES,
        header=BatchHeader(l2_time_s=NOW_S + 5, inbox_to=0),
        frame=Frame(post_root=bytes(32), body=body),
    )
    call, _, _ = examine(case)

    assert sent(ledger.deploy("Stf"), call) <= 300_000


def test_the_worst_frame_on_full_regions_costs_less_than_950_000(ledger: Ledger) -> None:
    """Eight closes touch 24 leaves that share no path, and every sibling is a hash."""
    rng = Random(2)
    accounts = rng.sample(range(1, 1 << 30), 2 * FRAME_ITEMS)
    leaves: dict[int, Leaf | None] = {
        number: Account(
            owner=owner(number),
            balance_nano=rng.getrandbits(100),
            nonce=rng.getrandbits(60),
            stake_nano=rng.getrandbits(100),
            unlocking_nano=rng.getrandbits(100),
            unlock_at_s=rng.getrandbits(60),
        )
        for number in accounts
    }
    body = b""
    for place, channel in enumerate(rng.sample(range(1, 1 << 30), FRAME_ITEMS)):
        payer, payee = accounts[2 * place : 2 * place + 2]
        redeemed = rng.getrandbits(62)
        leaves[channel_key(channel)] = Channel(
            payer=payer,
            payee=payee,
            signer=owner(payee),
            deposit_nano=redeemed + rng.getrandbits(100),
            redeemed_nano=redeemed,
            expiry_s=rng.getrandbits(62),
        )
        tx = CloseTogether(channel, redeemed)
        body += tx.encode(sign_digest(key(payee), tx.digest(DOMAIN)))
    cursor = rng.getrandbits(60)
    leaves[META_KEY] = Meta(
        next_account=2**30 - 7,
        next_channel=2**30 - 9,
        next_withdrawal=2**30 - 1,
        inbox_cursor=cursor,
        l2_time_s=NOW_S,
        fee_pool_nano=rng.getrandbits(120),
        supply_nano=rng.getrandbits(126),
    )
    witness = crowded(leaves, rng)
    call = Call(
        domain_separator=DOMAIN.separator,
        close_delay_s=30,
        unstake_delay_s=60,
        l2_time_s=NOW_S,
        inbox_to=cursor,
        is_last=True,
        prev_root=root_of_witness(witness),
        frame=body,
        messages=b"",
        witness=witness.encode(),
    )

    assert len(leaves) == 3 * FRAME_ITEMS + 1
    assert sent(ledger.deploy("Stf"), call) < 950_000


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
                siblings.append(State().root() if is_metas else rng.randbytes(32))
        nodes = sorted({index >> 1 for index in nodes})
    return Witness(leaves=tuple((index, leaves[index]) for index in order), siblings=tuple(siblings))
