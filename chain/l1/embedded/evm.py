"""The embedded chain itself: one block a transaction, the wall clock's time, durable before it is answered.

py-evm's mining chain is driven directly rather than through eth-tester, whose backend always begins at a genesis and
finds a transaction by walking every block. Everything here is synchronous and belongs to one thread.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import rlp
from cachetools import LRUCache
from eth.chains.base import MiningChain
from eth.constants import POST_MERGE_DIFFICULTY, POST_MERGE_MIX_HASH, POST_MERGE_NONCE
from eth.exceptions import HeaderNotFound, PyEVMError, Revert, TransactionNotFound
from eth.vm.forks.prague import PragueVM
from eth.vm.spoof import SpoofTransaction
from eth_utils.exceptions import ValidationError

from chain.errors import IdlewattError
from chain.l1.embedded.store import DurableStore, LogRow
from chain.recursion import restore_recursion_limit
from chain.signing import ZERO_ADDRESS, keccak256

restore_recursion_limit()

BLOCK_GAS_LIMIT = 30_000_000
CALL_GAS_LIMIT = 1 << 24
"""What one call may use: a transaction's own cap on Osaka, and a bound on how long the EVM's thread is busy."""
MAX_CACHED_ANSWERS = 256
MAX_CACHED_BYTES = 64 * 1024
ESTIMATE_MARGIN = 1.02
AMPLE_MARGIN = 1.5
BLOB_TRANSACTION_TYPE = 3
MAX_RAW_TRANSACTION_BYTES = 128 * 1024
"""As geth's pool has it."""
_CLOCK_OFFSET_KEY = b"idlewatt:clock-offset-s"
_CHAIN_ID_KEY = b"idlewatt:chain-id"
_HEAD_KEY = b"v1:canonical_head_hash"


class TransactionRefusedError(Exception):
    """The chain refuses a transaction before executing it; the message says why."""


class ExecutionFailedError(Exception):
    """A call failed: ``data`` is what it reverted with, empty if it ran out of gas or hit an invalid instruction."""

    def __init__(self, message: str, *, reverted: bool, data: bytes) -> None:
        super().__init__(message)
        self.reverted = reverted
        self.data = data


class UnknownBlockError(Exception):
    """No such block."""


class CallRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to execute without mining it."""

    sender: bytes = ZERO_ADDRESS
    to: bytes = b""
    value_wei: int = 0
    data: bytes = b""
    gas: int | None = None


class MinedTransaction(msgspec.Struct, frozen=True):
    """A transaction with the block it is in and its receipt, as py-evm's objects."""

    transaction: Any
    block: Any
    receipt: Any


