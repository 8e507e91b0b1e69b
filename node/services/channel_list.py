"""Every channel of ours, from either side, as the store knows it and the chain has it now."""

from __future__ import annotations

from typing import Final

from chain.errors import IdlewattError
from chain.views import ChannelView
from node.services.chain_desk import ChainDesk
from node.store.records import BuyerChannel, ChannelState, ProviderChannel
from node.store.store import Store
from node.values import ChannelSummary
from wallet.addresses import checksum_address

CHAIN_PATIENCE_S: Final = 3.0


async def channel_summaries(store: Store, chain: ChainDesk, address: bytes | None) -> tuple[ChannelSummary, ...]:
    """Newest first; without the chain, what the store knows."""
    views: dict[int, ChannelView] = {}
    if address is not None:
        try:
            # A node that has just started may not have met its chain yet: what it would say is worth a moment.
            rollup = await chain.rollup(CHAIN_PATIENCE_S)
            views = {view.channel_id: view for view in await rollup.client.channels_of(address)}
        except IdlewattError:
            # The chain desk tells that the chain is silent; the store's own facts still show.
            views = {}
    dated = [
        (record.opened_at_ms, _bought(record, views.get(record.channel_id)))
        for record in await store.buyer_channels()
        if record.channel_id is not None
    ]
    dated += [
        (record.opened_at_ms, _provided(record, views.get(record.channel_id)))
        for record in await store.provider_channels()
    ]
    for archived in await store.archived_deployments():
        dated += [
            (record.opened_at_ms, _bought(record, None, foreign=True))
            for record in await store.buyer_channels(deployment=archived.deployment)
            if record.channel_id is not None
        ]
        dated += [
            (record.opened_at_ms, _provided(record, None, foreign=True))
            for record in await store.provider_channels(deployment=archived.deployment)
        ]
    dated.sort(key=lambda pair: pair[0], reverse=True)
    return tuple(summary for _, summary in dated)


def _state(state: ChannelState, view: ChannelView | None, *, foreign: bool) -> ChannelState | str:
    if foreign:
        return "foreign"
    if view is not None and view.closing_at_s:
        return ChannelState.CLOSING
    return ChannelState.CLOSED if state is ChannelState.ABANDONED else state


def _bought(record: BuyerChannel, view: ChannelView | None, *, foreign: bool = False) -> ChannelSummary:
    assert record.channel_id is not None
    return ChannelSummary(
        channel_id=record.channel_id,
        role="buyer",
        peer=checksum_address(record.provider),
        state=str(_state(record.state, view, foreign=foreign)),  # type: ignore[arg-type]
        deposit_nano=view.deposit_nano if view else record.deposit_nano,
        spent_nano=record.signed_nano,
        redeemed_nano=max(record.redeemed_nano, view.redeemed_nano if view else 0),
        expiry_s=view.expiry_s if view else record.expiry_s,
        closing_at_s=view.closing_at_s if view else 0,
    )


def _provided(record: ProviderChannel, view: ChannelView | None, *, foreign: bool = False) -> ChannelSummary:
    return ChannelSummary(
        channel_id=record.channel_id,
        role="provider",
        peer=checksum_address(record.payer),
        state=str(_state(record.state, view, foreign=foreign)),  # type: ignore[arg-type]
        deposit_nano=view.deposit_nano if view else record.deposit_nano,
        spent_nano=record.voucher_nano,
        redeemed_nano=max(record.redeemed_nano, view.redeemed_nano if view else 0),
        expiry_s=view.expiry_s if view else record.expiry_s,
        closing_at_s=view.closing_at_s if view else 0,
    )
