"""Transactions with data of one's own, sent to an arena's L1 past every client."""

from __future__ import annotations

from typing import Any

from eth_account import Account

from chain.l1.calldata import Submission, write_submission
from chain.l1.connection import checksum
from chain.l1.protocol import PostedBatch
from chain.signing import address_of
from tests.villains.arena import CHAIN_ID, Arena

GAS = 3_000_000
FEES = {"maxFeePerGas": 10**10, "maxPriorityFeePerGas": 1, "type": 2}


def calldata_of(posted: PostedBatch) -> bytes:
    """The data that a batch was posted with."""
    return write_submission(
        Submission(batch_id=posted.batch_id, prev_root=posted.prev_root, inbox_hash=posted.inbox_hash, blob=posted.blob)
    )


async def signed_call(where: Arena, key: bytes, data: bytes) -> bytes:
    """A transaction to the rollup by a key, as bytes that anyone can send on."""
    eth, me = where.prover.connection.web3.eth, checksum(address_of(key))
    fields = {
        "chainId": CHAIN_ID, "to": checksum(where.deployment.rollup_address), "value": 0, "gas": GAS, "data": data,
        "nonce": await eth.get_transaction_count(me), **FEES,
    }  # fmt: skip
    return bytes(Account.sign_transaction(fields, key).raw_transaction)


async def mined(where: Arena, raw: bytes) -> Any:
    """Send it, whatever comes of it; returns the receipt."""
    eth = where.prover.connection.web3.eth
    return await eth.get_transaction_receipt(await eth.send_raw_transaction(raw))
