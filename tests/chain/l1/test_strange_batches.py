"""Batches whose transactions somebody shaped strangely, on an L1 that is honest, or isn't."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from eth_account import Account

from chain.errors import ChainUnavailableError
from chain.l1.calldata import Submission, write_submission
from chain.l1.connection import checksum
from chain.l1.embedded.server import L1Server
from chain.l1.protocol import EMPTY_INBOX_HASH, Deployment
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.signing import keccak256
from chain.state import GENESIS_ROOT
from tests.chain.in_front import Ask, in_front
from tests.chain.l1.conftest import ALICE, CHAIN_ID, OPERATOR_KEY, Clock, Rpc, make_batch, post

Change = Callable[[bytes], bytes]
STRANGE: dict[str, Change] = {
    "dirty padding": lambda data: data[:-1] + b"\x01",
    "no padding": lambda data: data.rstrip(b"\0"),
    "trailing bytes": lambda data: data + bytes(32),
    "a gap": lambda data: data[:100] + (160).to_bytes(32, "big") + bytes(32) + data[132:],
}


def submission(clock: Clock) -> tuple[Submission, bytes]:
    """The first batch, with some padding, and its data."""
    blob, _ = make_batch(clock, size=100)
    batch = Submission(batch_id=0, prev_root=GENESIS_ROOT, inbox_hash=EMPTY_INBOX_HASH, blob=blob)
    return batch, write_submission(batch)


def envelope(kind: int, data: bytes, to: bytes) -> dict[str, Any]:
    """A transaction's fields of one of Ethereum's types."""
    fees = {"gasPrice": 10**10} if kind < 2 else {"maxFeePerGas": 10**10, "maxPriorityFeePerGas": 1}
    fields = {"chainId": CHAIN_ID, "to": checksum(to), "value": 0, "gas": 3_000_000, "data": data, **fees}
    if kind:
        fields |= {"type": kind, "accessList": [{"address": checksum(to), "storageKeys": ["0x" + "ff" * 32]}]}
    return fields


async def send(rpc: Rpc, fields: dict[str, Any]) -> Any:
    """Sign as the operator and mine; returns the node's whole answer."""
    me = Account.from_key(OPERATOR_KEY)
    nonce = int(await rpc("eth_getTransactionCount", me.address, "latest"), 16)
    signed = me.sign_transaction(fields | {"nonce": nonce})
    return await rpc.answer("eth_sendRawTransaction", signed.raw_transaction.to_0x_hex())


@pytest.mark.parametrize("strange", STRANGE)
async def test_what_is_not_canonical_never_stands(
    rollup: JsonRpcRollupL1, deployment: Deployment, clock: Clock, rpc: Rpc, strange: str
) -> None:
    _, data = submission(clock)

    await send(rpc, envelope(2, STRANGE[strange](data), deployment.rollup_address))

    assert await rollup.batch_count() == 0
    await send(rpc, envelope(2, data, deployment.rollup_address))
    assert await rollup.batch_count() == 1


@pytest.mark.parametrize("kind", [0, 1, 2, 4])
async def test_a_batch_in_any_kind_of_transaction_is_read_back(
    rollup: JsonRpcRollupL1, deployment: Deployment, clock: Clock, rpc: Rpc, kind: int
) -> None:
    batch, data = submission(clock)
    fields = envelope(kind, data, deployment.rollup_address)
    if kind == 4:
        other = Account.create()
        fields["authorizationList"] = [
            other.sign_authorization({"chainId": CHAIN_ID, "address": checksum(ALICE), "nonce": 2**64 - 2})
        ]

    answer = await send(rpc, fields)

    assert "error" not in answer
    (posted,) = await rollup.batches(0, 16)
    assert (posted.blob, posted.prev_root, posted.inbox_hash) == (batch.blob, batch.prev_root, batch.inbox_hash)


@pytest.mark.parametrize("strange", STRANGE)
async def test_a_message_that_was_forced_in_strange_calldata_is_read_from_its_event(
    rollup: JsonRpcRollupL1, deployment: Deployment, rpc: Rpc, strange: str
) -> None:
    """The inbox takes any form, since nobody reads its calldata: its events are the contract's own encoding."""
    body = b"a transaction of 24 bytes"
    selector = keccak256(b"forceTx(bytes)")[:4]
    tail = len(body).to_bytes(32, "big") + body + bytes(-len(body) % 32)
    data = selector + (32).to_bytes(32, "big") + tail
    changed = {"a gap": selector + (64).to_bytes(32, "big") + b"\xff" * 32 + tail}.get(strange) or STRANGE[strange](
        data
    )

    await send(rpc, envelope(2, changed, deployment.inbox_address))

    (message,) = await rollup.inbox_messages(0, 10)
    assert message.body == body


async def change_transaction(body: bytes, ask: Ask, hit: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """Pass a request on, and change the answer where it is about this transaction."""
    request, answered = json.loads(body), json.loads(await ask(body))
    if request["method"] == "eth_getTransactionByHash" and request["params"][0] == "0x" + hit.hex():
        answered["result"] = change(answered["result"])
    return json.dumps(answered).encode()


@pytest.mark.parametrize("strange", STRANGE)
async def test_an_l1_whose_contract_took_strange_calldata_would_still_be_read(
    rollup: JsonRpcRollupL1, deployment: Deployment, clock: Clock, l1: L1Server, strange: str
) -> None:
    posted = await post(rollup, clock, size=100)

    def change(transaction: dict[str, Any]) -> dict[str, Any]:
        return transaction | {"input": "0x" + STRANGE[strange](bytes.fromhex(transaction["input"][2:])).hex()}

    async with in_front(l1.url, lambda body, ask: change_transaction(body, ask, posted.l1_tx, change)) as url:
        reader = JsonRpcRollupL1(url, deployment)
        found = await reader.batches(0, 16)
        await reader.aclose()

    assert found == [posted]


def another_blob(transaction: dict[str, Any]) -> dict[str, Any]:
    data = bytearray.fromhex(transaction["input"][2:])
    data[4 + 5 * 32 + 60] ^= 1  # within the frame's body
    return transaction | {"input": "0x" + data.hex()}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda transaction: transaction | {"input": transaction["input"][:300]}, "can't be read"),
        (lambda transaction: transaction | {"input": "0x"}, "can't be read"),
        (lambda transaction: transaction | {"input": 7}, "makes no sense"),
        (lambda transaction: {}, "makes no sense"),
        (lambda transaction: transaction | {"to": None}, "no transaction"),
        (lambda transaction: None, "no transaction"),
        (another_blob, "another one than the contract took"),
    ],
    ids=["cut short", "empty", "a number", "nothing of it", "no receiver", "unknown", "other bytes"],
)
async def test_a_batch_that_can_not_be_read_hides_none_before_it(
    rollup: JsonRpcRollupL1, deployment: Deployment, clock: Clock, l1: L1Server, change: Any, reason: str
) -> None:
    posted = [await post(rollup, clock) for _ in range(4)]
    unreadable = posted[2]

    async with in_front(l1.url, lambda body, ask: change_transaction(body, ask, unreadable.l1_tx, change)) as url:
        reader = JsonRpcRollupL1(url, deployment)
        found = await reader.batches(0, 16)
        with pytest.raises(ChainUnavailableError) as refused:
            await reader.batches(2, 16)
        behind = await reader.batches(3, 16)
        await reader.aclose()

    assert found == posted[:2]
    assert behind == posted[3:]
    assert refused.value.code == "chain_bad_answer"
    assert reason in refused.value.message
    assert "batch 2" in refused.value.message
