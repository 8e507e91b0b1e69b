"""The API of a node: what screens and commands can ask of it.

Calls that fail raise ``IdlewattError`` with one clear line, a code and a fix; nothing else escapes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

from node.values import (
    BenchEvent,
    ChainSnapshot,
    ChannelSummary,
    ChatEvent,
    ChatSession,
    ChatTurn,
    FeeQuote,
    FitView,
    HubModelView,
    LogLine,
    MergeView,
    ModelDetail,
    ModelView,
    MoneyView,
    NodeEvent,
    NodeSnapshot,
    OfferView,
    Prices,
    PullEvent,
    SlashView,
    WithdrawalStep,
)


class NodeApi(Protocol):
    """What can be asked of a node. Wallet calls name a wallet by ``WalletView.wallet_id``."""

    def snapshot(self) -> NodeSnapshot:
        """The node's state now; cheap, never blocks."""
        ...

    def subscribe(self) -> AbstractAsyncContextManager[AsyncIterator[NodeEvent]]:
        """Events from now on: bounded, coalesced, never blocking the node."""
        ...

    # Renting out

    async def go_online(self, model: str = "", prices: Prices | None = None) -> None:
        """Load the model and publish the offer; empty arguments take what the configuration says."""
        ...

    async def go_offline(self) -> None:
        """Withdraw the offer, let running jobs end, unload the model."""
        ...

    async def rent_out_regardless(self, minutes: int) -> None:
        """Rent out for so long whoever else wants the machine; 0 goes back to the rules that are set."""
        ...

    async def models(self) -> tuple[str, ...]:
        """Names that ``go_online`` accepts."""
        ...

    # Models

    async def library(self) -> tuple[ModelView, ...]:
        """Every model on this machine that can be named, with how it fits into what is free now."""
        ...

    async def model_detail(self, model: str) -> ModelDetail:
        """Everything that a model's file says; reads the whole file once, for its digest."""
        ...

    async def model_fit(self, model: str, context_length: int | None = None, slots: int | None = None) -> FitView:
        """Whether a model fits, with so much context a request and so many requests at once."""
        ...

    async def search_models(self, text: str) -> tuple[HubModelView, ...]:
        """GGUF repositories on the Hugging Face hub, the most downloaded first."""
        ...

    def pull_model(self, model: str) -> AbstractAsyncContextManager[AsyncIterator[PullEvent]]:
        """Download ``OWNER/NAME``, ``OWNER/NAME:QUANTIZATION`` or a file of it; ends with ``PullDone``.

        Leaving the context ends the transfer; what has arrived is kept, and the next pull goes on from there.
        """
        ...

    def bench_model(self, model: str) -> AbstractAsyncContextManager[AsyncIterator[BenchEvent]]:
        """Measure a model with 1, 2, 4 and 8 streams: a row each, then the whole, which is kept."""
        ...

    async def remove_model(self, model: str) -> int:
        """Delete a model of the home or of the Hugging Face cache; returns the bytes freed."""
        ...

    # Buying

    async def market(self) -> tuple[OfferView, ...]:
        """Verified offers that are rentable now, best first."""
        ...

    def chat(self, turn: ChatTurn) -> AbstractAsyncContextManager[AsyncIterator[ChatEvent]]:
        """Ask, and read the answer as it comes; ends with ``ChatDone`` or ``ChatFailed``.

        Leaving the context cancels what is still running, pays for what was delivered, and nothing else.
        """
        ...

    async def chat_sessions(self) -> tuple[ChatSession, ...]:
        """Saved conversations, newest first."""
        ...

    async def save_chat(self, session: ChatSession) -> None:
        """Keep a conversation in this home."""
        ...

    async def delete_chat(self, session_id: str) -> None:
        """Forget a conversation."""
        ...

    # Wallet

    async def create_wallet(self, wallet_id: str, passphrase: str) -> str:
        """Create and unlock a wallet; returns its recovery words, shown once."""
        ...

    async def import_wallet(
        self,
        wallet_id: str,
        kind: Literal["private_key", "mnemonic", "v3"],
        secret: str,
        passphrase: str,
        file_passphrase: str = "",
    ) -> None:
        """Import and unlock a wallet; for ``v3`` the secret is the file's text and ``file_passphrase`` opens it."""
        ...

    async def unlock(self, wallet_id: str, passphrase: str) -> None:
        """Unlock for this run."""
        ...

    async def export_wallet(self, wallet_id: str, kind: Literal["v3", "private_key"], passphrase: str) -> str:
        """The wallet's V3 file text, or its private key, after the passphrase proved right."""
        ...

    async def confirm_backup(self, wallet_id: str) -> None:
        """Remember that the person proved to have the recovery words or the file (``WalletView.backed_up``)."""
        ...

    async def money(self, wallet_id: str) -> MoneyView:
        """Where this wallet's money is, read afresh."""
        ...

    async def faucet(self, wallet_id: str) -> int:
        """Ask the devnet for test money; returns the nano that arrived on L2."""
        ...

    async def deposit(self, wallet_id: str, amount_nano: int) -> str:
        """Move money from L1 to L2; returns the L1 transaction."""
        ...

    async def fees(self) -> FeeQuote:
        """What the chain asks for now, by kind of transaction."""
        ...

    async def withdraw(
        self, wallet_id: str, amount_nano: int | None, to: str = "", *, max_fee_nano: int | None = None
    ) -> str:
        """Move money to L1, to the wallet's own address unless another is given.

        ``None`` redeems what is claimable, then takes everything. A fee above ``max_fee_nano`` is not paid, nor one
        above the wallet's own limit where that is not given; so too below.

        Returns the L2 transaction; the claim follows when its batch is final.
        """
        ...

    async def merge(self, wallet_id: str) -> MergeView:
        """Move what this wallet's further accounts hold into its first, for one fee each."""
        ...

    def fast_withdraw(
        self, wallet_id: str, amount_nano: int | None, max_fee_nano: int, *, within_s: int, l1_url: str = ""
    ) -> AbstractAsyncContextManager[AsyncIterator[WithdrawalStep]]:
        """Withdraw to the wallet's own address and sell the claim to whoever pays it out now; each step as it goes.

        ``None`` redeems what is claimable, then takes everything. The buyer keeps at most ``max_fee_nano``, less the
        sooner it buys. Whom nobody pays in time gets it the usual way: then the last step waits.
        """
        ...

    def force_withdraw(
        self, wallet_id: str, amount_nano: int | None, to: str = "", *, wait: bool = True, l1_url: str = ""
    ) -> AbstractAsyncContextManager[AsyncIterator[WithdrawalStep]]:
        """Withdraw past the sequencer, through the L1 inbox, from L1's data alone; each step as it goes.

        ``None`` takes the whole balance. Without ``wait`` it ends once the deadline is known. ``l1_url`` is an L1 to
        use instead of the one that the rollup named.
        """
        ...

    def claim(self, wallet_id: str, *, l1_url: str = "") -> AbstractAsyncContextManager[AsyncIterator[WithdrawalStep]]:
        """Claim every final withdrawal to this wallet on L1, which the operator doesn't; each step as it goes."""
        ...

    def leave(
        self, wallet_id: str, *, freeze: bool = False, wait: bool = True, l1_url: str = ""
    ) -> AbstractAsyncContextManager[AsyncIterator[WithdrawalStep]]:
        """Take everything out of a frozen rollup, from L1's data alone; each step as it goes.

        With ``freeze`` a rollup is frozen first, where that is due. Without ``wait`` it ends where a window must pass.
        """
        ...

    async def stake(self, wallet_id: str, amount_nano: int, *, max_fee_nano: int | None = None) -> str:
        """Put money behind the receipts that this wallet signs; returns the L2 transaction."""
        ...

    async def unstake(self, wallet_id: str, amount_nano: int | None, *, max_fee_nano: int | None = None) -> str:
        """Begin to take a part of the stake, or with ``None`` all of it, out; returns the L2 transaction."""
        ...

    async def finish_unstake(self, wallet_id: str) -> str:
        """Take the part back whose delay is over; returns the L2 transaction."""
        ...

    async def slash(self, wallet_id: str) -> tuple[SlashView, ...]:
        """Hand in every pair of conflicting receipts held, whose provider still has a stake; this wallet gets half."""
        ...

    def force_slash(
        self, wallet_id: str, *, wait: bool = True, l1_url: str = ""
    ) -> AbstractAsyncContextManager[AsyncIterator[WithdrawalStep]]:
        """The same past the sequencer, through the L1 inbox; this wallet pays L1's gas. Each step as it goes.

        Without ``wait`` it ends once the deadline is known. ``l1_url`` as for ``force_withdraw``.
        """
        ...

    async def channels(self) -> tuple[ChannelSummary, ...]:
        """Every channel of ours, newest first."""
        ...

    async def redeem(self, channel_id: int) -> str:
        """Redeem the best voucher held; returns the L2 transaction."""
        ...

    async def close_channel(self, channel_id: int, *, alone: bool = False) -> str:
        """Close with the peer at once, or ``alone`` after the delay; returns the L2 transaction."""
        ...

    # Looking

    async def chain(self) -> ChainSnapshot:
        """The rollup, read afresh."""
        ...

    async def logs(self, limit: int = 500) -> tuple[LogLine, ...]:
        """The newest log lines, oldest first."""
        ...
