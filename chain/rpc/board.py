"""The board beside the RPC: withdrawals whose recipients sell their claim, and watchtowers' words about batches.

Nothing on it has to be believed: whoever reads it holds each signature against what L1 has. It is kept in memory, since
whoever waits for a buyer, or vouches for a batch, says so again when it isn't there any more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from chain.attestations import Attestation
from chain.errors import ChainRejectedError
from chain.fees.quotas import ClientQuotas
from chain.l1.attested import AttesterBond
from chain.orders import SignedOrder, WithdrawalOrder, claim_key
from chain.replay import rules_of
from chain.sequencer import refusals
from chain.sequencer.sequencer import Sequencer
from chain.signing import checksum_address
from chain.types import Withdrawal
from chain.views import AttestationView, WithdrawalOfferView


class BoardLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much the board keeps, and how often it asks L1 on a stranger's word."""

    max_offers: int = 500
    max_offers_of_one: int = 20
    """Of one recipient."""
    max_offer_s: int = 30 * 24 * 3600
    """How far ahead an offer may end."""
    max_attesters: int = 32
    """Of one batch; a greater bond takes the place of the least one."""
    max_batches: int = 1_000
    """How many batches words are kept about."""
    bond_fresh_s: float = 30.0
    """How long what L1 said about a bond is believed."""
    max_lookups_per_minute: int = 120
    """L1 is asked so often about strangers, an eighth of it for one client."""
    max_bonds: int = 1_000
    """How many answers of L1 about bonds are remembered."""


class Offers:
    """Signed orders for withdrawals that exist, one each.

    Args:
        sequencer: Knows the withdrawals.
        limits: How much is kept.
    """

    def __init__(self, sequencer: Sequencer, limits: BoardLimits) -> None:
        self._sequencer = sequencer
        self._limits = limits
        self._offers: dict[bytes, tuple[int, SignedOrder]] = {}

    async def put(self, signed: SignedOrder) -> None:
        """Put one up, in place of an earlier one for the same withdrawal.

        Raises:
            UsageError: ``bad_order`` for terms that no contract takes.
            ChainRejectedError: ``no_such_withdrawal``, ``already_claimed``, ``bad_signature``, ``order_over``, or
                ``board_full``.
        """
        order, limits = signed.order, self._limits
        order.check()
        now_s = self._sequencer.ledger.clock.time_s
        if not now_s < order.deadline_s <= now_s + limits.max_offer_s:
            raise ChainRejectedError("The offer is over, or ends too far ahead.", code="order_over")
        if not signed.is_signed(rules_of(self._sequencer.deployment).domain):
            raise ChainRejectedError("The withdrawal's recipient didn't sign this offer.", code="bad_signature")
        number = await self._number(order.withdrawal)
        self._drop_old()
        key = claim_key(order.withdrawal)
        if key not in self._offers:
            self._make_room(order)
        self._offers[key] = number, signed

    def views(self) -> list[WithdrawalOfferView]:
        """Every offer that isn't over, the first to end first."""
        self._drop_old()
        views = [_offer_view(number, signed.order, signed.signature) for number, signed in self._offers.values()]
        return sorted(views, key=lambda view: view.deadline_s)

    def _make_room(self, order: WithdrawalOrder) -> None:
        """Where the board, or its recipient's part of it, is full, the smallest withdrawal gives way to a greater one.

        So many small withdrawals, which cost little, keep nobody's great one off the board.
        """
        limits, recipient = self._limits, order.withdrawal.recipient
        of_one = [key for key, (_, kept) in self._offers.items() if kept.order.withdrawal.recipient == recipient]
        if len(of_one) >= limits.max_offers_of_one:
            rivals = of_one
        elif len(self._offers) >= limits.max_offers:
            rivals = list(self._offers)
        else:
            return
        least = min(rivals, key=self._amount_nano)
        if self._amount_nano(least) >= order.withdrawal.amount_nano:
            raise ChainRejectedError(
                "The board has no room for another offer.", code="board_full", fix="Try again a little later."
            )
        del self._offers[least]

    def _amount_nano(self, key: bytes) -> int:
        return self._offers[key][1].order.withdrawal.amount_nano

    async def _number(self, wanted: Withdrawal) -> int:
        row = await self._sequencer.ledger.store.withdrawal_like(wanted)
        if row is None:
            raise ChainRejectedError("There is no such withdrawal.", code="no_such_withdrawal")
        if row.claim_l1_tx is not None:
            raise ChainRejectedError("That withdrawal was paid already.", code="already_claimed")
        return row.number

    def _drop_old(self) -> None:
        now_s = self._sequencer.ledger.clock.time_s
        for key, (_, signed) in list(self._offers.items()):
            if signed.order.deadline_s < now_s:
                del self._offers[key]


