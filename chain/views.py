"""What the rollup tells its users: frozen answers of the L2 RPC, shared by server, client, wallet, node and screens.

Addresses and hashes are ``0x`` hex strings here (checksummed for addresses); amounts are nano; times are seconds UTC
on chain. In JSON every amount is a decimal string, since JavaScript's numbers end at 2⁵³.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import msgspec

Seconds = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
"""A time or a span that programs may compute with; what users choose freely, such as an expiry, has 64 bits."""
Number = Annotated[int, msgspec.Meta(ge=1, lt=2**30)]
"""An account, channel or withdrawal within its region of the state."""


class Inclusion(StrEnum):
    """How far a transaction has come.

    Executed by the sequencer, posted to L1, past its challenge window, or refused.
    """

    SOFT = "soft"
    BATCHED = "batched"
    FINAL = "final"
    UNKNOWN = "unknown"


class ChainParams(msgspec.Struct, frozen=True, kw_only=True):
    """The rollup's parameters as deployed (see ``docs/rollup.md``)."""

    challenge_window_s: Seconds
    force_delay_s: Seconds
    close_delay_s: Seconds
    """How long a payer who closes alone must wait; the payee's redeem still wins meanwhile."""
    unstake_delay_s: Seconds = 60
    """How long a stake on its way out stays slashable."""
    takeover_delay_s: Seconds = 40
    """How long a forced message waits before anyone bonded may execute it."""
    max_time_ahead_s: Seconds = 10
    """How far L2's time may run ahead of L1's."""
    min_fee_nano: int
    """The least fee the sequencer takes for a signed L2 transaction that carries one."""


class FeeQuote(msgspec.Struct, frozen=True, kw_only=True):
    """What the sequencer asks for now; whoever offers it within ``valid_s`` is not refused for it."""

    transfer_nano: int
    withdraw_nano: int
    """The payment on L1 included, which the operator sends, unless ``pays_claim`` says otherwise."""
    open_channel_nano: int
    """The channel's close and its first redeems included."""
    top_up_nano: int
    """Some more redeems included."""
    stake_nano: int
    unstake_nano: int
    pays_claim: bool
    """Whether a withdrawal's fee pays for its payment on L1; where gas is too dear for that, its owner claims it."""
    min_redeem_nano: int
    """A redeem that brings less counts for four."""
    min_withdrawal_nano: int
    """A smaller withdrawal isn't worth its payment on L1, and is refused."""
    base_fee_pico: int
    """What one byte of a transfer costs, in thousandths of a nano."""
    valid_s: Seconds
    redeems_per_open: int
    redeems_per_top_up: int


class OperatorBooks(msgspec.Struct, frozen=True, kw_only=True):
    """What a sequencer earned and what it paid for that, since its home was made."""

    earned_nano: int
    """The fees of everything that it executed."""
    l1_gas: int
    """The gas of every L1 transaction that it sent."""
    l1_spent_wei: int
    l1_spent_nano: int
    """The same at the ether price that the operator set; 0 where none is set."""


class ChainInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Which chain this is, and how to reach its L1."""

    l2_chain_id: int
    l1_chain_id: int
    l1_rpc_url: str
    rollup_address: str
    inbox_address: str
    asset_address: str
    deployment: str
    """32-byte hash that no other deployment shares; a home whose channels name another one meets a foreign chain."""
    deployment_salt: str
    """32 bytes that the rollup contract took from its L1's history; part of what every signature is bound to."""
    params: ChainParams
    fees: FeeQuote
    books: OperatorBooks
    has_faucet: bool
    l2_time_s: Seconds
    head_tx_count: int
    head_state_root: str
    fee_pool_nano: int
    """Every fee collected so far, as the head's state has it."""
    nano_per_unit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1
    """Nano in the asset's smallest unit: withdrawals and deposits are multiples of it."""
    leads: bool = True
    """Whether this sequencer takes transactions; one that stands by only follows."""


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """One L2 account."""

    index: Number
    address: str
    balance_nano: int
    nonce: int
    stake_nano: int = 0
    """What stands behind the receipts that it signs as a provider."""
    unlocking_nano: int = 0
    """The part of the stake on its way out; slashable until it is back in the balance."""
    unlock_at_s: int = 0
    """When that part may return to the balance; 0 while nothing is on its way."""
    channels: int = 0
    """Open channels that it pays into or is paid from; one to oneself counts twice."""
    slash_from: int = 0
    """Which channel was next when this stake was first put up; receipts of an earlier one don't slash it."""


