"""A buyer's channels. Each change is on disk before its call returns; the signed amount never falls."""

from __future__ import annotations

import aiosqlite
import msgspec

from node.store.base import StorePart, check_range, placeholders
from node.store.channel_table import ChannelTable
from node.store.database import MAX_INTEGER
from node.store.records import BuyerChannel, ChannelState
from node.store.sqlite_errors import StoreError

_TABLE = ChannelTable("buyer_channels", BuyerChannel)


class BuyerChannels(StorePart):
    """Channels that this home pays through."""

    async def record_opening(
        self,
        *,
        provider: bytes,
        signer: bytes,
        salt: bytes,
        deposit_nano: int,
        expiry_s: int,
        opened_at_ms: int,
    ) -> BuyerChannel:
        """Write an opening down before it is submitted, so that a crash in between loses nothing.

        Args:
            provider: The payee's address, 20 bytes.
            signer: The voucher key's address, 20 bytes.
            salt: What the voucher key was derived from.
            deposit_nano: The deposit.
            expiry_s: When the channel expires, chain time in seconds.
            opened_at_ms: The time now, milliseconds UTC.

        Raises:
            StoreError: ``signer_in_use`` if that voucher key already has a channel here; ``bad_record``.
        """
        check_range(deposit_nano=deposit_nano, opened_at_ms=opened_at_ms)
        channel = BuyerChannel(
            deployment=self._bound(),
            channel_id=None,
            provider=provider,
            signer=signer,
            salt=salt,
            deposit_nano=deposit_nano,
            signed_nano=0,
            redeemed_nano=0,
            expiry_s=min(expiry_s, MAX_INTEGER),
            state=ChannelState.OPENING,
            opened_at_ms=opened_at_ms,
        )

        async def insert(connection: aiosqlite.Connection) -> None:
            if await _TABLE.find(connection, channel.deployment, "signer", signer):
                raise StoreError("That voucher key already has a channel.", code="signer_in_use")
            fields = msgspec.structs.asdict(channel) | {"state": channel.state.value}
            await connection.execute(
                f"INSERT INTO buyer_channels ({', '.join(fields)}) VALUES ({placeholders(tuple(fields))})",
                tuple(fields.values()),
            )

        await self._database.write(insert)
        return channel

    async def confirm_opening(
        self, signer: bytes, channel_id: int, *, deposit_nano: int | None = None, expiry_s: int | None = None
    ) -> BuyerChannel:
        """Note that the chain has the channel, with its number; repeating it changes nothing.

        An abandoned opening can be confirmed too, since the chain decides.

        Args:
            signer: The voucher key's address, which identifies the opening.
            channel_id: The channel's number on the chain.
            deposit_nano: The deposit as the chain has it; ``None`` keeps what is written.
            expiry_s: The expiry as the chain has it; ``None`` keeps what is written.

        Raises:
            StoreError: ``unknown_channel`` if no opening has that signer; ``bad_record`` if it has another number.
        """
        deployment = self._bound()
        check_range(channel_id=channel_id, deposit_nano=deposit_nano or 0)

        async def confirm(connection: aiosqlite.Connection) -> BuyerChannel:
            known = await _TABLE.find(connection, deployment, "signer", signer)
            if known is None:
                raise StoreError("No channel was opened with that voucher key.", code="unknown_channel")
            if known.channel_id not in (None, channel_id):
                raise StoreError("That voucher key belongs to another channel.", code="bad_record")
            state = known.state
            if state in (ChannelState.OPENING, ChannelState.ABANDONED):
                state = ChannelState.OPEN
            await connection.execute(
                "UPDATE buyer_channels SET channel_id = ?, state = ?, deposit_nano = ?, expiry_s = ? "
                "WHERE deployment = ? AND signer = ?",
                (
                    channel_id,
                    state.value,
                    known.deposit_nano if deposit_nano is None else deposit_nano,
                    known.expiry_s if expiry_s is None else min(expiry_s, MAX_INTEGER),
                    deployment,
                    signer,
                ),
            )
            return await _TABLE.one(connection, deployment, channel_id)

        return await self._database.write(confirm)

    async def abandon_opening(self, signer: bytes) -> None:
        """Note that the chain refused the opening for good. A channel that has a number doesn't change."""
        await self._database.write_statement(
            "UPDATE buyer_channels SET state = 'abandoned' WHERE deployment = ? AND signer = ? AND state = 'opening'",
            (self._bound(), signer),
        )

    async def raise_signed(self, channel_id: int, cumulative_nano: int) -> bool:
        """Note that ``cumulative_nano`` will be signed. Sign the voucher only after this returned ``True``.

        Returns:
            Whether it is higher than every amount before; otherwise nothing changes.

        Raises:
            StoreError: ``unknown_channel``, ``channel_not_open``, or ``over_deposit``.
        """
        deployment = self._bound()
        check_range(cumulative_nano=cumulative_nano)

        raised = await self._database.write_statement(
            "UPDATE buyer_channels SET signed_nano = ?1 WHERE deployment = ?2 AND channel_id = ?3 AND state = 'open' "
            "AND ?1 <= deposit_nano AND ?1 > signed_nano RETURNING signed_nano",
            (cumulative_nano, deployment, channel_id),
        )
        if raised:
            return True

        async def advance(connection: aiosqlite.Connection) -> bool:
            channel = await _TABLE.one(connection, deployment, channel_id)
            if channel.state is not ChannelState.OPEN:
                raise StoreError("That channel is not open any more.", code="channel_not_open", fix="Open another one.")
            if cumulative_nano > channel.deposit_nano:
                raise StoreError(
                    "That would promise more than the channel's deposit.",
                    code="over_deposit",
                    fix="Top the channel up.",
                )
            if cumulative_nano <= channel.signed_nano:
                return False
            await connection.execute(
                "UPDATE buyer_channels SET signed_nano = ? WHERE deployment = ? AND channel_id = ?",
                (cumulative_nano, deployment, channel_id),
            )
            return True

        return await self._database.write(advance)  # says why not, unless another write has made it possible

    async def raise_deposit(self, channel_id: int, deposit_nano: int) -> BuyerChannel:
        """Note a confirmed top-up. A lower amount changes nothing.

        Args:
            channel_id: The channel.
            deposit_nano: The deposit in all.

        Raises:
            StoreError: ``unknown_channel`` or ``bad_record``.
        """
        deployment = self._bound()
        check_range(deposit_nano=deposit_nano)

        return await self._database.write(
            lambda connection: _TABLE.raise_to(connection, deployment, channel_id, "deposit_nano", deposit_nano)
        )

    async def record_paid_out(self, channel_id: int, redeemed_nano: int) -> BuyerChannel:
        """Note what the chain has paid out of the channel. A lower amount changes nothing.

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

    async def set_buyer_channel_state(self, channel_id: int, state: ChannelState) -> BuyerChannel:
        """Move a channel on to a later state; an earlier one changes nothing.

        Raises:
            StoreError: ``unknown_channel``.
        """
        deployment = self._bound()
        return await self._database.write(lambda connection: _TABLE.move_on(connection, deployment, channel_id, state))

    async def buyer_channels(self, *, live_only: bool = False, deployment: str | None = None) -> list[BuyerChannel]:
        """This deployment's channels (or an archived one's), newest first; empty before the first binding."""
        return await _TABLE.channels(self._database, deployment or self._deployment, live_only=live_only)

    async def buyer_channel(self, channel_id: int) -> BuyerChannel | None:
        """One channel by its number."""
        return await _TABLE.get(self._database, self._deployment, channel_id)

    async def next_voucher_index(self) -> int:
        """A voucher key counter that no channel of this deployment has used (``UnlockedAccount.voucher_key_at``)."""
        rows = await self._database.rows(
            "SELECT salt FROM buyer_channels WHERE deployment = ? AND length(salt) = 8", (self._bound(),)
        )
        return max((int.from_bytes(row[0], "big") for row in rows), default=-1) + 1
