"""Scenarios of what tends the state: fees collected, accounts pruned, and channels counted."""

from __future__ import annotations

from functools import partial
from random import Random

from chain.stf import Code
from chain.tx_format import TxType
from chain.txs import CollectFees, Expire, OpenChannel, Prune, Stake
from chain.types import MAX_U32, MAX_U64, MAX_U128
from tests.fuzz.channels import closed
from tests.fuzz.scenarios import NOWHERE, add, scenario
from tests.fuzz.world import World, owner


@scenario(TxType.COLLECT_FEES, Code.OK)
def _collected(world: World, rng: Random) -> bytes:
    pool = rng.choice([1, MAX_U64, MAX_U128 // 2])
    world.has_fees, world.meta["fee_pool_nano"] = False, pool
    return CollectFees(world.account(balance_nano=rng.choice([0, MAX_U128 - pool]))).encode()


@scenario(TxType.COLLECT_FEES, Code.MISSING_RECEIVER)
def _for_no_account(world: World, rng: Random) -> bytes:
    return CollectFees(rng.choice([*NOWHERE, world.draw()])).encode()


@scenario(TxType.COLLECT_FEES, Code.OVERFLOW)
def _more_than_an_account_holds(world: World, rng: Random) -> bytes:
    pool = world.meta["fee_pool_nano"] = rng.choice([1, MAX_U64])
    return CollectFees(world.account(balance_nano=MAX_U128 - pool + 1)).encode()


@scenario(TxType.PRUNE, Code.OK)
def _of_nothing(world: World, rng: Random) -> bytes:
    left = rng.choice([{"nonce": 0}, {"nonce": MAX_U64, "unlock_at_s": 9, "slash_from": MAX_U32}])
    return Prune(world.account(balance_nano=0, **left)).encode()


@scenario(TxType.PRUNE, Code.MISSING_SENDER)
def _of_no_such_account(world: World, rng: Random) -> bytes:
    return Prune(rng.choice([*NOWHERE, world.draw()])).encode()


def _of_what_holds(field: str, world: World, rng: Random) -> bytes:
    return Prune(world.account(**({"balance_nano": 0} | {field: rng.choice([1, MAX_U32])}))).encode()


for _field in ("balance_nano", "stake_nano", "unlocking_nano", "channels"):
    _name = f"of_what_has_{_field.removesuffix('_nano')}"
    add(TxType.PRUNE, Code.STAKE_VIOLATION, _name, partial(_of_what_holds, _field))


def _uncounted(tx_type: TxType, side: str, world: World, rng: Random) -> bytes:
    """A channel that one of its accounts doesn't count, which no reachable state has."""
    payer, payee = world.account(), world.account()
    channel = world.channel(payer, payee, expiry_s=world.now_s)
    world.change(payer if side == "payer" else payee, channels=0)
    return closed(world, channel, 0, payee) if tx_type is TxType.CLOSE_TOGETHER else Expire(channel).encode()


def _counted_once(tx_type: TxType, world: World, rng: Random) -> bytes:
    """One to oneself counts twice."""
    account = world.account()
    channel = world.channel(account, account, expiry_s=world.now_s)
    world.change(account, channels=1)
    return closed(world, channel, 0, account) if tx_type is TxType.CLOSE_TOGETHER else Expire(channel).encode()


for _type in (TxType.CLOSE_TOGETHER, TxType.EXPIRE):
    add(_type, Code.OVERFLOW, "uncounted_by_its_payer", partial(_uncounted, _type, "payer"))
    add(_type, Code.OVERFLOW, "uncounted_by_its_payee", partial(_uncounted, _type, "payee"))
    add(_type, Code.OVERFLOW, "to_oneself_counted_once", partial(_counted_once, _type))


def _more_than_can_be_counted(side: str, world: World, rng: Random) -> bytes:
    payer, payee = world.account(), world.account()
    world.change(payer if side == "payer" else payee, channels=MAX_U32)
    return world.signed(OpenChannel(payer, payee, owner(9), 5, MAX_U64, 0), payer)


for _side in ("payer", "payee"):
    add(
        TxType.OPEN_CHANNEL,
        Code.OVERFLOW,
        f"more_than_its_{_side}_can_count",
        partial(_more_than_can_be_counted, _side),
    )


@scenario(TxType.OPEN_CHANNEL, Code.OK)
def _as_many_as_can_be_counted(world: World, rng: Random) -> bytes:
    payer, payee = world.account(channels=MAX_U32 - 1), world.account(channels=MAX_U32 - 1)
    return world.signed(OpenChannel(payer, payee, owner(9), 5, MAX_U64, 0), payer)


def _again(field: str, world: World, rng: Random) -> bytes:
    """The stake goes on, so what it answers for does too."""
    payer = world.account(slash_from=rng.choice([0, 3, MAX_U32]), **{field: 1})
    return world.signed(Stake(payer, 5, 0), payer)


for _field in ("stake_nano", "unlocking_nano"):
    add(TxType.STAKE, Code.OK, f"beside_{_field.removesuffix('_nano')}", partial(_again, _field))


@scenario(TxType.STAKE, Code.OK)
def _anew(world: World, rng: Random) -> bytes:
    payer = world.account(slash_from=rng.choice([0, 3, MAX_U32]))
    return world.signed(Stake(payer, 5, 0), payer)
