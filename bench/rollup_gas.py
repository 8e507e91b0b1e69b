"""What the rollup costs on its L1: bytes and gas of batches, and the gas of proving every kind of frame wrong."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from eth.vm.forks.prague.state import PragueTransactionExecutor
from msgspec.structs import replace

from bench.report import Result, median_of
from bench.rollup_speed import NOW_S, funded, key_of, transfers
from chain.codec import MAX_BODY_BYTES, MAX_FRAME_ITEMS, BatchData, BatchHeader, Frame, encode_batch
from chain.frames import fraud_proof
from chain.rules.binding import bound_address
from chain.signing import address_of, keccak256, sign_digest
from chain.state import RollupState
from chain.txs import CloseTogether, CreateAccount, OpenChannel, Redeem, Stake, Transfer, Unstake, Withdraw
from chain.types import META_KEY, REGION_CAPACITY, Account, Channel, Leaf, Meta, channel_key
from chain.villains import VILLAINS
from tests.chain.contracts.conftest import REVEAL_BLOCKS, inbox_of, rollup_parameters
from tests.chain.contracts.harness import Handle, Ledger
from tests.chain.contracts.l2 import L2, SALT, Posted, Sent
from tests.chain.contracts.test_stf_gas import crowded
from tests.chain.witness_reading import root_of_witness
from tests.villains.arena import build_template
from tests.villains.fight import fight

ACCOUNTS = 2_000
CHANNELS = 64
BATCH_TXS = 1_000
ETHER = 10**18
LIE = b"\x66" * 32
FIGHTS = 3


def deploy(ledger: Ledger, genesis_root: bytes) -> tuple[Handle, Handle]:
    """A rollup that starts from this state, and its asset; the deployer is bonded."""
    asset, stf = ledger.deploy("TestUSD"), ledger.deploy("Stf")
    rollup = ledger.deploy("Rollup", rollup_parameters(asset, stf, genesisRoot=genesis_root))
    rollup.send("depositBond", value_wei=ETHER)
    return rollup, asset


def populated() -> RollupState:
    """2,000 accounts with stakes, and channels between some of them."""
    state = funded(ACCOUNTS)
    for channel in range(1, CHANNELS + 1):
        signer = address_of(key_of(channel + CHANNELS))
        leaf = Channel(
            payer=channel, payee=channel + CHANNELS, signer=signer, deposit_nano=10**9, redeemed_nano=7, expiry_s=2**40
        )
        state.write(channel_key(channel), leaf)
    for number in range(1, ACCOUNTS + 1):
        account = state.account(number)
        assert account is not None
        state.write(number, replace(account, stake_nano=10**9, channels=int(number <= 2 * CHANNELS)))
    meta = Meta(next_account=ACCOUNTS + 1, next_channel=CHANNELS + 1, l2_time_s=NOW_S, supply_nano=10**16)
    state.write(META_KEY, meta)
    state.settle()
    return state


def frames(l2: L2) -> dict[str, bytes]:
    """A full frame of each common kind, over accounts that lie far apart."""
    senders = [number * 241 % ACCOUNTS + 1 for number in range(MAX_FRAME_ITEMS)]

    def body(make: Callable[[int, int], Any]) -> bytes:
        txs = [(make(place, sender), sender) for place, sender in enumerate(senders)]
        raws = [
            tx.encode(sign_digest(key_of(sender), tx.digest(l2.domain, 0, bound_address(l2.state, tx))))
            for tx, sender in txs
        ]
        # Of openings seven fit.
        return b"".join(raws[: MAX_BODY_BYTES // len(raws[0])])

    def channels(kind: type[Redeem | CloseTogether], cumulative_nano: int) -> bytes:
        txs = [(kind(place * 7 + 1, cumulative_nano), place * 7 + 1 + CHANNELS) for place in range(MAX_FRAME_ITEMS)]
        return b"".join(
            tx.encode(sign_digest(key_of(signer), tx.digest(l2.domain, bound_address(l2.state, tx))))
            for tx, signer in txs
        )

    return {
        "transfer": body(lambda place, sender: Transfer(sender, place * 97 + 900, 5, 1_000)),
        "withdraw": body(lambda _, sender: Withdraw(sender, 5, 1_000, address_of(key_of(1)))),
        "open": body(
            lambda place, sender: OpenChannel(sender, place * 97 + 900, address_of(key_of(1)), 5, 2**40, 1_000)
        ),
        "stake": body(lambda _, sender: Stake(sender, 5, 1_000)),
        "unstake": body(lambda _, sender: Unstake(sender, 5, 1_000)),
        "create account": b"".join(
            CreateAccount(address_of(key_of(9_000 + n))).encode() for n in range(MAX_FRAME_ITEMS)
        ),
        "redeem": channels(Redeem, 5_000),
        "close together": channels(CloseTogether, 7),
    }


def proofs(folder: Path) -> list[Result]:
    """The gas of one round that proves a full frame's root wrong, by kind, and of the worst frame there can be."""
    ledger, state = Ledger(folder), populated()
    rollup, asset = deploy(ledger, state.root())
    l2 = L2(ledger, rollup, inbox_of(ledger, rollup, asset))
    l2.state = state
    results = []
    for kind, body in frames(l2).items():
        mark = state.mark()
        proof = replace(l2.post(body, lies={0: LIE}).proof(0), salt=keccak256(kind.encode()))
        gas = l2.prove(proof).gas_used
        state.rollback(mark)
        rollup.send("depositBond", value_wei=ETHER)
        results.append(_gas(f"fraud proof: full of {kind}", gas, at_most=500_000))
    mark = state.mark()
    for number in range(MAX_FRAME_ITEMS):
        l2.deposit(address_of(key_of(number * 97 + 900)), 5, hint=number * 97 + 900)
    gas = l2.prove(l2.post(lies={0: LIE}).proof(0)).gas_used
    results.append(_gas("fraud proof: full of deposit", gas, at_most=500_000))
    state.rollback(mark)
    ledger.evm.close()
    return results


