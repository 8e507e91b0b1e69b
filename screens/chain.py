"""Chain: the rollup's head, its batches with their challenge countdown, and what happened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import DataTable, Static

from node.values import BatchView, ChainEvent, ChainSnapshot, Inclusion
from screens.base import NodeScreen
from screens.chain_safety import safety_content
from screens.dialogs import Reveal
from screens.node_feed import NodeFeed
from screens.text import DASH, clock, countdown, counted, duration, one_line, short_hex, size
from screens.widgets.facts import facts
from screens.widgets.table import Column, NodeTable

INCLUSION_MARKS: dict[Inclusion, tuple[str, str]] = {
    Inclusion.SOFT: ("◌", "cyan"),
    Inclusion.BATCHED: ("◐", "yellow"),
    Inclusion.FINAL: ("●", "green"),
    Inclusion.UNKNOWN: ("?", "dim"),
}
_EVENT_MARKS = {"deposit": "↓", "batch": "▣", "final": "●", "withdrawal": "↗", "claim": "✓"}


def inclusion_text(inclusion: Inclusion | None) -> Text:
    """How final something is, by shape, word and colour."""
    if inclusion is None:
        return Text(DASH, "dim")
    mark, style = INCLUSION_MARKS[inclusion]
    return Text(f"{mark} {inclusion.value}", style)


def final_text(batch: BatchView, now_ms: int) -> str:
    """How long the batch can still be challenged."""
    if batch.inclusion is Inclusion.FINAL:
        return "final"
    left = countdown(batch.final_at_s, now_ms)
    return "window over" if left == "now" else left


def batch_columns(now_ms: Callable[[], int]) -> tuple[Column[BatchView], ...]:
    """Columns of the batches; ``now_ms`` is the chain's clock."""
    return (
        Column("batch", "batch", 6, lambda batch: f"#{batch.batch_id}", right=True),
        Column("state", "state", 10, lambda batch: inclusion_text(batch.inclusion)),
        Column("final", "challenge ends", 15, lambda batch: final_text(batch, now_ms())),
        Column("txs", "txs", 5, lambda batch: str(batch.tx_count), right=True),
        Column("size", "size", 9, lambda batch: size(batch.size_bytes), rank=2, right=True),
        Column("l1", "L1 tx", 14, lambda batch: short_hex(batch.l1_tx), rank=1, grow=True),
        Column("block", "L1 block", 8, lambda batch: str(batch.l1_block), rank=4, right=True),
        Column("root", "state root after", 16, lambda batch: short_hex(batch.post_state_root), rank=3),
    )


def head_content(chain: ChainSnapshot) -> Content:
    """The chain's name and head."""
    window = duration(chain.challenge_window_s) if chain.challenge_window_s is not None else DASH
    return facts(
        [
            (
                "L2",
                f"chain {chain.l2_chain_id or DASH} at {chain.url}" + (" · has a faucet" if chain.has_faucet else ""),
            ),
            ("head", f"{chain.head_tx_count} transactions", "bold"),
            ("state root", short_hex(chain.head_state_root, 14, 8)),
            (
                "L1",
                f"chain {chain.l1_chain_id or DASH} · rollup {short_hex(chain.rollup_address, 8, 6)} · window {window}",
            ),
            ("deployment", short_hex(chain.deployment, 8, 6)),
        ]
    )


def batch_content(batch: BatchView, now_ms: int) -> Content:
    """One batch in full."""
    mark, _ = INCLUSION_MARKS[batch.inclusion]
    return facts(
        [
            ("state", f"{mark} {batch.inclusion.value}", "bold"),
            (
                "challenge",
                f"ends {final_text(batch, now_ms)}" if batch.inclusion is not Inclusion.FINAL else "window over",
            ),
            (
                "holds",
                f"{counted(batch.tx_count, 'transaction')} in {counted(batch.frame_count, 'frame')}, "
                f"{size(batch.size_bytes)}",
            ),
            ("posted", f"{clock(batch.submitted_at_s * 1000)} in L1 block {batch.l1_block}"),
            ("L1 tx", batch.l1_tx),
            ("root before", batch.pre_state_root),
            ("root after", batch.post_state_root),
        ]
    )


def events_content(events: Sequence[ChainEvent]) -> Content:
    """What happened, newest first."""
    if not events:
        return Content.styled("Nothing yet. A deposit, or the first batch, shows here.", "dim")
    lines = [
        Content.assemble(
            (clock(event.at_s * 1000), "dim"),
            "  ",
            (f"{_EVENT_MARKS.get(event.kind, '·')} {one_line(event.kind, 10):<10}", "$primary"),
            " ",
            one_line(event.text),
        )
        for event in events
    ]
    return Content("\n").join(lines)


