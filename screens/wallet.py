"""Wallet: where all the money is, how long until the rest arrives, and everything that moves it."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Literal, TypeVar, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from node.values import ChannelSummary, IdlewattError, MoneyLine, MoneyView, WalletState, WalletView
from screens.base import NodeScreen
from screens.chain import inclusion_text
from screens.clipboard import copy_text
from screens.dialogs import Confirm, Form, Reveal
from screens.hub import Hub
from screens.jobs_table import peer_text
from screens.text import DASH, countdown, plain, short_hex, usd
from screens.wallet_forms import (
    create_form,
    deposit_form,
    export_form,
    import_form,
    read_amount,
    unlock_form,
    withdraw_form,
    word_check_form,
    words_content,
)
from screens.widgets.qr import qr_lines
from screens.widgets.table import Column, NodeTable

PLACE_MARKS = {"wallet": "■", "channel": "⇄", "claimable": "✓", "withdrawing": "↗", "l1": "□"}
_STATE_MARKS = {
    WalletState.NONE: ("○", "dim"),
    WalletState.LOCKED: ("▲", "$warning"),
    WalletState.UNLOCKED: ("●", "$success"),
}
_CHANNEL_MARKS = {"opening": "◐", "open": "●", "closing": "◑", "closed": "○", "foreign": "✗"}
_MONEY_ACTIONS = {"faucet", "deposit", "withdraw", "redeem", "close_channel", "unlock", "create", "import", "export"}
Answer = TypeVar("Answer")


def _ready(line: MoneyLine, now_ms: int) -> str:
    if line.place == "claimable":
        return "now"  # its time is the channel's expiry: the last moment, not the first
    return countdown(line.ready_at_s, now_ms)


def money_columns(now_ms: Callable[[], int]) -> tuple[Column[MoneyLine], ...]:
    """Columns of where the money is."""
    return (
        Column("label", "where", 24, lambda line: f"{PLACE_MARKS[line.place]} {plain(line.label, 80)}", grow=True),
        Column("amount", "amount", 15, lambda line: usd(line.amount_nano), right=True),
        Column("inclusion", "state", 9, lambda line: inclusion_text(line.inclusion), rank=1),
        Column("ready", "ready", 13, lambda line: _ready(line, now_ms()), right=True),
        Column("reference", "reference", 13, lambda line: short_hex(line.reference), rank=2),
    )


def _channel_state(channel: ChannelSummary) -> Text:
    return Text(f"{_CHANNEL_MARKS[channel.state]} {channel.state}", "red" if channel.state == "foreign" else "")


def _channel_end(channel: ChannelSummary, now_ms: int) -> str:
    if channel.state == "closing":
        return f"closes {countdown(channel.closing_at_s, now_ms)}"
    return f"ends {countdown(channel.expiry_s, now_ms)}" if channel.state == "open" else DASH


def channel_columns(now_ms: Callable[[], int]) -> tuple[Column[ChannelSummary], ...]:
    """Columns of our channels."""
    return (
        Column("id", "id", 4, lambda channel: f"#{channel.channel_id}", right=True),
        Column("state", "state", 9, _channel_state),
        Column("role", "we", 4, lambda channel: "earn" if channel.role == "provider" else "pay"),
        Column("peer", "with", 12, lambda channel: peer_text(channel.peer), rank=2, grow=True),
        Column("deposit", "deposit", 10, lambda channel: usd(channel.deposit_nano), rank=1, right=True),
        Column("spent", "spent", 12, lambda channel: usd(channel.spent_nano), right=True),
        Column("redeemed", "redeemed", 12, lambda channel: usd(channel.redeemed_nano), rank=3, right=True),
        Column("end", "ends", 18, lambda channel: _channel_end(channel, now_ms()), rank=4),
    )


def wallet_content(wallet: WalletView | None) -> Content:
    """Whose, where, how much, and what is wrong with it."""
    if wallet is None or wallet.state is WalletState.NONE:
        return Content.assemble(("○ no wallet yet  ", "bold"), ("→ ", "$primary"), "n makes one, i imports one.")
    mark, style = _STATE_MARKS[wallet.state]
    first = Content.assemble(
        (f"{mark} {wallet.state.value}", f"bold {style}"),
        "  ",
        plain(wallet.address),
        "  ",
        (usd(wallet.balance_nano), "bold"),
        " on L2",
    )
    lines = [first]
    if wallet.state is WalletState.LOCKED:
        lines.append(Content.assemble(("→ ", "$primary"), "u unlocks it with its passphrase."))
    if not wallet.backed_up:
        lines.append(
            Content.assemble(
                ("▲ no proven backup  ", "$warning"),
                ("→ ", "$primary"),
                "x exports the encrypted file; keep it elsewhere.",
            )
        )
    return Content("\n").join(lines)


class WalletScreen(NodeScreen):
    """All wallets of this node, one at a time."""

    TITLE_TEXT = "Wallet"
    LOADS_ON: ClassVar[frozenset[str]] = frozenset({"wallet", "chain", "jobs"})
    HELP_TEXT = (
        "Where all of a wallet's money is: on L2, reserved in channels, earned and claimable, on its way to L1, on L1. "
        "A withdrawal waits for its batch's challenge window; the countdown says how long. tab goes to the channels: "
        "there v redeems and c closes the one under the cursor. Every action that moves money asks first."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("w", "withdraw", "Withdraw", id="wallet.withdraw"),
        Binding("d", "deposit", "Deposit", id="wallet.deposit"),
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

    def __init__(self, hub: Hub, pick: Callable[[int], int] = secrets.randbelow) -> None:
        super().__init__(hub)
        self.wallet_id = hub.snapshot.wallets[0].wallet_id if hub.snapshot.wallets else "main"
        self.money_view: MoneyView | None = None
        self.channels: tuple[ChannelSummary, ...] = ()
        self._pick = pick
        self._busy = ""
        self._available: tuple[object, ...] = ()

    @property
    def wallet(self) -> WalletView | None:
        """The wallet that is shown."""
        return self.hub.wallet(self.wallet_id)

    def compose_body(self) -> ComposeResult:
        """Wallet, money, channels; QR when wide."""
        with Horizontal():
            with Vertical():
                yield Static(id="wallet-head", classes="panel", markup=False)
                with Vertical(id="money-box", classes="panel grow"):
                    yield NodeTable[MoneyLine](
                        money_columns(self.hub.now_ms),
                        lambda line: f"{line.place}:{line.label}:{line.reference}",
                        id="money-table",
                    )
                    yield Static("", id="money-empty", classes="empty", markup=False)
                with Vertical(id="channels-box", classes="panel grow"):
                    yield NodeTable[ChannelSummary](
                        channel_columns(self.hub.now_ms),
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
            return len(self.hub.snapshot.wallets) > 1
        if action in {"withdraw", "deposit", "faucet", "export", "qr", "copy"}:
            return state is not WalletState.NONE
        if action in {"redeem", "close_channel"}:
            return bool(self.channels)
        return super().check_action(action, parameters)

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
        self.channels = await self.hub.api.channels()
        money = await self.hub.api.money(wallet_id)
        if wallet_id == self.wallet_id:
            self.money_view = money

    def show(self) -> None:
        """Draw what was read."""
        wallet = self.wallet
        head = self.query_one("#wallet-head", Static)
        head.update(wallet_content(wallet))
        others = len(self.hub.snapshot.wallets)
        head.border_title = Content(
            plain(wallet.label, 30) + (f" · wallet {self._position() + 1} of {others}" if others > 1 else "")
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
        empty.update(self._empty_text(wallet))
        empty.set_class(bool(lines), "hidden")
        self.query_one("#money-box").border_subtitle = f"total {usd(money.total_nano)}" if money is not None else ""
        self._channel_table.show_rows(self.channels)
        self._channel_table.set_class(not self.channels, "hidden")
        self.query_one("#channels-empty").set_class(bool(self.channels), "hidden")
        self._show_qr(wallet)
        self.keep_ticking(self.looked_at and any(line.ready_at_s for line in lines))
        available = (wallet.state if wallet is not None else None, len(self.channels), others)
        if available != self._available:
            self._available = available
            self.refresh_bindings()

    def _position(self) -> int:
        return next(
            (at for at, wallet in enumerate(self.hub.snapshot.wallets) if wallet.wallet_id == self.wallet_id), 0
        )

    @staticmethod
    def _empty_text(wallet: WalletView | None) -> str:
        if wallet is None or wallet.state is WalletState.NONE:
            return "Make a wallet first: n."
        return "No money here yet. f asks the devnet's faucet, d deposits from L1, F3 earns some."

    def _show_qr(self, wallet: WalletView | None) -> None:
        side = self.query_one("#wallet-qr", Static)
        if wallet is None or not wallet.address or not self.has_class("-wide"):
            side.update("")
            return
        side.update(Content(plain(wallet.address) + "\n\n" + "\n".join(qr_lines(plain(wallet.address)))))

    def tick(self) -> None:
        """Count down, and read again when something just became ready."""
        self.show()
        now_s = self.hub.now_ms() // 1000
        lines = self.money_view.lines if self.money_view is not None else ()
        if any(line.ready_at_s is not None and 0 <= now_s - line.ready_at_s < 2 for line in lines):
            self.reload()

    # Actions

    def _begin(self, flow: Callable[[WalletView], Awaitable[None]]) -> None:
        wallet = self.wallet
        if wallet is not None:
            self.start(self._flow(flow, wallet), group="wallet-action", exclusive=False)

    async def _flow(self, flow: Callable[[WalletView], Awaitable[None]], wallet: WalletView) -> None:
        await flow(wallet)
        self.hub.refresh(frozenset({"wallet"}))

    async def _ask(self, dialog: Any) -> Any:
        return await self.app.push_screen_wait(dialog)

    async def _doing(self, what: str, call: Awaitable[Answer]) -> Answer:
        """Say what is being waited for, until it is there."""
        self._busy = what
        self.show()
        try:
            return await call
        finally:
            self._busy = ""
            if self.is_attached:
                self.show()

    async def _unlocked(self, wallet: WalletView) -> bool:
        if wallet.state is WalletState.UNLOCKED:
            return True
        values = await self._ask(Form(unlock_form(wallet)))
        if values is None:
            return False
        await self._doing("unlocking…", self.hub.api.unlock(wallet.wallet_id, values["passphrase"]))
        return True

    def action_switch(self) -> None:
        """Show the next wallet."""
        wallets = self.hub.snapshot.wallets
        if len(wallets) > 1:
            self.wallet_id = wallets[(self._position() + 1) % len(wallets)].wallet_id
            self.money_view = None
            self.show()
            self.reload()

    def action_unlock(self) -> None:
        """Unlock for this run."""

        async def flow(wallet: WalletView) -> None:
            if await self._unlocked(wallet):
                self.tell(f"{wallet.label} is unlocked until the app ends.")

        self._begin(flow)

    def action_withdraw(self) -> None:
        """Money to L1, after amount and destination were confirmed."""

        async def flow(wallet: WalletView) -> None:
            values = await self._ask(Form(withdraw_form(wallet)))
            if values is None:
                return
            amount_nano, to = read_amount(values["amount"]), values["to"].strip()
            rows = [
                (
                    "amount",
                    usd(amount_nano)
                    if amount_nano is not None
                    else f"all of it ({usd(wallet.balance_nano)} and what is claimable)",
                    "bold",
                ),
                ("to", to or wallet.address, "bold"),
                ("", "" if to else "this wallet's own address on L1"),
                ("from", f"{wallet.label} on L2"),
            ]
            note = "It arrives when its batch's challenge window is over; until then it shows as withdrawing."
            if await self._ask(Confirm("Withdraw to L1?", rows, "Withdraw", note)) and await self._unlocked(wallet):
                l2_tx = await self._doing("withdrawing…", self.hub.api.withdraw(wallet.wallet_id, amount_nano, to))
                self.tell(f"Withdrawal accepted as {short_hex(l2_tx)}; it is claimed by itself when final.")

        self._begin(flow)

    def action_deposit(self) -> None:
        """Money from L1 to L2."""

        async def flow(wallet: WalletView) -> None:
            values = await self._ask(Form(deposit_form(wallet)))
            if values is None:
                return
            amount_nano = read_amount(values["amount"])
            if amount_nano is None:
                return
            rows = [
                ("amount", usd(amount_nano), "bold"),
                ("from", f"{wallet.address} on L1"),
                ("to", f"{wallet.address} on L2", "bold"),
            ]
            if await self._ask(Confirm("Deposit into the rollup?", rows, "Deposit")) and await self._unlocked(wallet):
                l1_tx = await self._doing("depositing…", self.hub.api.deposit(wallet.wallet_id, amount_nano))
                self.tell(f"Deposited with L1 transaction {short_hex(l1_tx)}.")

        self._begin(flow)

    def action_faucet(self) -> None:
        """Test money."""

        async def flow(wallet: WalletView) -> None:
            amount_nano = await self._doing("asking the faucet…", self.hub.api.faucet(wallet.wallet_id))
            self.tell(f"{usd(amount_nano)} of test money arrived in {wallet.label}.")

        self._begin(flow)

    def _channel(self) -> ChannelSummary | None:
        channel = self._channel_table.selected
        if channel is None:
            self.tell("No channel is selected. tab goes to the channels.", "warning")
        return channel

    def action_redeem(self) -> None:
        """The best voucher of the channel under the cursor, on chain."""
        channel = self._channel()
        if channel is None:
            return
        if channel.role != "provider":
            self.tell(f"Channel #{channel.channel_id} is one we pay in; its provider redeems. c closes it.", "warning")
            return

        async def flow(_wallet: WalletView) -> None:
            rows = [
                ("channel", f"#{channel.channel_id} with {channel.peer}"),
                ("amount", usd(channel.spent_nano - channel.redeemed_nano), "bold"),
                ("to", "this node's seller wallet on L2", "bold"),
            ]
            if await self._ask(Confirm("Redeem the best voucher?", rows, "Redeem")):
                l2_tx = await self._doing("redeeming…", self.hub.api.redeem(channel.channel_id))
                self.tell(f"Redeemed with {short_hex(l2_tx)}.")

        self._begin(flow)

    def action_close_channel(self) -> None:
        """Close the channel under the cursor: together at once, or alone after the delay."""
        channel = self._channel()
        if channel is None:
            return

        async def flow(_wallet: WalletView) -> None:
            back_nano = channel.deposit_nano - channel.spent_nano
            rows = [
                ("channel", f"#{channel.channel_id} with {channel.peer}"),
                ("to the seller", usd(channel.spent_nano), "bold"),
                ("to the buyer", usd(back_nano), "bold"),
            ]
            if not await self._ask(
                Confirm(
                    "Close the channel together?", rows, "Close", "The peer signs too, and the money is free at once."
                )
            ):
                return
            try:
                l2_tx = await self._doing("closing…", self.hub.api.close_channel(channel.channel_id))
            except IdlewattError as error:
                note = f"{error.message} Alone it takes the close delay; the peer may redeem a newer voucher meanwhile."
                if channel.role != "buyer" or not await self._ask(
                    Confirm("Close alone?", rows, "Close alone", plain(note, 400))
                ):
                    raise
                l2_tx = await self._doing("closing alone…", self.hub.api.close_channel(channel.channel_id, alone=True))
            self.tell(f"Closed with {short_hex(l2_tx)}.")

        self._begin(flow)

    def action_create(self) -> None:
        """A new wallet, with its words proven."""

        async def flow(wallet: WalletView) -> None:
            values = await self._ask(Form(create_form()))
            if values is None:
                return
            words = await self._doing(
                "making the wallet…", self.hub.api.create_wallet(wallet.wallet_id, values["passphrase"])
            )
            await self._prove_backup(wallet.wallet_id, words)

        self._begin_without_wallet(flow)

    async def _prove_backup(self, wallet_id: str, words: str) -> None:
        note = "Write these words on paper, in order. They are shown once, and they are the wallet."
        while True:
            await self._ask(Reveal("Recovery words", words_content(words), note=note))
            if await self._ask(Form(word_check_form(words, self._pick(len(words.split()))))) is not None:
                await self.hub.api.confirm_backup(wallet_id)
                self.tell("The backup is proven.")
                return
            rows = [("the words", "are not shown again")]
            if await self._ask(
                Confirm("Go on without a proven backup?", rows, "Go on", "Lost words and a lost disk mean lost money.")
            ):
                return

    def action_import(self) -> None:
        """A wallet from elsewhere."""

        async def flow(wallet: WalletView) -> None:
            values = await self._ask(Form(import_form()))
            if values is None:
                return
            kind = cast(Literal["private_key", "mnemonic", "v3"], values["kind"])
            call = self.hub.api.import_wallet(
                wallet.wallet_id, kind, values["secret"], values["passphrase"], values["file_passphrase"]
            )
            await self._doing("importing…", call)
            self.tell("The wallet is imported and unlocked.")

        self._begin_without_wallet(flow)

    def _begin_without_wallet(self, flow: Callable[[WalletView], Awaitable[None]]) -> None:
        none_yet = WalletView(
            wallet_id=self.wallet_id,
            label="main",
            state=WalletState.NONE,
            address="",
            balance_nano=None,
            money=None,
            backed_up=False,
        )
        self.start(self._flow(flow, self.wallet or none_yet), group="wallet-action")

    def action_export(self) -> None:
        """The encrypted file, or after a typed word the key itself."""

        async def flow(wallet: WalletView) -> None:
            values = await self._ask(Form(export_form(wallet)))
            if values is None:
                return
            kind = cast(Literal["v3", "private_key"], values["kind"])
            if kind == "private_key":
                rows = [("wallet", wallet.label), ("address", wallet.address)]
                note = "The key will stand on this screen. Whoever sees it can take everything."
                if not await self._ask(Confirm("Show the private key?", rows, "Show it", note, word="export")):
                    return
            secret = await self._doing(
                "decrypting…", self.hub.api.export_wallet(wallet.wallet_id, kind, values["passphrase"])
            )
            if kind == "private_key":
                await self._ask(Reveal("Private key", Content(secret), note="Close this as soon as you have it."))
            else:
                await self._ask(
                    Reveal(
                        "V3 keystore file", Content(secret), note="Keep this text in a file elsewhere.", copies=secret
                    )
                )

        self._begin(flow)

    def action_qr(self) -> None:
        """The address as a QR code."""
        wallet = self.wallet
        if wallet is not None and wallet.address:
            body = Content("\n".join(qr_lines(plain(wallet.address))))
            self.app.push_screen(Reveal(f"{plain(wallet.address)}", body, copies=wallet.address))

    def action_copy(self) -> None:
        """Copy the address."""
        wallet = self.wallet
        if wallet is not None and wallet.address:
            copy_text(self.app, wallet.address, "The address")