def worst_proof(folder: Path) -> Result:
    """Eight closes among full regions: 24 leaves that share no path, every sibling a hash."""
    ledger, rng = Ledger(folder), Random(2)
    accounts, channels = (
        rng.sample(range(1, 1 << 30), 2 * MAX_FRAME_ITEMS),
        rng.sample(range(1, 1 << 30), MAX_FRAME_ITEMS),
    )
    leaves: dict[int, Leaf | None] = {
        number: Account(
            owner=address_of(key_of(number)),
            balance_nano=rng.getrandbits(100),
            nonce=rng.getrandbits(60),
            stake_nano=rng.getrandbits(100),
            unlocking_nano=rng.getrandbits(100),
            unlock_at_s=rng.getrandbits(60),
            channels=rng.randrange(1, 2**32),
            slash_from=rng.getrandbits(32),
        )
        for number in accounts
    }
    redeemed = [rng.getrandbits(62) for _ in channels]
    for place, channel in enumerate(channels):
        payer, payee = accounts[2 * place : 2 * place + 2]
        leaves[channel_key(channel)] = Channel(
            payer=payer,
            payee=payee,
            signer=address_of(key_of(payee)),
            deposit_nano=redeemed[place] + rng.getrandbits(100),
            redeemed_nano=redeemed[place],
            expiry_s=rng.getrandbits(62),
        )
    full = REGION_CAPACITY - 1
    leaves[META_KEY] = Meta(
        next_account=full, next_channel=full, next_withdrawal=full, l2_time_s=NOW_S,
        fee_pool_nano=rng.getrandbits(120), supply_nano=rng.getrandbits(126),
    )  # fmt: skip
    witness = crowded(leaves, rng)
    rollup, asset = deploy(ledger, root_of_witness(witness))
    l2 = L2(ledger, rollup, inbox_of(ledger, rollup, asset))
    body = b""
    for place, channel in enumerate(channels):
        tx = CloseTogether(channel, redeemed[place])
        body += tx.encode(
            sign_digest(key_of(accounts[2 * place + 1]), tx.digest(l2.domain, leaves[channel_key(channel)].signer))
        )
    batch = BatchData(header=BatchHeader(l2_time_s=ledger.now_s, inbox_to=0), frames=(Frame(post_root=LIE, body=body),))
    l2.submit(0, 0, encode_batch(batch.header, batch.frames))
    posted = Posted(batch_id=0, batch=batch, witnesses=(witness.encode(),), messages=(b"",))
    gas = l2.prove(fraud_proof(0, batch, 0, messages=b"", witness=posted.witnesses[0], salt=SALT)).gas_used
    ledger.evm.close()
    return _gas("fraud proof: worst frame, full regions", gas, at_most=1_000_000)