class Attested:
    """What bonded watchtowers said about batches that stand and aren't final.

    Args:
        sequencer: Knows the batches, and L1.
        limits: How much is kept.
        clock: Monotonic seconds.
    """

    def __init__(
        self, sequencer: Sequencer, limits: BoardLimits, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sequencer = sequencer
        self._limits = limits
        self._clock = clock
        self._asking = asyncio.Lock()
        self._lookups = ClientQuotas(limits.max_lookups_per_minute)
        self._hashes: dict[int, tuple[bytes, bytes]] = {}
        """A batch's hash, by its number, and the L1 transaction that it was asked for."""
        self._bonds: dict[bytes, tuple[float, AttesterBond]] = {}
        self._words: dict[int, dict[bytes, tuple[int, Attestation]]] = {}

    async def put(self, batch_id: int, signature: bytes, client: str | None = None) -> None:
        """Keep a watchtower's word about a batch.

        Args:
            batch_id: Which batch.
            signature: Over its hash.
            client: Who hands it in, as quotas tell clients apart; ``None`` for this machine itself.

        Raises:
            ChainRejectedError: ``no_such_batch``, ``bad_signature``, ``no_attester``, ``board_full`` or
                ``rate_limited``.
            ChainUnavailableError: If L1 doesn't answer.
        """
        async with self._asking:
            self._drop_old()
            batch_hash = await self._hash(batch_id)
            word = Attestation(batch_id=batch_id, batch_hash=batch_hash, signature=signature)
            attester = word.attester(rules_of(self._sequencer.deployment).domain)
            if attester is None:
                raise ChainRejectedError("Nobody signed this.", code="bad_signature")
            bond = await self._bond(attester, client)
            if not bond.vouches():
                raise ChainRejectedError(
                    "Nobody with a bond signed this.",
                    code="no_attester",
                    fix="Put up a bond with `idlewatt watch --attest`.",
                )
            kept = self._words.setdefault(batch_id, {})
            if attester not in kept and len(kept) >= self._limits.max_attesters:
                least = min(kept, key=lambda one: kept[one][0])
                if kept[least][0] >= bond.amount_wei:
                    raise ChainRejectedError("Enough watchtowers vouch for this batch.", code="board_full")
                del kept[least]
            kept[attester] = bond.amount_wei, word

    def views(self, batch_id: int) -> list[AttestationView]:
        """What is kept about every batch that isn't final, up to this one."""
        self._drop_old()
        return [
            AttestationView(
                batch_id=number,
                batch_hash="0x" + word.batch_hash.hex(),
                attester=checksum_address(attester),
                signature="0x" + word.signature.hex(),
            )
            for number in sorted(self._words)
            if number <= batch_id
            for attester, (_, word) in self._words[number].items()
        ][-1_000:]

    async def _hash(self, batch_id: int) -> bytes:
        row = await self._sequencer.ledger.store.batch(batch_id)
        if row is None or row.l1_tx is None or batch_id < self._sequencer.ledger.final.count:
            raise ChainRejectedError("No such batch stands that isn't final.", code="no_such_batch")
        known = self._hashes.get(batch_id)
        if known is None or known[1] != row.l1_tx:
            # Counted by nobody: it is asked once a batch, whoever speaks.
            known = await self._sequencer.l1.batch_hash(batch_id), row.l1_tx
            self._hashes[batch_id] = known
            self._words.pop(batch_id, None)
        return known[0]

    async def _bond(self, attester: bytes, client: str | None) -> AttesterBond:
        known = self._bonds.get(attester)
        if known is None or self._clock() - known[0] >= self._limits.bond_fresh_s:
            if known is None or not known[1].vouches():
                self._count_lookup(client)
            known = self._clock(), await self._sequencer.l1.attester_bond(attester)
            if len(self._bonds) >= self._limits.max_bonds:
                # Anybody makes up addresses; only those with a bond cost something.
                self._bonds = {one: kept for one, kept in self._bonds.items() if kept[1].vouches()}
            self._bonds[attester] = known
        return known[1]

    def _count_lookup(self, client: str | None) -> None:
        wait_s = self._lookups.take(client, self._clock())
        if wait_s > 0:
            raise refusals.too_often("signatures by strangers were handed in", wait_s)

    def _drop_old(self) -> None:
        final = self._sequencer.ledger.final.count
        beyond = final + self._limits.max_batches
        for kept in (self._words, self._hashes):
            for number in [number for number in kept if not final <= number < beyond]:
                del kept[number]


def read_order(
    account: int, nonce: int, amount_nano: int, recipient: bytes, max_fee_nano: int, start_s: int, deadline_s: int
) -> WithdrawalOrder:
    """An order from a call's parameters.

    Raises:
        UsageError: ``bad_order`` if no contract takes such terms.
    """
    sold = Withdrawal(recipient=recipient, amount_nano=amount_nano, account=account, nonce=nonce)
    order = WithdrawalOrder(withdrawal=sold, max_fee_nano=max_fee_nano, start_s=start_s, deadline_s=deadline_s)
    order.check()
    return order


def _offer_view(number: int, order: WithdrawalOrder, signature: bytes) -> WithdrawalOfferView:
    return WithdrawalOfferView(
        withdrawal_index=number,
        account_index=order.withdrawal.account,
        nonce=order.withdrawal.nonce,
        amount_nano=order.withdrawal.amount_nano,
        recipient=checksum_address(order.withdrawal.recipient),
        max_fee_nano=order.max_fee_nano,
        start_s=order.start_s,
        deadline_s=order.deadline_s,
        signature="0x" + signature.hex(),
    )
