"""A withdrawal's claim for sale: what its recipient signs, what the fee is at a time, and who signed.

The contract (`FastWithdrawals.sol`) computes the same from block time.
"""

from __future__ import annotations

import msgspec

from chain.eip712 import SigningDomain, StructType
from chain.errors import UsageError
from chain.signing import keccak256, recover
from chain.types import MAX_U64, Withdrawal

ORDER_TYPE = (
    b"WithdrawalOrder(uint32 account,uint64 nonce,uint64 amount,address recipient,"
    b"uint64 maxFee,uint64 start,uint64 deadline)"
)
_ORDER = StructType(ORDER_TYPE)


class WithdrawalOrder(msgspec.Struct, frozen=True, kw_only=True):
    """The terms on which a recipient sells one withdrawal's claim."""

    withdrawal: Withdrawal
    max_fee_nano: int
    """What the buyer may keep at most."""
    start_s: int
    """When the fee begins to rise from 0, on L1's clock."""
    deadline_s: int
    """When it has reached its maximum, and the offer ends."""

    def digest(self, domain: SigningDomain) -> bytes:
        """The 32 bytes that the recipient signs."""
        sold = self.withdrawal
        return domain.digest(
            _ORDER.hash(
                sold.account,
                sold.nonce,
                sold.amount_nano,
                sold.recipient,
                self.max_fee_nano,
                self.start_s,
                self.deadline_s,
            )
        )

    def fee_nano(self, at_s: int) -> int:
        """What a buyer may keep in a block of this time: it rises evenly from start to deadline, rounded down."""
        if at_s <= self.start_s:
            return 0
        return self.max_fee_nano * (min(at_s, self.deadline_s) - self.start_s) // (self.deadline_s - self.start_s)

    def check(self) -> None:
        """Make sure that the contract takes such terms.

        Raises:
            UsageError: ``bad_order`` if it doesn't.
        """
        sold = self.withdrawal
        is_sound = 0 < sold.amount_nano <= MAX_U64 and 0 <= self.max_fee_nano <= sold.amount_nano
        if not is_sound or not 0 <= self.start_s < self.deadline_s <= MAX_U64:
            raise UsageError(
                "Such an offer can't be made: its fee exceeds the amount, or it ends before it begins.",
                code="bad_order",
            )


class SignedOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order that anybody may take up."""

    order: WithdrawalOrder
    signature: bytes
    """64 bytes by the withdrawal's recipient."""

    def is_signed(self, domain: SigningDomain) -> bool:
        """Whether the recipient signed it, in the one form that the contract takes."""
        return recover(self.order.digest(domain), self.signature) == self.order.withdrawal.recipient


def claim_key(withdrawal: Withdrawal) -> bytes:
    """What a claim goes by: the hash of the withdrawal's leaf, whatever number it has."""
    return keccak256(withdrawal.encode())
