"""Slashing: hands in two receipts of one provider that contradict each other."""

from __future__ import annotations

from typing import Final

from chain.errors import ChainRejectedError
from chain.logs import get_logger
from node.payments.wallet import NodeWallet
from node.store.store import Store
from node.values import SlashView
from wallet.addresses import checksum_address
from wallet.receipts import Receipt
from wallet.wallet_error import WalletError

log = get_logger(__name__)

_FORCE: Final = "Force it through L1, for gas there: idlewatt wallet slash --force."


async def evidence_of(store: Store) -> tuple[tuple[Receipt, Receipt], ...]:
    """Every pair of receipts held that contradict each other.

    Raises:
        WalletError: ``no_evidence`` if there is none.
    """
    pairs = await store.conflicting_receipts()
    if not pairs:
        raise WalletError(
            "No two receipts held here contradict each other.",
            code="no_evidence",
            fix="Nothing to do: evidence is kept by itself when a provider signs twice.",
        )
    return tuple(pairs)


async def slash_by_evidence(wallet: NodeWallet, store: Store) -> tuple[SlashView, ...]:
    """Hand in every pair of conflicting receipts held; a provider without a stake left is passed over.

    Raises:
        WalletError: ``no_evidence`` if no two receipts held contradict each other, ``nothing_to_slash`` if none of
            the providers has a stake.
        IdlewattError: If the wallet is locked, or the chain can't be asked.
    """
    pairs = await evidence_of(store)
    service = await wallet.service()
    found: list[SlashView] = []
    for first, second in pairs:
        view = await service.provider(first.provider)
        stake_nano = view.stake_nano + view.unlocking_nano if view else 0
        if stake_nano == 0:
            continue
        try:
            receipt = await service.slash(first, second)
        except (ChainRejectedError, WalletError) as error:
            if error.code not in ("stake_unavailable", "nothing_to_slash"):
                # Its signatures were checked here: whoever sequences refuses what the rollup's rules take.
                raise WalletError(f"The chain refuses it: {error.message}", code=error.code, fix=_FORCE) from error
            continue  # another wallet was faster, or the stake doesn't answer for that channel
        found.append(_view(first, stake_nano, receipt.l2_tx))
        log.warning("provider_slashed", provider=found[-1].provider)
    if not found:
        raise WalletError(
            f"{len(pairs)} provider receipts contradict each other, and none of their signers has a stake left.",
            code="nothing_to_slash",
            fix="The evidence stays here.",
        )
    return tuple(found)


def _view(receipt: Receipt, stake_nano: int, l2_tx: str) -> SlashView:
    return SlashView(
        provider=checksum_address(receipt.provider),
        channel_id=receipt.channel_id,
        sequence=receipt.sequence,
        reward_nano=stake_nano // 2,
        l2_tx=l2_tx,
    )
