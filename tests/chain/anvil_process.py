"""A real anvil for tests."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.chain.foundry_tools import foundry_binary
from tests.patience import PATIENCE_S


@asynccontextmanager
async def anvil(*options: str) -> AsyncIterator[str]:
    """Run an anvil on a free port; yields its URL. It is stopped and waited for at the end."""
    process = await asyncio.create_subprocess_exec(
        foundry_binary("anvil"), "--host", "127.0.0.1", "--port", "0", *options,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    drain: asyncio.Task[bytes] | None = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                line = (await process.stdout.readline()).decode()
                assert line, "anvil ended before it listened"
                if found := re.search(r"Listening on ([0-9.:]+)", line):
                    break
        drain = asyncio.create_task(process.stdout.read())
        yield f"http://{found[1]}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        if drain is not None:
            await drain
