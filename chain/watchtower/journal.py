"""What a watchtower reports: each dispute's progress, whoever proves it, and an inbox that nobody executes."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from chain.l1.protocol import FraudProven, L1Event, L1Head, RollupFrozen, RollupL1
from chain.signing import checksum_address
from chain.stf import Code
from chain.views import DisputeStage, DisputeView, WatchEvent
from chain.watchtower.core import Observation, OwnReward
from chain.watchtower.history import FraudHistory

MAX_DISPUTES = 50
MAX_TOLD = 10_000


class Journal:
    """Reads L1's events in order, each once, and turns them and the watchtower's own steps into events.

    Args:
        l1: Where they are read.
        on_event: Called with each.
        prover: This watchtower's own address, if it proves.
    """

    def __init__(self, l1: RollupL1, on_event: Callable[[WatchEvent], None], prover: bytes | None) -> None:
        self._l1 = l1
        self._on_event = on_event
        self._prover = prover
        self._history = FraudHistory(l1)
        self._told: dict[tuple[str, bytes], None] = {}
        self._disputes: list[DisputeView] = []
        self._is_open = False
        self._inbox_told: dict[str, int] = {}
        self._rewards: dict[tuple[bytes, int], OwnReward | None] = {}
        """Of each slashed bond, what waits for this watchtower; ``None`` where nothing does."""

    @property
    def disputes(self) -> tuple[DisputeView, ...]:
        """The newest last."""
        return tuple(self._disputes)

    @property
    def rewards(self) -> tuple[OwnReward, ...]:
        """What waits on L1 for this watchtower's proofs, as far as it was read."""
        return tuple(reward for reward in self._rewards.values() if reward is not None)

    def paid(self, reward: OwnReward, amount_wei: int, at_s: int) -> None:
        """A reward was paid; or, of 0 wei, isn't this watchtower's any more."""
        self._rewards[reward.submitter, reward.bond_epoch] = None
        if amount_wei:
            text = f"The reward for batch {reward.batch_id} was paid: {amount_wei / 10**18:.6f} ether."
            self.tell("rewarded", text, at_s, batch_id=reward.batch_id)

    def tell(
        self,
        kind: str,
        text: str,
        at_s: int,
        *,
        batch_id: int | None = None,
        dispute: DisputeView | None = None,
        code: str = "",
    ) -> None:
        """Hand out one event."""
        self._on_event(WatchEvent(kind=kind, text=text, at_s=at_s, batch_id=batch_id, dispute=dispute, code=code))

    # --------------------------------------------------------------------------------------------------- own disputes

    def open(self, view: DisputeView, text: str, at_s: int) -> None:
        """A wrong batch was found."""
        self._disputes = [*self._disputes[-MAX_DISPUTES + 1 :], view]
        self._is_open = True
        self.tell(view.stage, text, at_s, batch_id=view.batch_id, dispute=view)

    def committed(self, l1_tx: bytes, gas: int | None, observed: Observation, reveal_delay_blocks: int) -> None:
        """Our commitment is on L1."""
        block = observed.l1_block + 1 + reveal_delay_blocks
        self.advance(
            DisputeStage.COMMITTED,
            f"A proof is committed; it can be revealed from about L1 block {block} on.",
            observed.now_s,
            commit_gas=gas,
            l1_tx="0x" + l1_tx.hex(),
            reveal_block=block,
        )

    def advance(self, stage: DisputeStage, text: str, at_s: int, **changes: object) -> None:
        """The open dispute reached another stage."""
        view = self._disputes[-1] = msgspec.structs.replace(self._disputes[-1], stage=stage, **changes)
        self.tell(stage, text, at_s, batch_id=view.batch_id, dispute=view)

    def close(self, observed: Observation) -> None:
        """The disputed batch is gone; where no proof took it back, L1 was reorganized."""
        if self._is_open:
            batch_id = self._disputes[-1].batch_id
            self.advance(DisputeStage.VANISHED, f"Batch {batch_id} is not on L1 any more.", observed.now_s)
            self._is_open = False

    # ------------------------------------------------------------------------------------------------------ L1's events

    @property
    def is_complete(self) -> bool:
        """Whether every event was read, back to the deployment."""
        return self._history.is_complete

    async def read(self, head: L1Head, now_s: int, first_block: int) -> bool:
        """Read what is new of L1's events, and some of what is old; returns whether batches were taken back.

        Args:
            head: L1's newest block.
            now_s: L1's time.
            first_block: The block in which the rollup was deployed.

        Raises:
            ChainUnavailableError: If L1 does not answer, or contradicts itself; nothing is lost.
            ChainRejectedError: If L1 refuses.
        """
        is_rolled_back = False
        for event in await self._history.read(head, first_block):
            is_rolled_back |= await self.take(event, now_s)
        for old in reversed(await self._history.read_back()):
            self._remember(old)
        return is_rolled_back

    def _remember(self, event: FraudProven) -> None:
        """Keep a fraud of long ago among the disputes, without telling of it as of news."""
        self._rewards.setdefault((event.submitter, event.bond_epoch), self._own_reward(event))
        mark = type(event).__name__, event.l1_tx
        if mark not in self._told and len(self._disputes) < MAX_DISPUTES:
            self._disputes.insert(0, dispute_of(event))
            self._told[mark] = None

    async def take(self, event: L1Event, now_s: int) -> bool:
        """Tell of an event, once; returns whether it took batches back and is news."""
        if isinstance(event, FraudProven):
            # Whoever proves an earlier batch of the same bond has its reward.
            self._rewards[event.submitter, event.bond_epoch] = self._own_reward(event)
        mark = type(event).__name__, event.l1_tx
        if mark in self._told:
            return False
        match event:
            case FraudProven():
                await self._proven(event, now_s)
            case RollupFrozen():
                self.tell(
                    "frozen", f"The rollup froze: message {event.message_index} was left out for too long.", now_s
                )
            case _:
                pass
        self._told[mark] = None
        if len(self._told) > MAX_TOLD:
            del self._told[next(iter(self._told))]
        return isinstance(event, FraudProven)

    def _own_reward(self, event: FraudProven) -> OwnReward | None:
        if event.prover != self._prover:
            return None
        return OwnReward(submitter=event.submitter, bond_epoch=event.bond_epoch, batch_id=event.batch_id)

    async def _proven(self, event: FraudProven, now_s: int) -> None:
        prover, gas = checksum_address(event.prover), await self._l1.gas_used(event.l1_tx)
        if not self._is_open or event.batch_id > self._disputes[-1].batch_id:
            self._disputes = [*self._disputes[-MAX_DISPUTES + 1 :], _seen_late(event)]
        about = self._disputes[-1]
        changes = {
            "prover": prover,
            "prove_gas": gas,
            "reward_wei": event.to_prover_wei,
            "l1_tx": "0x" + event.l1_tx.hex(),
            "submitter": checksum_address(event.submitter),
        }
        if event.batch_id == about.batch_id:
            # The contract names the frame that was proven; another prover may have chosen another one.
            changes |= {"frame": event.frame_index, "code": event.code, "rule": rule_name(event.code)}
        who = "Our proof" if event.prover == self._prover else f"The proof of {prover}"
        self.advance(DisputeStage.PROVEN, f"{who} about batch {event.batch_id} was accepted.", now_s, **changes)
        last = event.batches_before - 1
        what = f"Batch {last} was" if last == event.batch_id else f"Batches {event.batch_id} to {last} were"
        text = f"{what} taken back, and {checksum_address(event.submitter)} lost its bond."
        self.advance(DisputeStage.REVERTED, text, now_s, reverted_block=event.l1_block)
        self._is_open = False

    # -------------------------------------------------------------------------------------------------------- the inbox

    def note_inbox(self, observed: Observation, *, is_overdue: bool, is_freezable: bool) -> None:
        """Tell once of each message that waits for too long."""
        if observed.pending is None:
            return
        index, waited_s = observed.pending.index, observed.now_s - observed.pending.at_s
        if is_overdue and self._inbox_told.get("overdue", -1) < index:
            text = f"Inbox message {index} waits for {waited_s} s: any bonded sequencer may take over."
            self._inbox_told["overdue"] = index
            self.tell("overdue", text, observed.now_s)
        if is_freezable and self._inbox_told.get("freezable", -1) < index:
            text = f"Inbox message {index} waits for {waited_s} s: anyone may freeze the rollup."
            self._inbox_told["freezable"] = index
            self.tell("freezable", text, observed.now_s)


def _seen_late(event: FraudProven) -> DisputeView:
    return DisputeView(
        stage=DisputeStage.FOUND,
        batch_id=event.batch_id,
        frame=event.frame_index,
        code=event.code,
        rule=rule_name(event.code),
    )


def dispute_of(event: FraudProven) -> DisputeView:
    """A proven fraud, as it is shown."""
    return DisputeView(
        stage=DisputeStage.REVERTED,
        batch_id=event.batch_id,
        frame=event.frame_index,
        code=event.code,
        rule=rule_name(event.code),
        submitter=checksum_address(event.submitter),
        prover=checksum_address(event.prover),
        reward_wei=event.to_prover_wei,
        l1_tx="0x" + event.l1_tx.hex(),
        reverted_block=event.l1_block,
    )


def rule_name(code: int) -> str:
    """A code in words."""
    try:
        return Code(code).name.lower().replace("_", " ")
    except ValueError:
        return "unknown rule"
