"""Sequencers, fraud proofs and the freeze, as the rollup's contract has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from web3.exceptions import BlockNotFound, TransactionNotFound

from chain.l1.answers import contradiction, integer
from chain.l1.connection import checksum
from chain.l1.contracts import ContractsL1
from chain.l1.protocol import (
    Bond,
    FraudCommitted,
    FraudProof,
    FraudProven,
    L1Event,
    L1Head,
    Reward,
    RollupFrozen,
    Turn,
)
from chain.signing import ZERO_ADDRESS

MAX_BATCHES = 2**63
"""No batch has a greater number; the contract's own type would allow one that SQLite can't keep."""


class DisputesL1(ContractsL1):
    """The part of `RollupL1` that is about sequencers, frauds and the freeze."""

    async def head(self) -> L1Head:
        """The newest L1 block, by one question."""
        eth = self.connection.web3.eth
        block = await self.connection.request(lambda: eth.get_block("latest"))
        return L1Head(integer(block["number"]), bytes(block["hash"]))

    async def block_number(self) -> int:
        """The newest L1 block's number."""
        eth = self.connection.web3.eth
        return integer(await self.connection.request(lambda: eth.block_number))

    async def block_hash(self, number: int) -> bytes | None:
        """The hash of the L1 block of this number; ``None`` if there is none."""
        eth = self.connection.web3.eth

        async def read() -> bytes | None:
            try:
                return bytes((await eth.get_block(number))["hash"])
            except BlockNotFound:
                return None

        return cast("bytes | None", await self.connection.request(read))

    async def gas_used(self, l1_tx: bytes) -> int | None:
        """The gas that an L1 transaction took; ``None`` if L1 doesn't have it."""
        eth = self.connection.web3.eth

        async def read() -> int | None:
            try:
                return integer((await eth.get_transaction_receipt(l1_tx))["gasUsed"])
            except TransactionNotFound:
                return None

        return cast("int | None", await self.connection.request(read))

    async def leader(self) -> bytes | None:
        """The one sequencer that may post while it isn't overdue; ``None`` before any batch and after a fraud."""
        leader = _address(await self._call(self._rollup.functions.leader()))
        return None if leader == ZERO_ADDRESS else leader

    async def is_overdue(self) -> bool:
        """Whether anyone with a bond may post now."""
        return bool(await self.connection.call_pending(self._rollup.functions.isOverdue()))

    async def may_post(self, sequencer: bytes) -> bool:
        """Whether a batch of this sequencer would be taken now, as far as it depends on whose it is."""
        return bool(await self.connection.call_pending(self._rollup.functions.mayPost(checksum(sequencer))))

    async def turn(self) -> Turn:
        """Whose turn it is, and until when."""
        functions = self._rollup.functions
        following = _address(await self._call(functions.nextLeader()))
        first_batch = integer(await self._call(functions.turnFirstBatch()))
        return Turn(
            leader=await self.leader(),
            following=None if following == ZERO_ADDRESS else following,
            ends_at_s=integer(await self._call(functions.turnEndsAt())),
            end_batch=first_batch + self._deployment.turn_batches,
            is_alone=integer(await self._call(functions.sequencerCount())) <= 1,
        )

    async def take_turn(self) -> bytes:
        """Begin one's own turn without a batch, where one may post; returns the L1 transaction's hash."""
        return await self._send(self._rollup.functions.takeTurn())

    async def frozen_at_s(self) -> int | None:
        """When the rollup froze; ``None`` while it runs."""
        return integer(await self._call(self._rollup.functions.frozenAt())) or None

    async def freeze(self) -> bytes:
        """End a rollup whose inbox nobody executes; returns the L1 transaction's hash."""
        return await self._send(self._rollup.functions.freeze())

    async def bond(self, sequencer: bytes) -> Bond:
        """What an address put up."""
        amount, batches_to, epoch, _ = await self._call(self._rollup.functions.bonds(checksum(sequencer)))
        return Bond(amount_wei=amount, batches_to=batches_to, epoch=epoch)

    async def sequencers(self, limit: int) -> list[bytes]:
        """Addresses whose bond is large enough to sequence, as the contract lists them; ``limit`` at most."""
        functions = self._rollup.functions
        count = min(limit, integer(await self._call(functions.sequencerCount())))
        return [_address(await self._call(functions.sequencers(place))) for place in range(count)]

    async def deposit_bond(self, amount_wei: int) -> bytes:
        """Add to one's own bond; returns the L1 transaction's hash."""
        return await self._send(self._rollup.functions.depositBond(), value_wei=amount_wei)

    async def fraud_committed_at(self, prover: bytes, commitment: bytes) -> int | None:
        """The L1 block in which an address committed to a proof; ``None`` if it didn't."""
        block = await self._call(self._rollup.functions.fraudCommittedAt(checksum(prover), commitment))
        return integer(block) or None

    async def commit_fraud(self, commitment: bytes) -> bytes:
        """Announce a fraud proof without showing it; returns the L1 transaction's hash."""
        return await self._send(self._rollup.functions.commitFraud(commitment))

    async def prove_fraud(self, proof: FraudProof) -> FraudProven:
        """Show it, once its commitment is old enough; returns what it did.

        Raises:
            ChainUnavailableError: If L1 can't be reached.
            ChainRejectedError: If the contract refuses it; ``not_fraud`` where the frame is right.
        """
        previous = proof.previous
        call = self._rollup.functions.proveFraud(
            proof.batch_id,
            proof.frame_index,
            (previous.post_root, previous.body_hash, list(previous.siblings)),
            (proof.post_root, proof.body, list(proof.siblings)),
            proof.messages,
            proof.witness,
            proof.salt,
        )
        receipt = await self._signer().send(call)
        # From the receipt itself: nobody else's events are in the way.
        events = self._proofs(await self._logs.of_receipt(self._kinds(), receipt))
        if len(events) != 1 or not isinstance(events[0], FraudProven):
            contradiction("a proven fraud has no event")
        return events[0]

    async def reward(self, submitter: bytes, bond_epoch: int) -> Reward | None:
        """What waits for the prover of a slashed bond; ``None`` if nothing does."""
        call = self._rollup.functions.rewards(checksum(submitter), bond_epoch)
        amount, prover, batch_id = await self._call(call)
        return Reward(amount_wei=amount, prover=_address(prover), batch_id=batch_id) if amount else None

    async def claim_reward(self, submitter: bytes, bond_epoch: int) -> bytes:
        """Pay it to its prover, once it is due; returns the L1 transaction's hash."""
        return await self._send(self._rollup.functions.claimReward(checksum(submitter), bond_epoch))

    async def events(self, from_block: int, to_block: int) -> Sequence[L1Event]:
        """Proven frauds and the freeze in these L1 blocks, in order; not what anybody may announce for little gas."""
        return self._proofs(await self._logs.read(self._kinds(), from_block, to_block))

    async def announcements(self, from_block: int, to_block: int) -> Sequence[FraudCommitted]:
        """The fraud proofs that were announced in these L1 blocks, true ones or not."""
        logs = await self._logs.read([self._rollup.events.FraudCommitted], from_block, to_block)
        return [_committed(log) for log in logs]

    def _kinds(self) -> list[Any]:
        kinds = self._rollup.events
        return [kinds.FraudProven, kinds.BondSlashed, kinds.Frozen]

    def _proofs(self, logs: Sequence[Any]) -> list[L1Event]:
        slashes = [log for log in logs if log["event"] == "BondSlashed"]
        events: list[tuple[tuple[int, int], L1Event]] = []
        for log in logs:
            if log["event"] == "FraudProven":
                events.append((_place(log), _proven(log, slashes)))
            elif log["event"] == "Frozen":
                events.append((_place(log), _frozen(log)))
        if sum(isinstance(event, RollupFrozen) for _, event in events) > 1:
            contradiction("a rollup froze twice")
        return [event for _, event in sorted(events, key=lambda placed: placed[0])]


