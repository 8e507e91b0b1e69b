"""What the rollup needs of its L1, as one typed protocol: inbox, batches, finality, disputes, the freeze and exits.

One implementation speaks JSON-RPC (``chain.l1.rollup_l1``), to the embedded EVM or to any other chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from chain.eip712 import SigningDomain
from chain.l1.attested import AttestedL1
from chain.signing import keccak256
from chain.types import Account, Channel, Withdrawal

DEPOSIT_KIND = 1
FORCED_KIND = 2


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """Where the contracts are, and the parameters they were deployed with."""

    l1_chain_id: int
    l2_chain_id: int
    rollup_address: bytes
    inbox_address: bytes
    asset_address: bytes
    block_number: int
    block_hash: bytes
    challenge_window_s: int
    force_delay_s: int
    close_delay_s: int
    genesis_root: bytes
    stf_address: bytes
    """The contract that re-executes a disputed frame."""
    takeover_delay_s: int
    freeze_delay_s: int
    unstake_delay_s: int
    reveal_delay_blocks: int
    max_time_ahead_s: int
    """How far L2 time may run ahead of L1's; it lags by at most the force delay."""
    min_bond_wei: int
    """What the contract asks of a sequencer."""
    turn_batches: int
    turn_s: int
    turn_grace_s: int
    """How long the next sequencer in turn alone may begin its own."""
    deployment_salt: bytes
    """32 bytes that the contract took from L1's history: with the L1's chain id, what tells its signatures apart."""
    attestations_address: bytes = b""
    """Where watchtowers put up the bonds that answer for what they vouch for."""
    nano_per_unit: int = 1
    """Nano in the asset's smallest unit where it has fewer than nine decimals: 1,000 for USDC's six."""

    @property
    def domain(self) -> SigningDomain:
        """What binds signatures to this deployment."""
        return SigningDomain(self.l1_chain_id, self.rollup_address, self.deployment_salt)


class InboxMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message of the L1 inbox, in its order."""

    index: int
    kind: Literal["deposit", "forced"]
    owner: bytes
    """20 bytes; zero for a forced transaction."""
    index_hint: int
    amount_nano: int
    body: bytes
    """A forced transaction's bytes (≤ 128); empty for a deposit."""
    at_s: int
    l1_block: int

    def content_hash(self) -> bytes:
        """A hash of what executing it depends on: not of when it arrived, which an L1 reorg may change.

        ``keccak(kind1 ‖ owner20 ‖ hint4 ‖ amount8)`` of a deposit, ``keccak(kind1 ‖ body)`` of a forced transaction.
        """
        if self.kind == "deposit":
            hint, amount = self.index_hint.to_bytes(4, "big"), self.amount_nano.to_bytes(8, "big")
            return keccak256(bytes([DEPOSIT_KIND]) + self.owner + hint + amount)
        return keccak256(bytes([FORCED_KIND]) + self.body)


EMPTY_INBOX_HASH = bytes(32)
"""The inbox's hash before its first message."""


def next_inbox_hash(inbox_hash: bytes, content_hash: bytes) -> bytes:
    """The inbox's hash after one more message; a batch names the one after the last message that it executes.

    Args:
        inbox_hash: The one before it.
        content_hash: The message's `InboxMessage.content_hash`.
    """
    return keccak256(inbox_hash + content_hash)


class PostedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """One batch as L1 calldata has it."""

    batch_id: int
    prev_root: bytes
    post_root: bytes
    inbox_hash: bytes
    """The inbox's hash after the last message that it executes: L1 takes the batch on no other messages."""
    blob: bytes
    l1_tx: bytes
    l1_block: int
    submitted_at_s: int
    submitter: bytes = b""
    """20 bytes: whose bond answers for it."""


class FramePlace(msgspec.Struct, frozen=True, kw_only=True):
    """The frame before a disputed one, as its leaf with the proof that it is in the batch."""

    post_root: bytes
    body_hash: bytes
    siblings: tuple[bytes, ...]


NO_FRAME = FramePlace(post_root=bytes(32), body_hash=bytes(32), siblings=())
"""What stands before a batch's first frame."""


