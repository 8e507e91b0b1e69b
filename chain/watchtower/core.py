"""What a watchtower does next, given what L1 shows and what it has re-derived: values in, a value out.

One decision is about one look at L1. Nothing is assumed to have worked because it was sent: a commitment counts once L1
shows it, and a batch is gone once L1 doesn't show it any more.
"""

from __future__ import annotations

import msgspec

from chain.l1.protocol import PendingMessage, PostedBatch
from chain.signing import keccak256


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What a watchtower may do, and the deployment's delays."""

    proves: bool
    freezes: bool
    reveal_delay_blocks: int
    takeover_delay_s: int
    freeze_delay_s: int


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What L1 shows now."""

    l1_block: int
    now_s: int
    batch_count: int
    final_count: int
    tip_hash: bytes | None = None
    """The hash that L1 now has for the block of the newest verified batch."""
    disputed: bytes | None = None
    """`identity` of the batch that stands under the disputed number, if one does."""
    committed_at: int | None = None
    """The L1 block that has our commitment to the dispute's proof."""
    pending: PendingMessage | None = None
    frozen_at_s: int | None = None


class Dispute(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that was found wrong."""

    batch_id: int
    identity: bytes
    is_given_up: bool = False
    """Whether proving it is pointless: it is final, or the contract refused the proof."""


class OwnReward(msgspec.Struct, frozen=True, kw_only=True):
    """What waits on L1 for this watchtower's proof."""

    submitter: bytes
    bond_epoch: int
    batch_id: int
    """The batch that was proven: no earlier one may be, before it is due."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What was re-derived so far."""

    verified: int = 0
    """Batches found right, from the first on."""
    tip_hash: bytes | None = None
    """The hash of the L1 block of the newest of them, as it was when that was read."""
    dispute: Dispute | None = None
    rolled_back_at_s: int = 0
    """When batches were last taken back: what they executed waits again, through no honest sequencer's fault."""
    rewards: tuple[OwnReward, ...] = ()


class Rewind(msgspec.Struct, frozen=True):
    """Batches that were verified are gone or moved: go back to the last that L1 still has."""


class Follow(msgspec.Struct, frozen=True):
    """Read and re-execute the batches from this one on."""

    batch_id: int


class CloseDispute(msgspec.Struct, frozen=True):
    """The disputed batch doesn't stand any more."""


class GiveUp(msgspec.Struct, frozen=True):
    """The disputed batch is final: no proof can reach it."""


class CommitProof(msgspec.Struct, frozen=True):
    """Announce the proof."""


class Wait(msgspec.Struct, frozen=True):
    """Wait until L1 has this block."""

    until_block: int


class RevealProof(msgspec.Struct, frozen=True):
    """Show the proof."""


class Freeze(msgspec.Struct, frozen=True):
    """End the rollup: nobody executes its inbox."""


class ClaimReward(msgspec.Struct, frozen=True):
    """Have a reward paid that is due."""

    reward: OwnReward


class Rest(msgspec.Struct, frozen=True):
    """Nothing is to be done."""


WatchtowerAction = (
    Rewind | Follow | CloseDispute | GiveUp | CommitProof | Wait | RevealProof | Freeze | ClaimReward | Rest
)


def decide(observed: Observation, known: Known, policy: Policy) -> WatchtowerAction:
    """The next step; the same look at the same knowledge always gives the same one.

    Args:
        observed: What L1 shows now.
        known: What was re-derived so far.
        policy: What this watchtower may do.
    """
    if observed.batch_count < known.verified or observed.tip_hash != known.tip_hash:
        return Rewind()
    dispute = known.dispute
    if dispute is not None and observed.disputed != dispute.identity:
        return CloseDispute()
    if policy.freezes and is_freezable(observed, known, policy):
        return Freeze()
    if dispute is not None:
        step = _pursue(dispute, observed, policy)
    else:
        step = Follow(known.verified) if observed.batch_count > known.verified else Rest()
    due = next((one for one in known.rewards if one.batch_id <= observed.final_count), None)
    return ClaimReward(due) if isinstance(step, Rest) and due is not None else step


def _pursue(dispute: Dispute, observed: Observation, policy: Policy) -> WatchtowerAction:
    if dispute.is_given_up:
        return Rest()
    if observed.final_count > dispute.batch_id:
        return GiveUp()
    if not policy.proves:
        return Rest()
    if observed.committed_at is None:
        return CommitProof()
    reveal_block = observed.committed_at + policy.reveal_delay_blocks
    # A proof that is sent now comes into the next block at the earliest.
    return RevealProof() if observed.l1_block + 1 >= reveal_block else Wait(reveal_block - 1)


def is_overdue(observed: Observation, policy: Policy) -> bool:
    """Whether an inbox message waits for so long that any bonded sequencer may take over."""
    return observed.pending is not None and observed.now_s > observed.pending.at_s + policy.takeover_delay_s


def is_freezable(observed: Observation, known: Known, policy: Policy) -> bool:
    """Whether the rollup should end because nobody executes its inbox.

    After batches were taken back an honest sequencer first gets the time that it has to take over in, although the
    messages of those batches may be old.
    """
    if observed.pending is None or observed.frozen_at_s is not None:
        return False
    is_old = observed.now_s > observed.pending.at_s + policy.freeze_delay_s
    return is_old and observed.now_s > known.rolled_back_at_s + policy.takeover_delay_s


def identity(posted: PostedBatch) -> bytes:
    """What tells one posted batch from another under the same number: place on L1, submitter and content."""
    parts = posted.l1_tx, posted.l1_block.to_bytes(8, "big"), posted.submitter, posted.prev_root, posted.blob
    return keccak256(b"".join(keccak256(part) for part in parts))
