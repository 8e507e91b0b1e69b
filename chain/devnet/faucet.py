"""The devnet's faucet: test money on L2 through a real deposit, and test money with gas ether on L1."""

from __future__ import annotations

import time
from collections.abc import Callable

from cachetools import TTLCache

from chain.devnet.config import FaucetLimits
from chain.errors import ChainRejectedError
from chain.l1.bridge import NO_INDEX_HINT
from chain.l1.connection import checksum
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.money import ASSET_WEI_PER_NANO, NANO_PER_USD
from chain.signing import ZERO_ADDRESS
from chain.views import FaucetGrant

L2_GRANT_NANO = 10 * NANO_PER_USD
L1_GRANT_NANO = 100 * NANO_PER_USD
L1_GRANT_GAS_WEI = 10**17
_RESERVE_NANO = 1_000_000_000 * NANO_PER_USD
_UNLIMITED = 2**256 - 1


class Faucet:
    """Grants out of the operator's own minted reserve.

    Args:
        l1: The contracts, with the operator's key.
        account_number: An address' L2 account, if it has one, so that a second grant doesn't allocate a second account.
        deposited: Called after each deposit, so that the sequencer looks at once.
        limits: How often money is given.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        l1: JsonRpcRollupL1,
        account_number: Callable[[bytes], int | None],
        deposited: Callable[[], None],
        *,
        limits: FaucetLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert l1.signer is not None
        self._signer = l1.signer
        self._connection = l1.connection
        self._l1 = l1
        self._account_number = account_number
        self._deposited = deposited
        self._limits = limits or FaucetLimits()
        self._clock = clock
        self._granted_at: TTLCache[bytes, float] = TTLCache(
            self._limits.max_grants, ttl=self._limits.pause_s, timer=clock
        )

    async def prepare(self) -> None:
        """Mint the reserve and let the inbox take from it, unless an earlier start did.

        Raises:
            ChainUnavailableError: If L1 can't be reached.
            ChainRejectedError: If L1 refuses.
        """
        deployment = await self._l1.deployment()
        self._asset = self._connection.contract("TestUSD", deployment.asset_address)
        self._inbox = self._connection.contract("Inbox", deployment.inbox_address)
        operator, inbox = checksum(self._signer.address), self._inbox.address
        reserve = _RESERVE_NANO * ASSET_WEI_PER_NANO
        if await self._connection.call(self._asset.functions.balanceOf(operator)) < reserve // 2:
            await self._signer.send(self._asset.functions.mint(operator, reserve))
        if await self._connection.call(self._asset.functions.allowance(operator, inbox)) != _UNLIMITED:
            await self._signer.send(self._asset.functions.approve(inbox, _UNLIMITED))

    async def grant(self, address: bytes) -> FaucetGrant:
        """Give an address its grant; returns once L1 has it, a moment before L2 credits it.

        Raises:
            ChainRejectedError: With code ``faucet_limit`` if it, or everybody, had enough for now.
            ChainUnavailableError: If L1 can't be reached.
        """
        if len(address) != len(ZERO_ADDRESS) or address == ZERO_ADDRESS:
            raise ChainRejectedError("That is not an address.", code="bad_address")
        self._admit(address)
        try:
            return await self._give(address)
        except BaseException:
            self._granted_at.pop(address, None)
            raise

    def _admit(self, address: bytes) -> None:
        now = self._clock()
        self._granted_at.expire()
        if address in self._granted_at:
            wait_s = int(self._limits.pause_s - (now - self._granted_at[address])) + 1
            raise ChainRejectedError(
                "This address was given test money a moment ago.",
                code="faucet_limit",
                fix=f"Try again in {wait_s} seconds.",
            )
        if len(self._granted_at) >= self._limits.max_grants:
            raise ChainRejectedError("The faucet is busy.", code="faucet_limit", fix="Try again in a minute.")
        self._granted_at[address] = now

    async def _give(self, address: bytes) -> FaucetGrant:
        recipient = checksum(address)
        number = self._account_number(address)
        hint = NO_INDEX_HINT if number is None else number
        await self._signer.send_ether(address, L1_GRANT_GAS_WEI)
        await self._signer.send(self._asset.functions.transfer(recipient, L1_GRANT_NANO * ASSET_WEI_PER_NANO))
        receipt = await self._signer.send(self._inbox.functions.deposit(recipient, hint, L2_GRANT_NANO))
        self._deposited()
        return FaucetGrant(
            address=recipient,
            l2_amount_nano=L2_GRANT_NANO,
            l1_amount_nano=L1_GRANT_NANO,
            l1_gas_wei=L1_GRANT_GAS_WEI,
            l1_tx="0x" + bytes(receipt["transactionHash"]).hex(),
        )
