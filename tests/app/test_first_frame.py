"""The terminal app's first frame comes soon: what it does not need is imported after it, and nothing else gets lost."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from app.late import NODE_MODULES, SCREEN_MODULES
from tests.patience import PATIENCE_S

HEAVY = ("structlog", "pydantic", "pydantic_settings", "tomlkit", "markdown_it", "pygments", "psutil", "segno", "web3")
FRAME = """
import asyncio, json, sys
from app.cli import demo, tui
from app.config import Config
from app.home import Home
from app.late import LateNode
from app.tui import IdlewattApp

async def paint():
    app = IdlewattApp(LateNode(demo=True, why="Starting.").api, onboarding={onboarding})
    async with app.run_test():
        await app.painted.wait()
        sys.stderr.write(json.dumps([app.current_mode, *sys.modules]))

demo.log_to(Home.resolve({home!r}).prepare().logs, "demo", Config.load(Home.resolve({home!r}).config_path).log_level)
asyncio.run(paint())
"""


def first_frame(home, *, onboarding):
    """The mode that a process of its own paints first, and the modules it has imported by then."""
    script = FRAME.format(home=str(home), onboarding=onboarding)
    painted = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    mode, *modules = json.loads(painted.stderr)
    return mode, set(modules)


@pytest.mark.parametrize(
    ("onboarding", "shown", "needed"),
    [
        (False, "dashboard", set()),
        (True, "onboarding", {"screens.onboarding", "screens.dialogs"}),
    ],
)
def test_the_first_frame_needs_no_node_and_no_other_screen(tmp_path, onboarding, shown, needed):
    mode, modules = first_frame(tmp_path, onboarding=onboarding)

    late = {*NODE_MODULES, *SCREEN_MODULES, *HEAVY, "app.demo"} - needed
    assert (mode, sorted(late & modules)) == (shown, [])


def test_every_late_module_exists(tmp_path):
    script = f"import importlib; [importlib.import_module(name) for name in {(*NODE_MODULES, *SCREEN_MODULES)}]"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=PATIENCE_S)


def in_terminal(*arguments):
    """Run the command line in a pseudo-terminal; returns all it painted and its exit status."""
    pid, master = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execv(sys.executable, [sys.executable, "-m", "app.cli", *arguments])
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 48, 160, 0, 0))
    painted = b""
    try:
        while piece := os.read(master, 65_536):
            painted += piece
    except OSError:
        pass  # its end of the terminal is closed: it has ended
    finally:
        os.close(master)
    return painted.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize(
    ("where", "arguments"), [("config.toml", ["--home"]), ("demo/config.toml", ["demo", "--home"])], ids=["app", "demo"]
)
def test_bad_settings_are_one_line_and_never_a_frame(tmp_path, where, arguments):
    (tmp_path / where).parent.mkdir(exist_ok=True)
    (tmp_path / where).write_text("slots = 0\n")

    painted, status = in_terminal(*arguments, str(tmp_path))

    assert status == 1
    assert painted.count("\n") == 1
    assert "The setting slots is not usable" in painted
    assert "\x1b" not in painted