def _committed(log: Any) -> FraudCommitted:
    fields = log["args"]
    return FraudCommitted(prover=_address(fields["prover"]), commitment=bytes(fields["commitment"]), **_where(log))


def _proven(log: Any, slashes: list[Any]) -> L1Event:
    fields = log["args"]
    place = _place(log)
    # The contract logs what happened to the bond right after the fraud.
    slash = next((other["args"] for other in slashes if _place(other) == (place[0], place[1] + 1)), None)
    parties = fields["submitter"], fields["prover"]
    if slash is None or (slash["sequencer"], slash["prover"]) != parties:
        contradiction("a fraud has no slash")
    if slash["burnt"] and not 0 <= slash["burnt"] - slash["toProver"] <= 1:
        contradiction("a bond was not halved")
    if not fields["batchId"] < fields["batchesBefore"] < MAX_BATCHES or not fields["code"]:
        contradiction("a fraud took no batch back")
    return FraudProven(
        batch_id=fields["batchId"],
        submitter=_address(fields["submitter"]),
        prover=_address(fields["prover"]),
        frame_index=fields["frameIndex"],
        code=fields["code"],
        batches_before=fields["batchesBefore"],
        bond_epoch=slash["bondEpoch"],
        to_prover_wei=slash["toProver"],
        burnt_wei=slash["burnt"],
        **_where(log),
    )


def _frozen(log: Any) -> L1Event:
    fields = log["args"]
    return RollupFrozen(message_index=fields["messageIndex"], message_at_s=fields["messageArrivedAt"], **_where(log))


def _where(log: Any) -> dict[str, Any]:
    return {"l1_block": integer(log["blockNumber"]), "l1_tx": bytes(log["transactionHash"])}


def _place(log: Any) -> tuple[int, int]:
    return integer(log["blockNumber"]), integer(log["logIndex"])


def _address(text: str) -> bytes:
    return bytes.fromhex(text[2:])
