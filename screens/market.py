"""Market: the verified offers, with price and speed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import DataTable, Input, Static

from node.values import Health, NodeSnapshot, OfferView
from screens.base import NodeScreen
from screens.node_feed import NodeFeed
from screens.text import count_short, countdown, milliseconds, one_line, price, short_address, short_hex, speed, usd
from screens.widgets.facts import facts
from screens.widgets.table import Column, NodeTable


def _model_cell(offer: OfferView) -> Text:
    return Text(one_line(offer.model, 80), style="bold" if offer.mine else "")


OFFER_COLUMNS: tuple[Column[OfferView], ...] = (
    Column("model", "model", 16, _model_cell, grow=True),
    Column("quant", "quant", 6, lambda offer: one_line(offer.quantization, 8), rank=5),
    Column("input", "$ in/M", 7, lambda offer: usd(offer.prices.input_nano_per_mtok), right=True),
    Column("output", "$ out/M", 7, lambda offer: usd(offer.prices.output_nano_per_mtok), right=True),
    Column("speed", "tok/s", 6, lambda offer: speed(offer.tokens_per_s), right=True),
    Column("ttft", "first", 7, lambda offer: milliseconds(offer.ttft_ms), rank=1, right=True),
    Column("slots", "free", 5, lambda offer: f"{offer.free_slots}/{offer.slots}", rank=2, right=True),
    Column(
        "provider", "provider", 11, lambda offer: "this node" if offer.mine else short_address(offer.provider), rank=3
    ),
    Column("context", "context", 7, lambda offer: str(offer.context_length), rank=4, right=True),
)


ABILITIES = {
    "completion": "continue a text",
    "chat": "answer a question",
    "turns": "hold a conversation",
    "system": "follow a system message",
    "enable_thinking": "be told whether to think",
    "reasoning_effort": "be told how much to think",
}


def abilities_said(abilities: Sequence[str]) -> str:
    """What can be asked of a model, for a person."""
    return ", ".join(ABILITIES[word] for word in abilities if word in ABILITIES) or "not told"


def matches(offer: OfferView, wanted: str) -> bool:
    """Whether every word of the filter is somewhere in the offer."""
    searched = f"{offer.model} {offer.quantization} {offer.architecture} {offer.provider} {offer.engine_build}".lower()
    return all(word in searched for word in wanted.lower().split())


def offer_content(offer: OfferView, now_ms: int) -> Content:
    """One offer in full."""
    return facts(
        [
            ("model", offer.model, "bold"),
            ("file", short_hex(offer.model_sha256)),
            ("kind", f"{offer.architecture} · {offer.quantization} · {count_short(offer.parameters)} parameters"),
            ("context", f"{offer.context_length} tokens"),
            ("price", price(offer.prices), "bold"),
            ("speed", f"{speed(offer.tokens_per_s)} tok/s, first token {milliseconds(offer.ttft_ms)}"),
            ("slots", f"{offer.free_slots} of {offer.slots} free"),
            ("deposit", f"{usd(offer.min_deposit_nano)} at least, what is unspent comes back"),
            ("stake", usd(offer.stake_nano) if offer.stake_nano else "none"),
            ("provider", offer.provider),
            ("node", short_hex(offer.node_id)),
            ("engine", offer.engine_build),
            ("can", abilities_said(offer.abilities)),
            ("valid", countdown(offer.expires_ms // 1000, now_ms).replace("in ", "for another ")),
        ]
    )


def empty_text(snapshot: NodeSnapshot, filtered: bool) -> str:
    """Why the table is empty, and what to do about it."""
    if filtered:
        return "No offer matches. Esc clears the filter."
    if not snapshot.relay.url:
        return "No relay is set, and offers come over one. Start again with --relay ws://host:port; it is remembered."
    if snapshot.relay.state != "online":
        reason = one_line(snapshot.relay.error)
        fix = one_line(snapshot.relay.fix) or "It reconnects by itself; r asks again."
        return f"No relay ({snapshot.relay.state}): offers come over it. {reason} {fix}".replace("  ", " ")
    clock = snapshot.clock
    if clock is not None and clock.health is Health.FAIL:
        return f"{clock.line} {clock.fix}"
    return "Nobody rents a model out on this relay now. F3 rents yours out; r asks again."


class OfferTable(NodeTable[OfferView]):
    """Enter chats with an offer."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "Chat with it", id="market.chat")]


