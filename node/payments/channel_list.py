"""Every channel of this wallet, as payer and as payee, from the store and the chain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from chain.errors import IdlewattError
from chain.views import ChannelView
from node.rollup.monitor import RollupMonitor
from node.store.records import BuyerChannel, ChannelState, ProviderChannel
from node.store.store import Store
from node.values import ChannelSummary
from wallet.addresses import checksum_address

CHAIN_PATIENCE_S: Final = 3.0

_Record = BuyerChannel | ProviderChannel


async def channel_summaries(store: Store, chain: RollupMonitor, address: bytes | None) -> tuple[ChannelSummary, ...]:
    """Newest first; without the chain, what the store knows."""
    views: dict[int, ChannelView] = {}
    if address is not None:
        try:
            # A node that has just started may not have reached its chain yet, so wait a moment for it.
            rollup = await chain.rollup(CHAIN_PATIENCE_S)
            views = {view.channel_id: view for view in await rollup.client.channels_of(address)}
        except IdlewattError:
            # The rollup monitor tells that the chain is silent. The store's facts still show.
            views = {}
    dated = [(record.opened_at_ms, _summary(record, views)) for record in await _records(store)]
    for archived in await store.archived_deployments():
        old = await _records(store, archived.deployment)
        dated += [(record.opened_at_ms, _summary(record, {}, foreign=True)) for record in old]
    dated.sort(key=lambda pair: pair[0], reverse=True)
    return tuple(summary for _, summary in dated)


async def _records(store: Store, deployment: str | None = None) -> list[_Record]:
    """The channels of a deployment that have a number, as payer and as payee."""
    records: list[_Record] = [
        *await store.buyer_channels(deployment=deployment),
        *await store.provider_channels(deployment=deployment),
    ]
    return [record for record in records if record.channel_id is not None]


def _state(state: ChannelState, view: ChannelView | None, *, foreign: bool) -> ChannelState | str:
    if foreign:
        return "foreign"
    if view is not None and view.closing_at_s:
        return ChannelState.CLOSING
    return ChannelState.CLOSED if state is ChannelState.ABANDONED else state


def _summary(record: _Record, views: Mapping[int, ChannelView], *, foreign: bool = False) -> ChannelSummary:
    assert record.channel_id is not None
    view = views.get(record.channel_id)
    if isinstance(record, BuyerChannel):
        role, peer, spent_nano = "buyer", record.provider, record.signed_nano
    else:
        role, peer, spent_nano = "provider", record.payer, record.voucher_nano
    return ChannelSummary(
        channel_id=record.channel_id,
        role=role,  # type: ignore[arg-type]
        peer=checksum_address(peer),
        state=str(_state(record.state, view, foreign=foreign)),  # type: ignore[arg-type]
        deposit_nano=view.deposit_nano if view else record.deposit_nano,
        spent_nano=spent_nano,
        redeemed_nano=max(record.redeemed_nano, view.redeemed_nano if view else 0),
        expiry_s=view.expiry_s if view else record.expiry_s,
        closing_at_s=view.closing_at_s if view else 0,
    )
