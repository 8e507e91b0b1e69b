"""Identical transactions cost, do and log the same on the embedded py-evm, on a real anvil, and on EELS.

One life of a rollup is mined on py-evm, a block a transaction; the others then execute its signed transactions in
blocks of the same numbers, times and base fees. Numbers that tests and docs claim for gas hold on Ethereum if the
specification itself agrees to the unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import rlp

from chain.l1.artifacts import CONTRACT_NAMES, artifact
from chain.l1.connection import L1Connection, checksum
from chain.l1.embedded.evm import BLOCK_GAS_LIMIT, MinedTransaction
from chain.rules.binding import bound_address
from chain.signing import address_of, keccak256, sign_digest
from chain.state import GENESIS_ROOT
from chain.txs import Transfer
from chain.types import withdrawal_key
from tests.chain.anvil_process import anvil
from tests.chain.contracts.conftest import REVEAL_BLOCKS, WINDOW_S, inbox_of, rollup_parameters
from tests.chain.contracts.harness import CHAIN_ID, KEYS, START_S, Ledger, _kind, created_address
from tests.chain.contracts.l2 import L2, arguments
from tests.chain.contracts.test_rollup_exits import World, freeze, make_world
from tests.chain.eels_process import run_eels

ETHER = 10**18
BALANCE_WEI = 10**24
LIE = b"\x66" * 32
TRANSFERS = 8


class Outcome(NamedTuple):
    """What a transaction came to."""

    label: str
    succeeded: bool
    gas_used: int
    logs_hash: str


class SteppingLedger(Ledger):
    """Each block is a second after the one before, as other clients insist."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.now_s += 1

    def transact_unchecked(self, *arguments: Any, **fields: Any) -> MinedTransaction:
        mined = super().transact_unchecked(*arguments, **fields)
        self.now_s += 1
        return mined

    def mine(self, blocks: int) -> None:
        for _ in range(blocks):
            super().mine(1)
            self.now_s += 1


class Recorded(NamedTuple):
    """A chain as py-evm mined it: everything another client needs to go through it, and what came of it here."""

    chain: dict[str, Any]
    outcomes: list[Outcome]
    state_root: str


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    ledger = SteppingLedger(tmp_path_factory.mktemp("gas"))
    try:
        live(ledger)
        yield record(ledger)
    finally:
        ledger.evm.close()


def live(ledger: Ledger) -> None:
    """From the deployment through fraud and freeze to the last exit, with transactions that fail in between."""
    asset, stf = ledger.deploy("TestUSD"), ledger.deploy("Stf")
    rollup = ledger.deploy("Rollup", rollup_parameters(asset, stf, genesisRoot=GENESIS_ROOT))
    for key in KEYS:
        rollup.send("depositBond", key=key, value_wei=ETHER)
    rollup.send("takeTurn")
    l2 = L2(ledger, rollup, inbox_of(ledger, rollup, asset))
    world = make_world(l2, asset)
    claim(world)
    l2.force(b"nonsense")
    prove(l2, frame_index=1, submitter=KEYS[0])
    prove(l2, frame_index=0, submitter=KEYS[1])
    ledger.now_s += 1_000
    rollup.send("withdrawBond", key=KEYS[3])
    ledger.transact_unchecked(KEYS[3], asset.address, asset.encode("mint", person(3), 1), gas=23_000)
    freeze(world)
    rollup.send("claimReward", person(0), 0)
    leave(world)


def claim(world: World) -> None:
    """A withdrawal, and the same again."""
    rollup = world.l2.rollup
    fields = 0, withdrawal_key(1), (person(2), 44, 1, 2), world.l2.state.proof(withdrawal_key(1))
    rollup.send("claimWithdrawal", *fields, key=KEYS[3])
    world.l2.ledger.transact_unchecked(KEYS[3], rollup.address, rollup.encode("claimWithdrawal", *fields))


