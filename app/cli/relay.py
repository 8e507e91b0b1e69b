"""``idlewatt relay``: a relay that joins nodes, reads no prompt and holds no money."""

from __future__ import annotations

import asyncio

import click

from app.cli.common import (
    announce,
    as_coroutine,
    home_option,
    json_option,
    prepared_home,
    until_stopped,
    with_parent_option,
)
from app.config import Config
from app.logs import log_to


@click.command("relay", help="Run a relay that joins nodes. It reads no prompt and holds no money.")
@home_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=9000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@json_option
@with_parent_option
@as_coroutine
async def command(home_path: str | None, host: str, port: int, as_json: bool, with_parent: bool) -> None:
    """Serve until told to stop."""
    from node.relay.server import RelayServer

    home = prepared_home(home_path)
    log_to(home.logs, "relay", Config.load(home.config_path).log_level)

    async def serve(stop: asyncio.Event) -> None:
        server = RelayServer(host, port, identity_dir=home.root)
        await server.start()
        try:
            text = f"The relay listens at {server.url} (ctrl-c stops it)."
            announce({"relay": server.url}, as_json=as_json, text=text)
            await stop.wait()
        finally:
            await server.close()

    with home.locked("relay"):
        await until_stopped(serve, with_parent=with_parent)
