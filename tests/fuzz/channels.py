"""Scenarios of channels: what is missing, over or closing, vouchers, and how a channel ends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from msgspec.structs import replace

from chain.signing import sign_digest
from chain.stf import Code, Rules
from chain.tx_format import TxType
from chain.txs import CloseTogether, Expire, Redeem, StartClose, TopUp
from chain.types import MAX_U64, MAX_U128, REGION_CAPACITY, channel_key
from tests.fuzz.scenarios import NOWHERE, add, channel_leaf, open_between, scenario
from tests.fuzz.world import (
    VOUCHER_KEY,
    World,
    edge_signature,
    high_s,
    high_s_of_owner,
    key,
    nobody,
    owner,
    wrong_signature,
)

OVER: tuple[Callable[[World], dict[str, int]], ...] = (
    lambda world: {"expiry_s": world.now_s},
    lambda world: {"expiry_s": 0},
    lambda world: {"closing_at_s": world.now_s},
    lambda world: {"closing_at_s": 1, "expiry_s": MAX_U64},
)
"""What makes a channel over."""


def _no_channel(tx_type: TxType, world: World, rng: Random) -> bytes:
    channel, payer, payee = open_between(world)
    number = rng.choice([*NOWHERE, world.draw()])
    if number == 0 or number >= REGION_CAPACITY or rng.random() < 0.5:
        channel = number
    else:
        del world.leaves[channel_key(channel)]
    return _on_channel(tx_type, world, channel, payer, payee)


def _over(tx_type: TxType, world: World, rng: Random) -> bytes:
    channel, payer, payee = open_between(world, **rng.choice(OVER)(world))
    return _on_channel(tx_type, world, channel, payer, payee)


def _closing(tx_type: TxType, world: World, rng: Random) -> bytes:
    channel, payer, payee = open_between(world, closing_at_s=rng.choice([world.now_s + 1, MAX_U64]))
    return _on_channel(tx_type, world, channel, payer, payee)


def _on_channel(tx_type: TxType, world: World, channel: int, payer: int, payee: int) -> bytes:
    if tx_type is TxType.TOP_UP:
        return world.signed(TopUp(channel, 5, 1), payer)
    if tx_type is TxType.START_CLOSE:
        return world.signed(StartClose(channel), payer)
    if tx_type is TxType.REDEEM:
        return redeemed(world, channel, 1_000)
    if tx_type is TxType.CLOSE_TOGETHER:
        return closed(world, channel, 0, payee)
    return Expire(channel).encode()


def redeemed(world: World, channel: int, cumulative: int, voucher_key: int = VOUCHER_KEY) -> bytes:
    tx = Redeem(channel, cumulative)
    return tx.encode(sign_digest(key(voucher_key), tx.digest(world.rules.domain)))


def closed(world: World, channel: int, cumulative: int, payee: int) -> bytes:
    tx = CloseTogether(channel, cumulative)
    return tx.encode(sign_digest(key(payee), tx.digest(world.rules.domain, world.bound(tx))))


for _type in (TxType.TOP_UP, TxType.START_CLOSE, TxType.REDEEM, TxType.CLOSE_TOGETHER, TxType.EXPIRE):
    add(_type, Code.CHANNEL_UNAVAILABLE, "no_channel", partial(_no_channel, _type))
    if _type in (TxType.TOP_UP, TxType.START_CLOSE, TxType.REDEEM):
        add(_type, Code.CHANNEL_UNAVAILABLE, "over", partial(_over, _type))
    if _type in (TxType.TOP_UP, TxType.START_CLOSE):
        add(_type, Code.CHANNEL_UNAVAILABLE, "closing", partial(_closing, _type))
    if _type in (TxType.CLOSE_TOGETHER, TxType.REDEEM):
        add(_type, Code.OK, "while_closing", partial(_closing, _type))


@scenario(TxType.TOP_UP, Code.OVERFLOW)
def _of_a_full_channel(world: World, rng: Random) -> bytes:
    amount = rng.choice([1, MAX_U64])
    channel, payer, _ = open_between(world, deposit_nano=MAX_U128 - amount + 1)
    world.change(payer, balance_nano=MAX_U128)
    return world.signed(TopUp(channel, amount, 0), payer)


@scenario(TxType.TOP_UP, Code.OK)
def _to_the_brim(world: World, rng: Random) -> bytes:
    channel, payer, _ = open_between(world, deposit_nano=MAX_U128 - MAX_U64)
    world.change(payer, balance_nano=MAX_U128)
    return world.signed(TopUp(channel, MAX_U64, 0), payer)


@scenario(TxType.START_CLOSE, Code.OVERFLOW)
def _beyond_all_time(world: World, rng: Random) -> bytes:
    world.rules = Rules(world.rules.domain, MAX_U64, world.rules.unstake_delay_s)
    channel, payer, _ = open_between(world)
    return world.signed(StartClose(channel), payer)


@scenario(TxType.START_CLOSE, Code.OK)
def _at_the_end_of_all_time(world: World, rng: Random) -> bytes:
    world.rules = Rules(world.rules.domain, MAX_U64 - world.now_s, world.rules.unstake_delay_s)
    channel, payer, _ = open_between(world)
    return world.signed(StartClose(channel), payer)


@scenario(TxType.REDEEM, Code.OK)
def _a_voucher(world: World, rng: Random) -> bytes:
    channel, _, _ = open_between(world, redeemed_nano=rng.choice([0, 10]))
    return redeemed(world, channel, rng.choice([11, 999, 1_000]))


@scenario(TxType.REDEEM, Code.OK)
def _the_largest_voucher(world: World, rng: Random) -> bytes:
    channel, _, payee = open_between(world, deposit_nano=MAX_U128)
    world.change(payee, balance_nano=MAX_U128 - MAX_U64)
    return redeemed(world, channel, MAX_U64)


@scenario(TxType.REDEEM, Code.OK)
def _a_voucher_signed_at_the_edge(world: World, rng: Random) -> bytes:
    channel, _, _ = open_between(world)
    tx = Redeem(channel, 500)
    signature, signer = edge_signature(rng, tx.digest(world.rules.domain))
    world.leaves[channel_key(channel)] = replace(channel_leaf(world, channel), signer=signer)
    return tx.encode(signature)


@scenario(TxType.REDEEM, Code.BAD_VOUCHER)
def _nothing_more_or_too_much(world: World, rng: Random) -> bytes:
    channel, _, _ = open_between(world, redeemed_nano=500)
    return redeemed(world, channel, rng.choice([0, 499, 500, 1_001, MAX_U64]))


@scenario(TxType.REDEEM, Code.BAD_VOUCHER)
def _by_another_signer(world: World, rng: Random) -> bytes:
    channel, _, _ = open_between(world)
    tx = Redeem(channel, 500)
    digest = tx.digest(world.rules.domain)
    return tx.encode(wrong_signature(rng, sign_digest(key(VOUCHER_KEY), digest), digest))


@scenario(TxType.REDEEM, Code.BAD_VOUCHER)
def _by_nobody_for_the_zero_address(world: World, rng: Random) -> bytes:
    channel, _, _ = open_between(world, signer=bytes(20))
    tx = Redeem(channel, 500)
    return tx.encode(nobody(rng, tx.digest(world.rules.domain)))


@scenario(TxType.REDEEM, Code.MALLEABLE_SIGNATURE)
def _a_malleable_voucher(world: World, rng: Random) -> bytes:
    channel, _, _ = open_between(world)
    tx = Redeem(channel, 500)
    digest = tx.digest(world.rules.domain)
    if rng.random() < 0.5:
        return tx.encode(high_s(rng, sign_digest(key(VOUCHER_KEY), digest)))
    signature, signer = high_s_of_owner(rng, digest)
    world.leaves[channel_key(channel)] = replace(channel_leaf(world, channel), signer=signer)
    return tx.encode(signature)


@scenario(TxType.REDEEM, Code.OVERFLOW)
def _into_a_full_account(world: World, rng: Random) -> bytes:
    channel, _, payee = open_between(world)
    world.change(payee, balance_nano=MAX_U128 - 499)
    return redeemed(world, channel, 500)


def _vanished(tx_type: TxType, side: str, world: World, rng: Random) -> bytes:
    payer, payee = world.account(), world.account()
    channel = world.channel(payer, payee, expiry_s=world.now_s if tx_type is TxType.EXPIRE else MAX_U64)
    raw = _on_channel(tx_type, world, channel, payer, payee)
    if rng.random() < 0.5:
        world.drop(payer if side == "payer" else payee)
    else:
        leaf = channel_leaf(world, channel)
        world.leaves[channel_key(channel)] = replace(leaf, **{side: rng.choice(NOWHERE)})
    return raw


add(TxType.REDEEM, Code.MISSING_RECEIVER, "vanished_payee", partial(_vanished, TxType.REDEEM, "payee"))
add(TxType.CLOSE_TOGETHER, Code.MISSING_SENDER, "vanished_payee", partial(_vanished, TxType.CLOSE_TOGETHER, "payee"))
add(TxType.CLOSE_TOGETHER, Code.MISSING_RECEIVER, "vanished_payer", partial(_vanished, TxType.CLOSE_TOGETHER, "payer"))
add(TxType.EXPIRE, Code.MISSING_RECEIVER, "vanished_payer", partial(_vanished, TxType.EXPIRE, "payer"))
add(TxType.EXPIRE, Code.MISSING_RECEIVER, "vanished_payee", partial(_vanished, TxType.EXPIRE, "payee"))


@scenario(TxType.CLOSE_TOGETHER, Code.OK)
def _together(world: World, rng: Random) -> bytes:
    redeemed_nano = rng.choice([0, 400, 1_000])
    over = rng.choice(OVER)(world) if rng.random() < 0.3 else {}
    channel, _, payee = open_between(world, redeemed_nano=redeemed_nano, **over)
    return closed(world, channel, redeemed_nano, payee)


@scenario(TxType.CLOSE_TOGETHER, Code.BAD_VOUCHER)
def _not_what_is_redeemed(world: World, rng: Random) -> bytes:
    channel, _, payee = open_between(world, redeemed_nano=rng.choice([400, MAX_U64 + 401]), deposit_nano=MAX_U128)
    return closed(world, channel, rng.choice([0, 399, 401, MAX_U64]), payee)


@scenario(TxType.CLOSE_TOGETHER, Code.BAD_SIGNATURE)
def _not_by_the_payee(world: World, rng: Random) -> bytes:
    channel, payer, payee = open_between(world)
    tx = CloseTogether(channel, 0)
    digest = tx.digest(world.rules.domain, world.bound(tx))
    if rng.random() < 0.3:
        world.change(payee, owner=bytes(20))
        return tx.encode(nobody(rng, digest))
    if payer != payee and rng.random() < 0.3:
        return closed(world, channel, 0, payer)
    return tx.encode(wrong_signature(rng, sign_digest(key(payee), digest), digest))


@scenario(TxType.CLOSE_TOGETHER, Code.BAD_SIGNATURE)
def _for_another_channel(world: World, rng: Random) -> bytes:
    """The number names another channel than the one that was signed for."""
    channel, _, payee = open_between(world)
    tx = CloseTogether(channel, 0)
    return tx.encode(sign_digest(key(payee), tx.digest(world.rules.domain, rng.choice([bytes(20), owner(4)]))))


@scenario(TxType.CLOSE_TOGETHER, Code.MALLEABLE_SIGNATURE)
def _malleably(world: World, rng: Random) -> bytes:
    channel, _, payee = open_between(world)
    tx = CloseTogether(channel, 0)
    signature, signer = high_s_of_owner(rng, tx.digest(world.rules.domain, world.bound(tx)))
    world.change(payee, owner=signer)
    return tx.encode(signature)


def _rest_to_a_full_account(tx_type: TxType, world: World, rng: Random) -> bytes:
    payer, payee = world.account(balance_nano=MAX_U128 - 599), world.account()
    channel = world.channel(payer, payee, redeemed_nano=400, expiry_s=world.now_s)
    return closed(world, channel, 400, payee) if tx_type is TxType.CLOSE_TOGETHER else Expire(channel).encode()


for _type in (TxType.CLOSE_TOGETHER, TxType.EXPIRE):
    add(_type, Code.OVERFLOW, "rest_to_a_full_account", partial(_rest_to_a_full_account, _type))


@scenario(TxType.EXPIRE, Code.OK)
def _the_rest_returns(world: World, rng: Random) -> bytes:
    channel, payer, _ = open_between(world, redeemed_nano=rng.choice([0, 1_000]), **rng.choice(OVER)(world))
    world.change(payer, balance_nano=rng.choice([0, MAX_U128 - 1_000]))
    return Expire(channel).encode()


@scenario(TxType.EXPIRE, Code.TOO_EARLY)
def _before_its_time(world: World, rng: Random) -> bytes:
    closing = rng.choice([0, world.now_s + 1, MAX_U64])
    channel, _, _ = open_between(world, expiry_s=rng.choice([world.now_s + 1, MAX_U64]), closing_at_s=closing)
    return Expire(channel).encode()
