"""The JSON-RPC methods of the embedded chain: parameters checked, the EVM asked, the answer in Ethereum's own form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import rlp

from chain.errors import JsonRpc
from chain.jsonrpc import RpcError
from chain.l1.embedded.encoding import (
    block_json,
    data,
    invalid,
    log_json,
    quantity,
    read_data,
    read_quantity,
    receipt_json,
    transaction_json,
)
from chain.l1.embedded.evm import (
    CallRequest,
    EmbeddedEvm,
    ExecutionFailedError,
    TransactionRefusedError,
    UnknownBlockError,
)
from chain.signing import ZERO_ADDRESS

MAX_LOGS = 10_000
MAX_TOPIC_CHOICES = 1_000
MAX_FEE_HISTORY_BLOCKS = 1_024
PRIORITY_FEE_WEI = 1
NOT_FOUND = -32001
LIMIT_EXCEEDED = -32005
REVERTED = 3
CLIENT_VERSION = "idlewatt/embedded-l1"
_HEAD_TAGS = frozenset({"latest", "safe", "finalized"})
_CALL_FIELDS = {"from", "to", "gas", "gasPrice", "maxFeePerGas", "maxPriorityFeePerGas", "value", "data", "input"}
_CALL_FIELDS |= {"nonce", "chainId", "type", "accessList"}


class L1Methods:
    """Answers JSON-RPC methods from one EVM, in the EVM's thread."""

    def __init__(self, evm: EmbeddedEvm) -> None:
        self._evm = evm
        self._methods: dict[str, tuple[Callable[..., Any], int, int]] = {
            "web3_clientVersion": (lambda: CLIENT_VERSION, 0, 0),
            "net_version": (lambda: str(evm.chain_id), 0, 0),
            "net_listening": (lambda: True, 0, 0),
            "eth_chainId": (lambda: quantity(evm.chain_id), 0, 0),
            "eth_syncing": (lambda: False, 0, 0),
            "eth_accounts": (lambda: cast("list[str]", []), 0, 0),
            "eth_blockNumber": (lambda: quantity(evm.head().block_number), 0, 0),
            "eth_gasPrice": (self._gas_price, 0, 0),
            "eth_maxPriorityFeePerGas": (lambda: quantity(PRIORITY_FEE_WEI), 0, 0),
            "eth_feeHistory": (self._fee_history, 2, 3),
            "eth_getBalance": (self._get_balance, 1, 2),
            "eth_getTransactionCount": (self._get_transaction_count, 1, 2),
            "eth_getCode": (self._get_code, 1, 2),
            "eth_getStorageAt": (self._get_storage_at, 2, 3),
            "eth_call": (self._call, 1, 2),
            "eth_estimateGas": (self._estimate_gas, 1, 2),
            "eth_sendRawTransaction": (self._send_raw_transaction, 1, 1),
            "eth_getTransactionByHash": (self._get_transaction, 1, 1),
            "eth_getTransactionReceipt": (self._get_receipt, 1, 1),
            "eth_getBlockByNumber": (self._get_block_by_number, 1, 2),
            "eth_getBlockByHash": (self._get_block_by_hash, 1, 2),
            "eth_getLogs": (self._get_logs, 1, 1),
            "evm_increaseTime": (self._increase_time, 1, 1),
            "evm_mine": (self._mine, 0, 0),
        }

    def answer(self, method: str, params: list[Any]) -> Any:
        """One method's result.

        Raises:
            RpcError: For an unknown method, wrong parameters, or what the chain refuses.
        """
        if method not in self._methods:
            raise RpcError(JsonRpc.UNKNOWN_METHOD, "the method does not exist")
        function, least, most = self._methods[method]
        if not least <= len(params) <= most:
            raise invalid(f"expected {least} to {most}, got {len(params)}")
        try:
            return function(*params)
        except TransactionRefusedError as error:
            raise RpcError(JsonRpc.REJECTED, str(error)) from error
        except UnknownBlockError as error:
            raise RpcError(NOT_FOUND, "unknown block") from error
        except ExecutionFailedError as error:
            if error.reverted:
                raise RpcError(REVERTED, "execution reverted", data(error.data)) from error
            raise RpcError(JsonRpc.REJECTED, str(error)) from error

    # ---------------------------------------------------------------------------------------------------------- fees

    def _gas_price(self) -> str:
        return quantity(self._evm.pending_header().base_fee_per_gas + PRIORITY_FEE_WEI)

    def _fee_history(self, count: object, newest: object, percentiles: object = None) -> dict[str, Any]:
        wanted = read_quantity(count, "blockCount") if isinstance(count, str) else count
        if type(wanted) is not int or not 1 <= wanted <= MAX_FEE_HISTORY_BLOCKS:
            raise invalid(f"blockCount must be 1 to {MAX_FEE_HISTORY_BLOCKS}")
        if not isinstance(percentiles, list | None) or len(percentiles or ()) > 100:
            raise invalid("percentiles must be a short list")
        last = (self._header(newest) or self._evm.head()).block_number
        headers = [self._evm.header(number) for number in range(max(0, last - wanted + 1), last + 1)]
        following = self._evm.pending_header() if last == self._evm.head().block_number else self._evm.header(last + 1)
        answer: dict[str, Any] = {
            "oldestBlock": quantity(headers[0].block_number),
            "baseFeePerGas": [quantity(header.base_fee_per_gas) for header in (*headers, following)],
            "gasUsedRatio": [header.gas_used / header.gas_limit for header in headers],
        }
        if percentiles:
            answer["reward"] = [[quantity(PRIORITY_FEE_WEI)] * len(percentiles) for _ in headers]
        return answer

    # --------------------------------------------------------------------------------------------------------- state

    def _get_balance(self, address: object, block: object = "latest") -> str:
        return quantity(self._evm.balance_wei(read_data(address, "address", 20), self._header(block)))

    def _get_transaction_count(self, address: object, block: object = "latest") -> str:
        return quantity(self._evm.nonce(read_data(address, "address", 20), self._header(block)))

    def _get_code(self, address: object, block: object = "latest") -> str:
        return data(self._evm.code(read_data(address, "address", 20), self._header(block)))

    def _get_storage_at(self, address: object, slot: object, block: object = "latest") -> str:
        where = int.from_bytes(read_data(slot, "slot", 32)) if _is_word(slot) else read_quantity(slot, "slot")
        word = self._evm.storage(read_data(address, "address", 20), where, self._header(block))
        return data(word.to_bytes(32, "big"))

    def _call(self, request: object, block: object = "latest") -> str:
        return data(self._evm.call(_call_request(request), self._header(block)))

    def _estimate_gas(self, request: object, block: object = "latest") -> str:
        if self._header(block) is not None:
            raise invalid("gas is estimated on the latest block only")
        return quantity(self._evm.estimate_gas(_call_request(request)))

    # ------------------------------------------------------------------------------------------- transactions, blocks

    def _send_raw_transaction(self, raw: object) -> str:
        return data(self._evm.send_raw(read_data(raw, "transaction")))

    def _get_transaction(self, tx_hash: object) -> dict[str, Any] | None:
        mined = self._evm.transaction(read_data(tx_hash, "hash", 32))
        return None if mined is None else transaction_json(mined.transaction, mined.block)

    def _get_receipt(self, tx_hash: object) -> dict[str, Any] | None:
        mined = self._evm.transaction(read_data(tx_hash, "hash", 32))
        if mined is None:
            return None
        return receipt_json(mined, self._evm.logs(mined.block.number, mined.block.number, [], MAX_LOGS))

    def _get_block_by_number(self, number: object, full: object = False) -> dict[str, Any] | None:
        pending = number == "pending"
        try:
            header = self._header(number)
        except UnknownBlockError:
            return None
        if header is None:
            header = self._evm.pending_header() if pending else self._evm.head()
        return self._block(header, full, pending=pending)

    def _get_block_by_hash(self, block_hash: object, full: object = False) -> dict[str, Any] | None:
        try:
            header = self._evm.header_by_hash(read_data(block_hash, "hash", 32))
        except UnknownBlockError:
            return None
        return self._block(header, full, pending=False)

    def _block(self, header: Any, full: object, *, pending: bool) -> dict[str, Any]:
        if not isinstance(full, bool):
            raise invalid("the second parameter must be a boolean")
        block = self._evm.block(header)
        return block_json(block, full=full, pending=pending, size=len(rlp.encode(block)))

    def _get_logs(self, query: object) -> list[dict[str, Any]]:
        if not isinstance(query, dict) or query.keys() - {"fromBlock", "toBlock", "address", "topics", "blockHash"}:
            raise invalid("not a log filter")
        if "blockHash" in query:
            first = last = self._evm.header_by_hash(read_data(query["blockHash"], "blockHash", 32)).block_number
        else:
            first = self._number(query.get("fromBlock", "latest"))
            last = self._number(query.get("toBlock", "latest"))
        rows = self._evm.logs(first, last, _addresses(query.get("address")), MAX_LOGS + 1)
        if len(rows) > MAX_LOGS:
            raise RpcError(LIMIT_EXCEEDED, f"more than {MAX_LOGS} logs: narrow the range of blocks")
        wanted = _topics(query.get("topics"))
        rows = [
            row
            for row in rows
            if len(row.topics) >= len(wanted)
            and all(not choices or topic in choices for choices, topic in zip(wanted, row.topics, strict=False))
        ]
        headers = {number: self._evm.header(number) for number in {row.block for row in rows}}
        return [log_json(row, headers[row.block].hash, headers[row.block].timestamp) for row in rows]

    # -------------------------------------------------------------------------------------------------- time of tests

    def _increase_time(self, seconds: object) -> str:
        step = read_quantity(seconds, "seconds") if isinstance(seconds, str) else seconds
        if type(step) is not int:
            raise invalid("seconds must be a number")
        self._evm.advance_time(step)
        return quantity(step)

    def _mine(self) -> str:
        self._evm.mine()
        return "0x0"

    # --------------------------------------------------------------------------------------------------------- blocks

    def _header(self, tag: object) -> Any:
        """The header whose state is meant; ``None`` for the newest, on which calls see the pending block's time."""
        if isinstance(tag, dict) and tag.keys() <= {"blockNumber", "blockHash", "requireCanonical"}:
            if "blockHash" in tag:
                return self._evm.header_by_hash(read_data(tag["blockHash"], "blockHash", 32))
            tag = tag.get("blockNumber")
        if tag == "pending" or (isinstance(tag, str) and tag in _HEAD_TAGS):
            return None
        number = 0 if tag == "earliest" else read_quantity(tag, "block")
        return None if number == self._evm.head().block_number else self._evm.header(number)

    def _number(self, tag: object) -> int:
        if isinstance(tag, str) and tag.startswith("0x"):
            return min(read_quantity(tag, "block"), 2**62)
        header = self._header(tag)
        return int((header or self._evm.head()).block_number)


