"""Draw the README's pictures from the real app over the real demo network: ``python docs/images/draw.py``."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from textual.pilot import Pilot

from app.config import Config
from app.demo import prepare, running_demo
from app.home import Home
from app.tui import IdlewattApp
from node.values import Phase
from screens.chat.screen import ChatScreen
from screens.widgets.prompt import Prompt

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
SIZE = (120, 36)
QUESTIONS = ("What is 17 + 25?", "Who can read my prompts?", "How do I back up my wallet?")
PATIENCE_S = 120.0
PAINTED_S = 1.5


async def draw() -> None:
    """Ask the demo a few questions on the Chat screen, then draw Chat and Dashboard."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder)).prepare()
        async with running_demo(home, Config.load(home.config_path)) as demo:
            await prepare(demo, home)
            app = IdlewattApp(demo.api, title="Idlewatt demo", first_mode="chat")
            async with app.run_test(size=SIZE) as pilot, asyncio.timeout(PATIENCE_S):
                for question in QUESTIONS:
                    await _ask(pilot, question)
                await _keep(pilot, "chat")
                app.action_go("dashboard")
                while demo.seller.snapshot().phase is not Phase.IDLE:
                    await pilot.pause(0.1)
                await _keep(pilot, "dashboard")


async def _ask(pilot: Pilot[None], question: str) -> None:
    while not isinstance(pilot.app.focused, Prompt):
        await pilot.pause(0.05)
    screen = pilot.app.screen
    assert isinstance(screen, ChatScreen)
    pilot.app.focused.text = question
    await pilot.press("enter")
    while screen.last_question != question or screen.running:
        await pilot.pause(0.05)


async def _keep(pilot: Pilot[None], name: str) -> None:
    await pilot.pause(PAINTED_S)
    for field in pilot.app.screen.query(Prompt):
        field.cursor_blink = False
    await pilot.pause()
    (FOLDER / f"{name}.svg").write_text(pilot.app.export_screenshot(title="idlewatt demo"))


if __name__ == "__main__":
    asyncio.run(draw())
