"""Scenarios of what allocates a number: accounts, channels, withdrawals, and the leaf that a slash burns to."""

from __future__ import annotations

from functools import partial
from random import Random

from chain.stf import Code
from chain.tx_format import TxType
from chain.txs import CreateAccount
from chain.types import MAX_U32, REGION_CAPACITY, Account, Channel, account_key, channel_key
from tests.fuzz.scenarios import add, right, scenario
from tests.fuzz.slashing import right_slash
from tests.fuzz.world import World, owner

ALLOCATING = {
    TxType.CREATE_ACCOUNT: "next_account",
    TxType.WITHDRAW: "next_withdrawal",
    TxType.OPEN_CHANNEL: "next_channel",
    TxType.SLASH: "next_withdrawal",
}


def make_allocating(tx_type: TxType, world: World, rng: Random) -> bytes:
    """A right transaction of a type that allocates a number."""
    if tx_type is TxType.CREATE_ACCOUNT:
        return CreateAccount(rng.choice([owner(7), b"\xff" * 20, bytes(19) + b"\x01"])).encode()
    if tx_type is TxType.SLASH:
        return right_slash(world, rng)
    return right(tx_type, world, rng)


def _onto_a_leaf(tx_type: TxType, world: World, rng: Random) -> bytes:
    raw, number = make_allocating(tx_type, world, rng), world.draw()
    if tx_type is TxType.CREATE_ACCOUNT:
        world.leaves[account_key(number)] = Account(owner=rng.choice([bytes(20), owner(8)]))
    elif tx_type is TxType.OPEN_CHANNEL:
        other = world.account()
        world.leaves[channel_key(number)] = Channel(
            payer=other, payee=other, signer=owner(9), deposit_nano=0, expiry_s=0
        )
    else:
        world.withdrawal(number)
    world.meta[ALLOCATING[tx_type]] = number
    return raw


def _full_region(tx_type: TxType, world: World, rng: Random) -> bytes:
    world.meta[ALLOCATING[tx_type]] = rng.choice([REGION_CAPACITY, REGION_CAPACITY + 1, MAX_U32])
    return make_allocating(tx_type, world, rng)


def _last_number(tx_type: TxType, world: World, rng: Random) -> bytes:
    world.meta[ALLOCATING[tx_type]] = rng.choice([REGION_CAPACITY - 1, 0])
    return make_allocating(tx_type, world, rng)


for _type in ALLOCATING:
    add(_type, Code.BAD_ALLOCATION, "onto_a_leaf", partial(_onto_a_leaf, _type))
    add(_type, Code.OVERFLOW, "full_region", partial(_full_region, _type))
    add(_type, Code.OK, "last_number", partial(_last_number, _type))


@scenario(TxType.CREATE_ACCOUNT, Code.OK)
def _created(world: World, rng: Random) -> bytes:
    return make_allocating(TxType.CREATE_ACCOUNT, world, rng)


@scenario(TxType.CREATE_ACCOUNT, Code.MISSING_RECEIVER)
def _for_nobody(world: World, rng: Random) -> bytes:
    if rng.random() < 0.5:
        world.meta["next_account"] = REGION_CAPACITY
    return CreateAccount(bytes(20)).encode()