class EmbeddedEvm:
    """A Prague chain that lives in one SQLite file.

    Args:
        path: The file; made with a genesis if it isn't there, resumed from its head if it is.
        chain_id: For a new chain; an existing one keeps its own.
        genesis_balances_wei: For a new chain.
        clock: Seconds now; the wall clock unless a test says otherwise.
    """

    def __init__(
        self,
        path: Path,
        *,
        chain_id: int,
        genesis_balances_wei: Mapping[bytes, int],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._pending: Any = None
        self._answers: LRUCache[CallRequest, bytes] = LRUCache(MAX_CACHED_ANSWERS)
        self._store = DurableStore(path)
        try:
            self._open(chain_id, genesis_balances_wei)
        except BaseException:
            self._store.close()
            raise

    def _open(self, chain_id: int, genesis_balances_wei: Mapping[bytes, int]) -> None:
        store = self._store
        if _HEAD_KEY in store:
            try:
                self.chain_id = int.from_bytes(store[_CHAIN_ID_KEY], "big")
                self._offset_s = int.from_bytes(store[_CLOCK_OFFSET_KEY], "big")
                self._chain = _chain_class(self.chain_id)(store)
            except (KeyError, HeaderNotFound) as error:
                raise IdlewattError(
                    "The devnet's L1 is damaged: a part of it is missing.",
                    code="devnet_damaged",
                    fix="Move the devnet's directory away to start a new one.",
                ) from error
            return
        self.chain_id, self._offset_s = chain_id, 0
        store[_CHAIN_ID_KEY] = chain_id.to_bytes(8, "big")
        store[_CLOCK_OFFSET_KEY] = bytes(8)
        self._chain = _chain_class(chain_id).from_genesis(
            store,
            {
                "difficulty": POST_MERGE_DIFFICULTY,
                "mix_hash": POST_MERGE_MIX_HASH,
                "nonce": POST_MERGE_NONCE,
                "gas_limit": BLOCK_GAS_LIMIT,
                "timestamp": int(self._clock()),
                # So that two chains made in the same second with the same balances don't share a block.
                "extra_data": secrets.token_bytes(32),
            },
            {
                address: {"balance": balance_wei, "nonce": 0, "code": b"", "storage": {}}
                for address, balance_wei in genesis_balances_wei.items()
            },
        )
        store.commit()

    def close(self) -> None:
        """Let go of the file."""
        self._store.close()

    # ------------------------------------------------------------------------------------------------ blocks and time

    def head(self) -> Any:
        """The newest block's header."""
        return self._chain.get_canonical_head()

    def pending_header(self) -> Any:
        """The header that a block mined now would start from."""
        head = self.head()
        timestamp = max(head.timestamp, int(self._clock()) + self._offset_s)
        cached = self._pending
        if cached is None or cached.timestamp != timestamp or cached.parent_hash != head.hash:
            cached = self._chain.create_header_from_parent(head, gas_limit=head.gas_limit, timestamp=timestamp)
            self._pending = cached
            self._answers.clear()
        return cached

    def advance_time(self, seconds: int) -> None:
        """Let the chain's clock run ``seconds`` further ahead of the wall clock, for good."""
        if not 0 <= seconds <= 10**9:
            raise TransactionRefusedError("time moves forward only, by at most a billion seconds")
        self._offset_s += seconds
        self._store[_CLOCK_OFFSET_KEY] = self._offset_s.to_bytes(8, "big")
        self._store.commit()

    def mine(self) -> None:
        """Mine an empty block."""
        self._mine(())

    def header(self, number: int) -> Any:
        """A canonical block's header.

        Raises:
            UnknownBlockError: If the chain isn't that long.
        """
        if not 0 <= number <= self.head().block_number:
            raise UnknownBlockError
        return self._chain.get_canonical_block_header_by_number(number)

    def header_by_hash(self, block_hash: bytes) -> Any:
        """A canonical block's header.

        Raises:
            UnknownBlockError: If no block has this hash.
        """
        try:
            return self._chain.get_block_header_by_hash(block_hash)
        except HeaderNotFound:
            raise UnknownBlockError from None

    def block(self, header: Any) -> Any:
        """The block of a header."""
        return self._chain.get_block_by_header(header)

    # -------------------------------------------------------------------------------------------------- transactions

    def send_raw(self, raw: bytes) -> bytes:
        """Execute a signed transaction in a block of its own, durably; returns its hash.

        Raises:
            TransactionRefusedError: If it is malformed, badly signed, out of order, known, or not covered.
        """
        if not raw or len(raw) > MAX_RAW_TRANSACTION_BYTES:
            raise TransactionRefusedError("oversized data" if raw else "empty transaction")
        if raw[0] == BLOB_TRANSACTION_TYPE:
            raise TransactionRefusedError("transaction type not supported: this chain takes no blobs")
        try:
            transaction = PragueVM.get_transaction_builder().decode(raw)
            transaction.validate()
            tx_hash, sender, chain_id = bytes(transaction.hash), bytes(transaction.sender), transaction.chain_id
        except Exception as error:
            raise TransactionRefusedError(f"invalid transaction: {_brief(error)}") from error
        if self.transaction(tx_hash) is not None:
            raise TransactionRefusedError("already known")
        if chain_id != self.chain_id:
            raise TransactionRefusedError("invalid chain id: it was signed for another chain, or for any")
        expected = self.nonce(sender)
        if transaction.nonce != expected:
            order = "low" if transaction.nonce < expected else "high"
            raise TransactionRefusedError(f"nonce too {order}: next nonce {expected}, tx nonce {transaction.nonce}")
        self._mine((transaction,))
        return tx_hash

    def _mine(self, transactions: tuple[Any, ...]) -> None:
        self._chain.header = self.pending_header()
        try:
            result, receipts, _ = self._chain.mine_all(transactions)
        except (ValidationError, PyEVMError, rlp.exceptions.RLPException) as error:
            self._store.rollback()
            raise TransactionRefusedError(_brief(error)) from error
        except BaseException:
            self._store.rollback()
            raise
        number = result.imported_block.number
        self._store.add_logs(
            LogRow(
                block=number,
                log_index=index,
                tx_hash=bytes(transactions[0].hash),
                address=bytes(log.address),
                topics=tuple(topic.to_bytes(32, "big") for topic in log.topics),
                data=bytes(log.data),
            )
            for receipt in receipts
            for index, log in enumerate(receipt.logs)
        )
        self._store.commit()

    def transaction(self, tx_hash: bytes) -> MinedTransaction | None:
        """A mined transaction with its block and receipt, or ``None``."""
        try:
            number, index = self._chain.get_canonical_transaction_index(tx_hash)
        except TransactionNotFound:
            return None
        return MinedTransaction(
            transaction=self._chain.get_canonical_transaction_by_index(number, index),
            block=self.block(self.header(number)),
            receipt=self._chain.get_transaction_receipt_by_index(number, index),
        )

    def logs(self, from_block: int, to_block: int, addresses: list[bytes], limit: int) -> list[LogRow]:
        """Logs of a range of blocks, see `DurableStore.logs`."""
        return self._store.logs(from_block, to_block, addresses, limit)

    # --------------------------------------------------------------------------------------------------------- state

    def nonce(self, address: bytes, header: Any = None) -> int:
        """An account's next nonce."""
        return int(self._state(header).get_nonce(address))

    def balance_wei(self, address: bytes, header: Any = None) -> int:
        """An account's ether."""
        return int(self._state(header).get_balance(address))

    def code(self, address: bytes, header: Any = None) -> bytes:
        """An account's code."""
        return bytes(self._state(header).get_code(address))

    def storage(self, address: bytes, slot: int, header: Any = None) -> int:
        """One word of a contract's storage."""
        return int(self._state(header).get_storage(address, slot))

    def call(self, request: CallRequest, header: Any = None) -> bytes:
        """Execute without mining, on the pending block or on the state after a given one; returns the output.

        Raises:
            ExecutionFailedError: If it reverts, runs out of gas or can't start.
        """
        gas = min(request.gas or CALL_GAS_LIMIT, CALL_GAS_LIMIT)
        if header is not None:
            return bytes(self._simulate(request, header, gas)[0])
        # Clients that poll repeat a call within the same block and second; py-evm takes milliseconds for each.
        self.pending_header()
        answer = self._answers.get(request)
        if answer is None:
            answer = bytes(self._simulate(request, None, gas)[0])
            if len(request.data) + len(answer) < MAX_CACHED_BYTES:
                self._answers[request] = answer
        return answer

    def estimate_gas(self, request: CallRequest) -> int:
        """A gas limit with which a transaction succeeds now, EIP-7623's calldata floor included.

        Raises:
            ExecutionFailedError: If it fails at any limit.
        """
        cap = min(request.gas or CALL_GAS_LIMIT, CALL_GAS_LIMIT)
        _, charged, executed = self._simulate(request, None, cap)
        attempt = int(charged * ESTIMATE_MARGIN)
        if attempt > executed * AMPLE_MARGIN:
            return attempt  # EIP-7623's calldata floor is the higher one, and leaves more gas than execution needs
        while attempt < cap:
            # Because of refunds and the 63/64 rule, a limit of exactly what was used sometimes fails.
            try:
                self._simulate(request, None, attempt)
            except ExecutionFailedError:
                attempt = attempt * 5 // 4
            else:
                return attempt
        return cap

    def _state(self, header: Any) -> Any:
        return self._chain.get_vm(header or self.pending_header()).state

    def _simulate(self, request: CallRequest, header: Any, gas: int) -> tuple[bytes, int, int]:
        """The output, the gas that would be charged, and the gas that execution itself went through."""
        header = header or self.pending_header()
        vm = self._chain.get_vm(header.copy(base_fee_per_gas=0))
        unsigned = vm.get_transaction_builder().new_unsigned_dynamic_fee_transaction(
            chain_id=self.chain_id,
            nonce=vm.state.get_nonce(request.sender),
            max_priority_fee_per_gas=0,
            max_fee_per_gas=0,
            gas=gas,
            to=request.to,
            value=request.value_wei,
            data=request.data,
            access_list=(),
        )
        try:
            computation = vm.state.apply_transaction(SpoofTransaction(unsigned, from_=request.sender))
        except (ValidationError, PyEVMError) as error:
            raise ExecutionFailedError(_brief(error), reverted=False, data=b"") from error
        if computation.is_error:
            raise ExecutionFailedError(
                "execution reverted" if isinstance(computation.error, Revert) else _brief(computation.error),
                reverted=isinstance(computation.error, Revert),
                data=bytes(computation.output),
            )
        return computation.output, vm.finalize_gas_used(unsigned, computation), gas - computation.get_gas_remaining()


def contract_address(sender: bytes, nonce: int) -> bytes:
    """Where a creating transaction puts its contract."""
    return keccak256(rlp.encode([sender, nonce]))[12:]


class _EmbeddedVM(PragueVM):  # type: ignore[misc]  # py-evm is untyped to us
    """Prague, except that several blocks may share one second, as on Arbitrum.

    With a block for every transaction, Ethereum's strictly increasing seconds would carry the chain's clock ahead of
    the wall's with each burst, and every challenge window would end that much later.
    """

    @classmethod
    def validate_header(cls, header: Any, parent_header: Any) -> None:
        if header.timestamp == parent_header.timestamp:
            parent_header = parent_header.copy(timestamp=parent_header.timestamp - 1)
        super().validate_header(header, parent_header)


def _chain_class(network_id: int) -> Any:
    class EmbeddedChain(MiningChain):  # type: ignore[misc]  # py-evm is untyped to us
        chain_id = network_id
        vm_configuration = ((0, _EmbeddedVM),)

    return EmbeddedChain


def _brief(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
