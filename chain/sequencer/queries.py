"""Answers of the sequencer as the views that the RPC sends."""

from __future__ import annotations

from chain.errors import ChainRejectedError, UsageError
from chain.proofs import ProofKind, leaf_key
from chain.replay import deployment_id
from chain.sequencer.ledger import SequencerLedger
from chain.sequencer.store import BatchRow, TxRow, WithdrawalRow
from chain.signing import checksum_address
from chain.views import (
    AccountView,
    BatchView,
    ChainEvent,
    ChainInfo,
    ChainParams,
    ChannelView,
    FeeQuote,
    Inclusion,
    OperatorBooks,
    SoftReceipt,
    StateProof,
    TxStatus,
    WithdrawalView,
)

MAX_ROWS = 500
"""Rows in one answer."""


def soft_receipt(row: TxRow) -> SoftReceipt:
    """The receipt of an executed transaction."""
    return SoftReceipt(
        l2_tx=to_hex(row.hash),
        sequence=row.sequence,
        allocated_index=row.allocated,
    )


def _key(kind: ProofKind, number: int) -> int:
    try:
        return leaf_key(kind, number)
    except ValueError:
        raise UsageError("That number is beyond its region of the state.", code="bad_params") from None


def to_hex(data: bytes) -> str:
    """Bytes as ``0x`` hex."""
    return "0x" + data.hex()