class ChannelView(msgspec.Struct, frozen=True, kw_only=True):
    """One payment channel as the L2 state has it now (soft head)."""

    channel_id: Number
    payer: str
    payee: str
    signer: str
    deposit_nano: int
    redeemed_nano: int
    expiry_s: int
    closing_at_s: int
    """When the payer's lone close may be finished; 0 while nobody closes."""
    open_inclusion: Inclusion
    """How final the channel's opening is; providers give credit only on what they accept here."""
    redeems_left: int
    """How many redeems the sequencer still takes on it without a top-up; the last one is kept for its end."""


class SoftReceipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The sequencer's promise to include a transaction, given after it was executed and persisted.

    It names no state root: one is taken for each frame, and `TxStatus` tells its batch's.
    """

    l2_tx: str
    sequence: int
    """Position in the sequencer's order, from 0."""
    allocated_index: Number | None
    """The account, channel or withdrawal index that the transaction created."""
    fee_nano: int = 0
    """What the wallet that signed it paid; it says so itself, no server does."""


class TxStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where one L2 transaction stands."""

    l2_tx: str
    kind: str
    inclusion: Inclusion
    sequence: int
    batch_id: int | None
    l1_tx: str | None
    state_root: str | None
    """The state root after its batch; ``None`` before it is batched."""
    final_at_s: Seconds | None
    """When its batch's challenge window ends (L1 time); ``None`` before it is batched."""


class BatchView(msgspec.Struct, frozen=True, kw_only=True):
    """One batch posted to L1."""

    batch_id: int
    l1_tx: str
    l1_block: int
    submitted_at_s: Seconds
    final_at_s: Seconds
    inclusion: Inclusion
    tx_count: int
    frame_count: int
    size_bytes: int
    pre_state_root: str
    post_state_root: str


class WithdrawalView(msgspec.Struct, frozen=True, kw_only=True):
    """One withdrawal on its way to L1."""

    withdrawal_index: Number
    recipient: str
    amount_nano: int
    account_index: int
    """Whose money it was; 0 for a deposit that could not be credited."""
    nonce: int
    """Of that account when it withdrew or was slashed; the inbox message's index for a deposit."""
    l2_tx: str
    inclusion: Inclusion
    final_at_s: Seconds | None
    claim_l1_tx: str | None
    """The L1 transaction that paid it, once claimed."""
    is_paid_by_operator: bool = True
    """Whether the operator claims it; where not, it is worth less than that costs, or paid no fee for it, and whoever
    wants it claims it on L1."""


class WithdrawalOfferView(msgspec.Struct, frozen=True, kw_only=True):
    """A withdrawal whose recipient sells its claim, on terms that its signature binds."""

    withdrawal_index: int
    account_index: int
    nonce: int
    amount_nano: int
    recipient: str
    max_fee_nano: int
    """What the buyer may keep at most."""
    start_s: int
    """When the fee begins to rise from 0 (L1 time)."""
    deadline_s: int
    """When it has reached its maximum, and the offer ends."""
    signature: str


class AttestationView(msgspec.Struct, frozen=True, kw_only=True):
    """A watchtower's word that a batch is right; its bond answers for it."""

    batch_id: int
    batch_hash: str
    """What was signed about, as the contract computes it from the batch."""
    attester: str
    signature: str


class StateProof(msgspec.Struct, frozen=True, kw_only=True):
    """A Merkle proof of one leaf against the state root of one posted batch."""

    batch_id: int
    state_root: str
    index: int
    leaf: str
    siblings: list[str]


class FaucetGrant(msgspec.Struct, frozen=True, kw_only=True):
    """What the devnet's faucet gave: test money on L2 (by an L1 deposit), plus test money and gas ether on L1."""

    address: str
    l2_amount_nano: int
    l1_amount_nano: int
    l1_gas_wei: int
    l1_tx: str


class ChainEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One line of what happens on the chain: a batch posted or final, a deposit credited, a claim paid."""

    kind: str
    """``deposit`` · ``batch`` · ``final`` · ``withdrawal`` · ``claim`` · ``wrong`` (a batch that isn't built on) ·
    ``reorder`` and ``dropped`` (what L1's history made the sequencer execute again, or not any more)."""
    at_s: int
    text: str
    reference: str


class DisputeStage(StrEnum):
    """How far a dispute about a wrong batch has come."""

    FOUND = "found"
    """A watchtower re-executed it and came to something else."""
    COMMITTED = "committed"
    """A proof is announced on L1 and waits for its reveal."""
    PROVEN = "proven"
    """The contract accepted the proof."""
    REVERTED = "reverted"
    """The batch and every later one are gone, and the sequencer's bond with them."""
    VANISHED = "vanished"
    """L1 was reorganized, and the batch is not there any more."""
    MISSED = "missed"
    """It became final before anybody proved it."""
    REFUSED = "refused"
    """The contract came to another result than this program."""


class DisputeView(msgspec.Struct, frozen=True, kw_only=True):
    """One dispute as it unfolds."""

    stage: DisputeStage
    batch_id: int
    frame: int
    code: int
    """The rule that the frame breaks, as numbered in ``docs/rollup.md``."""
    rule: str
    """The same in words."""
    submitter: str = ""
    """Whose bond answers for the batch."""
    prover: str = ""
    """The address that proved it, or is about to."""
    commit_gas: int | None = None
    prove_gas: int | None = None
    reward_wei: int = 0
    """What the prover got of the bond."""
    l1_tx: str = ""
    """The L1 transaction of the newest stage."""
    batch_block: int | None = None
    """The L1 block in which the batch was posted."""
    reveal_block: int | None = None
    """The first L1 block that takes the proof, once it is committed."""
    reverted_block: int | None = None


class WaitingMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the L1 inbox that no batch executes yet, with what its waiting leads to; times are L1's."""

    index: int
    kind: Literal["deposit", "forced"]
    at_s: int
    deadline_s: int
    """From here on no batch stands that leaves it out."""
    takeover_at_s: int
    """From here on anyone bonded may sequence."""
    freeze_at_s: int
    """From here on anyone may freeze the rollup."""


class SequencerView(msgspec.Struct, frozen=True, kw_only=True):
    """One sequencer with its bond."""

    address: str
    bond_wei: int
    is_leader: bool
    """Whether it alone may post now."""


class SafetyView(msgspec.Struct, frozen=True, kw_only=True):
    """What L1 says about the rollup's safety, read from the contracts without any sequencer."""

    at_s: int
    """L1's time."""
    l1_block: int
    batch_count: int
    final_count: int
    frozen_at_s: int | None
    is_overdue: bool
    """Whether anyone bonded may sequence now."""
    sequencers: tuple[SequencerView, ...]
    """The leader, and the sequencers that posted lately."""
    waiting: tuple[WaitingMessage, ...]
    """The oldest of those that wait."""
    waiting_count: int
    announced: int
    """Fraud proofs that somebody announced of late and did not show yet: true or not, nobody knows before."""
    disputes: tuple[DisputeView, ...]
    """Newest last: what the contract's events tell, and what a watchtower beside the reader follows."""


class WatchEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a watchtower saw or did.

    ``kind`` is ``verified`` (a batch was re-executed and is right), a ``DisputeStage``, ``snapshot`` (what it
    begins with), ``rewarded`` (an own proof was paid), ``overdue``, ``freezable``, ``frozen``, ``rewound`` (L1 was
    reorganized), ``trouble`` (L1 or the key make work impossible for now) or ``recovered``.
    """

    kind: str
    text: str
    at_s: int
    """L1's time."""
    batch_id: int | None = None
    dispute: DisputeView | None = None
    code: str = ""
    """The error's, for ``trouble``."""


class WatchView(msgspec.Struct, frozen=True, kw_only=True):
    """How a watchtower is doing."""

    verified_batches: int
    """Batches that were re-executed and found right, with those before the snapshot that it began with."""
    state_root: str
    l1_block: int
    is_proving: bool
    disputes: tuple[DisputeView, ...]
    """The newest last."""
    pending_since_s: int | None
    """When the oldest inbox message arrived that no batch executes."""
    frozen_at_s: int | None
    trouble: str
    """What keeps it from working now; empty if nothing does."""
