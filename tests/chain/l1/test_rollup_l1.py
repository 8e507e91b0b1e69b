"""The rollup's contracts over JSON-RPC: real sockets, real EVM, and an L1 that lies."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import msgspec
import pytest

from chain.codec import BatchHeader, Frame, encode_batch
from chain.errors import ChainRejectedError
from chain.l1.bridge import NO_INDEX_HINT, Bridge
from chain.l1.connection import L1Connection, L1Signer, checksum
from chain.l1.deploy import deploy
from chain.l1.embedded.server import L1Server
from chain.l1.protocol import EMPTY_INBOX_HASH, Deployment, RollupL1
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.signing import keccak256
from chain.state import GENESIS_ROOT
from chain.tree import Tree
from chain.types import Withdrawal, withdrawal_key
from tests.chain.l1.conftest import (
    ALICE,
    BOB,
    CHAIN_ID,
    ETHER,
    NANO,
    OPERATOR,
    OPERATOR_KEY,
    PARAMS,
    WINDOW_S,
    Clock,
    Rpc,
    make_batch,
    open_evm,
    post,
    sign,
)

WITHDRAWN = Withdrawal(recipient=BOB, amount_nano=3 * NANO, account=7, nonce=2**64 - 1)


class TestDeployment:
    async def test_it_says_what_was_deployed(self, rollup: JsonRpcRollupL1, deployment: Deployment, rpc: Rpc) -> None:
        as_protocol: RollupL1 = rollup

        assert await as_protocol.deployment() == deployment
        assert (deployment.l1_chain_id, deployment.l2_chain_id, deployment.challenge_window_s) == (CHAIN_ID, 4242, 60)
        for address in (deployment.rollup_address, deployment.inbox_address, deployment.asset_address):
            assert len(await rpc("eth_getCode", "0x" + address.hex(), "latest")) > 2
        assert (await rpc("eth_getBlockByNumber", hex(deployment.block_number)))["hash"] == (
            "0x" + deployment.block_hash.hex()
        )

    async def test_an_existing_asset_is_used(self, l1: L1Server, deployment: Deployment) -> None:
        params = msgspec.structs.replace(PARAMS, asset_address=deployment.asset_address)

        second = await deploy(l1.url, OPERATOR_KEY, params)

        assert second.asset_address == deployment.asset_address
        assert second.rollup_address != deployment.rollup_address

    async def test_a_deployer_without_ether_is_told_so(self, l1: L1Server) -> None:
        with pytest.raises(ChainRejectedError) as refused:
            await deploy(l1.url, keccak256(b"a pauper"), PARAMS)

        assert refused.value.code == "no_gas"

    async def test_the_chain_it_lives_on_is_recognized(self, rollup: JsonRpcRollupL1) -> None:
        await rollup.check_chain()

    async def test_a_reset_chain_is_noticed(self, deployment: Deployment, tmp_path: Path, clock: Clock) -> None:
        (tmp_path / "other").mkdir()
        other = L1Server(lambda: open_evm(tmp_path / "other", clock))
        await other.start("127.0.0.1", 0)
        rollup = JsonRpcRollupL1(other.url, deployment)
        try:
            with pytest.raises(ChainRejectedError) as refused:
                await rollup.check_chain()
        finally:
            await rollup.aclose()
            await other.aclose()

        assert refused.value.code == "foreign_chain"

    async def test_another_block_at_its_place_is_noticed(self, l1: L1Server, deployment: Deployment) -> None:
        rollup = JsonRpcRollupL1(l1.url, msgspec.structs.replace(deployment, block_hash=bytes(32)))

        with pytest.raises(ChainRejectedError, match="not the one"):
            await rollup.check_chain()
        await rollup.aclose()

    async def test_time_is_the_pending_blocks(self, rollup: JsonRpcRollupL1, clock: Clock) -> None:
        clock.now_s += 1_000

        assert await rollup.time_s() == int(clock.now_s)


class TestBatches:
    async def test_a_posted_batch_is_read_back_from_calldata(self, rollup: JsonRpcRollupL1, clock: Clock) -> None:
        blob, root = make_batch(clock)

        posted = await rollup.submit_batch(0, GENESIS_ROOT, EMPTY_INBOX_HASH, blob)

        assert (posted.batch_id, posted.prev_root, posted.post_root, posted.blob) == (0, GENESIS_ROOT, root, blob)
        assert posted.submitted_at_s == int(clock.now_s)
        assert await rollup.batches(0, 10) == [posted]
        assert await rollup.batch_count() == 1

    async def test_batches_are_paged_in_order(self, rollup: JsonRpcRollupL1, clock: Clock) -> None:
        posted = [await post(rollup, clock) for _ in range(4)]

        assert [batch.batch_id for batch in posted] == [0, 1, 2, 3]
        assert await rollup.batches(1, 2) == posted[1:3]
        assert await rollup.batches(4, 2) == []

    async def test_the_same_batch_is_never_posted_twice(self, rollup: JsonRpcRollupL1, clock: Clock, rpc: Rpc) -> None:
        blob, _ = make_batch(clock)
        first = await rollup.submit_batch(0, GENESIS_ROOT, EMPTY_INBOX_HASH, blob)
        height = await rpc("eth_blockNumber")

        again = await rollup.submit_batch(0, GENESIS_ROOT, EMPTY_INBOX_HASH, blob)

        assert again == first
        assert await rpc("eth_blockNumber") == height

    async def test_two_at_once_post_it_once(self, rollup: JsonRpcRollupL1, clock: Clock) -> None:
        blob, _ = make_batch(clock)

        first, second = await asyncio.gather(
            *(rollup.submit_batch(0, GENESIS_ROOT, EMPTY_INBOX_HASH, blob) for _ in range(2))
        )

        assert first == second
        assert await rollup.batch_count() == 1

    async def test_another_batch_in_its_place_is_noticed(self, rollup: JsonRpcRollupL1, clock: Clock) -> None:
        await post(rollup, clock)

        with pytest.raises(ChainRejectedError) as refused:
            await rollup.submit_batch(0, GENESIS_ROOT, EMPTY_INBOX_HASH, make_batch(clock)[0])

        assert refused.value.code == "batch_taken"

    async def test_the_contracts_error_becomes_the_code(self, rollup: JsonRpcRollupL1, clock: Clock) -> None:
        with pytest.raises(ChainRejectedError) as refused:
            await rollup.submit_batch(0, bytes(32), EMPTY_INBOX_HASH, make_batch(clock)[0])

        assert refused.value.code == "wrong_previous_root"
        assert "wrong previous root" in refused.value.line()

    @pytest.mark.parametrize(
        ("ahead", "prev_root", "code"),
        [(1, GENESIS_ROOT, "wrong_batch_id"), (0, b"\x09" * 32, "wrong_previous_root")],
        ids=["out of order", "another history"],
    )
    async def test_a_batch_that_l1_would_refuse_costs_its_sender_no_gas(
        self, rollup: JsonRpcRollupL1, clock: Clock, rpc: Rpc, ahead: int, prev_root: bytes, code: str
    ) -> None:
        me = checksum(OPERATOR)
        before = await rpc("eth_getBalance", me, "latest"), await rpc("eth_getTransactionCount", me, "latest")

        with pytest.raises(ChainRejectedError) as refused:
            await rollup.submit_batch(ahead, prev_root, EMPTY_INBOX_HASH, make_batch(clock)[0])

        assert refused.value.code == code
        assert (await rpc("eth_getBalance", me, "latest"), await rpc("eth_getTransactionCount", me, "latest")) == before
        await post(rollup, clock)
        assert await rollup.batch_count() == 1

    async def test_a_full_batch_is_posted(self, rollup: JsonRpcRollupL1, clock: Clock) -> None:
        frames = [Frame(post_root=secrets.token_bytes(32), body=secrets.token_bytes(700)) for _ in range(149)]
        blob = encode_batch(BatchHeader(l2_time_s=int(clock.now_s), inbox_to=0), frames)

        posted = await rollup.submit_batch(0, GENESIS_ROOT, EMPTY_INBOX_HASH, blob)

        assert posted.blob == blob

    async def test_a_reader_cannot_send(self, l1: L1Server, deployment: Deployment, clock: Clock) -> None:
        reader = JsonRpcRollupL1(l1.url, deployment)
        assert await reader.batch_count() == 0

        with pytest.raises(ChainRejectedError) as refused:
            await reader.submit_batch(0, GENESIS_ROOT, EMPTY_INBOX_HASH, make_batch(clock)[0])
        await reader.aclose()

        assert refused.value.code == "read_only"


class TestFinality:
    async def test_batches_become_final_when_their_window_ends(self, rollup: JsonRpcRollupL1, clock: Clock) -> None:
        await post(rollup, clock)
        clock.now_s += WINDOW_S - 1
        await post(rollup, clock)
        assert await rollup.finalize() == 0

        clock.now_s += 1

        assert await rollup.finalize() == 1
        assert (await rollup.final_count(), await rollup.finalize()) == (1, 1)

    async def test_a_withdrawal_is_paid_once_and_its_transaction_found_again(
        self, rollup: JsonRpcRollupL1, bridge: Bridge, clock: Clock
    ) -> None:
        await bridge.deposit(sign, ALICE, ALICE, 7 * NANO)
        tree, key = Tree(), withdrawal_key(0)
        tree.set(key, keccak256(WITHDRAWN.encode()))
        await post(rollup, clock, root=tree.root(), inbox_to=1)
        clock.now_s += WINDOW_S
        await rollup.finalize()
        assert await rollup.is_claimed(key) is False
        assert await rollup.claim_tx(key) is None

        claim = await rollup.claim_withdrawal(0, key, WITHDRAWN, tree.proof(key))

        assert await rollup.is_claimed(key)
        assert await bridge.asset_balance_nano(BOB) == 3 * NANO
        assert await rollup.claim_withdrawal(0, key, WITHDRAWN, tree.proof(key)) == claim

    async def test_two_claims_at_once_pay_once(self, rollup: JsonRpcRollupL1, bridge: Bridge, clock: Clock) -> None:
        await bridge.deposit(sign, ALICE, ALICE, 7 * NANO)
        tree, key = Tree(), withdrawal_key(0)
        tree.set(key, keccak256(WITHDRAWN.encode()))
        await post(rollup, clock, root=tree.root(), inbox_to=1)
        clock.now_s += WINDOW_S
        await rollup.finalize()

        claims = await asyncio.gather(*(rollup.claim_withdrawal(0, key, WITHDRAWN, tree.proof(key)) for _ in range(2)))

        assert claims[0] == claims[1]
        assert await bridge.asset_balance_nano(BOB) == 3 * NANO

    async def test_a_wrong_proof_is_refused(self, rollup: JsonRpcRollupL1, clock: Clock) -> None:
        await post(rollup, clock)
        clock.now_s += WINDOW_S
        await rollup.finalize()

        with pytest.raises(ChainRejectedError) as refused:
            await rollup.claim_withdrawal(0, withdrawal_key(0), WITHDRAWN, [bytes(32)] * 32)

        assert refused.value.code == "wrong_proof"


class TestDeposits:
    async def test_a_deposit_reaches_the_inbox(self, rollup: JsonRpcRollupL1, bridge: Bridge, clock: Clock) -> None:
        tx_hash = await bridge.deposit(sign, ALICE, BOB, 2 * NANO, index_hint=9)
        await bridge.deposit(sign, ALICE, ALICE, NANO)

        first, second = await rollup.inbox_messages(0, 10)
        assert (first.index, first.kind, first.owner, first.index_hint) == (0, "deposit", BOB, 9)
        assert (first.amount_nano, first.body, first.at_s) == (2 * NANO, b"", int(clock.now_s))
        assert (second.index, second.owner, second.index_hint) == (1, ALICE, NO_INDEX_HINT)
        receipt = await rollup.connection.web3.eth.get_transaction_receipt(tx_hash)
        assert receipt["blockNumber"] == first.l1_block
        assert await bridge.asset_balance_nano(ALICE) == 7 * NANO

    async def test_messages_are_paged(self, rollup: JsonRpcRollupL1, bridge: Bridge) -> None:
        for amount in (1, 2, 3):
            await bridge.deposit(sign, ALICE, BOB, amount)

        assert [message.amount_nano for message in await rollup.inbox_messages(1, 1)] == [2]
        assert await rollup.inbox_messages(3, 5) == []

    async def test_an_allowance_that_suffices_is_used(self, bridge: Bridge, rollup: JsonRpcRollupL1, rpc: Rpc) -> None:
        asset = bridge._asset
        nonce = await bridge._connection.next_nonce(ALICE)
        approve = asset.functions.approve(checksum(bridge._inbox_address), 2**255)
        fields = await bridge._connection.prepare(ALICE, approve, nonce=nonce)
        fields.pop("from")
        await bridge._connection.broadcast(sign(fields))
        height = int(await rpc("eth_blockNumber"), 16)

        await bridge.deposit(sign, ALICE, ALICE, 1)

        assert int(await rpc("eth_blockNumber"), 16) == height + 1

    async def test_balances_are_told(self, bridge: Bridge) -> None:
        assert await bridge.asset_balance_nano(ALICE) == 10 * NANO
        assert await bridge.ether_balance_wei(ALICE) == ETHER
        assert await bridge.asset_balance_nano(BOB) == await bridge.ether_balance_wei(BOB) == 0

    @pytest.mark.parametrize(
        ("sender", "amount_nano", "code"),
        [(ALICE, 0, "bad_amount"), (ALICE, 2**64, "bad_amount"), (ALICE, 10 * NANO + 1, "insufficient_funds"),
         (BOB, 1, "insufficient_funds")],
    )  # fmt: skip
    async def test_a_deposit_that_cannot_be_made_says_why(
        self, bridge: Bridge, sender: bytes, amount_nano: int, code: str
    ) -> None:
        with pytest.raises(ChainRejectedError) as refused:
            await bridge.deposit(sign, sender, BOB, amount_nano)

        assert refused.value.code == code
        assert refused.value.fix

    async def test_a_deposit_without_ether_asks_for_some(
        self, bridge: Bridge, rollup: JsonRpcRollupL1, deployment: Deployment
    ) -> None:
        assert rollup.signer is not None
        asset = rollup.connection.contract("TestUSD", deployment.asset_address)
        await rollup.signer.send(asset.functions.mint(checksum(BOB), NANO * NANO))

        with pytest.raises(ChainRejectedError) as refused:
            await bridge.deposit(sign, BOB, BOB, 1)

        assert refused.value.code == "no_gas"


class TestOneKeyInSeveralPrograms:
    async def test_all_their_transactions_are_mined_each_once(self, l1: L1Server) -> None:
        connections = [L1Connection(l1.url) for _ in range(3)]
        signers = [L1Signer.of_key(connection, OPERATOR_KEY) for connection in connections]
        try:
            before = await connections[0].next_nonce(OPERATOR)
            # Of different amounts: the same transaction from two of them is one.
            amounts = iter(range(1, 13))
            await asyncio.gather(*(signer.send_ether(BOB, next(amounts)) for signer in signers for _ in range(4)))
            assert await connections[0].next_nonce(OPERATOR) == before + 12
        finally:
            for connection in connections:
                await connection.aclose()

    async def test_a_nonce_that_is_never_right_is_an_error(self, l1: L1Server, monkeypatch: pytest.MonkeyPatch) -> None:
        async def outdated(_sender: bytes) -> int:
            return 0

        connection = L1Connection(l1.url)
        try:
            signer = L1Signer.of_key(connection, OPERATOR_KEY)
            await signer.send_ether(BOB, 1)
            monkeypatch.setattr(connection, "next_nonce", outdated)
            with pytest.raises(ChainRejectedError) as refused:
                await signer.send_ether(BOB, 1)
            assert refused.value.code == "nonce"
        finally:
            await connection.aclose()

    async def test_one_that_is_stopped_as_its_receipt_arrives_stops(
        self, l1: L1Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection = L1Connection(l1.url)
        receipt_of = connection.web3.eth._transaction_receipt
        stopped: list[bool] = []

        async def receipt_in_the_last_moment(tx_hash: bytes) -> object:
            found = await receipt_of(tx_hash)
            stopped.append(paying.cancel())
            return found

        async def pay_for_ever() -> None:
            signer = L1Signer.of_key(connection, OPERATOR_KEY)
            while len(stopped) < 3:
                await signer.send_ether(BOB, 1 + len(stopped))

        monkeypatch.setattr(connection.web3.eth, "_transaction_receipt", receipt_in_the_last_moment)
        paying = asyncio.create_task(pay_for_ever())
        try:
            await asyncio.wait({paying})
            assert paying.cancelled()
            assert stopped == [True]
        finally:
            await connection.aclose()
