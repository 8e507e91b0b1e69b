"""Where the wallet's money is: account, channels, withdrawals, L1. The wallet may be locked."""

from __future__ import annotations

from typing import Final

from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.orders import claim_key
from chain.signing import parse_address
from chain.types import Withdrawal
from chain.views import AccountView, ChainInfo, WithdrawalView
from node.payments.wallet import NodeWallet
from node.rollup.monitor import RollupMonitor
from node.store.store import Store
from node.values import MoneyLine, MoneyView
from wallet.l1 import open_bridge
from wallet.money import MoneyTimeline, build_timeline
from wallet.trust import UNCHECKED, Judgement, Trust
from wallet.wallet_error import WalletError

_CHECKED_WITHDRAWALS: Final = 8
_SEEN_SETTING: Final = "accounts_seen:"
_SOLD_SHOWN: Final = 8
"""Of so many newest withdrawals those that were sold still show, also once their buyer was paid."""
_LOOKED_AT: Final = 50
"""The newest withdrawals that wait, whose claims are looked up on L1."""


async def money_view(wallet: NodeWallet, chain: RollupMonitor, store: Store) -> MoneyView:
    """Read afresh where the money is.

    Raises:
        IdlewattError: If there is no wallet, or the chain can't be asked; ``contradicted`` if L1 says that it lies.
    """
    if wallet.address is None:
        raise WalletError("There is no wallet here yet.", code="no_wallet", fix="Create or import one.")
    rollup = await chain.rollup()
    client, address = rollup.client, wallet.address
    bought = await store.buyer_channels()
    provided = await store.provider_channels()
    withdrawals = await _withdrawals(chain, address)
    l1_nano, sold = await _on_l1(rollup.info, address, withdrawals)
    accounts = await _accounts(chain, store, address)
    timeline = build_timeline(
        address,
        accounts,
        await client.channels_of(address),
        withdrawals,
        signed_nano={channel.channel_id: channel.signed_nano for channel in bought if channel.channel_id is not None},
        vouchers_nano={channel.channel_id: channel.voucher_nano for channel in provided},
        l1_nano=l1_nano,
        sold={view.l2_tx for view in withdrawals if _key(view) in sold},
    )
    return _view(timeline)


async def _on_l1(info: ChainInfo, address: bytes, withdrawals: list[WithdrawalView]) -> tuple[int | None, set[bytes]]:
    """What the wallet holds on L1, and which of its withdrawals' claims it sold: those are its money no more.

    ``None`` where L1 can't be asked: its line is left out, and the rest shows.
    """
    try:
        bridge = await open_bridge(info)
    except (ChainUnavailableError, ChainRejectedError):
        return None, set()
    looked_at = [view for at, view in enumerate(withdrawals) if view.claim_l1_tx is None or at < _SOLD_SHOWN]
    waiting = [_key(view) for view in looked_at][:_LOOKED_AT]
    try:
        return await bridge.asset_balance_nano(address), await bridge.sold(waiting)
    except (ChainUnavailableError, ChainRejectedError):
        return None, set()
    finally:
        await bridge.aclose()


def _key(view: WithdrawalView) -> bytes:
    leaf = Withdrawal(
        recipient=parse_address(view.recipient),
        amount_nano=view.amount_nano,
        account=view.account_index,
        nonce=view.nonce,
    )
    return claim_key(leaf)


async def _accounts(chain: RollupMonitor, store: Store, address: bytes) -> list[tuple[AccountView, Judgement]]:
    """The wallet's accounts, held against L1 where one can be asked; those seen before must not be kept quiet."""
    rollup = await chain.rollup()
    verifier = await chain.verifier()
    if verifier is None:
        return [(view, UNCHECKED) for view in await rollup.client.accounts_of(address)]
    setting = f"{_SEEN_SETTING}{rollup.info.deployment}:{address.hex()}"
    seen = {int(number) for number in (await store.setting(setting) or "").split() if number.isdigit()}
    found = await verifier.accounts(address, seen)
    proven = {view.index for view, judgement in found if judgement.trust is Trust.PROVEN}
    if not proven <= seen:
        await store.save_setting(setting, " ".join(map(str, sorted(seen | proven))))
    return found


async def _withdrawals(chain: RollupMonitor, address: bytes) -> list[WithdrawalView]:
    """The withdrawals to the wallet's address, the newest of those under way held against L1."""
    views = await (await chain.rollup()).client.withdrawals_of(address)
    verifier = await chain.verifier()
    if verifier is not None:
        for view in [view for view in views if view.claim_l1_tx is None][:_CHECKED_WITHDRAWALS]:
            await verifier.withdrawal(view)
    return views


def _view(timeline: MoneyTimeline) -> MoneyView:
    lines = tuple(
        MoneyLine(
            place=entry.place,
            label=entry.label,
            amount_nano=entry.amount_nano,
            inclusion=entry.inclusion,
            ready_at_s=entry.ready_at_s,
            reference=entry.l2_tx or entry.peer,
            trust=entry.trust,
            proven_nano=entry.proven_nano,
            batch_id=entry.batch_id,
            claim=entry.claim,
        )
        for entry in timeline.entries
    )
    return MoneyView(lines=lines, total_nano=timeline.total_nano)
