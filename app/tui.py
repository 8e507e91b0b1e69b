"""The Textual application over one node: modes, keys, themes, palette. Only this and ``screens`` import Textual."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.notifications import Notify, SeverityLevel
from textual.screen import Screen

from app.modes import ALL_MODES, ONBOARDING, SCREENS
from app.themes import DEFAULT_THEME, OUR_THEMES
from chain.logs import get_logger
from node.api import NodeApi
from node.values import IdlewattError, LogLine, NodeChanged, Notice, Phase
from screens.base import NodeScreen, stylesheets
from screens.node_feed import RELOAD_PAUSE_S, NodeFeed, system_now_ms
from screens.notices import BriefNotification
from screens.text import one_line

if TYPE_CHECKING:
    from screens.market import MarketScreen
    from screens.models.screen import ModelsScreen
    from screens.onboarding import OnboardingScreen

log = get_logger(__name__)

COALESCE_S = 0.1
"""Screens redraw at most this often, however fast the node talks."""
INTERRUPT_AGAIN_S = 3.0
"""A second ctrl+c within this time quits."""
_SCREENS_GROUP = Binding.Group("screens", compact=True)


def _mode_bindings() -> list[BindingType]:
    bindings: list[BindingType] = []
    for name, mode in SCREENS.items():
        bindings.append(Binding(mode.key, f"go('{name}')", mode.title, id=f"go.{name}", group=_SCREENS_GROUP))
        bindings.append(Binding(f"alt+{mode.key}", f"go('{name}')", mode.title, show=False, id=f"go.alt.{name}"))
    return bindings


class IdlewattApp(App[None], inherit_bindings=False):
    """The TUI over one node.

    Args:
        api: The node; the app neither starts nor stops it.
        title: What the terminal's title says.
        first_mode: The screen to begin with: a key of :data:`app.modes.SCREENS`.
        onboarding: Begin with onboarding instead.
        theme: A theme's name; unknown ones are left out.
        keymap: Binding ids to keys, as in the configuration.
        now_ms: The clock of all screens.
        reload_pause_s: At least this long between two reloads of one screen, however fast events come.
    """

    CSS_PATH = stylesheets()
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+p"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (150, "-wide")]  # noqa: RUF012 - Textual's own form
    BINDINGS: ClassVar[list[BindingType]] = [
        *_mode_bindings(),
        Binding("f3", "toggle_online", "On/offline", id="app.online", tooltip="Rent out, or stop", key_display="F3"),
        Binding("f1,question_mark", "help", "Help", id="app.help", key_display="F1"),
        Binding("ctrl+l", "go('logs')", "Logs", show=False, id="app.logs"),
        Binding("ctrl+p", "command_palette", "Palette", id="app.palette", priority=True),
        Binding("ctrl+q", "quit", "Quit", id="app.quit", priority=True),
        Binding("ctrl+c", "help_quit", show=False, system=True),
    ]

    def __init__(
        self,
        api: NodeApi,
        *,
        title: str = "Idlewatt",
        first_mode: str = "dashboard",
        onboarding: bool = False,
        theme: str = DEFAULT_THEME,
        keymap: dict[str, str] | None = None,
        now_ms: Callable[[], int] = system_now_ms,
        reload_pause_s: float = RELOAD_PAUSE_S,
    ) -> None:
        # The first mode is the default one, and its theme set before the start: a default screen mounted only to be
        # switched away from, and a theme changed while running, would each make Textual parse all styles again.
        first_mode = ONBOARDING if onboarding else first_mode if first_mode in SCREENS else "dashboard"
        self.DEFAULT_MODE = first_mode  # type: ignore[misc]
        super().__init__()
        for mode in ALL_MODES:
            self.add_mode(mode, partial(self._new_screen, mode))
        for ours in OUR_THEMES:
            self.register_theme(ours)
        if theme in self.available_themes:
            self.theme = theme
        self.title = title
        self.api = api
        self.feed = NodeFeed(api, self, now_ms, reload_pause_s)
        self.painted = asyncio.Event()
        """Set after the first frame. Work that the frame does not need waits for it."""
        self._changed: set[str] = set()
        self._logged: list[LogLine] = []
        self._publish_soon = False
        self._interrupted_at = -INTERRUPT_AGAIN_S
        if keymap:
            self.set_keymap(keymap)

    def action_help_quit(self) -> None:
        """Quit on a second ctrl+c; the first says so, since a first may have been meant to copy."""
        now = time.monotonic()
        if now - self._interrupted_at < INTERRUPT_AGAIN_S:
            self.exit()
            return
        self._interrupted_at = now
        self.tell("Press ctrl+c again to quit.", "information")

    def on_mount(self) -> None:
        """Listen to the node."""
        self.call_after_refresh(self.painted.set)
        self.run_worker(self._listen(), group="node", exit_on_error=False)

    def _new_screen(self, mode: str) -> NodeScreen:
        return ALL_MODES[mode].screen()(self.feed)

    # The node's events

    async def _listen(self) -> None:
        """Follow the node for as long as the app runs."""
        while True:
            try:
                async with self.api.subscribe() as events:
                    async for event in events:
                        self._take(event)
                return
            except IdlewattError as error:
                self.tell(error.line(), "error")
            except Exception as error:
                log.exception("node_events_lost")
                self.tell(f"The node's events broke off ({type(error).__name__}); listening again.", "error")
            await asyncio.sleep(1)

    def _take(self, event: NodeChanged | Notice | LogLine) -> None:
        if isinstance(event, Notice):
            self.tell(event.text, event.severity)
            return
        if isinstance(event, LogLine):
            self._logged.append(event)
        else:
            self._changed.add(event.what)
        if not self._publish_soon:
            self._publish_soon = True
            self.set_timer(COALESCE_S, self._publish)

    def _publish(self) -> None:
        self._publish_soon = False
        what, self._changed = frozenset(self._changed), set()
        lines, self._logged = tuple(self._logged), []
        if lines:
            self.feed.log_lines.extend(lines)
            self.feed.logged.publish(lines)
        if what:
            self.feed.refresh(what)

    def tell(self, text: str, severity: str = "information") -> None:
        """Show one line to the person; text from any source is safe."""
        level: Any = severity
        self.notify(one_line(text, 400), severity=level, markup=False)

    # Actions

    def action_go(self, mode: str) -> None:
        """Change the screen."""
        if self.current_mode != mode and (self.current_mode != ONBOARDING or mode in SCREENS):
            self.switch_mode(mode)

    def action_help(self) -> None:
        """Explain this screen and its keys."""
        screen = self.screen
        if isinstance(screen, NodeScreen):
            from screens.dialogs import Help

            self.push_screen(Help(f"Help · {screen.TITLE_TEXT}", screen.HELP_TEXT, self._keys_here(screen)))

    def _keys_here(self, screen: Screen[Any]) -> list[tuple[str, str]]:
        seen: dict[str, list[str]] = {}
        for active in screen.active_bindings.values():
            binding = active.binding
            if binding.id and binding.description and active.enabled and not binding.id.startswith("go.alt."):
                seen.setdefault(binding.tooltip or binding.description, []).append(self.get_key_display(binding))
        rows = [(" ".join(dict.fromkeys(keys)), what) for what, keys in seen.items()]
        return [*rows, ("esc 1…9", "Change the screen from a text field")]

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = True,
    ) -> None:
        """Show a message for a moment; see `App.notify`."""
        timeout_s = self.NOTIFICATION_TIMEOUT if timeout is None else timeout
        self.post_message(Notify(BriefNotification(message, title, severity, timeout_s, markup=markup)))

    def action_toggle_online(self) -> None:
        """Rent out after asking, or stop."""
        phase = self.feed.snapshot.phase
        flow = self._go_online() if phase in {Phase.OFF, Phase.STOPPING} else self._go_offline()
        self.run_worker(self._guarded(flow), group="online", exclusive=True, exit_on_error=False)

    async def _guarded(self, flow: Any) -> None:
        try:
            await flow
        except IdlewattError as error:
            self.tell(error.line(), "error")
        except Exception as error:
            log.exception("online_switch_failed")
            self.tell(f"Something failed inside ({type(error).__name__}). The log (9) has the details.", "error")

    async def _go_online(self, model: str = "") -> None:
        from app.online import go_online

        await go_online(self, self.feed, model)

    async def _go_offline(self) -> None:
        self.tell("Going offline: the offer is withdrawn, running jobs end first.")
        await self.api.go_offline()
        self.feed.refresh(frozenset({"phase"}))

    # Handlers by name: their screens are imported late, so ``@on`` has no class to be told of.

    async def on_market_screen_chat_with(self, event: MarketScreen.ChatWith) -> None:
        """Chat with the offer that was chosen in the market."""
        self.feed.chat_offer_id, self.feed.chat_model = event.offer.offer_id, event.offer.model
        await self.switch_mode("chat")
        screen: Any = self.screen
        screen.use_offer(event.offer)

    def on_models_screen_rent_out(self, event: ModelsScreen.RentOut) -> None:
        """Go online with the model that was chosen, after asking for its price."""
        self.run_worker(
            self._guarded(self._go_online(event.model)), group="online", exclusive=True, exit_on_error=False
        )

    async def on_onboarding_screen_finished(self, event: OnboardingScreen.Finished) -> None:
        """Open the screen that onboarding ends with."""
        self.feed.refresh(frozenset({"wallet"}))
        await self.switch_mode(event.mode)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Everything that a key does here, the other screens, and themes."""
        for name, mode in SCREENS.items():
            yield SystemCommand(f"Go to {mode.title}", f"key {mode.key}", partial(self.action_go, name))
        seen: set[str] = set()
        for active in screen.active_bindings.values():
            binding = active.binding
            shown = (
                binding.id
                and binding.description
                and active.enabled
                and not binding.action.startswith(("go(", "command_palette"))
            )
            if shown and binding.action not in seen:
                seen.add(binding.action)
                run = partial(self.run_action, binding.action, active.node)
                yield SystemCommand(binding.tooltip or binding.description, f"key {self.get_key_display(binding)}", run)
        yield SystemCommand("Theme", "Change the colours", self.action_change_theme)