class FraudProof(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one L1 transaction needs to re-execute a wrong frame."""

    batch_id: int
    frame_index: int
    previous: FramePlace
    post_root: bytes
    """What was posted for the frame."""
    body: bytes
    siblings: tuple[bytes, ...]
    messages: bytes
    """The packed contents of the inbox messages that the frame executes, see ``chain.witness.encode_messages``."""
    witness: bytes
    salt: bytes
    """32 random bytes, so that nobody can guess what a commitment is about."""

    def commitment(self, prover: bytes) -> bytes:
        """What the prover's address commits to before it shows the proof."""
        fields = (
            prover.rjust(32, b"\0"),
            self.batch_id.to_bytes(32, "big"),
            self.frame_index.to_bytes(32, "big"),
            keccak256(self.witness),
            self.salt,
        )
        return keccak256(b"".join(fields))


class L1Spent(msgspec.Struct, frozen=True):
    """What one key paid for on L1 since the program started."""

    gas: int = 0
    wei: int = 0


class L1Head(msgspec.Struct, frozen=True):
    """The newest L1 block: while it is the same, nothing on L1 is different but the time."""

    number: int
    hash: bytes


class FraudCommitted(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody announced a fraud proof."""

    prover: bytes
    commitment: bytes
    l1_block: int
    l1_tx: bytes


class FraudProven(msgspec.Struct, frozen=True, kw_only=True):
    """A batch and every later one were taken back, and their submitter's bond was slashed."""

    batch_id: int
    submitter: bytes
    prover: bytes
    frame_index: int
    code: int
    """The rule that the frame breaks, see ``chain.stf.Code``."""
    batches_before: int
    bond_epoch: int
    """Which of the submitter's bonds answers for the batch."""
    to_prover_wei: int
    """What waits for the prover, until somebody proves an earlier batch of the same bond."""
    burnt_wei: int
    """0 where the bond was slashed before."""
    l1_block: int
    l1_tx: bytes


class RollupFrozen(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody executed an inbox message, and the rollup ended."""

    message_index: int
    message_at_s: int
    l1_block: int
    l1_tx: bytes


L1Event = FraudCommitted | FraudProven | RollupFrozen


class Bond(msgspec.Struct, frozen=True, kw_only=True):
    """What a sequencer put up, and one past its newest batch."""

    amount_wei: int
    batches_to: int
    epoch: int = 0
    """How often it was slashed: a batch stands on the bond of one epoch."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """Whose turn it is to post."""

    leader: bytes | None
    """20 bytes; ``None`` before the first turn and after a fraud."""
    following: bytes | None
    """Who is next; the leader itself where it is alone, ``None`` where nobody leads."""
    ends_at_s: int
    """When the leader's turn ends or ended."""
    end_batch: int
    """One past the last batch of the turn."""
    is_alone: bool
    """Whether no more than one sequencer has a bond: its turn goes on."""


class Reward(msgspec.Struct, frozen=True, kw_only=True):
    """The half of a slashed bond that waits for whoever proved the earliest wrong batch it answers for."""

    amount_wei: int
    """0 once it was paid."""
    prover: bytes
    batch_id: int
    """It is due once every batch before this one is final."""


class PendingMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The oldest inbox message that no standing batch executes."""

    index: int
    at_s: int


class AccountProof(msgspec.Struct, frozen=True, kw_only=True):
    """An account of the last state, with its Merkle proof from the leaf up."""

    number: int
    account: Account
    siblings: tuple[bytes, ...]


class ChannelProof(msgspec.Struct, frozen=True, kw_only=True):
    """A channel of the last state with both its accounts."""

    channel_id: int
    channel: Channel
    siblings: tuple[bytes, ...]
    payer: AccountProof
    payee: AccountProof


class SignedVoucher(msgspec.Struct, frozen=True, kw_only=True):
    """The highest voucher of a channel that somebody holds."""

    cumulative_nano: int
    signature: bytes
    """64 bytes."""


class ChannelExit(msgspec.Struct, frozen=True, kw_only=True):
    """A channel on its way out after a freeze; amounts are 0 once paid."""

    payer: bytes
    payee: bytes
    settle_at_s: int
    to_payer_nano: int
    to_payee_nano: int


class RollupL1(AttestedL1, Protocol):
    """The rollup's contracts on one L1.

    Every method may raise ``chain.errors.ChainUnavailableError`` (unreachable, retry) or ``ChainRejectedError``
    (reverted).
    """

    @property
    def sender(self) -> bytes | None:
        """The address that sends; ``None`` where this instance only reads."""
        ...

    @property
    def spent(self) -> L1Spent:
        """The gas of what this instance sent and saw mined."""
        ...

    async def gas_price_wei(self) -> int:
        """What L1 asks for a unit of gas now."""
        ...

    async def deployment(self) -> Deployment:
        """The contracts this instance talks to."""
        ...

    async def time_s(self) -> int:
        """The newest L1 block's timestamp."""
        ...

    async def inbox_messages(self, start: int, limit: int) -> Sequence[InboxMessage]:
        """Messages from index ``start`` on, in order."""
        ...

    async def batch_count(self) -> int:
        """How many batches stand on L1; the next one's id."""
        ...

    async def final_count(self) -> int:
        """How many of them are final."""
        ...

    async def post_root(self, batch_id: int) -> bytes | None:
        """The state root after a batch, as the contract keeps it; ``None`` if it doesn't stand."""
        ...

    async def batches(self, start: int, limit: int) -> Sequence[PostedBatch]:
        """Batches from id ``start`` on, blobs read back from the transactions that posted them."""
        ...

    async def submit_batch(self, batch_id: int, prev_root: bytes, inbox_hash: bytes, blob: bytes) -> PostedBatch:
        """Post a batch and wait for its L1 receipt.

        A batch of this id and content that stands already is returned as it is.

        Args:
            batch_id: The next batch's id.
            prev_root: The state root before it.
            inbox_hash: The inbox's hash after the last message that it executes, as this sequencer executed them.
            blob: The batch, as ``chain.codec`` encodes it.
        """
        ...

    async def finalize(self) -> int:
        """Make every batch past its window final; returns the new final count."""
        ...

    async def claim_withdrawal(
        self, batch_id: int, index: int, withdrawal: Withdrawal, siblings: Sequence[bytes]
    ) -> bytes:
        """Pay a withdrawal to its recipient with a proof against a final batch's root.

        Returns the L1 transaction's hash.

        Args:
            batch_id: The final batch whose root it is proven against.
            index: The withdrawal's state index.
            withdrawal: What the batch's state holds there.
            siblings: 32 hashes, from the leaf up.
        """
        ...

    async def is_claimed(self, index: int) -> bool:
        """Whether the withdrawal at this state index was paid."""
        ...

    # ------------------------------------------------------------------------------- sequencers, disputes, the freeze

    async def head(self) -> L1Head:
        """The newest L1 block, by one question."""
        ...

    async def block_number(self) -> int:
        """The newest L1 block's number."""
        ...

    async def block_hash(self, number: int) -> bytes | None:
        """The hash of the L1 block of this number; ``None`` if there is none. Another hash than before is a reorg."""
        ...

    async def gas_used(self, l1_tx: bytes) -> int | None:
        """The gas that an L1 transaction took; ``None`` if L1 doesn't have it."""
        ...

    async def leader(self) -> bytes | None:
        """The one sequencer that may post while it isn't overdue; ``None`` before any batch and after a fraud."""
        ...

    async def bond(self, sequencer: bytes) -> Bond:
        """What an address put up."""
        ...

    async def sequencers(self, limit: int) -> list[bytes]:
        """Addresses whose bond is large enough to sequence, as the contract lists them; ``limit`` at most."""
        ...

    async def deposit_bond(self, amount_wei: int) -> bytes:
        """Add to one's own bond; returns the L1 transaction's hash, as everything does that sends and isn't said to."""
        ...

    async def inbox_hash(self, length: int) -> bytes:
        """The inbox's hash after so many messages, as L1 has them now."""
        ...

    async def inbox_length(self) -> int:
        """How many messages the inbox ever took."""
        ...

    async def oldest_pending(self) -> PendingMessage | None:
        """The oldest inbox message that no standing batch executes."""
        ...

    async def is_overdue(self) -> bool:
        """Whether anyone with a bond may post now."""
        ...

    async def may_post(self, sequencer: bytes) -> bool:
        """Whether a batch of this sequencer would be taken now, as far as it depends on whose it is."""
        ...

    async def turn(self) -> Turn:
        """Whose turn it is, and until when."""
        ...

    async def take_turn(self) -> bytes:
        """Begin one's own turn without a batch, where one may post."""
        ...

    async def frozen_at_s(self) -> int | None:
        """When the rollup froze; ``None`` while it runs."""
        ...

    async def freeze(self) -> bytes:
        """End a rollup whose inbox nobody executes."""
        ...

    async def force_tx(self, body: bytes) -> bytes:
        """Make every sequencer execute a signed L2 transaction."""
        ...

    async def fraud_committed_at(self, prover: bytes, commitment: bytes) -> int | None:
        """The L1 block in which an address committed to a proof; ``None`` if it didn't."""
        ...

    async def commit_fraud(self, commitment: bytes) -> bytes:
        """Announce a fraud proof without showing it."""
        ...

    async def prove_fraud(self, proof: FraudProof) -> FraudProven:
        """Show it, once its commitment is old enough."""
        ...

    async def reward(self, submitter: bytes, bond_epoch: int) -> Reward | None:
        """What waits for the prover of a slashed bond; ``None`` if nothing does."""
        ...

    async def claim_reward(self, submitter: bytes, bond_epoch: int) -> bytes:
        """Pay it to its prover, once it is due."""
        ...

    async def events(self, from_block: int, to_block: int) -> Sequence[L1Event]:
        """Proven frauds and the freeze in these L1 blocks, in order."""
        ...

    async def announcements(self, from_block: int, to_block: int) -> Sequence[FraudCommitted]:
        """The fraud proofs that were announced in these L1 blocks, true ones or not."""
        ...

    # ------------------------------------------------------------------------------------------- out after the freeze

    async def exit_account(self, proof: AccountProof) -> bytes:
        """Pay an account out to its owner."""
        ...

    async def exit_channel(self, proof: ChannelProof, voucher: SignedVoucher | None = None) -> bytes:
        """Begin a channel's exit, or raise it where somebody began it."""
        ...

    async def raise_channel_exit(self, channel_id: int, voucher: SignedVoucher) -> bytes:
        """Bring a higher voucher into a channel's exit that somebody began."""
        ...

    async def channel_exit(self, channel_id: int) -> ChannelExit | None:
        """How far a channel's exit is; ``None`` if nobody began it."""
        ...

    async def settle_channel_exit(self, channel_id: int) -> bytes:
        """Pay a channel's rest to both parties."""
        ...

    async def refund_deposit(self, message: InboxMessage) -> bytes:
        """Pay a deposit that no batch executed back to its owner."""
        ...

    async def is_refunded(self, message_index: int) -> bool:
        """Whether the deposit in this inbox message was paid back."""
        ...
