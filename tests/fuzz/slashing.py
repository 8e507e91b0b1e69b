"""Scenarios of stakes: how they go in, come out, and are slashed."""

from __future__ import annotations

from random import Random
from typing import Any

from msgspec.structs import replace

from chain.signing import sign_digest
from chain.stf import Code, Rules
from chain.tx_format import TxType
from chain.txs import FinishUnstake, ReceiptEvidence, Slash, Stake, Unstake
from chain.types import MAX_U32, MAX_U64, MAX_U128
from tests.fuzz.scenarios import NOWHERE, scenario
from tests.fuzz.world import World, edge_signature, high_s, high_s_of_owner, key, nobody, wrong_signature


@scenario(TxType.STAKE, Code.STAKE_VIOLATION)
def _stake_of_nothing(world: World, rng: Random) -> bytes:
    payer = world.account(balance_nano=rng.choice([0, 5]), nonce=rng.choice([0, MAX_U64]))
    return world.signed(Stake(payer, 0, rng.choice([0, 9])), payer)


@scenario(TxType.STAKE, Code.OVERFLOW)
def _onto_a_full_stake(world: World, rng: Random) -> bytes:
    amount = rng.choice([1, MAX_U64])
    payer = world.account(balance_nano=MAX_U128, stake_nano=MAX_U128 - amount + 1)
    return world.signed(Stake(payer, amount, 1), payer)


@scenario(TxType.STAKE, Code.OK)
def _stake_to_the_brim(world: World, rng: Random) -> bytes:
    payer = world.account(balance_nano=MAX_U128, stake_nano=MAX_U128 - MAX_U64, unlocking_nano=3, unlock_at_s=MAX_U64)
    return world.signed(Stake(payer, MAX_U64, 1), payer)


@scenario(TxType.UNSTAKE, Code.STAKE_VIOLATION)
def _more_than_the_stake_or_again(world: World, rng: Random) -> bytes:
    amount, unlocking = rng.choice([(0, 0), (11, 0), (MAX_U64, 0), (5, 1), (10, MAX_U128)])
    payer = world.account(stake_nano=10, unlocking_nano=unlocking, balance_nano=rng.choice([0, 50]))
    return world.signed(Unstake(payer, amount, rng.choice([0, 60])), payer)


@scenario(TxType.UNSTAKE, Code.OVERFLOW)
def _unlocked_beyond_all_time(world: World, rng: Random) -> bytes:
    world.rules = Rules(world.rules.domain, world.rules.close_delay_s, MAX_U64 - world.now_s + 1)
    payer = world.account(stake_nano=10)
    return world.signed(Unstake(payer, 10, 1), payer)


@scenario(TxType.UNSTAKE, Code.OK)
def _unlocked_at_the_end_of_all_time(world: World, rng: Random) -> bytes:
    world.rules = Rules(world.rules.domain, world.rules.close_delay_s, MAX_U64 - world.now_s)
    payer = world.account(stake_nano=MAX_U128)
    return world.signed(Unstake(payer, MAX_U64, 1), payer)


@scenario(TxType.FINISH_UNSTAKE, Code.OK)
def _the_stake_returns(world: World, rng: Random) -> bytes:
    unlocking, balance = rng.choice([(5, 0), (MAX_U128, 0), (1, MAX_U128 - 1)])
    at_s = rng.choice([0, world.now_s])
    return FinishUnstake(world.account(unlocking_nano=unlocking, balance_nano=balance, unlock_at_s=at_s)).encode()


@scenario(TxType.FINISH_UNSTAKE, Code.STAKE_VIOLATION)
def _nothing_on_its_way_or_too_early(world: World, rng: Random) -> bytes:
    unlocking, at_s = rng.choice([(0, 0), (0, world.now_s), (5, world.now_s + 1), (MAX_U128, MAX_U64)])
    return FinishUnstake(world.account(unlocking_nano=unlocking, unlock_at_s=at_s, stake_nano=7)).encode()


