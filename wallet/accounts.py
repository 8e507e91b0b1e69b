"""One owner's accounts: a deposit that names no account makes one, so a wallet may come to own several."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from chain.money import MAX_NANO
from chain.txs import Transfer
from chain.views import AccountView, SoftReceipt

Send = Callable[[AccountView, Transfer], Awaitable[SoftReceipt]]
"""Signs a transfer as the owner of an account, and hands it in."""


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """What was moved from an owner's further accounts into the first."""

    accounts: tuple[int, ...]
    """The accounts that were emptied."""
    moved_nano: int = 0
    fees_nano: int = 0
    l2_txs: tuple[str, ...] = ()


def balance_of(views: Sequence[AccountView]) -> int:
    """What an owner can spend from all its accounts together, before the fees of bringing it together."""
    return sum(view.balance_nano for view in views)


def worth_moving(views: Sequence[AccountView], fee_nano: int) -> list[AccountView]:
    """The accounts beyond the first that hold more than the fee of emptying them, the richest first."""
    found = [view for view in views[1:] if view.balance_nano > fee_nano]
    return sorted(found, key=lambda view: view.balance_nano, reverse=True)


def spendable_of(views: Sequence[AccountView], fee_nano: int) -> int:
    """What can be spent at once after bringing everything into the first account, at a fee for each other one."""
    first_nano = views[0].balance_nano if views else 0
    return first_nano + sum(view.balance_nano - fee_nano for view in worth_moving(views, fee_nano))


async def merge(views: Sequence[AccountView], fee_nano: int, send: Send, *, enough_nano: int | None = None) -> Merged:
    """Move the money of an owner's further accounts into the first.

    Args:
        views: Its accounts by number.
        fee_nano: What one transaction costs.
        send: Signs and hands in one transfer.
        enough_nano: Stop once the first account holds so much; without it, empty every other one.

    Raises:
        WalletError: As ``send`` does; what was moved before stays moved.
        ChainRejectedError: As ``send`` does.
    """
    merged = Merged(accounts=())
    held_nano = views[0].balance_nano if views else 0
    for view in worth_moving(views, fee_nano):
        if enough_nano is not None and held_nano >= enough_nano:
            break
        amount_nano = min(view.balance_nano - fee_nano, MAX_NANO)
        receipt = await send(view, Transfer(view.index, views[0].index, amount_nano, fee_nano))
        held_nano += amount_nano
        merged = Merged(
            accounts=(*merged.accounts, view.index),
            moved_nano=merged.moved_nano + amount_nano,
            fees_nano=merged.fees_nano + fee_nano,
            l2_txs=(*merged.l2_txs, receipt.l2_tx),
        )
    return merged