def prove(l2: L2, *, frame_index: int, submitter: bytes) -> None:
    """A batch of a forced message and eight transfers that lies about one frame, proven too early and in time."""
    mark = l2.state.mark()
    first = l2.state.account(1)
    assert first is not None
    transfers = b""
    for nonce in range(first.nonce, first.nonce + TRANSFERS):
        tx = Transfer(1, 2, 3, 0)
        transfers += tx.encode(sign_digest(KEYS[0], tx.digest(l2.domain, nonce, bound_address(l2.state, tx))))
    proof = l2.post(transfers, lies={frame_index: LIE}, key=submitter).proof(frame_index)
    l2.state.rollback(mark)
    l2.commit(proof)
    l2.ledger.transact_unchecked(KEYS[2], l2.rollup.address, l2.rollup.encode("proveFraud", *arguments(proof)))
    l2.ledger.mine(REVEAL_BLOCKS - 2)
    l2.reveal(proof)


def leave(world: World) -> None:
    """Everything that the last state holds."""
    l2, rollup = world.l2, world.l2.rollup
    for number in (1, 2):
        rollup.send("exitAccount", *world.account_arguments(number), key=KEYS[3])
    world.begin(100, world.voucher(100))
    rollup.send("raiseChannelExit", 1, 200, world.voucher(200))
    l2.ledger.now_s += WINDOW_S
    rollup.send("settleChannelExit", 1)
    message = l2.messages[len(l2.messages) - 1]
    rollup.send("refundDeposit", message.index, checksum(message.owner), message.index_hint, message.amount_nano)


def person(number: int) -> str:
    return checksum(address_of(KEYS[number]))


def record(ledger: Ledger) -> Recorded:
    """Read the chain back from its genesis."""
    evm = ledger.evm
    functions = selectors()
    blocks, outcomes, created = [], [], []
    for number in range(1, evm.head().block_number + 1):
        header = evm.header(number)
        transactions = evm.block(header).transactions
        blocks.append(
            {
                "number": number,
                "hash": header.hash.hex(),
                "timestamp_s": header.timestamp,
                "gas_limit": header.gas_limit,
                "base_fee_wei": header.base_fee_per_gas,
                "coinbase": header.coinbase.hex(),
                "prev_randao": header.mix_hash.hex(),
                "transaction": transactions[0].encode().hex() if transactions else None,
            }
        )
        for transaction in transactions:
            mined = evm.transaction(transaction.hash)
            assert mined is not None
            receipt = mined.receipt
            if not transaction.to:
                created.append(created_address(mined.transaction.sender, mined.transaction.nonce))
            logs = [
                (log.address, [topic.to_bytes(32, "big") for topic in log.topics], log.data) for log in receipt.logs
            ]
            outcomes.append(
                Outcome(
                    functions[transaction.data[:4]] if transaction.to else "create",
                    receipt.state_root == b"\x01",
                    receipt.gas_used,
                    logs_hash(logs),
                )
            )
    chain = {
        "chain_id": CHAIN_ID,
        "genesis_hash": evm.header(0).hash.hex(),
        "balances_wei": {address_of(key).hex(): BALANCE_WEI for key in KEYS},
        "blocks": blocks,
        "codes": {address.hex(): evm.code(address).hex() for address in created},
    }
    return Recorded(chain, outcomes, evm.head().state_root.hex())


def selectors() -> dict[bytes, str]:
    """Names of the contracts' functions."""
    names: dict[bytes, str] = {}
    for contract in CONTRACT_NAMES:
        for entry in artifact(contract).abi:
            if entry["type"] == "function":
                names[keccak256(f"{entry['name']}({','.join(map(_kind, entry['inputs']))})".encode())[:4]] = entry[
                    "name"
                ]
    return names


def logs_hash(logs: list[tuple[bytes, list[bytes], bytes]]) -> str:
    return keccak256(rlp.encode(logs)).hex()


