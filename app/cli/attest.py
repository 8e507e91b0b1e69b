"""``idlewatt watch --attest``: the bond behind a watchtower's word, and where that word is published."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from app.cli.common import emit
from chain.errors import IdlewattError, UsageError

if TYPE_CHECKING:
    from chain.client import RollupClient
    from chain.l1.rollup_l1 import JsonRpcRollupL1
    from chain.replay import ReplayedBatch
    from chain.watchtower.attester import AttestationPublisher, Attester
    from wallet.account import UnlockedAccount

WEI = 10**18


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What is watched."""

    l1_url: str
    rollup_address: bytes
    offered_snapshot: str | None = None
    """Where the rollup's RPC offers a state to begin with, if it was asked anything."""


class Vouching:
    """An attester whose bond stands, with the board that its word goes to.

    Args:
        l1: The contracts.
        client: The rollup's RPC, which has the board.
        attester: Signs.
    """

    def __init__(self, l1: JsonRpcRollupL1, client: RollupClient, attester: Attester) -> None:
        self._l1, self._client, self._attester = l1, client, attester

    def note(self, replayed: ReplayedBatch) -> None:
        """A batch was executed again and is right."""
        self._attester.note(replayed)

    def publisher(self, verified: Callable[[], int]) -> AttestationPublisher:
        """What publishes the attester's words; ``verified`` says how many batches its watchtower found right."""
        from chain.watchtower.attester import AttestationPublisher

        return AttestationPublisher(self._l1, self._client, self._attester, verified)


def check_attesting(*, attest: bool, bond: float | None, unbond: bool, once: bool, has_board: bool) -> None:
    """Make sure that the options about attesting go together.

    Raises:
        UsageError: If they don't.
    """
    if bond is not None and not attest:
        raise UsageError("--bond belongs to --attest.", fix="Add --attest, or leave --bond away.")
    if attest and once:
        raise UsageError("--once only looks.", fix="Leave --attest away, or --once.")
    if attest and unbond:
        raise UsageError("--unbond ends what --attest begins.", fix="Give one of the two.")
    if attest and not has_board:
        raise UsageError("It isn't known where to publish.", code="no_chain", fix="Give --chain http://host:port too.")


@asynccontextmanager
async def attesting(place: Place, chain: str, account: UnlockedAccount, bond: float | None) -> AsyncIterator[Vouching]:
    """Put the bond up where it lacks, and vouch for as long as the block runs.

    Args:
        place: What is watched.
        chain: The rollup's RPC, which has the board.
        account: Whose bond answers.
        bond: In ether; ``None`` asks for any.

    Raises:
        IdlewattError: ``no_bond`` where there is none.
    """
    from chain.client import RollupClient
    from chain.replay import rules_of
    from chain.watchtower.attester import Attester
    from wallet.l1 import open_rollup

    l1 = await open_rollup(place.l1_url, place.rollup_address, account)
    try:
        await _put_up(l1, account.address, bond)
        attester = Attester(rules_of(await l1.deployment()).domain, account)
        async with RollupClient(chain) as client:
            yield Vouching(l1, client, attester)
    finally:
        await l1.aclose()


async def take_bond_back(place: Place, account: UnlockedAccount, *, as_json: bool) -> None:
    """Ask for the bond back, or take it where its delay is over, and say which.

    Raises:
        IdlewattError: ``no_bond`` where there is none.
        ChainRejectedError: ``bond_locked`` while the delay runs.
    """
    from wallet.l1 import open_rollup

    l1 = await open_rollup(place.l1_url, place.rollup_address, account)
    try:
        bond = await l1.attester_bond(account.address)
        if not bond.amount_wei:
            raise IdlewattError("This wallet has no bond as a watchtower.", code="no_bond")
        if is_taken := bond.leaves_at_s != 0:
            await l1.withdraw_attester_bond()
            text = f"{bond.amount_wei / WEI:g} ether are back."
        else:
            await l1.start_bond_withdrawal()
            bond = await l1.attester_bond(account.address)
            left_s = bond.leaves_at_s - await l1.time_s()
            text = f"Asked for {bond.amount_wei / WEI:g} ether back: run this again in {left_s} s to take it."
    finally:
        await l1.aclose()
        account.forget()
    emit({"bond_wei": bond.amount_wei, "leaves_at_s": bond.leaves_at_s, "taken": is_taken}, as_json=as_json, text=text)


async def _put_up(l1: JsonRpcRollupL1, address: bytes, bond: float | None) -> None:
    held = await l1.attester_bond(address)
    missing_wei = round((bond or 0) * WEI) - held.amount_wei
    if missing_wei > 0:
        await l1.deposit_attester_bond(missing_wei)
    elif not held.vouches():
        raise IdlewattError(
            "Nobody believes a watchtower that has no bond.",
            code="no_bond",
            fix="Put one up: add --bond with an amount of ether, which is lost if it vouches for a wrong batch.",
        )