@scenario(TxType.FINISH_UNSTAKE, Code.MISSING_SENDER)
def _of_no_account(world: World, rng: Random) -> bytes:
    return FinishUnstake(rng.choice([*NOWHERE, world.draw()])).encode()


@scenario(TxType.FINISH_UNSTAKE, Code.OVERFLOW)
def _to_a_full_balance(world: World, rng: Random) -> bytes:
    unlocking = rng.choice([1, MAX_U128])
    account = world.account(unlocking_nano=unlocking, balance_nano=MAX_U128 - unlocking + 1)
    return FinishUnstake(account).encode()


def staked(world: World, rng: Random, **fields: Any) -> int:
    """An account with something to slash."""
    stake, unlocking = rng.choice(
        [(1, 0), (0, 1), (1_001, 0), (0, 77), (900, 101), (2 * MAX_U64, 0), (MAX_U64, MAX_U64)]
    )
    return world.account(**({"stake_nano": stake, "unlocking_nano": unlocking, "unlock_at_s": unlocking} | fields))


def evidence(rng: Random) -> ReceiptEvidence:
    """One receipt's facts, unsigned."""
    return ReceiptEvidence(rng.randbytes(32), bytes(64))


def differently(rng: Random, first: ReceiptEvidence) -> ReceiptEvidence:
    """A receipt that says something else, in one bit."""
    place = rng.randrange(256)
    other = int.from_bytes(first.content_hash, "big") ^ 1 << place
    return replace(first, content_hash=other.to_bytes(32, "big"))


def unsigned_slash(world: World, rng: Random, provider: int) -> Slash:
    """A slash of two receipts that differ in one bit, without their signatures."""
    first = evidence(rng)
    reporter = provider if rng.random() < 0.2 else world.account()
    return Slash(provider, reporter, rng.randrange(2**32), rng.randrange(2**32), first, differently(rng, first))


def digests(world: World, tx: Slash) -> list[bytes]:
    """What the provider signs."""
    owner = world.of(tx.provider).owner
    return [world.rules.domain.digest(tx.receipt_hash(one, owner)) for one in (tx.first, tx.second)]


def with_signatures(tx: Slash, first: bytes, second: bytes) -> Slash:
    return replace(tx, first=replace(tx.first, signature=first), second=replace(tx.second, signature=second))


def proven(world: World, tx: Slash) -> Slash:
    """The slash with the provider's true signatures."""
    return with_signatures(tx, *(sign_digest(key(tx.provider), digest) for digest in digests(world, tx)))


def reported(world: World, tx: Slash) -> bytes:
    """The slash as its reporter signs it."""
    return tx.encode(sign_digest(key(tx.reporter), tx.digest(world.rules.domain, world.bound(tx))))


def right_slash(world: World, rng: Random) -> bytes:
    """A slash that holds."""
    return reported(world, proven(world, unsigned_slash(world, rng, staked(world, rng))))


def either(world: World, rng: Random, tx: Slash, signature: bytes, other: bytes | None = None) -> bytes:
    """The slash with one of its signatures replaced, and perhaps the other as well."""
    signatures = [tx.first.signature, tx.second.signature]
    place = rng.randrange(2)
    signatures[place] = signature
    if other is not None:
        signatures[1 - place] = other
    return reported(world, with_signatures(tx, *signatures))


scenario(TxType.SLASH, Code.OK)(right_slash)


@scenario(TxType.SLASH, Code.OK)
def _as_much_as_can_be_burnt(world: World, rng: Random) -> bytes:
    stake, unlocking = rng.choice([(2 * MAX_U64, 0), (MAX_U64, MAX_U64), (0, 2 * MAX_U64)])
    provider = staked(world, rng, stake_nano=stake, unlocking_nano=unlocking)
    tx = unsigned_slash(world, rng, provider)
    world.change(tx.reporter, balance_nano=MAX_U128 - MAX_U64)
    return reported(world, proven(world, tx))


