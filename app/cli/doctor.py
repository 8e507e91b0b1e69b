"""``idlewatt doctor``: checks what newcomers trip over, and prints the fixes."""

from __future__ import annotations

import click

from app.cli.common import HEALTH_MARKS, as_coroutine, chain_option, emit, home_option, json_option, relay_option
from app.config import Config
from app.home import Home
from chain.errors import EXIT_FAILED
from node.values import Health
from node.values.text import drawn


@click.command("doctor", help="Check what newcomers trip over, and print the fixes.")
@home_option
@relay_option
@chain_option
@json_option
@as_coroutine
async def command(home_path: str | None, relay: str | None, chain: str | None, as_json: bool) -> int:
    """Print every check; fails when one does."""
    from app.doctor import examine

    home = Home.resolve(home_path)
    config = Config.load(home.config_path, relay=relay, chain=chain)
    items = []
    async for item in examine(home, config):
        items.append(item)
        if not as_json:
            # A relay's or a server's own words may be in it.
            click.echo(
                drawn(
                    f"{HEALTH_MARKS[item.health]}  {item.name}: {item.detail}"
                    + (f"\n      {item.fix}" if item.fix else "")
                )
            )
    failed = any(item.health is Health.FAIL for item in items)
    if as_json:
        emit({"ok": not failed, "checks": items}, as_json=True, text="")
    return EXIT_FAILED if failed else 0
