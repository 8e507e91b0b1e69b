"""The watchtower as a service: looks at L1, asks the core what to do, does it, and reports what happened."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from chain.errors import ChainRejectedError, ChainUnavailableError, ErrorCode, IdlewattError
from chain.frames import fraud_proof
from chain.l1.protocol import Deployment, FraudProof, L1Head, RollupL1
from chain.logs import get_logger
from chain.replay import ReplayedBatch, Replayer
from chain.retry import retry
from chain.signing import checksum_address
from chain.views import DisputeStage, DisputeView, WatchEvent, WatchView
from chain.watchtower import core
from chain.watchtower.derive import Deriver, WrongBatch
from chain.watchtower.journal import Journal, rule_name
from chain.watchtower.prover import Prover

log = get_logger(__name__)

_T = TypeVar("_T")
_LOST_RACES: frozenset[ErrorCode] = frozenset(
    {
        "not_challengeable",
        "already_committed",
        "not_committed",
        "reveal_too_early",
        "already_frozen",
        "not_overdue",
        "no_reward",
        "reward_not_final",
        "nonce",
    }
)
"""Refusals that the next look at L1 explains: somebody was faster, or L1 moved."""
_NOT_THE_CONTRACT: frozenset[ErrorCode] = frozenset({"no_gas", "chain_rejected", "read_only", "foreign_chain"})
_BEFORE_EVENTS = core.Follow | core.CommitProof | core.RevealProof | core.GiveUp
"""What is done before L1's events are read."""
MAX_REFUSALS = 3
"""How often the contract may refuse a proof of a batch that stands on, before it isn't tried any more."""


class WatchtowerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Intervals and deadlines of a watchtower."""

    poll_s: float = 1.0
    """How often L1 is looked at while nothing happens."""
    step_timeout_s: float = 240.0
    """How long one step may take, a transaction that waits to be mined included."""
    retry_s: float = 0.5
    """First pause after L1 failed; doubles up to ``max_retry_s``."""
    max_retry_s: float = 30.0
    max_undo_writes: int = 200_000
    """Leaf writes that a reorg can undo; beyond them it is answered by deriving everything again."""
    freezes: bool = False
    """Whether to freeze a rollup whose inbox nobody executes."""


class Watchtower:
    """Follows one rollup for as long as it runs; everything that it knows comes from L1 and can be read there again.

    Args:
        l1: The contracts; with the prover's key where there is a prover.
        prover: Commits and reveals; without one, wrong batches are only reported.
        config: Intervals and deadlines.
        on_event: Called with everything that happens.
        on_verified: Called with each batch that was executed again and is right, in order; again after a reorg.
        start: The state to begin with, as a snapshot gave it.
    """

    def __init__(
        self,
        l1: RollupL1,
        *,
        prover: Prover | None = None,
        config: WatchtowerConfig | None = None,
        on_event: Callable[[WatchEvent], None] = lambda _: None,
        on_verified: Callable[[ReplayedBatch], None] = lambda _: None,
        start: Replayer | None = None,
    ) -> None:
        self._l1 = l1
        self._on_verified = on_verified
        self._start = start
        self._prover = prover
        self._config = config or WatchtowerConfig()
        self._journal = Journal(l1, on_event, prover.address if prover else None)
        self._deployment: Deployment
        self._deriver: Deriver | None = None
        self._policy: core.Policy
        self._dispute: core.Dispute | None = None
        self._proof: FraudProof | None = None
        self._observed: core.Observation | None = None
        self._quiet: tuple[L1Head, core.WatchtowerAction] | None = None
        """The block on which nothing was left to do at the last look, and what was decided on it."""
        self._idle: tuple[L1Head, core.WatchtowerAction] | None = None
        """The same, once a second look found the same: until L1 has another block nothing else is asked."""
        self._rolled_back_at_s = 0
        self._refusals = 0
        self._trouble = ""
        self._is_blind = False
        """Whether L1 gives no events now."""

    def view(self) -> WatchView:
        """How it is doing."""
        observed, deriver = self._observed, self._deriver
        return WatchView(
            verified_batches=deriver.verified if deriver else 0,
            state_root="0x" + deriver.root.hex() if deriver else "",
            l1_block=observed.l1_block if observed else 0,
            is_proving=self._prover is not None,
            disputes=self._journal.disputes,
            pending_since_s=observed.pending.at_s if observed and observed.pending else None,
            frozen_at_s=observed.frozen_at_s if observed else None,
            trouble=self._trouble,
        )

    async def run(self) -> None:
        """Watch until cancelled; an L1 that fails is asked again, with longer and longer pauses.

        Raises:
            ReplayError: If the rollup starts from another genesis state than this program's.
        """
        config = self._config
        while True:
            step = await retry(
                self.step,
                on=(ChainUnavailableError, ChainRejectedError),
                wait_s=config.retry_s,
                max_wait_s=config.max_retry_s,
                on_failure=self._tell_trouble,
            )
            self._tell_trouble(None)
            if isinstance(step, core.Rest | core.Wait):
                await asyncio.sleep(config.poll_s)

    async def step(self) -> core.WatchtowerAction:
        """Look once, decide, and do it; returns what was done.

        Raises:
            ChainUnavailableError: If L1 does not answer in time, or contradicts itself.
            ChainRejectedError: If L1 refuses what was sent, for want of ether for example.
            ReplayError: If the rollup starts from another genesis state than this program's.
        """
        try:
            async with asyncio.timeout(self._config.step_timeout_s):
                return await self._step()
        except TimeoutError:
            raise ChainUnavailableError("The L1 did not answer in time.", code="l1_slow") from None

    async def settle(self) -> core.WatchtowerAction:
        """Step until there is nothing left to do on L1 as it is now; returns the last step.

        Raises:
            ChainUnavailableError: As `step`, as are the others.
        """
        while True:
            step = await self.step()
            if isinstance(step, core.Rest | core.Wait):
                return step

    # ---------------------------------------------------------------------------------------------------------- looking

    async def _step(self) -> core.WatchtowerAction:
        deriver = await self._ready()
        head = await self._l1.head()
        if self._idle is not None and head == self._idle[0]:
            return self._idle[1]
        before, self._quiet, self._idle = self._quiet, None, None
        observed = self._observed = await self._look(head, deriver)
        known = core.Known(
            verified=deriver.verified,
            tip_hash=deriver.tip_hash,
            dispute=self._dispute,
            rolled_back_at_s=self._rolled_back_at_s,
            rewards=self._journal.rewards,
        )
        self._journal.note_inbox(
            observed,
            is_overdue=core.is_overdue(observed, self._policy),
            is_freezable=core.is_freezable(observed, known, self._policy),
        )
        step = core.decide(observed, known, self._policy)
        if not isinstance(step, _BEFORE_EVENTS):
            # Batches come first: no event is waited for while one is to be re-executed or disproved.
            await self._read_events(head, observed)
            known = msgspec.structs.replace(known, rolled_back_at_s=self._rolled_back_at_s)
            step = core.decide(observed, known, self._policy)
        is_done = await self._act(step, observed, deriver)
        if isinstance(step, core.Rest | core.Wait) and observed.pending is None and self._journal.is_complete:
            # The same block shows the same contracts, and without a waiting message nothing depends on the time. Look
            # twice: an L1 behind a load balancer may announce a block before each of its nodes has it.
            self._quiet = head, step
            self._idle = self._quiet if self._quiet == before else None
        return step if is_done else core.Wait(observed.l1_block + 1)

    async def _ready(self) -> Deriver:
        if self._deriver is None:
            deployment = self._deployment = await self._l1.deployment()
            self._policy = core.Policy(
                proves=self._prover is not None,
                freezes=self._config.freezes,
                reveal_delay_blocks=deployment.reveal_delay_blocks,
                takeover_delay_s=deployment.takeover_delay_s,
                freeze_delay_s=deployment.freeze_delay_s,
            )
            undo = self._config.max_undo_writes
            self._deriver = Deriver(self._l1, deployment, max_undo_writes=undo, start=self._start)
            self._start = None
        return self._deriver

    async def _look(self, head: L1Head, deriver: Deriver) -> core.Observation:
        l1, dispute = self._l1, self._dispute
        now_s = await l1.time_s()
        count = await l1.batch_count()
        disputed = committed_at = None
        if dispute is not None and dispute.batch_id < count:
            standing = await l1.batches(dispute.batch_id, 1)
            disputed = core.identity(standing[0]) if standing else None
            if self._prover is not None and self._proof is not None:
                commitment = self._proof.commitment(self._prover.address)
                committed_at = await l1.fraud_committed_at(self._prover.address, commitment)
        return core.Observation(
            l1_block=head.number,
            now_s=now_s,
            batch_count=count,
            final_count=await l1.final_count(),
            tip_hash=None if deriver.tip_block is None else await l1.block_hash(deriver.tip_block),
            disputed=disputed,
            committed_at=committed_at,
            pending=await l1.oldest_pending(),
            frozen_at_s=await l1.frozen_at_s(),
        )

    async def _read_events(self, head: L1Head, observed: core.Observation) -> None:
        """What others did, as L1's events tell it; nothing else waits for them or fails with them."""
        error: IdlewattError | None = None
        try:
            if await self._journal.read(head, observed.now_s, self._deployment.block_number):
                self._rolled_back_at_s = observed.now_s
        except (ChainUnavailableError, ChainRejectedError) as failed:
            error = failed
            # Batches may have been taken back unseen: an honest sequencer gets its time before anything freezes.
            self._rolled_back_at_s = self._rolled_back_at_s or observed.now_s
        if (error is not None) == self._is_blind:
            return
        self._is_blind = error is not None
        if error is None:
            self._journal.tell("recovered", "L1's events are read again.", observed.now_s)
            return
        log.warning("l1_events_not_read", error=error.line())
        text = f"L1's events can't be read; batches are verified and disproved all the same. {error.line()}"
        self._journal.tell("trouble", text, observed.now_s, code=error.code)

    # ----------------------------------------------------------------------------------------------------------- acting

    async def _act(self, step: core.WatchtowerAction, observed: core.Observation, deriver: Deriver) -> bool:
        """Do it; returns whether that worked, or L1 has to be looked at again a little later."""
        match step:
            case core.Rewind():
                before = deriver.verified
                left = await deriver.rewind(observed.batch_count)
                self._drop_dispute()
                self._rolled_back_at_s = observed.now_s
                self._journal.tell(
                    "rewound", f"L1 went back: batches from {left} to {before - 1} are read again.", observed.now_s
                )
            case core.Follow():
                await self._follow(observed, deriver)
            case core.CloseDispute():
                self._journal.close(observed)
                self._drop_dispute()
            case core.GiveUp():
                self._give_up(DisputeStage.MISSED, "It is final: no proof can reach it any more.", observed)
            case core.CommitProof():
                return await self._commit(observed)
            case core.RevealProof():
                return await self._reveal(observed)
            case core.Freeze():
                return await _unless_too_late(self._l1.freeze()) is not None
            case core.ClaimReward():
                return await self._claim(step.reward, observed)
            case core.Wait() | core.Rest():
                pass
        return True

    async def _follow(self, observed: core.Observation, deriver: Deriver) -> None:
        findings = await deriver.follow(observed.l1_block)
        for replayed in findings.verified:
            self._on_verified(replayed)
            posted = replayed.posted
            count = len(replayed.batch.frames)
            text = f"Batch {posted.batch_id} is right: {count} {'frame' if count == 1 else 'frames'}."
            self._journal.tell("verified", text, observed.now_s, batch_id=posted.batch_id)
        if findings.wrong is not None:
            self._open_dispute(findings.wrong, observed)

    def _open_dispute(self, wrong: WrongBatch, observed: core.Observation) -> None:
        posted = wrong.posted
        identity = core.identity(posted)
        self._dispute = core.Dispute(batch_id=posted.batch_id, identity=identity)
        if self._prover is not None:
            self._proof = fraud_proof(
                posted.batch_id,
                wrong.batch,
                wrong.frame,
                messages=wrong.messages,
                witness=wrong.witness,
                salt=self._prover.salt(self._deployment.rollup_address, identity, wrong.frame),
            )
        view = DisputeView(
            stage=DisputeStage.FOUND,
            batch_id=posted.batch_id,
            frame=wrong.frame,
            code=wrong.code,
            rule=rule_name(wrong.code),
            submitter=checksum_address(posted.submitter) if posted.submitter else "",
            prover=checksum_address(self._prover.address) if self._prover else "",
            l1_tx="0x" + posted.l1_tx.hex(),
            batch_block=posted.l1_block,
        )
        text = f"Batch {posted.batch_id} is wrong at frame {wrong.frame}: {view.rule} (code {view.code})."
        self._journal.open(view, text, observed.now_s)

    async def _commit(self, observed: core.Observation) -> bool:
        assert self._prover is not None
        assert self._proof is not None
        l1_tx = await _unless_too_late(self._l1.commit_fraud(self._proof.commitment(self._prover.address)))
        if l1_tx is None:
            return False
        gas = await self._l1.gas_used(l1_tx)
        self._journal.committed(l1_tx, gas, observed, self._policy.reveal_delay_blocks)
        return True

    async def _reveal(self, observed: core.Observation) -> bool:
        assert self._proof is not None
        try:
            proven = await _unless_too_late(self._l1.prove_fraud(self._proof))
            if proven is not None and await self._journal.take(proven, observed.now_s):
                self._rolled_back_at_s = observed.now_s
            return proven is not None
        except ChainRejectedError as error:
            if error.code in _NOT_THE_CONTRACT:
                raise
            # Another batch may stand there by now; the next look shows it.
            self._refusals += 1
            if self._refusals >= MAX_REFUSALS:
                self._give_up(DisputeStage.REFUSED, f"The contract refused the proof. {error.message}", observed)
            return False

    async def _claim(self, own: core.OwnReward, observed: core.Observation) -> bool:
        """Have a reward paid; one that is gone, or another's by now, is forgotten."""
        assert self._prover is not None
        waiting = await self._l1.reward(own.submitter, own.bond_epoch)
        if waiting is None or waiting.prover != self._prover.address:
            self._journal.paid(own, 0, observed.now_s)
            return True
        if await _unless_too_late(self._l1.claim_reward(own.submitter, own.bond_epoch)) is None:
            return False
        self._journal.paid(own, waiting.amount_wei, observed.now_s)
        return True

    def _give_up(self, stage: DisputeStage, text: str, observed: core.Observation) -> None:
        assert self._dispute is not None
        self._dispute = msgspec.structs.replace(self._dispute, is_given_up=True)
        self._journal.advance(
            stage, f"Batch {self._dispute.batch_id} stands although it is wrong. {text}", observed.now_s
        )

    def _drop_dispute(self) -> None:
        self._dispute = self._proof = None
        self._refusals = 0

    def _tell_trouble(self, error: IdlewattError | None) -> None:
        trouble = "" if error is None else error.line()
        if trouble == self._trouble:
            return
        self._trouble = trouble
        at_s = self._observed.now_s if self._observed else 0
        if error is None:
            self._journal.tell("recovered", "Watching again.", at_s)
            return
        log.warning("watchtower_step_failed", error=trouble)
        if error.code == "no_gas" and self._prover is not None:
            trouble = f"{checksum_address(self._prover.address)} has too little ether on L1 to prove. Send it some."
        self._journal.tell("trouble", trouble, at_s, code=error.code)


async def _unless_too_late(sending: Awaitable[_T]) -> _T | None:
    """What sending comes to; ``None`` where L1 refuses it for a reason that the next look at it explains."""
    try:
        return await sending
    except ChainRejectedError as error:
        if error.code in _LOST_RACES:
            return None
        raise
