"""Offering liquidity as a service: watches the board, buys what pays, claims what is final.

It keeps nothing on disk. What it bought stands on L1 under its own address, and so does what was paid: so whatever
moment it is killed in, it neither buys twice, which the contract refuses, nor forgets a claim.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from chain.errors import ChainRejectedError, ChainUnavailableError, IdlewattError
from chain.l1.fast import Sale
from chain.logs import get_logger
from chain.money import format_usd
from chain.orders import SignedOrder, WithdrawalOrder, claim_key
from chain.replay import rules_of
from chain.retry import retry
from chain.signing import parse_address
from chain.types import Withdrawal, withdrawal_key
from chain.views import WithdrawalOfferView
from wallet.attesters import AttestationReader
from wallet.liquidity.claims import Claims, Place
from wallet.liquidity.pricing import Claim, PricingPolicy, Refusal, Standing, demanded_fee_nano
from wallet.rollup_follower import claimed, finalized

if TYPE_CHECKING:
    from chain.client import RollupClient
    from chain.l1.rollup_l1 import JsonRpcRollupL1

log = get_logger(__name__)

BUY_AND_CLAIM_GAS = 350_000
"""What a purchase, its approval and its claim take together, at most."""
REREAD_BLOCKS = 64
"""So many blocks are looked at again, since L1 may have gone back."""
POLL_S = 1.0
RETRY_S = 0.5
MAX_RETRY_S = 30.0
_LOST_RACES = frozenset(
    {"already_sold", "already_claimed", "order_over", "wrong_proof", "no_such_batch", "already_frozen", "nonce"}
)
"""Refusals that the next look explains: somebody was faster, or L1 moved."""


class LiquidityEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was seen or done; ``kind`` is ``bought``, ``claimed``, ``passed``, ``wrong``, ``trouble``."""

    kind: str
    text: str
    at_s: int
    """L1's time."""
    amount_nano: int = 0
    fee_nano: int = 0
    l1_tx: str = ""
    code: str = ""
    """For ``passed`` the reason, for ``trouble`` the error's."""


class LiquidityView(msgspec.Struct, frozen=True, kw_only=True):
    """How it is doing, counted from L1 alone."""

    bought: int
    paid_out_nano: int
    """What it paid for every claim it ever bought."""
    earned_nano: int
    """Fees of the claims that were paid."""
    waiting_nano: int
    """What it paid for claims that are not paid yet: its exposure."""
    pending_fee_nano: int
    """Fees of those."""


