"""JSON-RPC's hex forms, both ways: strict on what comes in, and Ethereum's field names on what goes out."""

from __future__ import annotations

import re
from typing import Any

from chain.errors import JsonRpc
from chain.jsonrpc import RpcError
from chain.l1.embedded.evm import BLOB_TRANSACTION_TYPE, MinedTransaction, contract_address
from chain.l1.embedded.store import LogRow

_QUANTITY = re.compile(r"0x(0|[1-9a-fA-F][0-9a-fA-F]{0,63})\Z")
_DATA = re.compile(r"0x([0-9a-fA-F]{2})*\Z")
DYNAMIC_FEE_TYPE = 2


def invalid(what: str) -> RpcError:
    """The error for a parameter that isn't what it should be."""
    return RpcError(JsonRpc.INVALID_PARAMS, f"invalid params: {what}")


def read_quantity(value: object, name: str) -> int:
    """A ``0x`` quantity of at most 256 bits."""
    if not isinstance(value, str) or not _QUANTITY.match(value):
        raise invalid(f"{name} must be a 0x quantity")
    return int(value, 16)


def read_data(value: object, name: str, length: int | None = None) -> bytes:
    """``0x`` data, of exactly ``length`` bytes where one is given."""
    if not isinstance(value, str) or not _DATA.match(value):
        raise invalid(f"{name} must be 0x data")
    data = bytes.fromhex(value[2:])
    if length is not None and len(data) != length:
        raise invalid(f"{name} must have {length} bytes")
    return data


def quantity(value: int) -> str:
    """An integer as a ``0x`` quantity."""
    return hex(value)


def data(value: bytes) -> str:
    """Bytes as ``0x`` data."""
    return "0x" + bytes(value).hex()


def block_json(block: Any, *, full: bool, pending: bool, size: int) -> dict[str, Any]:
    """A block as ``eth_getBlockBy…`` answers it."""
    header = block.header
    return {
        "number": quantity(header.block_number),
        "hash": None if pending else data(header.hash),
        "parentHash": data(header.parent_hash),
        "nonce": None if pending else data(header.nonce),
        "sha3Uncles": data(header.uncles_hash),
        "logsBloom": data(header.bloom.to_bytes(256, "big")),
        "transactionsRoot": data(header.transaction_root),
        "stateRoot": data(header.state_root),
        "receiptsRoot": data(header.receipt_root),
        "miner": data(header.coinbase),
        "difficulty": quantity(header.difficulty),
        "extraData": data(header.extra_data),
        "mixHash": data(header.mix_hash),
        "size": quantity(size),
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(header.timestamp),
        "baseFeePerGas": quantity(header.base_fee_per_gas),
        "withdrawalsRoot": data(header.withdrawals_root),
        "blobGasUsed": quantity(header.blob_gas_used),
        "excessBlobGas": quantity(header.excess_blob_gas),
        "parentBeaconBlockRoot": data(header.parent_beacon_block_root),
        "requestsHash": data(header.requests_hash),
        "transactions": [transaction_json(tx, block) if full else data(tx.hash) for tx in block.transactions],
        "uncles": [],
        "withdrawals": [],
    }


def transaction_json(tx: Any, block: Any) -> dict[str, Any]:
    """A mined transaction as ``eth_getTransactionByHash`` answers it."""
    type_id = _type_of(tx)
    answer: dict[str, Any] = {
        "type": quantity(type_id),
        "hash": data(tx.hash),
        "nonce": quantity(tx.nonce),
        "blockHash": data(block.hash),
        "blockNumber": quantity(block.number),
        "transactionIndex": "0x0",
        "from": data(tx.sender),
        "to": data(tx.to) if tx.to else None,
        "value": quantity(tx.value),
        "gas": quantity(tx.gas),
        "gasPrice": quantity(_effective_gas_price(tx, block)),
        "input": data(tx.data),
        "v": quantity(tx.y_parity if type_id else tx.v),
        "r": quantity(tx.r),
        "s": quantity(tx.s),
    }
    if type_id:
        answer["chainId"] = quantity(tx.chain_id)
        answer["yParity"] = answer["v"]
        answer["accessList"] = [
            {"address": data(address), "storageKeys": [data(slot.to_bytes(32, "big")) for slot in slots]}
            for address, slots in tx.access_list
        ]
    if type_id >= DYNAMIC_FEE_TYPE:
        answer["maxFeePerGas"] = quantity(tx.max_fee_per_gas)
        answer["maxPriorityFeePerGas"] = quantity(tx.max_priority_fee_per_gas)
    if type_id > BLOB_TRANSACTION_TYPE:
        answer["authorizationList"] = [
            {
                "chainId": quantity(entry.chain_id),
                "address": data(entry.address),
                "nonce": quantity(entry.nonce),
                "yParity": quantity(entry.y_parity),
                "r": quantity(entry.r),
                "s": quantity(entry.s),
            }
            for entry in tx.authorization_list
        ]
    return answer


def receipt_json(mined: MinedTransaction, logs: list[LogRow]) -> dict[str, Any]:
    """A receipt as ``eth_getTransactionReceipt`` answers it."""
    tx, block, receipt = mined.transaction, mined.block, mined.receipt
    return {
        "type": quantity(_type_of(tx)),
        "transactionHash": data(tx.hash),
        "transactionIndex": "0x0",
        "blockHash": data(block.hash),
        "blockNumber": quantity(block.number),
        "from": data(tx.sender),
        "to": data(tx.to) if tx.to else None,
        "cumulativeGasUsed": quantity(receipt.gas_used),
        "gasUsed": quantity(receipt.gas_used),
        "effectiveGasPrice": quantity(_effective_gas_price(tx, block)),
        "contractAddress": None if tx.to else data(contract_address(bytes(tx.sender), tx.nonce)),
        "logs": [log_json(row, block.hash, block.header.timestamp) for row in logs],
        "logsBloom": data(receipt.bloom.to_bytes(256, "big")),
        "status": "0x1" if receipt.state_root == b"\x01" else "0x0",
    }


def log_json(row: LogRow, block_hash: bytes, block_timestamp_s: int) -> dict[str, Any]:
    """A log as ``eth_getLogs`` answers it."""
    return {
        "address": data(row.address),
        "topics": [data(topic) for topic in row.topics],
        "data": data(row.data),
        "blockNumber": quantity(row.block),
        "blockHash": data(block_hash),
        "blockTimestamp": quantity(block_timestamp_s),
        "transactionHash": data(row.tx_hash),
        "transactionIndex": "0x0",
        "logIndex": quantity(row.log_index),
        "removed": False,
    }


def _type_of(tx: Any) -> int:
    return int(getattr(tx, "type_id", None) or 0)


def _effective_gas_price(tx: Any, block: Any) -> int:
    if _type_of(tx) < DYNAMIC_FEE_TYPE:
        return int(tx.gas_price)
    return int(min(tx.max_fee_per_gas, tx.max_priority_fee_per_gas + block.header.base_fee_per_gas))
