"""The embedded chain: durable blocks, the wall clock's time, and refusals that leave nothing behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from chain.errors import IdlewattError
from chain.l1.artifacts import artifact
from chain.l1.connection import checksum
from chain.l1.embedded.evm import (
    CallRequest,
    EmbeddedEvm,
    ExecutionFailedError,
    TransactionRefusedError,
    UnknownBlockError,
    contract_address,
)
from chain.l1.embedded.store import DurableStore
from chain.signing import address_of
from tests.chain.l1.conftest import ALICE_KEY, CHAIN_ID, ETHER, OPERATOR_KEY, Clock, open_evm

OPERATOR, ALICE = address_of(OPERATOR_KEY), address_of(ALICE_KEY)
BOB = b"\xbb" * 20


@pytest.fixture
def evm(tmp_path: Path, clock: Clock) -> Iterator[EmbeddedEvm]:
    evm = open_evm(tmp_path, clock)
    yield evm
    evm.close()


def signed(evm: EmbeddedEvm, key: bytes = ALICE_KEY, **changes: Any) -> bytes:
    fields = {
        "chainId": CHAIN_ID,
        "nonce": evm.nonce(address_of(key)),
        "to": checksum(BOB),
        "value": 5,
        "gas": 21_000,
        "maxFeePerGas": 10**10,
        "maxPriorityFeePerGas": 1,
    } | changes
    fields = {name: value for name, value in fields.items() if value is not None}
    return bytes(Account.sign_transaction(fields, key).raw_transaction)


def test_a_transaction_is_mined_in_a_block_of_its_own(evm: EmbeddedEvm) -> None:
    tx_hash = evm.send_raw(signed(evm))

    mined = evm.transaction(tx_hash)
    assert mined is not None
    assert (mined.block.number, mined.receipt.gas_used, mined.receipt.state_root) == (1, 21_000, b"\x01")
    assert (evm.balance_wei(BOB), evm.nonce(ALICE)) == (5, 1)


def test_the_same_file_resumes_the_same_chain(tmp_path: Path, clock: Clock) -> None:
    first = open_evm(tmp_path, clock)
    tx_hash = first.send_raw(signed(first))
    head = first.head()
    first.close()

    again = EmbeddedEvm(tmp_path / "l1.db", chain_id=99, genesis_balances_wei={BOB: ETHER}, clock=clock)

    assert again.head() == head
    assert again.chain_id == CHAIN_ID
    assert again.balance_wei(BOB) == 5
    assert again.transaction(tx_hash) is not None
    again.send_raw(signed(again))
    assert again.head().parent_hash == head.hash
    again.close()


def test_what_was_not_committed_never_happened(tmp_path: Path) -> None:
    store = DurableStore(tmp_path / "pairs.db")
    store[b"kept"] = b"1"
    store.commit()
    store[b"lost"] = b"2"
    del store[b"kept"]
    assert b"lost" in store
    assert b"kept" not in store
    store.close()

    again = DurableStore(tmp_path / "pairs.db")
    assert again[b"kept"] == b"1"
    with pytest.raises(KeyError):
        again[b"lost"]
    del again[b"kept"]
    again.commit()
    assert b"kept" not in again
    again.close()


def test_a_failed_commit_writes_nothing_and_keeps_what_is_pending(tmp_path: Path) -> None:
    store = DurableStore(tmp_path / "pairs.db")
    other = sqlite3.connect(tmp_path / "pairs.db")
    other.execute("CREATE TRIGGER refuse BEFORE INSERT ON pairs BEGIN SELECT RAISE(ABORT, 'disk trouble'); END")
    store[b"key"] = b"value"

    with pytest.raises(sqlite3.IntegrityError, match="disk trouble"):
        store.commit()

    other.execute("DROP TRIGGER refuse")
    other.close()
    store.commit()
    assert store[b"key"] == b"value"
    store.close()


def test_a_store_of_a_later_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "l1.db") as database:
        database.execute("PRAGMA user_version=2")
    database.close()

    with pytest.raises(IdlewattError) as refused:
        DurableStore(tmp_path / "l1.db")

    assert refused.value.code == "devnet_version"


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "l1.db").write_bytes(b"not a database at all, but long enough to be asked" * 100)

    with pytest.raises(IdlewattError) as refused:
        DurableStore(tmp_path / "l1.db")

    assert refused.value.code == "devnet_damaged"
    assert "Move" in refused.value.fix


def test_a_damaged_chain_is_not_taken_for_a_new_one(tmp_path: Path, clock: Clock) -> None:
    open_evm(tmp_path, clock).close()
    with sqlite3.connect(tmp_path / "l1.db") as database:
        database.execute("DELETE FROM pairs WHERE key = ?", (b"idlewatt:chain-id",))
    database.close()

    with pytest.raises(IdlewattError) as refused:
        open_evm(tmp_path, clock)

    assert refused.value.code == "devnet_damaged"


class TestTime:
    def test_blocks_carry_the_clocks_second(self, evm: EmbeddedEvm, clock: Clock) -> None:
        clock.now_s += 17.9
        evm.mine()

        assert evm.head().timestamp == int(clock.now_s)

    def test_a_burst_of_blocks_does_not_run_ahead_of_the_clock(self, evm: EmbeddedEvm, clock: Clock) -> None:
        for _ in range(5):
            evm.mine()

        assert evm.head().timestamp == int(clock.now_s)
        assert evm.head().block_number == 5

    def test_a_clock_that_is_set_back_does_not_turn_back_the_chain(self, evm: EmbeddedEvm, clock: Clock) -> None:
        evm.mine()
        before = evm.head().timestamp
        clock.now_s -= 1_000

        evm.mine()

        assert evm.head().timestamp == before

    def test_time_can_be_advanced_for_good(self, tmp_path: Path, clock: Clock) -> None:
        evm = open_evm(tmp_path, clock)
        evm.advance_time(3_600)
        evm.close()

        again = open_evm(tmp_path, clock)
        assert again.pending_header().timestamp == int(clock.now_s) + 3_600
        again.close()

    @pytest.mark.parametrize("seconds", [-1, 10**9 + 1])
    def test_time_moves_forward_only_and_not_out_of_range(self, evm: EmbeddedEvm, seconds: int) -> None:
        with pytest.raises(TransactionRefusedError):
            evm.advance_time(seconds)


class TestRefusals:
    @pytest.mark.parametrize(
        ("raw", "reason"),
        [
            (b"", "empty"),
            (b"\x02", "invalid"),
            (b"\x02\xc0", "invalid"),
            (b"\x7f" + bytes(50), "invalid"),
            (b"\xf8\xff", "invalid"),
            (b"\x03" + bytes(100), "no blobs"),
            (bytes(128 * 1024 + 1), "oversized"),
            (b"\xc0" * 10_000, "invalid"),
        ],
    )
    def test_hostile_bytes(self, evm: EmbeddedEvm, raw: bytes, reason: str) -> None:
        with pytest.raises(TransactionRefusedError, match=reason):
            evm.send_raw(raw)

    def test_a_flipped_bit_anywhere_never_breaks_the_chain(self, evm: EmbeddedEvm) -> None:
        raw = signed(evm)
        for position in range(0, len(raw), 7):
            damaged = bytearray(raw)
            damaged[position] ^= 0x10
            # Damage may make another valid transaction: of a stranger, who has no ether.
            with pytest.raises(TransactionRefusedError):
                evm.send_raw(bytes(damaged))

        assert evm.head().block_number == 0
        evm.send_raw(raw)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"nonce": 1}, "nonce too high"),
            ({"value": 2 * ETHER}, "balance"),
            ({"gas": 20_999}, "gas"),
            ({"gas": 31_000_000}, "gas limit"),
            ({"maxFeePerGas": 1, "maxPriorityFeePerGas": 0}, "fee"),
            ({"chainId": 1}, "chain"),
            ({"chainId": 1, "gasPrice": 10**10, "maxFeePerGas": None, "maxPriorityFeePerGas": None}, "chain"),
            ({"chainId": None, "gasPrice": 10**10, "maxFeePerGas": None, "maxPriorityFeePerGas": None}, "chain"),
        ],
    )
    def test_transactions_that_break_a_rule(self, evm: EmbeddedEvm, changes: dict[str, int], reason: str) -> None:
        with pytest.raises(TransactionRefusedError, match=reason):
            evm.send_raw(signed(evm, **changes))

        assert evm.head().block_number == 0
        evm.send_raw(signed(evm))

    def test_a_legacy_transaction_for_this_chain_is_fine(self, evm: EmbeddedEvm) -> None:
        evm.send_raw(signed(evm, gasPrice=10**10, maxFeePerGas=None, maxPriorityFeePerGas=None))

        assert evm.balance_wei(BOB) == 5

    def test_a_transaction_that_is_known(self, evm: EmbeddedEvm) -> None:
        raw = signed(evm)
        evm.send_raw(raw)

        with pytest.raises(TransactionRefusedError, match="already known"):
            evm.send_raw(raw)

    def test_a_nonce_that_was_used(self, evm: EmbeddedEvm) -> None:
        evm.send_raw(signed(evm))

        with pytest.raises(TransactionRefusedError, match="nonce too low"):
            evm.send_raw(signed(evm, nonce=0, value=6))


class TestExecution:
    def test_a_reverting_transaction_is_mined_and_changes_nothing(self, evm: EmbeddedEvm) -> None:
        code = bytes.fromhex("60006000fd")  # PUSH1 0 PUSH1 0 REVERT, as init code

        mined = evm.transaction(evm.send_raw(signed(evm, to=None, data=code, gas=100_000, value=0)))

        assert mined is not None
        assert mined.receipt.state_root == b""
        assert evm.nonce(ALICE) == 1
        assert evm.code(contract_address(ALICE, 0)) == b""

    def test_an_estimate_is_enough_and_close(self, evm: EmbeddedEvm) -> None:
        code = bytes.fromhex(artifact("TestUSD").bytecode[2:])
        gas = evm.estimate_gas(CallRequest(sender=ALICE, data=code))

        mined = evm.transaction(evm.send_raw(signed(evm, to=None, data=code, gas=gas, value=0)))

        assert mined is not None
        assert mined.receipt.state_root == b"\x01"
        assert mined.receipt.gas_used <= gas < mined.receipt.gas_used * 1.3

    def test_an_estimate_covers_the_calldata_floor(self, evm: EmbeddedEvm) -> None:
        data = b"\xff" * 10_000

        gas = evm.estimate_gas(CallRequest(sender=ALICE, to=BOB, data=data))

        assert gas >= 21_000 + 40 * len(data)
        evm.send_raw(signed(evm, gas=gas, data=data))

    def test_an_estimate_of_what_always_fails_says_so(self, evm: EmbeddedEvm) -> None:
        with pytest.raises(ExecutionFailedError) as failed:
            evm.estimate_gas(CallRequest(sender=ALICE, data=bytes.fromhex("60006000fd")))

        assert failed.value.reverted

    def test_an_estimate_counts_on_no_refund(self, evm: EmbeddedEvm) -> None:
        # Init: SSTORE(0, 1), then return the runtime, which clears that slot again and is refunded for it.
        init = bytes.fromhex("60016000556006601160003960066000f3600060005500")
        evm.send_raw(signed(evm, to=None, data=init, gas=300_000, value=0))
        target = contract_address(ALICE, 0)

        gas = evm.estimate_gas(CallRequest(sender=ALICE, to=target))

        mined = evm.transaction(evm.send_raw(signed(evm, to=checksum(target), gas=gas, value=0)))
        assert mined is not None
        assert mined.receipt.state_root == b"\x01"

    def test_an_endless_loop_ends_with_its_gas(self, evm: EmbeddedEvm) -> None:
        loop = bytes.fromhex("5b600056")  # JUMPDEST PUSH1 0 JUMP, as init code

        with pytest.raises(ExecutionFailedError) as failed:
            evm.call(CallRequest(data=loop, gas=100_000))

        assert not failed.value.reverted

    def test_a_call_that_its_sender_cannot_pay_fails(self, evm: EmbeddedEvm) -> None:
        with pytest.raises(ExecutionFailedError, match="balance"):
            evm.call(CallRequest(sender=BOB, to=ALICE, value_wei=1))

    def test_a_call_sees_the_time_of_the_block_to_come(self, evm: EmbeddedEvm, clock: Clock) -> None:
        now = CallRequest(data=bytes.fromhex("4260005260206000f3"))  # TIMESTAMP, returned by init code

        first = int.from_bytes(evm.call(now), "big")
        clock.now_s += 90

        assert (first, int.from_bytes(evm.call(now), "big")) == (int(clock.now_s) - 90, int(clock.now_s))

    def test_a_call_sees_what_the_last_block_changed(self, evm: EmbeddedEvm) -> None:
        balance = CallRequest(data=b"\x73" + BOB + bytes.fromhex("3160005260206000f3"))  # BALANCE of Bob, returned
        assert int.from_bytes(evm.call(balance), "big") == 0

        evm.send_raw(signed(evm))

        assert int.from_bytes(evm.call(balance), "big") == 5


def test_old_state_can_be_read_at_its_block(evm: EmbeddedEvm) -> None:
    evm.send_raw(signed(evm))
    evm.send_raw(signed(evm))

    assert [evm.balance_wei(BOB, evm.header(number)) for number in (0, 1, 2)] == [0, 5, 10]


@pytest.mark.parametrize("number", [-1, 1, 2**70])
def test_a_block_that_does_not_exist_is_unknown(evm: EmbeddedEvm, number: int) -> None:
    with pytest.raises(UnknownBlockError):
        evm.header(number)


def test_a_hash_that_does_not_exist_is_unknown(evm: EmbeddedEvm) -> None:
    with pytest.raises(UnknownBlockError):
        evm.header_by_hash(bytes(32))
