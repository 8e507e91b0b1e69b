"""Holds a sequencer's answers against the state roots on L1, before a wallet or a provider believes them.

A sequencer signs nothing that it tells, and a lie about a balance, a channel or a number costs it nothing. What L1 has
can't be made up. So each answer is proven, soft (only the sequencer's word), or contradicted; then the wallet stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NoReturn

from msgspec.structs import replace

from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.l1.protocol import Deployment
from chain.logs import get_logger
from chain.proofs import ProofKind, leaf_key, proven_leaf
from chain.signing import parse_address
from chain.types import Account, Channel, Leaf
from chain.urls import shown_url
from chain.views import AccountView, ChainInfo, ChannelView, WithdrawalView
from wallet.trust import (
    NO_BATCH,
    NO_PROOF,
    UNCHECKED,
    Judgement,
    Trust,
    judge_account,
    judge_channel,
    judge_payee,
    judge_withdrawal,
)
from wallet.wallet_error import WalletError

if TYPE_CHECKING:
    from chain.client import RollupClient
    from chain.l1.roots import PostedRoot, Roots

log = get_logger(__name__)

TRIES: Final = 4
"""A batch may be posted, or taken back, between reading L1 and asking the sequencer."""
RETRY_S: Final = 0.25
MAX_PROOFS: Final = 64
"""Accounts that are proven in one look, so that a sequencer can't keep a wallet busy."""


class StateVerifier:
    """Checks one rollup RPC against one L1.

    Every check returns the judgement, ``proven`` or ``soft``, with the view it is about: the view is read afresh after
    the proof, so that it can't be the older of the two.

    Args:
        client: The sequencer's RPC.
        roots: The roots on L1: proofs are asked for against the newest one only, so an old state proves nothing.
    """

    def __init__(self, client: RollupClient, roots: Roots) -> None:
        self._client = client
        self._roots = roots

    async def accounts(self, owner: bytes, known: Iterable[int] = ()) -> list[tuple[AccountView, Judgement]]:
        """Every account of an owner, as the sequencer tells of them now.

        Args:
            owner: The address.
            known: Numbers that were this owner's before, so that none of them is kept quiet.

        Raises:
            WalletError: ``contradicted``.
            ChainUnavailableError: If the sequencer or L1 can't be asked.
        """
        told = await self._client.accounts_of(owner)
        numbers = sorted({*known, *(view.index for view in told)})
        proven = await self._leaves("account", numbers[:MAX_PROOFS])
        if isinstance(proven, Judgement):
            return [(view, proven) for view in told]
        root, leaves = proven
        now = {view.index: view for view in await self._client.accounts_of(owner)}
        judged = []
        for index, view in now.items():
            judgement = judge_account(view, leaves[index]) if index in leaves else NO_PROOF
            judged.append((view, self._told(judgement, root)))
        for index, leaf in leaves.items():
            # An account that holds nothing may be gone by now.
            if index not in now and isinstance(leaf, Account) and leaf.owner == owner and leaf.balance_nano:
                self._stop(f"it keeps quiet about account #{index}, which holds money on L1")
        return judged

    async def channel(self, channel_id: int) -> tuple[ChannelView, Judgement] | None:
        """A channel as the sequencer tells of it now; ``None`` where it says that there is none.

        Raises:
            WalletError: ``contradicted``.
            ChainUnavailableError: If the sequencer or L1 can't be asked.
        """
        found = await self._leaves("channel", [channel_id])
        view = await self._client.channel(channel_id)
        if view is None:
            return None
        if isinstance(found, Judgement):
            return view, found
        root, leaves = found
        leaf = leaves[channel_id]
        if not isinstance(leaf, Channel):
            return view, self._told(judge_channel(view, leaf, None, None), root)
        at_root = await self._leaves("account", [leaf.payer, leaf.payee], root)
        if isinstance(at_root, Judgement):
            return view, at_root
        sides = at_root[1]
        return view, self._told(judge_channel(view, leaf, sides[leaf.payer], sides[leaf.payee]), root)

    async def payee(self, number: int, owner: bytes) -> Judgement:
        """Whether an account number is the one of who is to be paid.

        Raises:
            WalletError: ``contradicted``.
            ChainUnavailableError: If the sequencer or L1 can't be asked.
        """
        found = await self._leaves("account", [number])
        if isinstance(found, Judgement):
            return found
        root, leaves = found
        return self._told(judge_payee(number, owner, leaves[number]), root)

    async def withdrawal(self, view: WithdrawalView) -> Judgement:
        """Whether a withdrawal, which never changes, is on L1 as the sequencer tells.

        Raises:
            WalletError: ``contradicted``.
            ChainUnavailableError: If the sequencer or L1 can't be asked.
        """
        number = view.withdrawal_index
        found = await self._leaves("withdrawal", [number])
        if isinstance(found, Judgement):
            return found
        root, leaves = found
        return self._told(judge_withdrawal(view, leaves[number]), root)

    async def _leaves(
        self, kind: ProofKind, numbers: list[int], at: PostedRoot | None = None
    ) -> tuple[PostedRoot, dict[int, Leaf | None]] | Judgement:
        """The leaves of some numbers in the newest state on L1 (or in the one given), or why they can't be had."""
        for attempt in range(1, TRIES + 1):
            try:
                root = at or await self._roots.newest_root()
            except ChainUnavailableError as error:
                log.warning("l1_unreachable_for_checks", error=error.line())
                return UNCHECKED
            if root is None:
                return NO_BATCH
            try:
                return root, {number: await self._leaf(kind, number, root) for number in numbers}
            except ChainRejectedError:
                if at is None and attempt < TRIES:
                    await asyncio.sleep(RETRY_S * attempt)
        return NO_PROOF

    async def _leaf(self, kind: ProofKind, number: int, root: PostedRoot) -> Leaf | None:
        try:
            key = leaf_key(kind, number)
            proof = await self._client.proof(kind, number, root.batch_id)
            return proven_leaf(proof, key, root.root)
        except ValueError:
            newest = await self._roots.newest_root()
            if newest != root and (newest is None or newest.batch_id <= root.batch_id):
                # L1 took the batch back meanwhile.
                raise ChainRejectedError("The batch is gone.", code="no_such_batch") from None
            self._stop(f"its proof of {kind} {number} leads to another state than batch {root.batch_id} has on L1")
        except ChainUnavailableError as error:
            if error.code == "chain_bad_answer":
                self._stop(f"its proof of {kind} {number} proves nothing")
            raise

    def _told(self, judgement: Judgement, root: PostedRoot) -> Judgement:
        if judgement.trust is Trust.CONTRADICTED:
            self._stop(judgement.why)
        return replace(judgement, batch_id=root.batch_id, is_final=root.is_final)

    def _stop(self, why: str) -> NoReturn:
        log.error("sequencer_contradicts_l1", url=shown_url(self._client.url), why=why)
        raise contradicted(self._client.url, why)


