"""Many calls in one transaction, as a spammer makes them: a contract that calls in its constructor, again and again."""

from __future__ import annotations

from typing import Any

from chain.l1.connection import L1Signer
from chain.signing import keccak256

GAS = 29_000_000
CALLS_PER_TX = 500


def repeated_call(target: bytes, head: bytes, count: int) -> bytes:
    """Creation code that calls ``target`` with ``head`` and a word from ``count`` down to 1 behind it.

    Args:
        target: 20 bytes.
        head: At most 100 bytes of calldata before the word.
        count: How often; every call has another word.
    """
    padded = head + bytes(-len(head) % 32)
    code = bytearray()
    for offset in range(0, len(padded), 32):
        code += b"\x7f" + padded[offset : offset + 32] + bytes([0x60, offset, 0x52])
    code += b"\x61" + count.to_bytes(2, "big")
    loop = len(code)
    size = len(head) + 32
    code += bytes([0x5B, 0x80, 0x60, len(head), 0x52])
    code += bytes([0x5F, 0x5F, 0x60, size, 0x5F, 0x5F, 0x73]) + target + bytes([0x5A, 0xF1, 0x50])
    code += bytes([0x60, 1, 0x90, 0x03, 0x80, 0x61]) + loop.to_bytes(2, "big") + bytes([0x57, 0x00])
    return bytes(code)


def commit_fraud_head() -> bytes:
    """``commitFraud``, before its commitment."""
    return keccak256(b"commitFraud(bytes32)")[:4]


def force_tx_head() -> bytes:
    """``forceTx`` of 32 bytes, before them."""
    return keccak256(b"forceTx(bytes)")[:4] + (32).to_bytes(32, "big") + (32).to_bytes(32, "big")


async def send_repeated(signer: L1Signer, target: bytes, head: bytes, count: int) -> list[Any]:
    """Make that many calls; returns the receipts."""

    def fields_of(code: bytes) -> Any:
        async def fields(nonce: int) -> dict[str, Any]:
            fees = await signer._connection.fees()
            return {"value": 0, "nonce": nonce, "gas": GAS, "data": "0x" + code.hex()} | fees

        return fields

    receipts = []
    while count > 0:
        now = min(count, CALLS_PER_TX)
        receipts.append(await signer._send(fields_of(repeated_call(target, head, now))))
        count -= now
    return receipts