def batches(folder: Path) -> list[Result]:
    """Bytes and gas of a transaction in a batch of a thousand, under Prague's price for data and the one before."""
    ledger, state = Ledger(folder), populated()
    rollup, asset = deploy(ledger, state.root())
    l2 = L2(ledger, rollup, inbox_of(ledger, rollup, asset))
    l2.state = state
    raws = transfers(2 * BATCH_TXS, ACCOUNTS, l2.domain)
    redeems = []
    for number in range(BATCH_TXS):
        channel, cumulative = number % CHANNELS + 1, 1_000_000 * (number // CHANNELS + 1)
        tx = Redeem(channel, cumulative)
        redeems.append(tx.encode(sign_digest(key_of(channel + CHANNELS), tx.digest(l2.domain))))
    results = []
    for kind, batch, most_bytes, most_gas in (
        ("transfer", raws[:BATCH_TXS], 90, 3_300),
        ("redeem", redeems, None, None),
    ):
        blob, sent = _post(l2, batch)
        size = [len(blob) / BATCH_TXS]
        results.append(
            median_of(f"{kind}: bytes of 1,000 in a batch", size, "bytes", against="blob", at_most=most_bytes)
        )
        results.append(_gas(f"{kind}: gas of 1,000 in a batch", sent.gas_used / BATCH_TXS, at_most=most_gas))
    size = [float(len(redeems[0]))]
    results.append(median_of("redeem of any number of vouchers", size, "bytes", against="transaction", at_most=80))
    with no_data_floor():
        _, sent = _post(l2, raws[BATCH_TXS:])
    results.append(
        _gas(
            "transfer: gas before EIP-7623",
            sent.gas_used / BATCH_TXS,
            at_most=1_600,
            against="Prague without its data floor",
        )
    )
    ledger.evm.close()
    return results


def _post(l2: L2, raws: list[bytes]) -> tuple[bytes, Sent]:
    bodies = [b"".join(raws[start : start + MAX_FRAME_ITEMS]) for start in range(0, len(raws), MAX_FRAME_ITEMS)]
    built = l2.build(BatchHeader(l2_time_s=l2.ledger.now_s, inbox_to=0), bodies, {})
    blob = encode_batch(built.batch.header, built.batch.frames)
    return blob, l2.submit(built.batch_id, 0, blob)


@contextmanager
def no_data_floor() -> Iterator[None]:
    """Prague, without EIP-7623's least price of data."""
    kept = PragueTransactionExecutor.__dict__["calc_data_floor_gas"]
    PragueTransactionExecutor.calc_data_floor_gas = staticmethod(lambda *_: 0)
    try:
        yield
    finally:
        PragueTransactionExecutor.calc_data_floor_gas = kept


def reverts(folder: Path) -> list[Result]:
    """From a bad batch's L1 block to the one that takes it back, one watchtower against one villain."""

    async def run() -> list[Any]:
        await build_template(folder / "template")
        return [await fight(folder / "template", folder / str(n), VILLAINS["bad-root"]) for n in range(FIGHTS)]

    outcomes = asyncio.run(run())
    blocks = [float(outcome.blocks) for outcome in outcomes]
    seconds = [outcome.compute_s for outcome in outcomes]
    return [
        median_of("bad batch to revert", blocks, "blocks", against="L1 blocks", at_most=REVEAL_BLOCKS + 2),
        median_of("bad batch to revert: compute", seconds, "s", against="watchtower and L1", at_most=3),
    ]


def _gas(metric: str, gas: float, *, at_most: float | None, against: str = "Prague, py-evm") -> Result:
    return median_of(metric, [gas], "gas", against=against, at_most=at_most)


def measure() -> list[Result]:
    """Everything that L1 charges for."""
    results: list[Result] = []
    for part in (batches, proofs, lambda folder: [worst_proof(folder)], reverts):
        with tempfile.TemporaryDirectory() as folder:
            results += part(Path(folder))
    return results