class MarketScreen(NodeScreen):
    """Verified offers, best first."""

    TITLE_TEXT = "Market"
    LOADS_ON: ClassVar[frozenset[str]] = frozenset({"market", "relay"})
    HELP_TEXT = (
        "Offers that are rentable now, best first; each is signed by its provider and was verified here. Prices are "
        "dollars a million tokens. / filters by model, quantization or provider, esc clears, Enter chats with the "
        "offer under the cursor."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", id="market.filter"),
        Binding("r", "reload", "Refresh", id="market.reload"),
        Binding("escape", "clear", "Clear filter", show=False, id="market.clear"),
    ]

    class ChatWith(Message):
        """The person wants to chat with this offer."""

        def __init__(self, offer: OfferView) -> None:
            super().__init__()
            self.offer = offer

    def __init__(self, feed: NodeFeed) -> None:
        super().__init__(feed)
        self.offers: tuple[OfferView, ...] = ()
        self._asked = False

    def compose_body(self) -> ComposeResult:
        """Filter, table, and (when wide) the offer under the cursor."""
        yield Input(
            placeholder="filter: model, quantization, provider", id="market-filter", classes="hidden", compact=True
        )
        with Horizontal():
            with Vertical(id="offers-box", classes="panel grow"):
                yield OfferTable(OFFER_COLUMNS, lambda offer: offer.offer_id, id="offers-table")
                yield Static("", id="offers-empty", classes="empty", markup=False)
            with VerticalScroll(id="offer-side", classes="panel wide-only"):
                yield Static(id="offer-detail", markup=False)

    def on_mount(self) -> None:
        """Titles."""
        self.query_one("#offers-box").border_title = "Offers"
        self.query_one("#offer-side").border_title = "Offer"
        self._table.focus()

    @property
    def _table(self) -> NodeTable[OfferView]:
        return self.query_one("#offers-table", NodeTable)

    @property
    def _filter(self) -> Input:
        return self.query_one("#market-filter", Input)

    async def load(self) -> None:
        """Ask for the offers."""
        try:
            self.offers = await self.feed.api.market()
        finally:
            self._asked = True

    def show(self) -> None:
        """Draw the offers that match."""
        wanted = self._filter.value
        shown = [offer for offer in self.offers if matches(offer, wanted)]
        self._table.show_rows(shown)
        self._table.set_class(not shown, "hidden")
        empty = self.query_one("#offers-empty", Static)
        empty.update(one_line(empty_text(self.feed.snapshot, bool(wanted))) if self._asked else "Asking the relay…")
        empty.set_class(bool(shown), "hidden")
        counted = f"{len(shown)} of {len(self.offers)}" if wanted else str(len(shown))
        self.query_one("#offers-box").border_subtitle = f"{counted} rentable now" if self.offers else ""
        self._show_detail()

    @on(DataTable.RowHighlighted)
    def _show_detail(self) -> None:
        offer = self._table.selected
        detail = offer_content(offer, self.feed.now_ms()) if offer else Content.styled("No offer selected.", "dim")
        self.query_one("#offer-detail", Static).update(detail)

    def action_filter(self) -> None:
        """Type a filter."""
        self._filter.remove_class("hidden")
        self._filter.focus()

    def action_clear(self) -> None:
        """Show every offer again."""
        self._filter.value = ""
        self._filter.add_class("hidden")
        self._table.focus()

    @on(Input.Changed, "#market-filter")
    def _filter_changed(self) -> None:
        self.show()

    @on(Input.Submitted, "#market-filter")
    def _filter_done(self) -> None:
        self._table.focus()

    @on(DataTable.RowSelected)
    def _chat(self) -> None:
        """Chat with the offer under the cursor."""
        offer = self._table.selected
        if offer is not None:
            self.post_message(self.ChatWith(offer))
