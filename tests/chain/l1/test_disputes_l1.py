"""Forced transactions, fraud proofs, the freeze and the ways out, over JSON-RPC and with a user's own wallet."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from chain.codec import MAX_FORCED_TX_BYTES, BatchData, BatchHeader, Frame, encode_batch
from chain.eip712 import voucher_digest
from chain.errors import ChainRejectedError, ChainUnavailableError, UsageError
from chain.frames import fraud_proof
from chain.l1.bridge import Bridge
from chain.l1.embedded.server import L1Server
from chain.l1.protocol import (
    EMPTY_INBOX_HASH,
    AccountProof,
    Bond,
    ChannelProof,
    Deployment,
    FraudCommitted,
    FraudProof,
    PendingMessage,
    RollupFrozen,
    RollupL1,
    SignedVoucher,
)
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.signing import address_of, keccak256, sign_digest
from chain.state import GENESIS_ROOT, RollupState
from chain.stf import Code, Rules, execute_body
from chain.txs import CreateAccount
from chain.types import Account, Channel, account_key, channel_key
from chain.witness import build_witness
from tests.chain.in_front import Ask, in_front
from tests.chain.l1.conftest import (
    ALICE,
    ALICE_KEY,
    BOB,
    ETHER,
    FORCE_S,
    FREEZE_S,
    NANO,
    OPERATOR,
    REVEAL_BLOCKS,
    TAKEOVER_S,
    WINDOW_S,
    Clock,
    Rpc,
    post,
    sign,
)

ELSEWHERE = "0x" + "12" * 20
FORCED = "Forced(uint64,address,bytes,uint64)"
PROVEN = "FraudProven(uint256,address,address,uint256,uint8,uint256)"
SLASHED = "BondSlashed(address,address,uint256,uint256,uint256)"
COMMITTED = "FraudCommitted(address,bytes32)"
VOUCHER_KEY = keccak256(b"voucher key over rpc")


async def post_lie(rollup: JsonRpcRollupL1, clock: Clock) -> FraudProof:
    """Post a batch with a wrong root for its second frame; returns the proof of it."""
    deployment = await rollup.deployment()
    domain = deployment.domain
    rules = Rules(domain=domain, close_delay_s=90, unstake_delay_s=90)
    state, header = RollupState.genesis(), BatchHeader(l2_time_s=int(clock.now_s), inbox_to=0)
    bodies = [CreateAccount(bytes([number]) * 20).encode() for number in (1, 2, 3)]
    frames, witness = [], b""
    for number, body in enumerate(bodies):
        frame = Frame(post_root=b"\x66" * 32, body=body)
        if number == 1:
            witness = build_witness(state, header, frame, rules, _no_message).encode()
        execute_body(state, header, body, rules, _no_message, is_last=False)
        frames.append(frame if number == 1 else msgspec.structs.replace(frame, post_root=state.root()))
    await rollup.submit_batch(0, GENESIS_ROOT, EMPTY_INBOX_HASH, encode_batch(header, frames))
    batch = BatchData(header=header, frames=tuple(frames))
    return fraud_proof(0, batch, 1, messages=b"", witness=witness, salt=b"\x07" * 32)


def _no_message(index: int) -> Any:
    raise AssertionError(index)


async def mine(rpc: Rpc, blocks: int) -> None:
    for _ in range(blocks):
        await rpc("evm_mine")


class TestForcing:
    async def test_a_forced_transaction_is_read_back_among_deposits(
        self, rollup: JsonRpcRollupL1, bridge: Bridge, clock: Clock
    ) -> None:
        await bridge.deposit(sign, ALICE, BOB, 5)
        tx = await bridge.force_tx(sign, ALICE, b"past the sequencer")
        await rollup.force_tx(b"\xff" * 128)
        await bridge.deposit(sign, ALICE, BOB, 6)

        messages = await rollup.inbox_messages(0, 10)

        assert [(message.index, message.kind) for message in messages] == [
            (0, "deposit"), (1, "forced"), (2, "forced"), (3, "deposit"),
        ]  # fmt: skip
        assert (messages[1].body, messages[1].owner, messages[1].at_s) == (
            b"past the sequencer", bytes(20), int(clock.now_s),
        )  # fmt: skip
        assert messages[2].body == b"\xff" * 128
        assert [message.amount_nano for message in messages] == [5, 0, 0, 6]
        assert await rollup.inbox_messages(2, 1) == [messages[2]]
        assert len(tx) == 66

    @pytest.mark.parametrize("size", [0, MAX_FORCED_TX_BYTES + 1])
    async def test_what_cannot_be_forced_is_told_before_it_is_sent(
        self, rollup: JsonRpcRollupL1, bridge: Bridge, size: int
    ) -> None:
        with pytest.raises(UsageError) as refused:
            await rollup.force_tx(bytes(size))
        with pytest.raises(UsageError):
            await bridge.force_tx(sign, ALICE, bytes(size))

        assert refused.value.code == "not_forcible"

    async def test_forcing_without_ether_asks_for_some(self, bridge: Bridge) -> None:
        with pytest.raises(ChainRejectedError) as refused:
            await bridge.force_tx(sign, BOB, b"poor")

        assert refused.value.code == "no_gas"


class TestSequencers:
    async def test_leader_bond_and_overdue_are_told(
        self, rollup: JsonRpcRollupL1, clock: Clock, bridge: Bridge
    ) -> None:
        as_protocol: RollupL1 = rollup
        assert await as_protocol.leader() is None
        assert await rollup.bond(OPERATOR) == Bond(amount_wei=ETHER, batches_to=0)
        batch = await post(rollup, clock)
        assert (await rollup.leader(), batch.submitter) == (OPERATOR, OPERATOR)
        assert (await rollup.oldest_pending(), await rollup.is_overdue()) == (None, False)
        await bridge.force_tx(sign, ALICE, b"ignored")
        at_s = int(clock.now_s)

        clock.now_s += TAKEOVER_S + 1

        assert await rollup.is_overdue() is True
        assert await rollup.oldest_pending() == PendingMessage(index=0, at_s=at_s)
        with pytest.raises(ChainRejectedError) as refused:
            await post(rollup, clock)
        assert refused.value.code == "inbox_ignored"

    async def test_another_sequencer_is_told_that_it_does_not_lead(
        self, rollup: JsonRpcRollupL1, l1: L1Server, deployment: Deployment, clock: Clock
    ) -> None:
        assert rollup.signer is not None
        await rollup.signer.send_ether(ALICE, 2 * ETHER)
        second = JsonRpcRollupL1(l1.url, deployment, ALICE_KEY)
        await second.deposit_bond(ETHER)
        await post(rollup, clock)

        with pytest.raises(ChainRejectedError) as refused:
            await post(second, clock)

        assert refused.value.code == "not_leader"
        assert second.signer is not None
        contract = second.connection.contract("Rollup", deployment.rollup_address)
        clock.now_s += WINDOW_S
        await second.signer.send(contract.functions.withdrawBond())
        assert (await second.bond(ALICE)).amount_wei == 0
        await second.aclose()


class TestFraud:
    async def test_a_proof_is_committed_revealed_and_told(
        self, rollup: JsonRpcRollupL1, clock: Clock, rpc: Rpc
    ) -> None:
        proof = await post_lie(rollup, clock)
        commitment = proof.commitment(OPERATOR)
        assert await rollup.fraud_committed_at(OPERATOR, commitment) is None
        commit_tx = await rollup.commit_fraud(commitment)
        block = await rollup.block_number()
        assert await rollup.fraud_committed_at(OPERATOR, commitment) == block
        with pytest.raises(ChainRejectedError) as refused:
            await rollup.prove_fraud(proof)
        assert refused.value.code == "reveal_too_early"
        await mine(rpc, REVEAL_BLOCKS - 1)

        proven = await rollup.prove_fraud(proof)

        assert (proven.batch_id, proven.frame_index, proven.code) == (0, 1, Code.WRONG_ROOT)
        assert (proven.submitter, proven.prover, proven.batches_before) == (OPERATOR, OPERATOR, 1)
        assert (proven.to_prover_wei, proven.burnt_wei) == (ETHER // 2, ETHER // 2)
        assert (await rollup.batch_count(), await rollup.leader()) == (0, None)
        head = await rollup.block_number()
        assert await rollup.events(0, head) == [proven]
        assert await rollup.announcements(0, head) == [
            FraudCommitted(prover=OPERATOR, commitment=commitment, l1_block=block, l1_tx=commit_tx)
        ]
        assert await rollup.events(head + 1, head + 9) == []

    async def test_an_honest_frame_is_refused_with_its_reason(
        self, rollup: JsonRpcRollupL1, clock: Clock, rpc: Rpc
    ) -> None:
        lie = await post_lie(rollup, clock)
        wrong = msgspec.structs.replace(lie, frame_index=0, siblings=())
        await rollup.commit_fraud(wrong.commitment(OPERATOR))
        await mine(rpc, REVEAL_BLOCKS)

        with pytest.raises(ChainRejectedError) as refused:
            await rollup.prove_fraud(wrong)

        assert refused.value.code == "wrong_frame"


class TestOut:
    """A state that was final before the freeze: Alice pays Bob through a channel, and a deposit came too late."""

    def state(self) -> RollupState:
        state = RollupState.genesis()
        state.write(account_key(1), Account(owner=ALICE, balance_nano=500, stake_nano=20, unlocking_nano=3))
        state.write(account_key(2), Account(owner=BOB, balance_nano=7))
        state.write(
            channel_key(1),
            Channel(
                payer=1, payee=2, signer=address_of(VOUCHER_KEY), deposit_nano=100, redeemed_nano=10, expiry_s=2**40
            ),
        )
        return state

    def proofs(self, state: RollupState) -> tuple[AccountProof, ChannelProof]:
        def account(number: int) -> AccountProof:
            held = state.account(number)
            assert held is not None
            return AccountProof(number=number, account=held, siblings=tuple(state.proof(account_key(number))))

        channel = state.channel(1)
        assert channel is not None
        siblings = tuple(state.proof(channel_key(1)))
        payer, payee = account(1), account(2)
        return payer, ChannelProof(channel_id=1, channel=channel, siblings=siblings, payer=payer, payee=payee)

    async def test_a_wallet_takes_everything_out_of_a_frozen_rollup(
        self, rollup: JsonRpcRollupL1, bridge: Bridge, clock: Clock, deployment: Deployment
    ) -> None:
        account, channel = self.proofs(self.state())
        await bridge.deposit(sign, ALICE, ALICE, 700)
        await post(rollup, clock, root=self.state().root(), inbox_to=1)
        clock.now_s += WINDOW_S
        await rollup.finalize()
        await bridge.deposit(sign, ALICE, ALICE, 30)
        with pytest.raises(ChainRejectedError) as refused:
            await bridge.freeze(sign, ALICE)
        assert refused.value.code == "not_overdue"
        assert await rollup.frozen_at_s() is None
        clock.now_s += FREEZE_S + 1
        await bridge.freeze(sign, ALICE)
        assert await rollup.frozen_at_s() == int(clock.now_s)
        held = await bridge.asset_balance_nano(ALICE)

        await bridge.exit_account(sign, ALICE, account)
        assert await rollup.is_claimed(account_key(1))
        assert await rollup.channel_exit(1) is None
        await bridge.exit_channel(sign, ALICE, channel)
        domain = deployment.domain
        voucher = SignedVoucher(cumulative_nano=60, signature=sign_digest(VOUCHER_KEY, voucher_digest(domain, 1, 60)))
        await rollup.exit_channel(channel, voucher)
        leaving = await rollup.channel_exit(1)
        assert leaving is not None
        assert (leaving.payer, leaving.payee, leaving.to_payer_nano, leaving.to_payee_nano) == (ALICE, BOB, 40, 50)
        assert leaving.settle_at_s == int(clock.now_s) + WINDOW_S
        with pytest.raises(ChainRejectedError) as refused:
            await bridge.settle_channel_exit(sign, ALICE, 1)
        assert refused.value.code == "voucher_window"
        clock.now_s += WINDOW_S
        await bridge.settle_channel_exit(sign, ALICE, 1)
        late = (await rollup.inbox_messages(1, 1))[0]
        assert await rollup.is_refunded(1) is False
        await bridge.refund_deposit(sign, ALICE, late)
        assert await rollup.is_refunded(1) is True

        assert await bridge.asset_balance_nano(ALICE) - held == 523 + 40 + 30
        assert await bridge.asset_balance_nano(BOB) == 50
        with pytest.raises(ChainRejectedError) as refused:
            await bridge.force_tx(sign, ALICE, b"too late")
        assert refused.value.code == "rollup_frozen"
        events = await rollup.events(0, await rollup.block_number())
        assert [type(event) for event in events] == [RollupFrozen]

    async def test_an_operator_takes_everybody_out_too(
        self, rollup: JsonRpcRollupL1, bridge: Bridge, clock: Clock
    ) -> None:
        account, channel = self.proofs(self.state())
        await bridge.deposit(sign, ALICE, ALICE, 700)
        await post(rollup, clock, root=self.state().root(), inbox_to=1)
        await bridge.deposit(sign, ALICE, BOB, 30)
        clock.now_s += FREEZE_S + WINDOW_S
        await rollup.freeze()
        await rollup.finalize()

        await rollup.exit_account(account)
        await rollup.exit_channel(channel)
        clock.now_s += WINDOW_S
        await rollup.settle_channel_exit(1)
        await rollup.refund_deposit((await rollup.inbox_messages(1, 1))[0])

        assert await bridge.asset_balance_nano(ALICE) == 10 * NANO - 730 + 523 + 90
        assert await bridge.asset_balance_nano(BOB) == 30


class TestHostileLogs:
    @pytest.mark.parametrize(
        ("topic", "change"),
        [
            (FORCED, lambda log: log | {"data": _flip(log["data"], 128)}),
            (FORCED, lambda log: log | {"topics": _other(log["topics"], 1)}),
            (FORCED, lambda log: log | {"address": ELSEWHERE}),
            (FORCED, lambda log: log | {"blockNumber": "0xffffff"}),
            (FORCED, lambda log: None),
            (PROVEN, lambda log: log | {"topics": _other(log["topics"], 2)}),
            (PROVEN, lambda log: log | {"address": ELSEWHERE}),
            (PROVEN, lambda log: log | {"data": "0x" + "00" * 96}),
            (PROVEN, lambda log: log | {"data": "0x" + "ff" * 96}),
            (PROVEN, lambda log: log | {"blockNumber": "0xffffff"}),
            (SLASHED, lambda log: None),
            (SLASHED, lambda log: log | {"data": _flip(log["data"], 63)}),
            (COMMITTED, lambda log: log | {"topics": log["topics"][:2]}),
        ],
    )
    async def test_what_an_l1_makes_up_is_not_believed(
        self,
        rollup: JsonRpcRollupL1,
        l1: L1Server,
        deployment: Deployment,
        clock: Clock,
        rpc: Rpc,
        topic: str,
        change: Callable[[dict[str, Any]], dict[str, Any] | None],
    ) -> None:
        await rollup.force_tx(b"f" * 40)
        clock.now_s += FORCE_S
        proof = await post_lie(rollup, clock)
        await rollup.commit_fraud(proof.commitment(OPERATOR))
        await mine(rpc, REVEAL_BLOCKS)
        await rollup.prove_fraud(proof)
        head = await rollup.block_number()
        wanted = "0x" + keccak256(topic.encode()).hex()

        async def relay(body: bytes, ask: Ask) -> bytes:
            asked, answered = json.loads(body), json.loads(await ask(body))
            if asked["method"] == "eth_getLogs" and wanted in asked["params"][0]["topics"][0]:
                assert answered["result"]
                changed = [change(log) if log["topics"][0] == wanted else log for log in answered["result"]]
                answered["result"] = [log for log in changed if log is not None]
            return json.dumps(answered).encode()

        async with in_front(l1.url, relay) as url:
            reader = JsonRpcRollupL1(url, deployment)
            try:
                with pytest.raises(ChainUnavailableError) as refused:
                    await ask(reader, topic, head)
            finally:
                await reader.aclose()

        assert refused.value.code == "chain_bad_answer"


async def ask(reader: JsonRpcRollupL1, topic: str, head: int) -> object:
    """What reads events of this kind."""
    if topic == FORCED:
        return await reader.inbox_messages(0, 5)
    return await (reader.announcements(0, head) if topic == COMMITTED else reader.events(0, head))


def _other(topics: list[str], place: int) -> list[str]:
    return [*topics[:place], "0x" + "05".rjust(64, "0"), *topics[place + 1 :]]


def _flip(data: str, byte: int) -> str:
    raw = bytearray.fromhex(data[2:])
    raw[byte] ^= 2
    return "0x" + raw.hex()