@scenario(TxType.SLASH, Code.MISSING_SENDER)
def _of_no_provider(world: World, rng: Random) -> bytes:
    tx = proven(world, unsigned_slash(world, rng, staked(world, rng)))
    return reported(world, replace(tx, provider=rng.choice([*NOWHERE, world.draw()])))


@scenario(TxType.SLASH, Code.MISSING_RECEIVER)
def _for_no_reporter(world: World, rng: Random) -> bytes:
    tx = proven(world, unsigned_slash(world, rng, staked(world, rng)))
    return reported(world, replace(tx, reporter=rng.choice([*NOWHERE, world.draw()])))


@scenario(TxType.SLASH, Code.BAD_SLASH_EVIDENCE)
def _the_same_receipt_twice(world: World, rng: Random) -> bytes:
    tx = unsigned_slash(world, rng, staked(world, rng))
    tx = proven(world, replace(tx, second=tx.first))
    if rng.random() < 0.3:
        return either(world, rng, tx, high_s(rng, tx.first.signature))
    return reported(world, tx)


@scenario(TxType.SLASH, Code.BAD_SLASH_EVIDENCE)
def _not_signed_by_the_provider(world: World, rng: Random) -> bytes:
    tx = proven(world, unsigned_slash(world, rng, staked(world, rng)))
    place = rng.randrange(2)
    signature = (tx.first, tx.second)[place].signature
    wrong = wrong_signature(rng, signature, digests(world, tx)[place])
    signatures = [tx.first.signature, tx.second.signature]
    signatures[place] = wrong
    return reported(world, with_signatures(tx, *signatures))


@scenario(TxType.SLASH, Code.BAD_SLASH_EVIDENCE)
def _signatures_the_wrong_way_round(world: World, rng: Random) -> bytes:
    tx = proven(world, unsigned_slash(world, rng, staked(world, rng)))
    return reported(world, with_signatures(tx, tx.second.signature, tx.first.signature))


@scenario(TxType.SLASH, Code.BAD_SLASH_EVIDENCE)
def _of_another_request(world: World, rng: Random) -> bytes:
    tx = proven(world, unsigned_slash(world, rng, staked(world, rng)))
    field = rng.choice(["channel", "sequence"])
    return reported(world, replace(tx, **{field: getattr(tx, field) ^ 1}))


@scenario(TxType.SLASH, Code.BAD_SLASH_EVIDENCE)
def _older_than_the_stake(world: World, rng: Random) -> bytes:
    tx = unsigned_slash(world, rng, staked(world, rng))
    tx = replace(tx, channel=rng.choice([0, 1, tx.channel % MAX_U32]))
    world.change(tx.provider, slash_from=rng.choice([tx.channel + 1, MAX_U32]))
    return reported(world, proven(world, tx))


@scenario(TxType.SLASH, Code.OK)
def _of_the_first_channel_that_it_answers_for(world: World, rng: Random) -> bytes:
    tx = unsigned_slash(world, rng, staked(world, rng))
    world.change(tx.provider, slash_from=tx.channel)
    return reported(world, proven(world, tx))


@scenario(TxType.SLASH, Code.BAD_SIGNATURE)
def _not_by_its_reporter(world: World, rng: Random) -> bytes:
    tx = proven(world, unsigned_slash(world, rng, staked(world, rng)))
    digest = tx.digest(world.rules.domain, world.bound(tx))
    return tx.encode(wrong_signature(rng, sign_digest(key(tx.reporter), digest), digest))


@scenario(TxType.SLASH, Code.BAD_SIGNATURE)
def _reported_with_something_else(world: World, rng: Random) -> bytes:
    tx = proven(world, unsigned_slash(world, rng, staked(world, rng)))
    other = rng.choice(
        [
            replace(tx, reporter=tx.reporter ^ 1),
            replace(tx, provider=tx.provider ^ 1),
            replace(tx, channel=tx.channel ^ 1),
            replace(tx, sequence=tx.sequence ^ 1),
            replace(tx, first=tx.second),
            replace(tx, second=tx.first),
        ]
    )
    return tx.encode(sign_digest(key(tx.reporter), other.digest(world.rules.domain, world.bound(tx))))


