"""A provider's channels. A voucher is on disk before it is acknowledged; the best voucher's amount never falls."""

from __future__ import annotations

import aiosqlite

from node.store.base import StorePart, check_range
from node.store.channel_table import ChannelTable, unknown_channel
from node.store.database import MAX_INTEGER
from node.store.records import ChannelState, ProviderChannel
from node.store.sqlite_errors import StoreError
from wallet.vouchers import Voucher

_TABLE = ChannelTable("provider_channels", ProviderChannel)


class ProviderChannels(StorePart):
    """Channels that this home is paid through."""

    async def record_provider_channel(
        self,
        *,
        channel_id: int,
        payer: bytes,
        signer: bytes,
        deposit_nano: int,
        expiry_s: int,
        opened_at_ms: int,
        redeemed_nano: int = 0,
    ) -> ProviderChannel:
        """Note a channel as the chain confirms it. A known one keeps its vouchers, and its deposit never falls.

        Args:
            channel_id: Its number on the chain.
            payer: The buyer's account.
            signer: The voucher key's address.
            deposit_nano: The *confirmed* deposit in all: the ceiling of every voucher.
            expiry_s: When it expires on chain.
            opened_at_ms: When this node first saw it, milliseconds UTC.
            redeemed_nano: What the chain has paid out already.

        Raises:
            StoreError: ``bad_record`` if it is known with another payer or signer.
        """
        deployment = self._bound()
        check_range(channel_id=channel_id, deposit_nano=deposit_nano, redeemed_nano=redeemed_nano)

        async def upsert(connection: aiosqlite.Connection) -> ProviderChannel:
            await connection.execute(
                "INSERT INTO provider_channels (deployment, channel_id, payer, signer, deposit_nano, expiry_s, "
                "charged_nano, redeemed_nano, state, opened_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'open', ?) "
                "ON CONFLICT (deployment, channel_id) DO UPDATE SET "
                "deposit_nano = max(deposit_nano, excluded.deposit_nano), expiry_s = excluded.expiry_s, "
                "redeemed_nano = max(redeemed_nano, excluded.redeemed_nano), "
                "charged_nano = max(charged_nano, excluded.charged_nano)",
                (
                    deployment,
                    channel_id,
                    payer,
                    signer,
                    deposit_nano,
                    min(expiry_s, MAX_INTEGER),
                    # What was redeemed was also delivered, even if this node lost its database since.
                    redeemed_nano,
                    redeemed_nano,
                    opened_at_ms,
                ),
            )
            channel = await _TABLE.one(connection, deployment, channel_id)
            if (channel.payer, channel.signer) != (payer, signer):
                raise StoreError("That channel number belongs to another payer.", code="bad_record")
            return channel

        return await self._database.write(upsert)

    async def accept_voucher(self, voucher: Voucher) -> bool:
        """Keep a *verified* voucher. Acknowledge it, or count it as paid, only after this returned ``True``.

        Returns:
            Whether it is higher than the best one; otherwise nothing changes.

        Raises:
            StoreError: ``unknown_channel``, ``over_deposit``, or ``channel_not_open`` if it is closed.
        """
        deployment = self._bound()
        check_range(cumulative_nano=voucher.cumulative_nano)

        accepted = await self._database.write_statement(
            "UPDATE provider_channels SET voucher_nano = ?1, voucher_signature = ?2 "
            "WHERE deployment = ?3 AND channel_id = ?4 AND state NOT IN ('closed', 'abandoned') "
            "AND ?1 <= deposit_nano AND ?1 > voucher_nano RETURNING voucher_nano",
            (voucher.cumulative_nano, voucher.signature, deployment, voucher.channel_id),
        )
        if accepted:
            return True

        async def accept(connection: aiosqlite.Connection) -> bool:
            channel = await _TABLE.one(connection, deployment, voucher.channel_id)
            if channel.state in (ChannelState.CLOSED, ChannelState.ABANDONED):
                raise StoreError("That channel is closed.", code="channel_not_open")
            if voucher.cumulative_nano > channel.deposit_nano:
                raise StoreError("The voucher exceeds the channel's confirmed deposit.", code="over_deposit")
            if voucher.cumulative_nano <= channel.voucher_nano:
                return False
            await connection.execute(
                "UPDATE provider_channels SET voucher_nano = ?, voucher_signature = ? "
                "WHERE deployment = ? AND channel_id = ?",
                (voucher.cumulative_nano, voucher.signature, deployment, voucher.channel_id),
            )
            return True

        return await self._database.write(accept)  # says why not, unless another write has made it possible

    async def record_redeemed(self, channel_id: int, redeemed_nano: int) -> ProviderChannel:
        """Note what the chain has paid out. A lower amount changes nothing.

        Args:
            channel_id: The channel.
            redeemed_nano: What was paid out in all.

        Raises:
            StoreError: ``unknown_channel`` or ``bad_record``.
        """
        deployment = self._bound()
        check_range(redeemed_nano=redeemed_nano)
        return await self._database.write(
            lambda connection: _TABLE.raise_to(connection, deployment, channel_id, "redeemed_nano", redeemed_nano)
        )

    async def set_provider_channel_state(self, channel_id: int, state: ChannelState) -> ProviderChannel:
        """Move a channel on to a later state; an earlier one changes nothing.

        Raises:
            StoreError: ``unknown_channel``.
        """
        deployment = self._bound()
        return await self._database.write(lambda connection: _TABLE.move_on(connection, deployment, channel_id, state))

    async def next_receipt_sequence(self, channel_id: int, charged_nano: int = 0) -> int:
        """Take the channel's next receipt number, from 0. No number is given twice, not even after a crash.

        Args:
            channel_id: The channel.
            charged_nano: What was delivered on the channel in all, paid or not; what is stored is never lowered.

        Raises:
            StoreError: ``unknown_channel`` or ``bad_record``.
        """
        check_range(charged_nano=charged_nano)
        rows = await self._database.write_statement(
            "UPDATE provider_channels SET next_sequence = next_sequence + 1, charged_nano = max(charged_nano, ?) "
            "WHERE deployment = ? AND channel_id = ? RETURNING next_sequence - 1",
            (charged_nano, self._bound(), channel_id),
        )
        if not rows:
            raise unknown_channel()
        return int(rows[0][0])

    async def provider_channels(
        self, *, live_only: bool = False, claimable_only: bool = False, deployment: str | None = None
    ) -> list[ProviderChannel]:
        """This deployment's channels (or an archived one's), newest first; empty before the first binding."""
        return await _TABLE.channels(
            self._database,
            deployment or self._deployment,
            live_only=live_only,
            where="voucher_nano > redeemed_nano" if claimable_only else "TRUE",
        )

    async def provider_channel(self, channel_id: int) -> ProviderChannel | None:
        """One channel by its number."""
        return await _TABLE.get(self._database, self._deployment, channel_id)
