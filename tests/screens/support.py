"""What the screen tests share: the app over a fake node, waiting for what is seen, reading the screen."""

import asyncio

from textual.widgets import Input, TextArea

from app.tui import IdlewattApp
from tests.patience import PATIENCE_S
from tests.screens.fake_node import NOW_MS, FakeNode

NARROW = (80, 24)
WIDE = (160, 48)
BOTH = (NARROW, WIDE)


class PatientApp(IdlewattApp):
    """Its notices stay until a slow machine's test has looked at them."""

    NOTIFICATION_TIMEOUT = 60


def make_app(node=None, **options):
    return PatientApp(node or FakeNode(), now_ms=lambda: NOW_MS, **options)


def seen(app):
    """The screen as text."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def until(pilot, condition, timeout_s=PATIENCE_S):
    """Let the app work until the condition holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await pilot.pause(0.02)


async def until_seen(pilot, *texts):
    try:
        await until(pilot, lambda: all(text in seen(pilot.app) for text in texts))
    except TimeoutError:
        raise AssertionError(
            f"never saw {[text for text in texts if text not in seen(pilot.app)]} on\n{seen(pilot.app)}"
        ) from None


def told(app):
    """Every notice that stands on screen."""
    return [notice.message for notice in app._notifications]


async def until_told(pilot, text):
    await until(pilot, lambda: any(text in message for message in told(pilot.app)))


async def write(pilot, text, selector=None):
    """Type into what has the focus (or into ``selector``, which gets it), faster than by key."""
    if selector is not None:
        pilot.app.screen.query_one(selector).focus()
    await until(pilot, lambda: isinstance(pilot.app.focused, Input | TextArea))
    if selector is not None:
        await until(pilot, lambda: pilot.app.screen.query_one(selector).has_focus)
    focused = pilot.app.focused
    if isinstance(focused, Input):
        focused.value = text
    else:
        focused.text = text
        focused.move_cursor(focused.document.end)
    await pilot.pause()


def still(app):
    """No blinking cursors."""
    for field in app.screen.query("Input, TextArea"):
        field.cursor_blink = False