class LiquidityProvider:
    """Buys claims for one address.

    Args:
        l1: The rollup's contracts, with the key that pays.
        client: The RPC whose board has the offers; nothing that it says is believed.
        policy: Rates and limits.
        on_event: Called with everything that happens.
    """

    def __init__(
        self,
        l1: JsonRpcRollupL1,
        client: RollupClient,
        *,
        policy: PricingPolicy,
        on_event: Callable[[LiquidityEvent], None] = lambda _: None,
    ) -> None:
        sender = l1.sender
        assert sender is not None, "offering liquidity takes a key"
        self._l1, self._client, self._policy, self._on_event = l1, client, policy, on_event
        self._me = sender
        self._claims = Claims(l1)
        self._attesters = AttestationReader(l1, client)
        self._sales: dict[bytes, Sale] = {}
        self._paid: set[bytes] = set()
        self._told: dict[bytes, str] = {}
        self._read_to = 0
        """Its purchases in L1's blocks are known so far."""
        self._now_s = 0
        """L1's time at the last look."""
        self._trouble = ""
        self._wrong_told = -1

    def view(self) -> LiquidityView:
        """How it is doing."""
        paid = [sale for key, sale in self._sales.items() if key in self._paid]
        waiting = [sale for key, sale in self._sales.items() if key not in self._paid]
        return LiquidityView(
            bought=len(self._sales),
            paid_out_nano=sum(sale.amount_nano - sale.fee_nano for sale in self._sales.values()),
            earned_nano=sum(sale.fee_nano for sale in paid),
            waiting_nano=sum(sale.amount_nano - sale.fee_nano for sale in waiting),
            pending_fee_nano=sum(sale.fee_nano for sale in waiting),
        )

    async def run(self, *, poll_s: float = POLL_S) -> None:
        """Work until cancelled; what fails is tried again, with longer and longer pauses."""
        while True:
            await retry(
                self.step,
                on=(ChainUnavailableError, ChainRejectedError),
                wait_s=RETRY_S,
                max_wait_s=MAX_RETRY_S,
                on_failure=self._tell_trouble,
            )
            self._trouble = ""
            await asyncio.sleep(poll_s)

    async def step(self) -> int:
        """Look once, claim what is final, buy what pays; returns how many claims were bought.

        Raises:
            ChainUnavailableError: If L1 or the RPC doesn't answer.
            ChainRejectedError: If L1 refuses what was sent, for want of ether for example.
        """
        await self.look()
        await self._claim_what_is_final()
        if await self._l1.frozen_at_s() is not None or await self._l1.has_transactions_under_way():
            # Under way may be a purchase of before a crash: until it is mined, nobody knows what it leaves to spend.
            return 0
        return await self._buy_what_pays()

    async def look(self) -> None:
        """Learn from L1 what this address bought, where it stands, and what was paid."""
        self._now_s = await self._l1.time_s()
        newest = await self._l1.block_number()
        for sale in await self._l1.sales_to(self._me, from_block=self._read_to - REREAD_BLOCKS):
            self._sales[sale.key] = sale
        self._read_to = newest
        for key in list(self._sales.keys() - self._paid):
            if await self._l1.claimant(key) != self._me:
                # L1 went back, and the purchase with it; or its node did, and shows it again later: all is read again.
                del self._sales[key]
                self._read_to = 0
        await self._claims.follow(self._sales.keys() - self._paid)
        wrong = self._claims.wrong
        if wrong is not None and wrong.batch_id != self._wrong_told:
            self._wrong_told = wrong.batch_id
            log.error("batch_wrong", batch=wrong.batch_id)
            await self._tell("wrong", f"{wrong.message} Nothing from it on is bought.")
        for key in self._sales.keys() - self._paid:
            place = self._claims.place(key)
            if place is not None and await self._l1.is_claimed(withdrawal_key(place.number)):
                await self._note_paid(key)

    # ---------------------------------------------------------------------------------------------------------- claims

    async def _claim_what_is_final(self) -> None:
        places = [(key, self._claims.place(key)) for key in self._sales.keys() - self._paid]
        waiting = [(key, place) for key, place in places if place is not None]
        if not waiting:
            return
        final, now_s = await self._l1.final_count(), await self._l1.time_s()
        if any(place.batch_id >= final and now_s >= place.final_at_s for _, place in waiting):
            final = await finalized(self._l1)
        for key, place in waiting:
            if place.batch_id < final:
                await self._claim(key, place)

    async def _claim(self, key: bytes, place: Place) -> None:
        index = withdrawal_key(place.number)
        l1_tx = await claimed(self._l1, place.batch_id, index, place.leaf, place.siblings)
        await self._note_paid(key, l1_tx)

    async def _note_paid(self, key: bytes, l1_tx: bytes = b"") -> None:
        """A claim was paid, whoever sent the transaction."""
        self._paid.add(key)
        sale = self._sales[key]
        log.info("claim_paid", amount_nano=sale.amount_nano, fee_nano=sale.fee_nano)
        text = f"A claim of {format_usd(sale.amount_nano)} was paid; {format_usd(sale.fee_nano)} earned."
        await self._tell("claimed", text, sale=sale, l1_tx=l1_tx)

    # --------------------------------------------------------------------------------------------------------- buying

    async def _buy_what_pays(self) -> int:
        domain = rules_of(await self._l1.deployment()).domain
        bought = 0
        for view in await self._client.withdrawal_offers():
            signed = _signed(view)
            if signed is None or not signed.is_signed(domain):
                continue
            bought += await self._consider(signed)
        return bought

    async def _consider(self, signed: SignedOrder) -> bool:
        order = signed.order
        key = claim_key(order.withdrawal)
        if self._now_s > order.deadline_s or key in self._sales:
            return False
        place = self._claims.place(key)
        if place is None:
            # Not in a batch that stands and was executed again here. Before L1 is asked: anyone makes up withdrawals.
            self._pass(key, order, "unverified")
            return False
        now_s = await self._l1.time_s()
        if now_s > order.deadline_s or await self._l1.claimant(key) is not None:
            return False
        if await self._l1.is_claimed(withdrawal_key(place.number)):
            return False
        claim = await self._priced(place, now_s)
        demanded = demanded_fee_nano(claim, self._policy, await self._standing())
        if isinstance(demanded, Refusal):
            self._pass(key, order, demanded.reason)
            return False
        if order.max_fee_nano < demanded:
            self._pass(key, order, "fee", f"; it would take {format_usd(demanded)}")
            return False
        if order.fee_nano(now_s) < demanded:
            return False
        return await self._buy(key, place, signed)

    async def _priced(self, place: Place, now_s: int) -> Claim:
        vouching = await self._attesters.behind(place.batch_id)
        is_final = place.batch_id < await self._l1.final_count()
        return Claim(
            amount_nano=place.leaf.amount_nano,
            seconds_left=0 if is_final else max(place.final_at_s - now_s, 0),
            is_verified=True,
            attesters=vouching.attesters,
            bonded_wei=vouching.bonded_wei,
        )

    async def _standing(self) -> Standing:
        return Standing(
            exposure_nano=self.view().waiting_nano,
            held_nano=await self._l1.held_nano(self._me),
            gas_wei=BUY_AND_CLAIM_GAS * (await self._l1.connection.fees())["maxFeePerGas"],
        )

    async def _buy(self, key: bytes, place: Place, signed: SignedOrder) -> bool:
        index = withdrawal_key(place.number)
        try:
            await self._l1.allow(place.leaf.amount_nano, up_to_nano=self._policy.max_exposure_nano)
            l1_tx = await self._l1.buy_withdrawal(place.batch_id, index, place.siblings, signed)
        except ChainRejectedError as error:
            if error.code not in _LOST_RACES:
                raise
            log.info("purchase_lost", code=error.code)
            return False
        sale = await self._l1.sale(self._me, key, from_block=self._read_to)
        if sale is None:
            raise ChainUnavailableError("L1 mined the purchase but doesn't show it.", code="chain_bad_answer")
        self._sales[key] = sale
        log.info("claim_bought", amount_nano=sale.amount_nano, fee_nano=sale.fee_nano)
        text = f"Paid {format_usd(sale.amount_nano - sale.fee_nano)} for a claim of {format_usd(sale.amount_nano)}."
        await self._tell("bought", text, sale=sale, l1_tx=l1_tx)
        return True

    # --------------------------------------------------------------------------------------------------------- telling

    def _pass(self, key: bytes, order: WithdrawalOrder, reason: str, more: str = "") -> None:
        """Say once why an offer isn't taken up."""
        if self._told.get(key) == reason:
            return
        if len(self._told) > 1_000:
            self._told.clear()
        self._told[key] = reason
        amount_nano = order.withdrawal.amount_nano
        text = f"{format_usd(amount_nano)} for at most {format_usd(order.max_fee_nano)}: passed ({reason}{more})."
        event = LiquidityEvent(kind="passed", text=text, at_s=self._now_s, amount_nano=amount_nano, code=reason)
        self._on_event(event)

    async def _tell(self, kind: str, text: str, *, sale: Sale | None = None, l1_tx: bytes = b"") -> None:
        event = LiquidityEvent(
            kind=kind,
            text=text,
            at_s=await self._l1.time_s(),
            amount_nano=sale.amount_nano if sale else 0,
            fee_nano=sale.fee_nano if sale else 0,
            l1_tx="0x" + l1_tx.hex() if l1_tx else "",
        )
        self._on_event(event)

    def _tell_trouble(self, error: IdlewattError) -> None:
        if error.line() != self._trouble:
            self._trouble = error.line()
            log.warning("liquidity_step_failed", error=error.line())
            self._on_event(LiquidityEvent(kind="trouble", text=error.line(), at_s=0, code=error.code))


def _signed(view: WithdrawalOfferView) -> SignedOrder | None:
    """An offer as the board tells it; ``None`` if it is none."""
    try:
        order = WithdrawalOrder(
            withdrawal=Withdrawal(
                recipient=parse_address(view.recipient),
                amount_nano=view.amount_nano,
                account=view.account_index,
                nonce=view.nonce,
            ),
            max_fee_nano=view.max_fee_nano,
            start_s=view.start_s,
            deadline_s=view.deadline_s,
        )
        order.check()
        return SignedOrder(order=order, signature=bytes.fromhex(view.signature.removeprefix("0x")))
    except (ValueError, IdlewattError):
        return None
