"""One scenario for every way in which every type of transaction can end: it sets the state up and returns the bytes.

The signed types that cost their sender money share most of their endings, so those are built once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace as replace_field
from functools import partial
from random import Random
from typing import Any, NamedTuple

from msgspec.structs import replace

from chain.eip712 import SigningDomain
from chain.signing import sign_digest
from chain.stf import Code
from chain.tx_format import TxType
from chain.txs import OpenChannel, Stake, StartClose, TopUp, Transfer, Unstake, Withdraw
from chain.types import (
    MAX_U32,
    MAX_U64,
    MAX_U128,
    META_KEY,
    REGION_CAPACITY,
    Channel,
    channel_key,
)
from tests.fuzz.world import (
    RICH_NANO,
    VOUCHER_KEY,
    Paid,
    World,
    edge_signature,
    high_s,
    high_s_of_owner,
    key,
    nobody,
    owner,
    wrong_signature,
)

NOWHERE = (0, REGION_CAPACITY, 1 << 31, META_KEY, META_KEY + 1, MAX_U32)
"""Numbers that name no account or channel, whatever leaf a state index of that value would be."""


class Scenario(NamedTuple):
    """How to build one transaction that ends in one code."""

    name: str
    tx_type: TxType
    code: Code
    build: Callable[[World, Random], bytes]


SCENARIOS: list[Scenario] = []

_Build = Callable[[World, Random], bytes]


def scenario(tx_type: TxType, code: Code) -> Callable[[_Build], _Build]:
    """Register a function as a scenario under its own name."""

    def register(build: _Build) -> _Build:
        add(tx_type, code, build.__name__.lstrip("_"), build)
        return build

    return register


def add(tx_type: TxType, code: Code, name: str, build: _Build) -> None:
    """Register a scenario."""
    SCENARIOS.append(Scenario(f"{tx_type.name.lower()}/{name}", tx_type, code, build))


def open_between(world: World, **fields: Any) -> tuple[int, int, int]:
    """A channel between two new accounts: its id, payer and payee (who may be the same account)."""
    payer = world.account()
    payee = payer if world.rng.random() < 0.2 else world.account()
    return world.channel(payer, payee, **fields), payer, payee


def channel_leaf(world: World, channel_id: int) -> Channel:
    leaf = world.leaves[channel_key(channel_id)]
    assert isinstance(leaf, Channel)
    return leaf


def make_paid(tx_type: TxType, world: World, rng: Random, *, to_oneself: bool = True) -> tuple[Paid, int, int]:
    """A right transaction of a type that costs its sender money: body, payer, and all that it takes of the balance.

    Args:
        tx_type: The type.
        world: Where its accounts and channels are made.
        rng: Draws.
        to_oneself: Whether the payer may be the receiver or payee as well.
    """
    amount, fee = rng.choice([1, 7, 10**6, 0]), rng.choice([0, 1, 999, MAX_U32])
    if tx_type is TxType.TOP_UP or tx_type is TxType.START_CLOSE:
        channel, payer, _ = open_between(world)
        world.change(payer, balance_nano=RICH_NANO)
        return (
            (TopUp(channel, amount, fee), payer, amount + fee)
            if tx_type is TxType.TOP_UP
            else (StartClose(channel), payer, 0)
        )
    payer = world.account()
    if tx_type is TxType.TRANSFER:
        receiver = payer if rng.random() < 0.2 and to_oneself else world.account()
        return Transfer(payer, receiver, amount, fee), payer, amount + fee
    if tx_type is TxType.WITHDRAW:
        return Withdraw(payer, amount, fee, owner(77)), payer, amount + fee
    if tx_type is TxType.OPEN_CHANNEL:
        payee = payer if rng.random() < 0.2 and to_oneself else world.account()
        signer = rng.choice([owner(VOUCHER_KEY), bytes(20), b"\xff" * 20])
        expiry = rng.choice([world.now_s + 1, MAX_U64])
        return OpenChannel(payer, payee, signer, amount, expiry, fee), payer, amount + fee
    amount = max(amount, 1)
    if tx_type is TxType.STAKE:
        return Stake(payer, amount, fee), payer, amount + fee
    world.change(payer, stake_nano=rng.choice([amount, amount + 1, MAX_U128]))
    return Unstake(payer, amount, fee), payer, fee


PAID_TYPES = (
    TxType.TRANSFER,
    TxType.WITHDRAW,
    TxType.OPEN_CHANNEL,
    TxType.TOP_UP,
    TxType.START_CLOSE,
    TxType.STAKE,
    TxType.UNSTAKE,
)


def right(tx_type: TxType, world: World, rng: Random) -> bytes:
    tx, payer, _ = make_paid(tx_type, world, rng)
    return world.signed(tx, payer)


def _last_unit(tx_type: TxType, world: World, rng: Random) -> bytes:
    tx, payer, cost = make_paid(tx_type, world, rng)
    world.change(payer, balance_nano=cost, nonce=rng.choice([0, MAX_U64 - 1]))
    return world.signed(tx, payer)


def _signed_at_the_edge(tx_type: TxType, world: World, rng: Random) -> bytes:
    # The payer's address comes of the signature, so that it can't stand in what is signed.
    tx, payer, _ = make_paid(tx_type, world, rng, to_oneself=False)
    signature, signer = edge_signature(rng, world.digest(tx, payer))
    world.change(payer, owner=signer)
    return tx.encode(signature)


def _missing_sender(tx_type: TxType, world: World, rng: Random) -> bytes:
    tx, payer, _ = make_paid(tx_type, world, rng)
    raw = world.signed(tx, payer)
    if isinstance(tx, TopUp | StartClose) or rng.random() < 0.5:
        if isinstance(tx, TopUp | StartClose) and rng.random() < 0.5:
            leaf = channel_leaf(world, tx.channel)
            world.leaves[channel_key(tx.channel)] = replace(leaf, payer=rng.choice(NOWHERE))
        world.drop(payer)
        return raw
    return raw[:1] + rng.choice(NOWHERE).to_bytes(4, "big") + raw[5:]


def _malleable(tx_type: TxType, world: World, rng: Random) -> bytes:
    tx, payer, _ = make_paid(tx_type, world, rng, to_oneself=False)
    digest = world.digest(tx, payer)
    if rng.random() < 0.5:
        signature, signer = high_s_of_owner(rng, digest)
        world.change(payer, owner=signer)
        return tx.encode(signature)
    return tx.encode(high_s(rng, sign_digest(key(payer), digest)))


def _bad_signature(tx_type: TxType, world: World, rng: Random) -> bytes:
    tx, payer, _ = make_paid(tx_type, world, rng)
    digest = world.digest(tx, payer)
    return tx.encode(wrong_signature(rng, sign_digest(key(payer), digest), digest))


def _wrong_nonce(tx_type: TxType, world: World, rng: Random) -> bytes:
    tx, payer, _ = make_paid(tx_type, world, rng)
    nonce = (world.of(payer).nonce + rng.choice([1, -1])) % 2**64
    digest = tx.digest(world.rules.domain, nonce, world.bound(tx))
    return tx.encode(sign_digest(key(payer), digest))


def _for_another_owner(tx_type: TxType, world: World, rng: Random) -> bytes:
    """The number names somebody else than the one who was signed for."""
    tx, payer, _ = make_paid(tx_type, world, rng)
    bound = rng.choice([owner(4), bytes(20), world.of(payer).owner])
    if bound == world.bound(tx):
        bound = rng.randbytes(20)
    digest = tx.digest(world.rules.domain, world.of(payer).nonce, bound)
    return tx.encode(sign_digest(key(payer), digest))


def _elsewhere(rng: Random, domain: SigningDomain) -> SigningDomain:
    """Another deployment, on another L1, or at the same address on a fork of this one."""
    return rng.choice(
        (
            replace_field(domain, rollup_address=rng.randbytes(20)),
            replace_field(domain, l1_chain_id=domain.l1_chain_id + 1),
            replace_field(domain, salt=rng.randbytes(32)),
        )
    )


def _for_another_deployment(tx_type: TxType, world: World, rng: Random) -> bytes:
    tx, payer, _ = make_paid(tx_type, world, rng)
    other = _elsewhere(rng, world.rules.domain)
    return tx.encode(sign_digest(key(payer), tx.digest(other, world.of(payer).nonce, world.bound(tx))))


def _nobody_of_the_zero_address(tx_type: TxType, world: World, rng: Random) -> bytes:
    tx, payer, _ = make_paid(tx_type, world, rng)
    world.change(payer, owner=bytes(20))
    return tx.encode(nobody(rng, world.digest(tx, payer)))


def _overdraft(tx_type: TxType, world: World, rng: Random) -> bytes:
    tx, payer, cost = make_paid(tx_type, world, rng)
    if cost == 0:
        tx = replace(tx, fee_nano=5)
        cost = 5
    world.change(payer, balance_nano=rng.choice([0, cost - 1]), nonce=rng.choice([0, MAX_U64]))
    return world.signed(tx, payer)


def _overdraft_of_the_largest_amount(tx_type: TxType, world: World, rng: Random) -> bytes:
    tx, payer, _ = make_paid(tx_type, world, rng)
    largest = replace(tx, amount_nano=MAX_U64, fee_nano=MAX_U32)
    world.change(payer, balance_nano=MAX_U64 + MAX_U32 - 1, stake_nano=MAX_U128)
    if tx_type is TxType.UNSTAKE:
        world.change(payer, balance_nano=MAX_U32 - 1)
    return world.signed(largest, payer)


def _last_nonce(tx_type: TxType, world: World, rng: Random) -> bytes:
    tx, payer, _ = make_paid(tx_type, world, rng)
    world.change(payer, nonce=MAX_U64)
    return world.signed(tx, payer)


def _full_fee_pool(tx_type: TxType, world: World, rng: Random) -> bytes:
    tx, payer, _ = make_paid(tx_type, world, rng)
    fee = rng.choice([1, MAX_U32])
    world.has_fees = False
    world.meta["fee_pool_nano"] = MAX_U128 - fee + 1
    return world.signed(replace(tx, fee_nano=fee), payer)


def _fee_pool_filled_to_the_brim(tx_type: TxType, world: World, rng: Random) -> bytes:
    tx, payer, _ = make_paid(tx_type, world, rng)
    fee = rng.choice([0, 1, MAX_U32])
    world.has_fees = False
    world.meta["fee_pool_nano"] = MAX_U128 - fee
    return world.signed(replace(tx, fee_nano=fee), payer)


for _type in PAID_TYPES:
    _builds: list[tuple[Code, Callable[[TxType, World, Random], bytes]]] = [
        (Code.OK, right),
        (Code.OK, _last_unit),
        (Code.OK, _signed_at_the_edge),
        (Code.MISSING_SENDER, _missing_sender),
        (Code.MALLEABLE_SIGNATURE, _malleable),
        (Code.BAD_SIGNATURE, _bad_signature),
        (Code.BAD_SIGNATURE, _wrong_nonce),
        (Code.BAD_SIGNATURE, _for_another_deployment),
        (Code.BAD_SIGNATURE, _nobody_of_the_zero_address),
        (Code.OVERFLOW, _last_nonce),
    ]
    if _type in (TxType.TRANSFER, TxType.OPEN_CHANNEL, TxType.TOP_UP, TxType.START_CLOSE):
        _builds.append((Code.BAD_SIGNATURE, _for_another_owner))
    if _type is not TxType.START_CLOSE:
        _builds += [
            (Code.OVERDRAFT, _overdraft),
            (Code.OVERDRAFT, _overdraft_of_the_largest_amount),
            (Code.OVERFLOW, _full_fee_pool),
            (Code.OK, _fee_pool_filled_to_the_brim),
        ]
    for _code, _build in _builds:
        add(_type, _code, _build.__name__.lstrip("_"), partial(_build, _type))


@scenario(TxType.TRANSFER, Code.MISSING_RECEIVER)
def _to_nobody(world: World, rng: Random) -> bytes:
    payer = world.account()
    receiver = rng.choice([*NOWHERE, world.draw(), channel_key(world.channel(payer, payer))])
    return world.signed(Transfer(payer, receiver, rng.choice([0, 9]), rng.choice([0, 9])), payer)


@scenario(TxType.TRANSFER, Code.OVERFLOW)
def _to_a_full_account(world: World, rng: Random) -> bytes:
    payer, amount = world.account(balance_nano=MAX_U128), rng.choice([1, MAX_U64])
    receiver = world.account(balance_nano=MAX_U128 - amount + 1)
    return world.signed(Transfer(payer, receiver, amount, 3), payer)


@scenario(TxType.TRANSFER, Code.OK)
def _largest_amount(world: World, rng: Random) -> bytes:
    payer = world.account(balance_nano=MAX_U64 + MAX_U32)
    receiver = world.account(balance_nano=rng.choice([0, MAX_U128 - MAX_U64]))
    return world.signed(Transfer(payer, receiver, MAX_U64, MAX_U32), payer)


@scenario(TxType.TRANSFER, Code.OK)
def _to_oneself_with_everything(world: World, rng: Random) -> bytes:
    payer = world.account(balance_nano=MAX_U64 + 7)
    return world.signed(Transfer(payer, payer, MAX_U64, 7), payer)


@scenario(TxType.TRANSFER, Code.OK)
def _between_the_outermost_accounts(world: World, rng: Random) -> bytes:
    first, last = world.account(0), world.account(REGION_CAPACITY - 1)
    sender, receiver = rng.choice([(first, last), (last, first)])
    return world.signed(Transfer(sender, receiver, 5, 1), sender)


@scenario(TxType.WITHDRAW, Code.MISSING_RECEIVER)
def _to_the_zero_address(world: World, rng: Random) -> bytes:
    payer = world.account()
    world.meta["next_withdrawal"] = rng.choice([3, REGION_CAPACITY])
    return world.signed(Withdraw(payer, 5, 1, bytes(20)), payer)


@scenario(TxType.OPEN_CHANNEL, Code.MISSING_RECEIVER)
def _to_no_payee(world: World, rng: Random) -> bytes:
    payer = world.account()
    tx = OpenChannel(payer, rng.choice([*NOWHERE, world.draw()]), owner(9), 5, rng.choice([0, MAX_U64]), 1)
    return world.signed(tx, payer)


@scenario(TxType.OPEN_CHANNEL, Code.CHANNEL_UNAVAILABLE)
def _expired_at_birth(world: World, rng: Random) -> bytes:
    payer, payee = world.account(), world.account()
    world.meta["next_channel"] = rng.choice([world.draw(), REGION_CAPACITY])
    expiry = rng.choice([world.now_s, 0, world.now_s - 1])
    return world.signed(OpenChannel(payer, payee, owner(9), 5, expiry, 1), payer)