@scenario(TxType.SLASH, Code.BAD_SIGNATURE)
def _of_another_owner(world: World, rng: Random) -> bytes:
    tx = proven(world, unsigned_slash(world, rng, staked(world, rng)))
    return tx.encode(sign_digest(key(tx.reporter), tx.digest(world.rules.domain, rng.randbytes(20))))


@scenario(TxType.SLASH, Code.MALLEABLE_SIGNATURE)
def _reported_malleably(world: World, rng: Random) -> bytes:
    tx = proven(world, unsigned_slash(world, rng, staked(world, rng)))
    signature = sign_digest(key(tx.reporter), tx.digest(world.rules.domain, world.bound(tx)))
    return tx.encode(high_s(rng, signature))


@scenario(TxType.SLASH, Code.BAD_SLASH_EVIDENCE)
def _nobodys_for_the_zero_address(world: World, rng: Random) -> bytes:
    tx = unsigned_slash(world, rng, staked(world, rng, owner=bytes(20)))
    return reported(world, with_signatures(tx, *(nobody(rng, digest) for digest in digests(world, tx))))


@scenario(TxType.SLASH, Code.MALLEABLE_SIGNATURE)
def _malleable_evidence(world: World, rng: Random) -> bytes:
    tx = proven(world, unsigned_slash(world, rng, staked(world, rng)))
    high = high_s(rng, tx.first.signature)
    # The other one may be anybody's: malleability is judged first, on both.
    return either(world, rng, tx, high, rng.choice([None, high, bytes(64), tx.second.signature]))


@scenario(TxType.SLASH, Code.MALLEABLE_SIGNATURE)
def _malleable_but_the_providers(world: World, rng: Random) -> bytes:
    # ecrecover would find the account's owner in the first; the receipts' hashes hold the owner, so it comes before.
    provider = staked(world, rng)
    tx = proven(world, unsigned_slash(world, rng, provider))
    signature, _ = high_s_of_owner(rng, digests(world, tx)[0])
    return reported(world, with_signatures(tx, signature, tx.second.signature))


@scenario(TxType.SLASH, Code.BAD_SLASH_EVIDENCE)
def _signed_at_the_edge_by_a_stranger(world: World, rng: Random) -> bytes:
    tx = proven(world, unsigned_slash(world, rng, staked(world, rng)))
    signature, _ = edge_signature(rng, digests(world, tx)[0])
    return reported(world, with_signatures(tx, signature, tx.second.signature))


@scenario(TxType.SLASH, Code.STAKE_VIOLATION)
def _of_no_stake(world: World, rng: Random) -> bytes:
    provider = world.account(stake_nano=0, unlocking_nano=0)
    world.meta["next_withdrawal"] = rng.choice([3, MAX_U32])
    return reported(world, proven(world, unsigned_slash(world, rng, provider)))


@scenario(TxType.SLASH, Code.OVERFLOW)
def _reward_to_a_full_account(world: World, rng: Random) -> bytes:
    tx = unsigned_slash(world, rng, staked(world, rng, stake_nano=1_000, unlocking_nano=0))
    world.change(tx.reporter, balance_nano=MAX_U128 - 499)
    return reported(world, proven(world, tx))


@scenario(TxType.SLASH, Code.OVERFLOW)
def _more_than_can_be_burnt(world: World, rng: Random) -> bytes:
    stake, unlocking = rng.choice([(2 * MAX_U64 + 1, 0), (MAX_U128, MAX_U128), (MAX_U64, MAX_U64 + 1), (2**66, 0)])
    tx = unsigned_slash(world, rng, staked(world, rng, stake_nano=stake, unlocking_nano=unlocking))
    world.change(tx.reporter, balance_nano=0)
    return reported(world, proven(world, tx))