def contradicted(url: str, why: str) -> WalletError:
    """The error that stops a wallet whose sequencer lies."""
    return WalletError(
        f"The rollup's RPC at {shown_url(url)} lies: {why}.",
        code="contradicted",
        fix="Use another RPC with --chain, or leave without it: idlewatt wallet force-withdraw --amount all --l1 URL.",
    )


def check_deployment(url: str, info: ChainInfo, deployment: Deployment) -> None:
    """Hold what an RPC says about its rollup against what L1 has at that address.

    Raises:
        WalletError: ``contradicted``.
    """
    told = {
        "L1 chain id": (info.l1_chain_id, deployment.l1_chain_id),
        "L2 chain id": (info.l2_chain_id, deployment.l2_chain_id),
        "inbox": (parse_address(info.inbox_address), deployment.inbox_address),
        "asset": (parse_address(info.asset_address), deployment.asset_address),
        "deployment salt": (bytes.fromhex(info.deployment_salt[2:]), deployment.deployment_salt),
        "challenge window": (info.params.challenge_window_s, deployment.challenge_window_s),
        "force delay": (info.params.force_delay_s, deployment.force_delay_s),
        "close delay": (info.params.close_delay_s, deployment.close_delay_s),
        "unstake delay": (info.params.unstake_delay_s, deployment.unstake_delay_s),
        "asset's unit": (info.nano_per_unit, deployment.nano_per_unit),
    }
    for name, (here, on_l1) in told.items():
        if here != on_l1:
            raise contradicted(url, f"the rollup's {name} is another one on L1")
