"""The wallet's screen: where all the money is, how long until the rest arrives, and what can be done with it."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from node.api import NodeApi
from node.values import ChannelSummary, IdlewattError, MoneyLine, MoneyView, WalletState, WalletView
from screens.base import NodeScreen
from screens.clipboard import copy_text
from screens.dialogs import Reveal
from screens.node_feed import NodeFeed
from screens.text import one_line, usd
from screens.wallet import flows
from screens.wallet.flows import Answer, Flow
from screens.wallet.tables import channel_columns, empty_text, money_columns, qr_content, wallet_content
from screens.widgets.table import NodeTable

_MONEY_ACTIONS = {
    "force_withdraw",
    "leave",
    "faucet",
    "deposit",
    "withdraw",
    "redeem",
    "close_channel",
    "unlock",
    "create",
    "import",
    "export",
}


class WalletScreen(NodeScreen):
    """All wallets of this node, one at a time."""

    TITLE_TEXT = "Wallet"
    LOADS_ON: ClassVar[frozenset[str]] = frozenset({"wallet", "chain", "jobs"})
    HELP_TEXT = (
        "Where all of a wallet's money is: on L2, reserved in channels, earned and claimable, on its way to L1, on L1. "
        "A withdrawal waits for its batch's challenge window; the countdown says how long. tab goes to the channels: "
        "there v redeems and c closes the one under the cursor. Every action that moves money asks first. Where the "
        "sequencer is silent or refuses, p forces a withdrawal through L1; where the rollup ended, e leaves it."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("w", "withdraw", "Withdraw", id="wallet.withdraw"),
        Binding("d", "deposit", "Deposit", id="wallet.deposit"),
        Binding("p", "force_withdraw", "Force out", id="wallet.force", tooltip="Withdraw past the sequencer, by L1"),
        Binding("e", "leave", "Leave", id="wallet.leave", tooltip="Take everything out of a rollup that ended"),
        Binding("f", "faucet", "Faucet", id="wallet.faucet"),
        Binding("v", "redeem", "Redeem", id="wallet.redeem"),
        Binding("c", "close_channel", "Close", id="wallet.close", tooltip="Close the channel under the cursor"),
        Binding("s", "switch", "Switch", id="wallet.switch", tooltip="Show the next wallet"),
        Binding("u", "unlock", "Unlock", id="wallet.unlock"),
        Binding("n", "create", "New", id="wallet.create"),
        Binding("i", "import", "Import", id="wallet.import", show=False),
        Binding("x", "export", "Export", id="wallet.export", show=False),
        Binding("q", "qr", "QR", id="wallet.qr", show=False),
        Binding("y", "copy", "Copy address", id="wallet.copy", show=False),
    ]

    def __init__(self, feed: NodeFeed, pick: Callable[[int], int] = secrets.randbelow) -> None:
        super().__init__(feed)
        self.wallet_id = feed.snapshot.wallets[0].wallet_id if feed.snapshot.wallets else "main"
        self.money_view: MoneyView | None = None
        self.channels: tuple[ChannelSummary, ...] = ()
        self._pick = pick
        self._busy = ""
        self._was_refused = False
        self._available: tuple[object, ...] = ()

    @property
    def wallet(self) -> WalletView | None:
        """The wallet that is shown."""
        return self.feed.wallet(self.wallet_id)

    def compose_body(self) -> ComposeResult:
        """Wallet, money, channels; QR when wide."""
        with Horizontal():
            with Vertical():
                yield Static(id="wallet-head", classes="panel", markup=False)
                with Vertical(id="money-box", classes="panel grow"):
                    yield NodeTable[MoneyLine](
                        money_columns(self.now_ms),
                        lambda line: f"{line.place}:{line.label}:{line.reference}",
                        id="money-table",
                    )
                    yield Static("", id="money-empty", classes="empty", markup=False)
                with Vertical(id="channels-box", classes="panel grow"):
                    yield NodeTable[ChannelSummary](
                        channel_columns(self.now_ms),
                        lambda channel: f"{channel.role}:{channel.channel_id}",
                        id="channels-table",
                    )
                    yield Static(
                        "No channels. The first chat opens one and pays from it; the unspent rest comes back.",
                        id="channels-empty", classes="empty", markup=False,
                    )  # fmt: skip
            with VerticalScroll(id="wallet-side", classes="panel wide-only", can_focus=False):
                yield Static(id="wallet-qr", markup=False)

    def on_mount(self) -> None:
        """Titles."""
        self.query_one("#money-box").border_title = "Where the money is"
        self.query_one("#channels-box").border_title = "Channels"
        self.query_one("#wallet-side").border_title = "Address"
        self._channel_table.focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide what can't be done now; in a browser nobody has logged in, so nothing that touches keys or money."""
        wallet = self.wallet
        state = wallet.state if wallet is not None else WalletState.NONE
        if action in _MONEY_ACTIONS and self.app.is_web:
            return False
        if action in {"create", "import"}:
            return state is WalletState.NONE
        if action == "unlock":
            return state is WalletState.LOCKED
        if action == "switch":
            return len(self.feed.snapshot.wallets) > 1
        if action in {"withdraw", "deposit", "faucet", "export", "qr", "copy"}:
            return state is not WalletState.NONE
        if action in {"redeem", "close_channel"}:
            return bool(self.channels)
        if action in {"force_withdraw", "leave"}:
            return state is not WalletState.NONE and self._way_out() == action
        return super().check_action(action, parameters)

    def _way_out(self) -> str:
        """The way out that fits: a forced withdrawal where the sequencer is silent, an exit where the rollup ended."""
        alarm = self.feed.snapshot.alarm
        if alarm is not None and alarm.way_out == "exit":
            return "leave"
        is_silent = bool(self.feed.snapshot.chain_url) and not self.feed.snapshot.chain_reachable
        is_ignoring = alarm is not None and alarm.way_out == "force"
        return "force_withdraw" if is_silent or is_ignoring or self._was_refused else ""

    @property
    def _channel_table(self) -> NodeTable[ChannelSummary]:
        return self.query_one("#channels-table", NodeTable)

    async def load(self) -> None:
        """Read money and channels."""
        wallet = self.wallet
        if wallet is None or wallet.state is WalletState.NONE:
            self.money_view, self.channels = None, ()
            return
        wallet_id = self.wallet_id
        self.channels = await self.feed.api.channels()
        money = await self.feed.api.money(wallet_id)
        if wallet_id == self.wallet_id:
            self.money_view = money

    def show(self) -> None:
        """Draw what was read."""
        wallet = self.wallet
        head = self.query_one("#wallet-head", Static)
        head.update(wallet_content(wallet))
        others = len(self.feed.snapshot.wallets)
        head.border_title = Content(
            one_line(wallet.label, 30) + (f" · wallet {self._position() + 1} of {others}" if others > 1 else "")
            if wallet
            else "Wallet"
        )
        head.border_subtitle = Content(self._busy)
        money = self.money_view or (wallet.money if wallet is not None else None)
        lines = money.lines if money is not None else ()
        table = self.query_one("#money-table", NodeTable)
        table.show_rows(lines)
        table.set_class(not lines, "hidden")
        empty = self.query_one("#money-empty", Static)
        empty.update(empty_text(wallet))
        empty.set_class(bool(lines), "hidden")
        self.query_one("#money-box").border_subtitle = f"total {usd(money.total_nano)}" if money is not None else ""
        self._channel_table.show_rows(self.channels)
        self._channel_table.set_class(not self.channels, "hidden")
        self.query_one("#channels-empty").set_class(bool(self.channels), "hidden")
        self._show_qr(wallet)
        self.keep_ticking(self.looked_at and any(line.ready_at_s for line in lines))
        available = (wallet.state if wallet is not None else None, len(self.channels), others, self._way_out())
        if available != self._available:
            self._available = available
            self.refresh_bindings()

    def _position(self) -> int:
        return next(
            (at for at, wallet in enumerate(self.feed.snapshot.wallets) if wallet.wallet_id == self.wallet_id), 0
        )

    def _show_qr(self, wallet: WalletView | None) -> None:
        side = self.query_one("#wallet-qr", Static)
        if wallet is None or not wallet.address or not self.has_class("-wide"):
            side.update("")
            return
        side.update(Content("\n\n").join((Content(one_line(wallet.address)), qr_content(wallet))))

    def tick(self) -> None:
        """Count down, and read again when something just became ready."""
        self.show()
        now_s = self.now_ms() // 1000
        lines = self.money_view.lines if self.money_view is not None else ()
        if any(line.ready_at_s is not None and 0 <= now_s - line.ready_at_s < 2 for line in lines):
            self.reload()

    # Actions

    def _begin(self, flow: Flow[WalletView]) -> None:
        wallet = self.wallet
        if wallet is not None:
            self._run(flow(self, wallet))

    def _begin_without_wallet(self, flow: Flow[WalletView]) -> None:
        none_yet = WalletView(
            wallet_id=self.wallet_id,
            label="main",
            state=WalletState.NONE,
            address="",
            balance_nano=None,
            money=None,
            backed_up=False,
        )
        self._run(flow(self, self.wallet or none_yet))

    def _begin_on_channel(self, flow: Flow[ChannelSummary]) -> None:
        channel = self._channel_table.selected
        if channel is None:
            self.tell("No channel is selected. tab goes to the channels.", "warning")
        else:
            self._run(flow(self, channel))

    def _run(self, flow: Coroutine[Any, Any, None]) -> None:
        self.start(self._then_refresh(flow), group="wallet-action")

    async def _then_refresh(self, flow: Coroutine[Any, Any, None]) -> None:
        await flow
        self.feed.refresh(frozenset({"wallet"}))

    @property
    def api(self) -> NodeApi:
        """The node."""
        return self.feed.api

    def now_ms(self) -> int:
        """The chain's clock: it times all that is counted down here."""
        return self.feed.now_ms() - self.feed.snapshot.chain_ahead_ms

    def pick(self, count: int) -> int:
        """Draw a number below ``count``."""
        return self._pick(count)

    async def ask(self, dialog: Any) -> Any:
        """Show a dialog, and wait for what the person decides."""
        return await self.app.push_screen_wait(dialog)

    async def doing(self, what: str, call: Awaitable[Answer]) -> Answer:
        """Show a line while the work runs."""
        self._busy = what
        self.show()
        try:
            return await call
        finally:
            self._busy = ""
            if self.is_attached:
                self.show()

    def action_switch(self) -> None:
        """Show the next wallet."""
        wallets = self.feed.snapshot.wallets
        if len(wallets) > 1:
            self.wallet_id = wallets[(self._position() + 1) % len(wallets)].wallet_id
            self.money_view = None
            self.show()
            self.reload()

    def action_unlock(self) -> None:
        """Unlock for this run."""
        self._begin(flows.unlock)

    def action_withdraw(self) -> None:
        """Money to L1, after amount and destination were confirmed; refused, the way past the sequencer is offered."""
        self._begin(self._withdraw)

    async def _withdraw(self, host: flows.FlowHost, wallet: WalletView) -> None:
        try:
            await flows.withdraw(host, wallet)
        except IdlewattError:
            self._was_refused = True
            raise

    def action_force_withdraw(self) -> None:
        """Money to L1 through its inbox, past the sequencer."""
        self._begin(flows.force_withdraw)

    def action_leave(self) -> None:
        """Everything out of a rollup that ended."""
        self._begin(flows.leave)

    def action_deposit(self) -> None:
        """Money from L1 to L2."""
        self._begin(flows.deposit)

    def action_faucet(self) -> None:
        """Test money."""
        self._begin(flows.faucet)

    def action_redeem(self) -> None:
        """The best voucher of the channel under the cursor, on chain."""
        self._begin_on_channel(flows.redeem)

    def action_close_channel(self) -> None:
        """Close the channel under the cursor: together at once, or alone after the delay."""
        self._begin_on_channel(flows.close_channel)

    def action_create(self) -> None:
        """A new wallet, with its words proven."""
        self._begin_without_wallet(flows.create)

    def action_import(self) -> None:
        """A wallet from elsewhere."""
        self._begin_without_wallet(flows.import_)

    def action_export(self) -> None:
        """The encrypted file, or after a typed word the key itself."""
        self._begin(flows.export)

    def action_qr(self) -> None:
        """The address as a QR code."""
        wallet = self.wallet
        if wallet is not None and wallet.address:
            self.app.push_screen(Reveal(one_line(wallet.address), qr_content(wallet), copies=wallet.address))

    def action_copy(self) -> None:
        """Copy the address."""
        wallet = self.wallet
        if wallet is not None and wallet.address:
            copy_text(self.app, wallet.address, "The address")
