"""Where the wallet's money is: account, channels, withdrawals, L1. The wallet may be locked."""

from __future__ import annotations

from typing import Final

from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.views import AccountView, ChainInfo
from node.payments.wallet import NodeWallet
from node.rollup.monitor import RollupMonitor
from node.store.store import Store
from node.values import MoneyLine, MoneyView
from wallet.l1 import open_bridge
from wallet.money import MoneyTimeline, build_timeline
from wallet.trust import UNCHECKED, Judgement, Trust
from wallet.wallet_error import WalletError

_SEEN_SETTING: Final = "accounts_seen:"


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
    l1_nano = await _l1_nano(rollup.info, address)
    accounts = await _accounts(chain, store, address)
    timeline = build_timeline(
        address,
        accounts,
        await client.channels_of(address),
        await client.withdrawals_of(address),
        signed_nano={channel.channel_id: channel.signed_nano for channel in bought if channel.channel_id is not None},
        vouchers_nano={channel.channel_id: channel.voucher_nano for channel in provided},
        l1_nano=l1_nano,
    )
    return _view(timeline)


async def _l1_nano(info: ChainInfo, address: bytes) -> int | None:
    """What the wallet holds on L1; ``None`` where that can't be asked: its line is left out, and the rest shows."""
    try:
        bridge = await open_bridge(info)
    except (ChainUnavailableError, ChainRejectedError):
        return None
    try:
        return await bridge.asset_balance_nano(address)
    except (ChainUnavailableError, ChainRejectedError):
        return None
    finally:
        await bridge.aclose()


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
        )
        for entry in timeline.entries
    )
    return MoneyView(lines=lines, total_nano=timeline.total_nano)
