"""The base of every main screen: header, body, footer, guarded work, reloading only while it is visible."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from pathlib import Path, PurePath
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.screen import Screen
from textual.timer import Timer
from textual.worker import Worker

from node.values import IdlewattError
from screens.node_feed import NodeFeed
from screens.text import one_line
from screens.widgets.alarm_bar import AlarmBar
from screens.widgets.key_bar import KeyBar
from screens.widgets.status_bar import StatusBar

PACKAGE = Path(__file__).parent
logger = logging.getLogger(__name__)


def stylesheets() -> list[str | PurePath]:
    """Every screen's TCSS, the common one first: the app reads them once, so that no first visit stalls on parsing."""
    common = PACKAGE / "base.tcss"
    return [common, *sorted(sheet for sheet in PACKAGE.rglob("*.tcss") if sheet != common)]


class NodeScreen(Screen[None]):
    """A main screen on one :class:`NodeFeed`.

    Subclasses give ``TITLE_TEXT``, ``HELP_TEXT``, ``compose_body``, ``show`` (draw the snapshot and what was loaded),
    and where the snapshot is not enough ``load`` (ask the node) with ``LOADS_ON`` (what changes make it load again).
    """

    TITLE_TEXT: ClassVar[str] = ""
    HELP_TEXT: ClassVar[str] = ""
    LOADS_ON: ClassVar[frozenset[str]] = frozenset()
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "reload", "Refresh", show=False, id="screen.reload", tooltip="Ask the node again"),
    ]

    def __init__(self, feed: NodeFeed) -> None:
        super().__init__()
        self.feed = feed
        self._stale = True
        self._loading = False
        self._load_again = False
        self._ticker: Timer | None = None

    def compose(self) -> ComposeResult:
        """Header, body, footer."""
        yield StatusBar(self.feed, self.TITLE_TEXT)
        yield AlarmBar(self.feed)
        with Container(id="body"):
            yield from self.compose_body()
        yield KeyBar()

    def compose_body(self) -> ComposeResult:
        """The screen's own widgets."""
        yield from ()

    def show(self) -> None:
        """Draw what is known now. It is called often, so it only updates what may have changed."""

    async def load(self) -> None:
        """Ask the node for what the snapshot does not hold."""

    @property
    def looked_at(self) -> bool:
        """Whether this screen is the current one; a dialog may be on top."""
        return self.is_attached and self in self.app.screen_stack

    def on_mount(self) -> None:
        """Follow the node; Textual calls this beside a subclass's own handler."""
        self.feed.changed.subscribe(self, self._node_changed)
        self._ticker = self.set_interval(1, self.tick, pause=True)

    def on_screen_resume(self) -> None:
        """Catch up with what happened while hidden."""
        if self._stale:
            self._stale = False
            self.query_one(StatusBar).show()
            self.show()
            self.reload()

    def on_screen_suspend(self) -> None:
        """Stop drawing; the next resume catches up."""
        if not self.looked_at:
            self._stale = True
            self.keep_ticking(False)

    def keep_ticking(self, needed: bool) -> None:
        """Have ``tick`` called every second, for as long as something on screen counts down."""
        if self._ticker is not None:
            if needed:
                self._ticker.resume()
            else:
                self._ticker.pause()

    def tick(self) -> None:
        """Draw what changes every second."""
        self.show()

    def _node_changed(self, what: frozenset[str]) -> None:
        if not self.looked_at:
            self._stale = True
            return
        self.show()
        if what & self.LOADS_ON:
            self.reload()

    def action_reload(self) -> None:
        """Load again, because the person asked for it."""
        self.reload()

    def reload(self) -> None:
        """Load soon; many calls make one load, and at most one runs."""
        if self._loading:
            self._load_again = True
            return
        self._loading = True
        self.start(self._load_until_settled(), group="load")

    async def _load_until_settled(self) -> None:
        try:
            while True:
                self._load_again = False
                try:
                    await self.load()
                finally:
                    if self.is_attached:
                        self.show()
                if not self._load_again:
                    return
                await asyncio.sleep(self.feed.reload_pause_s)
        finally:
            self._loading = False

    def start(self, work: Coroutine[Any, Any, None], *, group: str, exclusive: bool = False) -> Worker[None]:
        """Run work beside the screen; a failure becomes one line on screen, never the end of the app."""
        return self.run_worker(self._guarded(work), group=group, exclusive=exclusive, exit_on_error=False)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except IdlewattError as error:
            self.tell(error.line(), "error")
        except Exception as error:
            logger.exception("screen_work_failed")
            self.tell(f"Something failed inside ({type(error).__name__}). The log (9) has the details.", "error")

    def tell(self, text: str, severity: str = "information") -> None:
        """Show one line to the person; text from any source is safe."""
        level: Any = severity
        self.app.notify(one_line(text, 400), severity=level, markup=False)
