"""The redeems that channels have left: each opening and top-up pays for some, and each redeem takes of them."""

from __future__ import annotations

from collections.abc import Callable

from chain.fees.policy import FeePolicy
from chain.fees.redeems import ENDING_S, RedeemRefusal, cost_of, refused
from chain.sequencer import refusals
from chain.sequencer.store import SequencerStore, Statement, drop_redeems_left, set_redeems_left
from chain.state import RollupState
from chain.tx_format import TxType
from chain.txs import Redeem, TopUp, TxFormatError, decode
from chain.types import Channel

_COUNTED = frozenset({TxType.REDEEM, TxType.TOP_UP})


class Allowances:
    """What each channel has left. What changed collects as statements, which become durable with the head.

    A channel that isn't listed has what a new one has. So what another sequencer's batches or L1's inbox opened has it
    too: whoever forced an opening paid more gas for it than its redeems cost.

    Args:
        policy: How many an opening and a top-up pay for.
    """

    def __init__(self, policy: FeePolicy) -> None:
        self._policy = policy
        self._left: dict[int, int] = {}
        self._statements: list[Statement] = []

    async def load(self, store: SequencerStore, state: RollupState) -> None:
        """Read what the disk has, and forget channels that are gone: a number is never used again.

        Raises:
            SequencerStoreError: If it can't be read.
        """
        left = await store.redeems_left()
        self._left = {channel: count for channel, count in left.items() if state.channel(channel) is not None}
        self._statements = [drop_redeems_left(channel) for channel in left if channel not in self._left]

    def left(self, channel_id: int) -> int:
        """How many redeems a channel has left."""
        return self._left.get(channel_id, self._policy.redeems_per_open)

    def after(self, raw: bytes, state: RollupState, now_s: int, least: Callable[[], int]) -> tuple[int, int] | None:
        """The channel of a transaction and what it leaves to it, once executed; ``None`` if it is about no channel.

        Args:
            raw: The transaction.
            state: Before it.
            now_s: L2's time.
            least: Tells below what a redeem counts for several.

        Raises:
            ChainRejectedError: ``redeem_quota`` or ``redeem_too_small``.
        """
        if raw[0] not in _COUNTED:
            return None
        try:
            tx, _ = decode(raw)
        except TxFormatError:
            return None
        if isinstance(tx, TopUp):
            left = self.left(tx.channel) + self._policy.redeems_per_top_up
            return tx.channel, min(left, self._policy.max_redeems)
        assert isinstance(tx, Redeem)
        channel = state.channel(tx.channel)
        if channel is None:
            return None
        min_redeem_nano = least()
        left, increment_nano = self.left(tx.channel), tx.cumulative_nano - channel.redeemed_nano
        if increment_nano <= 0:
            return None  # the transition refuses it
        is_ending = _is_ending(channel, now_s)
        refusal = refused(left, increment_nano, min_redeem_nano, is_ending=is_ending)
        if refusal is RedeemRefusal.TOO_SMALL:
            raise refusals.small_redeem(min_redeem_nano)
        if refusal is RedeemRefusal.QUOTA:
            raise refusals.no_redeem_left()
        return tx.channel, left - cost_of(increment_nano, min_redeem_nano, is_ending=is_ending)

    def set(self, channel_id: int, left: int) -> None:
        """Note what a channel has left now."""
        self._left[channel_id] = left
        self._statements.append(set_redeems_left(channel_id, left))

    def drain(self) -> list[Statement]:
        """What has to become durable since the last time."""
        statements, self._statements = self._statements, []
        return statements


def _is_ending(channel: Channel, now_s: int) -> bool:
    return bool(channel.closing_at_s) or channel.expiry_s - now_s <= ENDING_S
