"""The footer: what keys do here, on one line in one widget; what does not fit is left to F1 and the palette."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.content import Content
from textual.screen import Screen
from textual.style import Style
from textual.widgets import Static


@dataclass(frozen=True)
class KeyHint:
    """One entry: what is shown, and the key that a click presses."""

    shown: str
    what: str
    key: str
    ours: bool
    """Whether the screen itself brings it, rather than the app."""


def key_hints(screen: Screen[object]) -> list[KeyHint]:
    """The hints for a screen as it is focused now; grouped bindings share one entry."""
    app = screen.app
    hints: list[KeyHint] = []
    groups: dict[str, list[str]] = {}
    seen: set[str] = set()
    for active in screen.active_bindings.values():
        binding = active.binding
        if not binding.show or binding.system or not active.enabled or binding.action in seen:
            continue
        seen.add(binding.action)
        shown = app.get_key_display(binding)
        if binding.group is not None:
            groups.setdefault(binding.group.description, []).append(shown)
        elif binding.description:
            hints.append(KeyHint(shown, binding.description, binding.key, active.node is not app))
    grouped = [KeyHint("".join(keys), what, "", False) for what, keys in groups.items()]
    own = [hint for hint in hints if hint.ours]
    return [*own, *grouped, *(hint for hint in hints if not hint.ours)]


def key_line(hints: list[KeyHint], width: int) -> Content:
    """The line: the screen's own keys first; when narrow, the app's are shed first, but never the help."""
    kept = list(hints)

    def cells() -> int:
        return sum(Content(f"{hint.shown} {hint.what}").cell_length + 2 for hint in kept)

    while kept and cells() > width:
        spare = [hint for hint in kept if not hint.ours and hint.key not in {"f1", ""}]
        own = [hint for hint in kept if hint.ours]
        grouped = [hint for hint in kept if not hint.key]
        kept.remove([*kept[:1], *grouped[:1], *own, *spare][-1])
    parts: list[str | Content | tuple[str, Style | str]] = [" "]
    for hint in kept:
        entry = Content.assemble((hint.shown, "bold $primary"), f" {hint.what}")
        if hint.key:
            entry = entry.stylize(Style.from_meta({"key": hint.key}))
        parts += [entry, "  "]
    return Content.assemble(*parts)


class KeyBar(Static):
    """Follows the screen's active bindings."""

    DEFAULT_CSS = """
    KeyBar { dock: bottom; height: 1; background: $panel; color: $foreground; text-wrap: nowrap; }
    KeyBar:ansi { background: ansi_default; }
    """

    def __init__(self) -> None:
        super().__init__(id="keys", markup=False)
        self._hints: list[KeyHint] = []

    def on_mount(self) -> None:
        """Follow focus and modes."""
        self.screen.bindings_updated_signal.subscribe(self, lambda _screen: self.show())
        self.call_after_refresh(self.show)

    def on_resize(self, _event: events.Resize) -> None:
        """Choose again what fits."""
        self._hints = []
        self.show()

    def on_click(self, event: events.Click) -> None:
        """A click on an entry is its key."""
        key = event.style.meta.get("key")
        if key:
            self.app.simulate_key(str(key))

    def show(self) -> None:
        """Draw the line, if it changed."""
        if self.screen is self.app.screen:
            hints = key_hints(self.screen)
            if hints != self._hints:
                self._hints = hints
                self.update(key_line(hints, self.size.width or self.app.size.width))
