"""What a provider's sessions use: channels from chain and disk, vouchers, receipts, the engine and its slots."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Final

from chain.eip712 import SigningDomain
from chain.errors import IdlewattError
from chain.views import ChannelView
from node.engine.protocol import Engine, EngineError, EngineEvent, EngineInfo, GenerateRequest
from node.engine.watchdog import Paced
from node.payments.wallet import NodeWallet
from node.provider.prefills import UnpaidPrefills
from node.provider.slots import SlotClaim, Slots
from node.rollup.monitor import RollupMonitor
from node.runtime.jobs import now_ms
from node.session.provider_io import IssueReceipt
from node.session.terms import ChannelFacts
from node.store.records import ChannelState, ProviderChannel
from node.store.store import Store
from node.values.inference import ChatMessage, TemplateOptions
from wallet.addresses import parse_address
from wallet.receipts import Receipt, sign_receipt
from wallet.vouchers import Voucher

LEAST_ENGINE_TIMEOUT_S: Final = 120.0
SILENT_TOKENS: Final = 200
"""An engine that names no limit of its own may be silent for as long as this many of its tokens take."""


class ProviderHost:
    """Implements ``SessionHost`` for one loaded model.

    Args:
        engine: The loaded engine.
        info: What it said about itself.
        wallet: The wallet that is paid and signs receipts.
        chain: The rollup.
        store: Where vouchers and receipts are kept.
        slots: The slots, and the admission queue for them.
        tokens_per_s: The speed measured last.
        on_claimable: Told when a better voucher was stored.
    """

    def __init__(
        self,
        engine: Engine,
        info: EngineInfo,
        *,
        wallet: NodeWallet,
        chain: RollupMonitor,
        store: Store,
        slots: Slots,
        tokens_per_s: Callable[[], float],
        on_claimable: Callable[[], None],
    ) -> None:
        self.engine = engine
        self._paced = engine if isinstance(engine, Paced) else None
        self.info = info
        self.slots = slots
        self._wallet = wallet
        self._chain = chain
        self._store = store
        self._tokens_per_s = tokens_per_s
        self._on_claimable = on_claimable
        self._busy: set[int] = set()
        self._outdated: set[int] = set()
        """Channels that must be read afresh for their next session."""
        self._written_off_nano: Counter[int] = Counter()
        self._prefills = UnpaidPrefills()

    async def channel_facts(self, channel_id: int) -> ChannelFacts:
        """See ``SessionHost``."""
        if channel_id in self._busy:
            raise IdlewattError(
                "That channel already serves a request.", code="channel_busy", fix="Wait for it, or open another one."
            )
        self._busy.add(channel_id)
        try:
            return await self._facts(channel_id)
        except BaseException:
            self._busy.discard(channel_id)
            raise

    async def release_channel(self, channel_id: int, *, is_outdated: bool) -> None:
        """See ``SessionHost``."""
        if is_outdated:
            # Forgetting it is not enough: whoever redeems may read it again before the buyer's top-up is there.
            self._outdated.add(channel_id)
        self._busy.discard(channel_id)

    def write_off(self, channel_id: int, unpaid_nano: int) -> None:
        """A session ended with this much delivered and not paid."""
        if unpaid_nano > 0:
            self._written_off_nano[channel_id] += unpaid_nano

    def account_for_prefill(self, payer: bytes, *, is_paid: bool) -> None:
        """A prompt was processed: for an answer that was paid for, or for a buyer that left before it began."""
        if is_paid:
            self._prefills.paid(payer)
        else:
            self._prefills.left(payer, time.monotonic())

    async def store_voucher(self, voucher: Voucher) -> None:
        """See ``SessionHost``."""
        if await self._store.accept_voucher(voucher):
            self._on_claimable()

    async def count(self, messages: tuple[ChatMessage, ...], options: TemplateOptions) -> int:
        """See ``SessionHost``."""
        return await self.engine.count(messages, options)

    def enter(self, payer: bytes) -> SlotClaim:
        """See ``SessionHost``. A buyer who pays from this node's own wallet is its owner."""
        is_own = payer == self._wallet.address
        pause_s = 0.0 if is_own else self._prefills.pause_s(payer, time.monotonic())
        if pause_s:
            raise EngineError(
                "This buyer left too many requests in a row before their first token.",
                code="too_many_requests",
                fix=f"Wait {math.ceil(pause_s)} s, or choose another offer.",
                retry_after_s=pause_s,
            )
        return self.slots.enter(payer, own=is_own)

    def generate(self, request: GenerateRequest) -> AsyncIterator[EngineEvent]:
        """See ``SessionHost``."""
        return self.engine.generate(request)

    async def issue_receipt(self, facts: IssueReceipt) -> Receipt:
        """See ``SessionHost``."""
        domain = self.domain()
        account = self._wallet.unlocked()
        # A request that was cancelled, or never began, ends when its receipt is made.
        started_ms = facts.started_ms or now_ms()
        finished_ms = facts.finished_ms if facts.finished_ms > started_ms else now_ms()
        receipt = sign_receipt(
            account,
            domain,
            Receipt(
                channel_id=facts.channel_id,
                sequence=await self._store.next_receipt_sequence(facts.channel_id, facts.cumulative_nano),
                model_sha256=bytes.fromhex(self.info.model_sha256),
                engine_build=self.info.engine_build,
                prompt_hash=facts.prompt_hash,
                output_hash=facts.output_hash,
                input_tokens=facts.input_tokens,
                output_tokens=facts.output_tokens,
                cumulative_nano=facts.cumulative_nano,
                seed=facts.seed,
                fingerprint_hash=facts.fingerprint_hash,
                started_ms=started_ms,
                finished_ms=max(started_ms, finished_ms),
                provider=account.address,
            ),
        )
        await self._store.save_receipt("provider", receipt)
        return receipt

    async def agree_close(self, channel_id: int) -> tuple[int, bytes]:
        """See ``SessionHost``."""
        agreed = await self._wallet.agree_close(channel_id)
        self._chain.forget_channel(channel_id)
        return agreed

    def engine_timeout_s(self) -> float:
        """See ``SessionHost``."""
        if self._paced is not None:
            return self._paced.silence_s()
        speed = self._tokens_per_s()
        return LEAST_ENGINE_TIMEOUT_S if speed <= 0 else max(LEAST_ENGINE_TIMEOUT_S, SILENT_TOKENS / speed)

    def account(self) -> bytes:
        """The address that is paid; 20 bytes.

        Raises:
            IdlewattError: If the wallet is locked.
        """
        return self._wallet.unlocked().address

    def domain(self) -> SigningDomain:
        """The signing domain that sessions verify vouchers under.

        Raises:
            IdlewattError: If the chain was never reached.
        """
        rollup = self._chain.known
        if rollup is None:
            raise IdlewattError("The chain can't be reached.", code="chain_unreachable", fix="Try again in a moment.")
        return rollup.domain

    async def _facts(self, channel_id: int) -> ChannelFacts:
        known = await self._store.provider_channel(channel_id)
        view = await self._chain.channel(channel_id, fresh=channel_id in self._outdated)
        self._outdated.discard(channel_id)
        held_nano = known.voucher_nano if known else 0
        if view is None or view.closing_at_s or (view.deposit_nano - held_nano) * 4 < view.deposit_nano:
            # Nearly spent, closing or unknown: the buyer may have opened it or topped it up a moment ago.
            view = await self._chain.channel(channel_id, fresh=True)
        if view is None:
            raise IdlewattError("There is no such channel.", code="unknown_channel", fix="Open one.")
        if known is None or _differs(known, view):
            known = await self._store.record_provider_channel(
                channel_id=channel_id,
                payer=parse_address(view.payer),
                signer=parse_address(view.signer),
                deposit_nano=view.deposit_nano,
                expiry_s=view.expiry_s,
                opened_at_ms=now_ms(),
                redeemed_nano=view.redeemed_nano,
            )
        if known.state is not ChannelState.OPEN:
            raise IdlewattError("That channel is closing.", code="channel_closing", fix="Open another one.")
        if view.redeems_left < 1:
            # Its payer may have used them up: the last voucher could only be forced through L1, at this wallet's cost.
            raise IdlewattError("That channel has no redeem left.", code="channel_closing", fix="Open another one.")
        await self._chain.check_credit(view, known.voucher_nano)
        held = None
        if known.voucher_nano:
            held = Voucher(channel_id, known.voucher_nano, known.voucher_signature)
        return ChannelFacts(
            channel_id=channel_id,
            payer=known.payer,
            payee=parse_address(view.payee),
            signer=known.signer,
            deposit_nano=view.deposit_nano,
            redeemed_nano=view.redeemed_nano,
            expiry_s=view.expiry_s,
            closing_at_s=view.closing_at_s,
            inclusion=view.open_inclusion,
            now_s=self._chain.now_s(),
            held=held,
            written_off_nano=self._written_off_nano[channel_id],
        )


def _differs(known: ProviderChannel, view: ChannelView) -> bool:
    return (
        known.deposit_nano != view.deposit_nano
        or known.redeemed_nano < view.redeemed_nano
        or known.expiry_s != view.expiry_s
        or known.signer != parse_address(view.signer)
        or known.payer != parse_address(view.payer)
    )