def _is_word(value: object) -> bool:
    return isinstance(value, str) and len(value) == 66


def _call_request(request: object) -> CallRequest:
    if not isinstance(request, dict) or request.keys() - _CALL_FIELDS:
        raise invalid("not a call")

    def given(name: str) -> bool:
        return request.get(name) is not None

    return CallRequest(
        sender=read_data(request["from"], "from", 20) if given("from") else ZERO_ADDRESS,
        to=read_data(request["to"], "to", 20) if given("to") and request["to"] != "0x" else b"",
        value_wei=read_quantity(request["value"], "value") if given("value") else 0,
        data=read_data(request["input" if given("input") else "data"], "data")
        if given("input") or given("data")
        else b"",
        gas=read_quantity(request["gas"], "gas") if given("gas") else None,
    )


def _addresses(value: object) -> list[bytes]:
    if value is None:
        return []
    values = value if isinstance(value, list) else [value]
    if len(values) > MAX_TOPIC_CHOICES:
        raise invalid("too many addresses")
    return [read_data(item, "address", 20) for item in values]


def _topics(value: object) -> list[frozenset[bytes]]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > 4:
        raise invalid("topics must be a list of at most four")
    wanted = []
    for choice in value:
        choices = choice if isinstance(choice, list) else [] if choice is None else [choice]
        if len(choices) > MAX_TOPIC_CHOICES:
            raise invalid("too many topics")
        wanted.append(frozenset(read_data(topic, "topic", 32) for topic in choices))
    return wanted
