"""What a state proof says about a sequencer's answer: pure rules about views, leaves and what can have changed since.

A view is always read after the proof, so everything in the proven state has happened in the view's state too. Where a
view could not follow from the leaf, whoever gave it lies.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from chain.signing import parse_address
from chain.types import Account, Channel, Leaf, Withdrawal
from chain.views import AccountView, ChannelView, WithdrawalView


class Trust(StrEnum):
    """How far an answer of a sequencer can be believed."""

    PROVEN = "proven"
    """The state that a batch on L1 commits to holds it."""
    SOFT = "soft"
    """Only the sequencer says so: it happened after the newest batch, or nobody could check it."""
    CONTRADICTED = "contradicted"
    """L1 has something that the answer can't have followed from: the sequencer lies."""


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What was found about one answer."""

    trust: Trust
    why: str = ""
    """One line, where it isn't proven."""
    proven_nano: int = 0
    """The part of the amount that the proof covers: an account's balance, a channel's deposit, a withdrawal."""
    batch_id: int | None = None
    """The batch whose state it was held against."""
    is_final: bool = False
    """Whether nobody can take that batch back any more."""


UNCHECKED: Final = Judgement(trust=Trust.SOFT, why="No L1 could be asked.")
NO_BATCH: Final = Judgement(trust=Trust.SOFT, why="No batch stands on L1 yet.")
NO_PROOF: Final = Judgement(trust=Trust.SOFT, why="The sequencer gives no proof.")


def judge_account(view: AccountView, leaf: Leaf | None) -> Judgement:
    """Judge an account as its owner is told of it."""
    if leaf is None:
        return _soft("The account is not on L1 yet.")
    if not isinstance(leaf, Account) or leaf.owner != parse_address(view.address):
        return _lie(f"account #{view.index} is another owner's on L1")
    if view.nonce < leaf.nonce:
        return _lie(f"account #{view.index} has sent more on L1 than it says")
    if view.nonce == leaf.nonce and view.balance_nano < leaf.balance_nano:
        # Money leaves an account by its own signature alone, and each counts its nonce.
        return _lie(f"account #{view.index} holds more on L1 than it says")
    proven_nano = min(view.balance_nano, leaf.balance_nano)
    told = (view.balance_nano, view.nonce, view.stake_nano, view.unlocking_nano, view.unlock_at_s)
    if told == (leaf.balance_nano, leaf.nonce, leaf.stake_nano, leaf.unlocking_nano, leaf.unlock_at_s):
        return Judgement(trust=Trust.PROVEN, proven_nano=proven_nano)
    return _soft("It changed after the newest batch.", proven_nano)


def judge_channel(view: ChannelView, leaf: Leaf | None, payer: Leaf | None, payee: Leaf | None) -> Judgement:
    """Judge a channel, with the leaves of the accounts that its own leaf names."""
    if leaf is None:
        return _soft("The channel is not on L1 yet, or has ended there.")
    number = view.channel_id
    if not isinstance(leaf, Channel):
        return _lie(f"channel {number} is none on L1")
    for side, told, account in (("payer", view.payer, payer), ("payee", view.payee, payee)):
        if not isinstance(account, Account) or account.owner != parse_address(told):
            return _lie(f"channel {number} has another {side} on L1")
    if leaf.signer != parse_address(view.signer):
        return _lie(f"channel {number} has another voucher key on L1")
    if leaf.expiry_s != view.expiry_s:
        return _lie(f"channel {number} has another expiry on L1")
    if view.deposit_nano < leaf.deposit_nano or view.redeemed_nano < leaf.redeemed_nano:
        return _lie(f"channel {number} is further on L1 than it says")
    if leaf.closing_at_s and view.closing_at_s != leaf.closing_at_s:
        return _lie(f"channel {number} is closing on L1, at another time than it says")
    proven_nano = min(view.deposit_nano, leaf.deposit_nano)
    if view.deposit_nano > leaf.deposit_nano:
        return _soft("It was topped up after the newest batch.", proven_nano)
    return Judgement(trust=Trust.PROVEN, proven_nano=proven_nano)


def judge_payee(number: int, owner: bytes, leaf: Leaf | None) -> Judgement:
    """Judge the account number that a sequencer gives for somebody who is to be paid."""
    if leaf is None:
        return _soft("The account is not on L1 yet.")
    if not isinstance(leaf, Account) or leaf.owner != owner:
        return _lie(f"account #{number} is somebody else's than the one to be paid")
    return Judgement(trust=Trust.PROVEN)


def judge_withdrawal(view: WithdrawalView, leaf: Leaf | None) -> Judgement:
    """Judge a withdrawal on its way."""
    if leaf is None:
        return _soft("The withdrawal is not on L1 yet.")
    number = view.withdrawal_index
    if not isinstance(leaf, Withdrawal) or leaf.recipient != parse_address(view.recipient):
        return _lie(f"withdrawal {number} is another recipient's on L1")
    if leaf.amount_nano != view.amount_nano:
        return _lie(f"withdrawal {number} is of another amount on L1")
    return Judgement(trust=Trust.PROVEN, proven_nano=view.amount_nano)


def _soft(why: str, proven_nano: int = 0) -> Judgement:
    return Judgement(trust=Trust.SOFT, why=why, proven_nano=proven_nano)


def _lie(why: str) -> Judgement:
    return Judgement(trust=Trust.CONTRADICTED, why=why)