class BatchTable(NodeTable[BatchView]):
    """Enter shows a batch in full."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "Batch", id="chain.detail")]


class ChainScreen(NodeScreen):
    """The rollup as this node sees it."""

    TITLE_TEXT = "Chain"
    LOADS_ON: ClassVar[frozenset[str]] = frozenset({"chain"})
    HELP_TEXT = (
        "The rollup that settles payments. soft: the sequencer executed it; batched: it stands on L1 and "
        "can be challenged; final: the window is over. Anyone can rebuild the state from L1 alone and compare the "
        "state roots. Enter shows a batch in full. Safety is read from L1's contracts and asks no sequencer: disputes, "
        "messages that wait in L1's inbox with their deadline, who sequences with what bond, and whether it froze."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "reload", "Refresh", id="chain.reload"),
    ]

    def __init__(self, feed: NodeFeed) -> None:
        super().__init__(feed)
        self.chain: ChainSnapshot | None = None
        self._offset_ms = 0
        self._l1_offset_ms = 0

    def l1_now_ms(self) -> int:
        """L1's time now, from the last load and our clock."""
        return self.feed.now_ms() + self._l1_offset_ms

    def chain_now_ms(self) -> int:
        """The chain's time now, from the last load and our clock."""
        return self.feed.now_ms() + self._offset_ms

    def compose_body(self) -> ComposeResult:
        """Head, batches, events; the batch under the cursor when wide."""
        with Horizontal():
            with Vertical():
                head = Static(id="chain-head", classes="panel", markup=False)
                head.border_title = "Rollup"
                yield head
                safety = Static(id="chain-safety", classes="panel", markup=False)
                safety.border_title = "Safety, as L1 has it"
                yield safety
                with Vertical(id="batches-box", classes="panel grow"):
                    yield BatchTable(
                        batch_columns(self.chain_now_ms), lambda batch: str(batch.batch_id), id="batches-table"
                    )
                    yield Static("", id="batches-empty", classes="empty", markup=False)
                with VerticalScroll(id="events-box", classes="panel"):
                    yield Static(id="events", markup=False)
            with VerticalScroll(id="batch-side", classes="panel wide-only"):
                yield Static(id="batch-detail", markup=False)

    def on_mount(self) -> None:
        """Titles."""
        for box, title in (("#batches-box", "Batches on L1"), ("#events-box", "Events"), ("#batch-side", "Batch")):
            self.query_one(box).border_title = title
        self._table.focus()

    @property
    def _table(self) -> NodeTable[BatchView]:
        return self.query_one("#batches-table", NodeTable)

    async def load(self) -> None:
        """Read the rollup."""
        chain = await self.feed.api.chain()
        self._offset_ms = chain.chain_time_s * 1000 - self.feed.now_ms() if chain.chain_time_s is not None else 0
        self._l1_offset_ms = chain.safety.at_s * 1000 - self.feed.now_ms() if chain.safety is not None else 0
        self.chain = chain

    def show(self) -> None:
        """Draw what was read."""
        chain = self.chain
        head = self.query_one("#chain-head", Static)
        if chain is None:
            head.update(Content.styled("Asking the chain…", "dim"))
        elif not chain.reachable:
            head.update(
                Content.assemble(
                    ("✗ ", "$error"),
                    one_line(chain.error) or "The chain does not answer.",
                    ("\n→ ", "$primary"),
                    f"{one_line(chain.fix)} r asks again; nothing is lost meanwhile.".lstrip(),
                )
            )
        else:
            head.update(head_content(chain))
        self._show_safety()
        batches = chain.batches if chain is not None else ()
        self._table.show_rows(batches)
        self._table.set_class(not batches, "hidden")
        empty = self.query_one("#batches-empty", Static)
        empty.update("No batch was posted yet. The sequencer posts one when there are transactions." if chain else "")
        empty.set_class(bool(batches), "hidden")
        self.query_one("#events", Static).update(events_content(chain.events if chain is not None else ()))
        self._show_detail()
        safety = chain.safety if chain is not None else None
        counts_down = any(batch.inclusion is not Inclusion.FINAL for batch in batches) or bool(
            safety and safety.waiting
        )
        self.keep_ticking(counts_down and self.looked_at)

    def _show_safety(self) -> None:
        panel = self.query_one("#chain-safety", Static)
        chain = self.chain
        panel.set_class(chain is None or (chain.safety is None and not chain.l1_error), "hidden")
        is_wide = self.has_class("-wide")
        panel.update(safety_content(chain, self.l1_now_ms(), wide=is_wide) if chain is not None else "")

    def tick(self) -> None:
        """Count down, and read again when a window just ended."""
        self.show()
        now_s = self.chain_now_ms() // 1000
        batches = self.chain.batches if self.chain is not None else ()
        if any(batch.inclusion is Inclusion.BATCHED and 0 <= now_s - batch.final_at_s < 2 for batch in batches):
            self.reload()

    @on(DataTable.RowHighlighted)
    def _show_detail(self) -> None:
        batch = self._table.selected
        detail = batch_content(batch, self.chain_now_ms()) if batch else Content.styled("No batch selected.", "dim")
        self.query_one("#batch-detail", Static).update(detail)

    @on(DataTable.RowSelected)
    def _detail(self) -> None:
        """Show the batch under the cursor in full."""
        batch = self._table.selected
        if batch is not None:
            self.app.push_screen(Reveal(f"Batch {batch.batch_id}", batch_content(batch, self.chain_now_ms())))