async def run_anvil(chain: dict[str, Any]) -> tuple[list[tuple[bool, int, str]], list[int]]:
    """What each transaction comes to on anvil, and each block's base fee there."""
    options = (
        "--hardfork", "prague", "--chain-id", str(CHAIN_ID), "--timestamp", str(START_S), "--accounts", "0",
        "--no-mining", "--gas-limit", str(BLOCK_GAS_LIMIT),
        "--block-base-fee-per-gas", str(chain["blocks"][0]["base_fee_wei"]),
    )  # fmt: skip
    outcomes, fees = [], []
    async with anvil(*options) as url:
        connection = L1Connection(url)

        async def ask(method: str, *parameters: Any) -> Any:
            answer = await connection.web3.provider.make_request(method, list(parameters))
            assert "error" not in answer, answer
            return answer["result"]

        try:
            for address, balance_wei in chain["balances_wei"].items():
                await ask("anvil_setBalance", "0x" + address, hex(balance_wei))
            for block in chain["blocks"]:
                await ask("evm_setNextBlockTimestamp", block["timestamp_s"])
                raw = block["transaction"]
                tx_hash = await ask("eth_sendRawTransaction", "0x" + raw) if raw else None
                await ask("evm_mine")
                if tx_hash:
                    receipt = await ask("eth_getTransactionReceipt", tx_hash)
                    outcomes.append(anvil_outcome(receipt, block["number"]))
                    if (created := receipt["contractAddress"]) is not None:
                        # Its block hashes are others, and the rollup keeps one as its salt: what was signed for the
                        # recorded rollup counts for that code alone.
                        await ask("anvil_setCode", created, "0x" + chain["codes"][created.removeprefix("0x")])
                header = await ask("eth_getBlockByNumber", hex(block["number"]), False)
                assert int(header["timestamp"], 16) == block["timestamp_s"]
                fees.append(int(header["baseFeePerGas"], 16))
        finally:
            await connection.aclose()
    return outcomes, fees


def anvil_outcome(receipt: Any, number: int) -> tuple[bool, int, str]:
    assert int(receipt["blockNumber"], 16) == number
    logs = [
        (unhex(log["address"]), [unhex(topic) for topic in log["topics"]], unhex(log["data"]))
        for log in receipt["logs"]
    ]
    return receipt["status"] == "0x1", int(receipt["gasUsed"], 16), logs_hash(logs)


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def test_the_recorded_life_holds_every_kind_of_call_and_three_ways_to_fail(recorded: Recorded) -> None:
    for outcome in recorded.outcomes:
        print(f"{outcome.label:20} {'ok' if outcome.succeeded else 'failed':6} {outcome.gas_used:>9,}")

    assert {outcome.label for outcome in recorded.outcomes} == {
        "create", "depositBond", "mint", "approve", "deposit", "submitBatch", "finalize", "claimWithdrawal", "forceTx",
        "commitFraud", "proveFraud", "withdrawBond", "freeze", "exitAccount", "exitChannel", "raiseChannelExit",
        "settleChannelExit", "refundDeposit", "takeTurn", "claimReward",
    }  # fmt: skip
    failed = [outcome.label for outcome in recorded.outcomes if not outcome.succeeded]
    assert failed == ["claimWithdrawal", "proveFraud", "proveFraud", "mint"]
    assert any(block["transaction"] is None for block in recorded.chain["blocks"])


async def test_anvil_agrees_on_every_transaction_to_the_unit(recorded: Recorded) -> None:
    outcomes, fees = await run_anvil(recorded.chain)

    assert [Outcome(mine.label, *theirs) for mine, theirs in zip(recorded.outcomes, outcomes, strict=True)] == (
        recorded.outcomes
    )
    assert fees == [block["base_fee_wei"] for block in recorded.chain["blocks"]]


def test_the_specification_agrees_on_every_transaction_and_on_the_last_state(recorded: Recorded) -> None:
    answer = run_eels(recorded.chain)

    theirs = [(row["succeeded"], row["gas_used"], row["logs_hash"]) for row in answer["outcomes"]]
    assert [Outcome(mine.label, *other) for mine, other in zip(recorded.outcomes, theirs, strict=True)] == (
        recorded.outcomes
    )
    assert answer["state_root"] == recorded.state_root
