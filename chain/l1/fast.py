"""Claims that are sold before they are final, and watchtowers that vouch for batches, as L1 has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from chain.attestations import Attestation
from chain.l1.answers import integer
from chain.l1.attested import AttesterBond
from chain.l1.connection import checksum
from chain.l1.contracts import ContractsL1
from chain.l1.exits import withdrawal_leaf
from chain.orders import SignedOrder
from chain.signing import ZERO_ADDRESS


class Sale(msgspec.Struct, frozen=True, kw_only=True):
    """A claim that somebody took over."""

    key: bytes
    """The withdrawal's leaf, hashed (`chain.orders.claim_key`)."""
    buyer: bytes
    recipient: bytes
    amount_nano: int
    fee_nano: int
    """What the buyer keeps."""
    l1_tx: bytes
    l1_block: int


class FastL1(ContractsL1):
    """The part of `RollupL1` that is about leaving faster."""

    async def buy_withdrawal(self, batch_id: int, index: int, siblings: Sequence[bytes], signed: SignedOrder) -> bytes:
        """Pay a withdrawal out at the fee of now and take its claim over; returns the L1 transaction's hash.

        Args:
            batch_id: A batch that stands and holds it.
            index: The withdrawal's state index.
            siblings: 32 hashes, from the leaf up.
            signed: The recipient's terms.
        """
        order = signed.order
        terms = (order.max_fee_nano, order.start_s, order.deadline_s)
        leaf = withdrawal_leaf(order.withdrawal)
        buy = self._rollup.functions.buyWithdrawal(batch_id, index, leaf, list(siblings), terms, signed.signature)
        return await self._send(buy)

    async def claimant(self, key: bytes) -> bytes | None:
        """Who took a claim over; ``None`` while it is its recipient's."""
        told = bytes.fromhex((await self._call(self._rollup.functions.claimants(key)))[2:])
        return None if told == ZERO_ADDRESS else told

    async def sale(self, buyer: bytes, key: bytes, *, from_block: int) -> Sale | None:
        """The sale of one claim to a buyer, as its event from a block on tells it."""
        return next((sale for sale in await self.sales_to(buyer, from_block=from_block) if sale.key == key), None)

    async def sales_to(self, buyer: bytes, *, from_block: int) -> list[Sale]:
        """The claims that an address took over from a block on, oldest first."""
        event = self._rollup.events.WithdrawalSold
        newest = await self.connection.request(lambda: self.connection.web3.eth.block_number)
        first = max(from_block, self._deployment.block_number)
        logs = await self._logs.read([event], first, integer(newest), [int.from_bytes(buyer, "big")])
        return [
            Sale(
                key=bytes(log["args"]["key"]),
                buyer=buyer,
                recipient=bytes.fromhex(log["args"]["recipient"][2:]),
                amount_nano=integer(log["args"]["amountNano"]),
                fee_nano=integer(log["args"]["feeNano"]),
                l1_tx=bytes(log["transactionHash"]),
                l1_block=integer(log["blockNumber"]),
            )
            for log in logs
        ]

    async def held_nano(self, address: bytes) -> int:
        """The settlement asset that an address holds on L1, rounded down to a nano."""
        held = integer(await self._call(self._asset().functions.balanceOf(checksum(address))))
        units, nano = await self._ratio()
        return held * nano // units

    async def allow(self, amount_nano: int, *, up_to_nano: int) -> None:
        """Let the rollup take so much of the asset from the sender; where it may not yet, approve more at once."""
        sender = self._signer().address
        allowance = self._asset().functions.allowance(checksum(sender), self._rollup.address)
        units, nano = await self._ratio()
        if integer(await self._call(allowance)) * nano < amount_nano * units:
            await self._send(self._asset().functions.approve(self._rollup.address, up_to_nano * units // nano))

    async def has_transactions_under_way(self) -> bool:
        """Whether the sender sent something that isn't mined yet."""
        sender = self._signer().address
        eth = self.connection.web3.eth
        mined = await self.connection.request(lambda: eth.get_transaction_count(checksum(sender), "latest"))
        return await self.connection.next_nonce(sender) > integer(mined)

    def _asset(self) -> Any:
        return self.connection.contract("TestUSD", self._deployment.asset_address)

    async def _ratio(self) -> tuple[int, int]:
        """The asset's units in a nano, and nano in a unit; one of them is 1."""
        functions = self._rollup.functions
        return integer(await self._call(functions.unitsPerNano())), integer(await self._call(functions.nanoPerUnit()))

    async def batch_hash(self, batch_id: int) -> bytes:
        """What a watchtower vouches for when it vouches for a batch that stands."""
        return bytes(await self._call(self._rollup.functions.batchHash(batch_id)))

    async def is_proven_wrong(self, batch_hash: bytes) -> bool:
        """Whether somebody proved a batch of this hash wrong."""
        return int(await self._call(self._rollup.functions.provenWrong(batch_hash)), 16) != 0

    async def attester_bond(self, attester: bytes) -> AttesterBond:
        """What a watchtower put up."""
        amount, leaves_at_s = await self._call(self._attestations().functions.bonds(checksum(attester)))
        return AttesterBond(amount_wei=integer(amount), leaves_at_s=integer(leaves_at_s))

    async def deposit_attester_bond(self, amount_wei: int) -> bytes:
        """Add to one's own bond; returns the L1 transaction's hash, as do the next three."""
        return await self._send(self._attestations().functions.deposit(), value_wei=amount_wei)

    async def start_bond_withdrawal(self) -> bytes:
        """Ask for one's own bond back; it stays slashable for the delay."""
        return await self._send(self._attestations().functions.startWithdrawal())

    async def withdraw_attester_bond(self) -> bytes:
        """Take one's own bond back, once its delay is over."""
        return await self._send(self._attestations().functions.withdraw())

    async def slash_attester(self, attestation: Attestation) -> bytes:
        """Take the bond of a watchtower that vouched for a batch proven wrong."""
        fields = (attestation.batch_id, attestation.batch_hash, attestation.signature)
        return await self._send(self._attestations().functions.slash(*fields))

    def _attestations(self) -> Any:
        return self.connection.contract("Attestations", self._deployment.attestations_address)