class Queries:
    """Reads of a sequencer's head and history.

    Args:
        ledger: What is read.
    """

    def __init__(self, ledger: SequencerLedger) -> None:
        self._ledger = ledger

    def info(self, *, l1_rpc_url: str, has_faucet: bool) -> ChainInfo:
        """Which chain this is."""
        ledger = self._ledger
        deployment = ledger.deployment
        return ChainInfo(
            l2_chain_id=deployment.l2_chain_id,
            l1_chain_id=deployment.l1_chain_id,
            l1_rpc_url=l1_rpc_url,
            rollup_address=checksum_address(deployment.rollup_address),
            inbox_address=checksum_address(deployment.inbox_address),
            asset_address=checksum_address(deployment.asset_address),
            deployment=to_hex(deployment_id(deployment)),
            deployment_salt=to_hex(deployment.deployment_salt),
            params=ChainParams(
                challenge_window_s=deployment.challenge_window_s,
                force_delay_s=deployment.force_delay_s,
                close_delay_s=deployment.close_delay_s,
                unstake_delay_s=deployment.unstake_delay_s,
                takeover_delay_s=deployment.takeover_delay_s,
                max_time_ahead_s=deployment.max_time_ahead_s,
                min_fee_nano=ledger.config.min_fee_nano,
            ),
            fees=ledger.fees.quote(),
            books=self.books(),
            has_faucet=has_faucet,
            l2_time_s=self.l2_time_s(),
            head_tx_count=ledger.head.next_sequence,
            head_state_root=to_hex(ledger.head.state.root()),
            fee_pool_nano=ledger.head.state.meta.fee_pool_nano,
            nano_per_unit=deployment.nano_per_unit,
            leads=ledger.accepts,
        )

    def fees(self) -> FeeQuote:
        """What is asked for now, and how long that holds."""
        return self._ledger.fees.quote()

    def books(self) -> OperatorBooks:
        """What the operator earned and paid."""
        return self._ledger.books.view(self._ledger.config.fees)

    def l2_time_s(self) -> int:
        """The L2 time that a transaction handed in now would see, near enough: the open batch's, or a new one's."""
        head = self._ledger.head
        if head.open is not None:
            return head.open.l2_time_s
        return max(head.state.meta.l2_time_s, self._ledger.clock.time_s)

    def account(self, owner: bytes) -> AccountView | None:
        """The account of an address, at the head."""
        head = self._ledger.head
        number = head.account_number(owner)
        return None if number is None else self._account_view(number)

    def accounts_of(self, owner: bytes) -> list[AccountView]:
        """Every account of an address at the head, by number."""
        return [self._account_view(number) for number in self._ledger.head.account_numbers(owner)[:MAX_ROWS]]

    def _account_view(self, number: int) -> AccountView:
        leaf = self._ledger.head.state.account(number)
        assert leaf is not None
        return AccountView(
            index=number,
            address=checksum_address(leaf.owner),
            balance_nano=leaf.balance_nano,
            nonce=leaf.nonce,
            stake_nano=leaf.stake_nano,
            unlocking_nano=leaf.unlocking_nano,
            unlock_at_s=leaf.unlock_at_s,
            channels=leaf.channels,
            slash_from=leaf.slash_from,
        )

    async def channel(self, channel_id: int) -> ChannelView | None:
        """One open channel, at the head."""
        state = self._ledger.head.state
        leaf = state.channel(channel_id)
        if leaf is None:
            return None
        payer, payee = state.account(leaf.payer), state.account(leaf.payee)
        assert payer is not None
        assert payee is not None
        inclusion = await self._inclusion(await self._ledger.store.opening_batch(channel_id))
        return ChannelView(
            channel_id=channel_id,
            payer=checksum_address(payer.owner),
            payee=checksum_address(payee.owner),
            signer=checksum_address(leaf.signer),
            deposit_nano=leaf.deposit_nano,
            redeemed_nano=leaf.redeemed_nano,
            expiry_s=leaf.expiry_s,
            closing_at_s=leaf.closing_at_s,
            open_inclusion=inclusion,
            redeems_left=self._ledger.allowances.left(channel_id),
        )

    async def channels_of(self, owner: bytes) -> list[ChannelView]:
        """The newest open channels that an address pays into or is paid from."""
        head = self._ledger.head
        numbers = head.account_numbers(owner)
        newest = sorted({one for number in numbers for one in head.channels_of(number)}, reverse=True)[:MAX_ROWS]
        views = [await self.channel(channel_id) for channel_id in newest]
        return [view for view in views if view is not None]

    async def transaction(self, tx_hash: bytes) -> TxStatus | None:
        """Where a transaction stands."""
        row = await self._ledger.store.tx(tx_hash)
        if row is None:
            return await self._set_aside(tx_hash)
        batch = await self._ledger.store.batch(row.batch_id)
        posted = batch if batch is not None and batch.l1_tx is not None else None
        return TxStatus(
            l2_tx=to_hex(row.hash),
            kind=row.kind,
            inclusion=self._inclusion_of(batch),
            sequence=row.sequence,
            batch_id=row.batch_id if posted else None,
            l1_tx=to_hex(posted.l1_tx or b"") if posted else None,
            state_root=to_hex(posted.post_root or b"") if posted else None,
            final_at_s=self._final_at_s(batch),
        )

    async def _set_aside(self, tx_hash: bytes) -> TxStatus | None:
        """A transaction that L1's history put off: its promise stands, its place is still to come."""
        kind = await self._ledger.store.set_aside_kind(tx_hash)
        if kind is None:
            return None
        return TxStatus(
            l2_tx=to_hex(tx_hash),
            kind=kind,
            inclusion=Inclusion.SOFT,
            sequence=-1,
            batch_id=None,
            l1_tx=None,
            state_root=None,
            final_at_s=None,
        )

    async def batches(self, limit: int) -> list[BatchView]:
        """The newest batches on L1, newest first."""
        return [self._batch_view(row) for row in await self._ledger.store.batches(min(limit, MAX_ROWS))]

    async def batch(self, batch_id: int) -> BatchView | None:
        """One batch on L1."""
        row = await self._ledger.store.batch(batch_id)
        return self._batch_view(row) if row is not None and row.l1_tx is not None else None

    async def withdrawals_of(self, recipient: bytes) -> list[WithdrawalView]:
        """The newest withdrawals to an L1 address."""
        rows = await self._ledger.store.withdrawals_of(recipient, MAX_ROWS)
        return [await self._withdrawal_view(row) for row in rows]

    def proof(self, kind: ProofKind, number: int) -> StateProof:
        """A proof of a leaf against the newest final batch's root; its ``index`` is the leaf's state index.

        Raises:
            ChainRejectedError: If the final state has no such leaf.
        """
        final = self._ledger.final
        key = _key(kind, number)
        leaf = final.state.leaf(key)
        if leaf is None or final.count == 0:
            raise ChainRejectedError(
                "No final batch holds this yet.", code="not_final", fix="Wait for the challenge window to end."
            )
        return StateProof(
            batch_id=final.count - 1,
            state_root=to_hex(final.state.root()),
            index=key,
            leaf=to_hex(leaf.encode()),
            siblings=[to_hex(sibling) for sibling in final.state.proof(key)],
        )

    async def posted_proof(self, kind: ProofKind, number: int, batch_id: int) -> StateProof:
        """A proof of a leaf, or of its absence, against the root of one of the newest batches on L1.

        Raises:
            ChainRejectedError: ``no_such_batch`` if that batch isn't among them, or isn't known here yet.
            SequencerStoreError: If the database can't be read.
        """
        key = _key(kind, number)
        found = await self._ledger.posted.proof(key, batch_id, self._ledger.posted_count)
        if found is None:
            raise ChainRejectedError(
                "Proofs are given against the newest batches on L1 only.",
                code="no_such_batch",
                fix="Ask again for the newest batch that L1 has.",
            )
        return StateProof(
            batch_id=batch_id,
            state_root=to_hex(found.root),
            index=key,
            leaf=to_hex(found.leaf.encode() if found.leaf is not None else b""),
            siblings=[to_hex(sibling) for sibling in found.siblings],
        )

    async def events(self, limit: int) -> list[ChainEvent]:
        """The newest events, newest first."""
        rows = await self._ledger.store.events(min(limit, MAX_ROWS))
        return [ChainEvent(kind=row.kind, at_s=row.at_s, text=row.text, reference=row.reference) for row in rows]

    def _batch_view(self, row: BatchRow) -> BatchView:
        final_at_s = self._final_at_s(row)
        assert row.submitted_at_s is not None
        assert final_at_s is not None
        return BatchView(
            batch_id=row.batch_id,
            l1_tx=to_hex(row.l1_tx or b""),
            l1_block=row.l1_block or 0,
            submitted_at_s=row.submitted_at_s,
            final_at_s=final_at_s,
            inclusion=self._inclusion_of(row),
            tx_count=row.tx_count,
            frame_count=row.frame_count,
            size_bytes=row.size_bytes,
            pre_state_root=to_hex(row.prev_root),
            post_state_root=to_hex(row.post_root or b""),
        )

    async def _withdrawal_view(self, row: WithdrawalRow) -> WithdrawalView:
        batch = await self._ledger.store.batch(row.batch_id)
        return WithdrawalView(
            withdrawal_index=row.number,
            recipient=checksum_address(row.leaf.recipient),
            amount_nano=row.leaf.amount_nano,
            account_index=row.leaf.account,
            nonce=row.leaf.nonce,
            l2_tx=to_hex(row.l2_tx),
            inclusion=self._inclusion_of(batch),
            final_at_s=self._final_at_s(batch),
            claim_l1_tx=to_hex(row.claim_l1_tx) if row.claim_l1_tx is not None else None,
            is_paid_by_operator=self._ledger.config.operate and self._ledger.fees.pays_claim_of(row),
        )

    async def _inclusion(self, batch_id: int | None) -> Inclusion:
        if batch_id is None:
            return Inclusion.UNKNOWN
        return self._inclusion_of(await self._ledger.store.batch(batch_id))

    def _inclusion_of(self, row: BatchRow | None) -> Inclusion:
        if row is None or row.l1_tx is None:
            return Inclusion.SOFT
        return Inclusion.FINAL if row.batch_id < self._ledger.final.count else Inclusion.BATCHED

    def _final_at_s(self, row: BatchRow | None) -> int | None:
        if row is None or row.submitted_at_s is None:
            return None
        return row.submitted_at_s + self._ledger.deployment.challenge_window_s
