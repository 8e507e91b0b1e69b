"""Claiming withdrawals on L1 oneself, where no operator does: anyone may, with a proof against a final batch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from chain.l1.protocol import RollupL1
from chain.money import format_usd
from chain.rpc.wire import bad_answer
from chain.types import Withdrawal, decode_leaf, withdrawal_key
from chain.views import Inclusion, WithdrawalView
from wallet.rollup_follower import claimed
from wallet.steps import WithdrawalStep, done, waiting
from wallet.wallet_error import WalletError

if TYPE_CHECKING:
    from chain.client import RollupClient


async def claim_all(l1: RollupL1, client: RollupClient, owner: bytes) -> AsyncIterator[WithdrawalStep]:
    """Claim every withdrawal to an address that is final and not paid, and say each step.

    L1 checks the proof, so a server that lies makes a claim fail and moves no money.

    Args:
        l1: The rollup's contracts; the account that it sends from pays the gas.
        client: Knows the withdrawals and their proofs.
        owner: The address, 20 bytes.

    Raises:
        WalletError: ``nothing_to_claim``.
        ChainRejectedError: As L1 refuses.
        ChainUnavailableError: If L1 or the server does not answer.
    """
    views = [view for view in await client.withdrawals_of(owner) if view.claim_l1_tx is None]
    if not views:
        raise WalletError("No withdrawal to this wallet waits to be claimed.", code="nothing_to_claim")
    for view in reversed(views):
        yield await _claim(l1, client, owner, view)


async def _claim(l1: RollupL1, client: RollupClient, owner: bytes, view: WithdrawalView) -> WithdrawalStep:
    number, money = view.withdrawal_index, format_usd(view.amount_nano)
    name, key = f"withdrawal {number}", withdrawal_key(number)
    if view.inclusion is not Inclusion.FINAL:
        return waiting(name, f"Withdrawal #{number} of {money} isn't final yet.", view.final_at_s)
    if await l1.is_claimed(key):
        return done(name, f"Withdrawal #{number} of {money} was paid already.")
    proof = await client.proof("withdrawal", number)
    try:
        leaf = decode_leaf(bytes.fromhex(proof.leaf.removeprefix("0x")))
    except ValueError:
        raise bad_answer() from None
    if not isinstance(leaf, Withdrawal) or leaf.recipient != owner or proof.index != key:
        raise bad_answer()
    siblings = [bytes.fromhex(sibling[2:]) for sibling in proof.siblings]
    l1_tx = await claimed(l1, proof.batch_id, key, leaf, siblings)
    text = f"Withdrawal #{number}: {format_usd(leaf.amount_nano)} paid on L1."
    return done(name, text, l1_tx=l1_tx, amount_nano=leaf.amount_nano)
