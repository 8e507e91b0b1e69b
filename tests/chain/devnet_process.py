"""A devnet as a process of its own, for tests that kill it: says where it answers, and runs until it is stopped."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import msgspec

from chain.devnet import DevnetReady, run_devnet


async def main(home: Path, window_s: int) -> None:
    """Run until SIGTERM, or SIGKILL."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    def ready(devnet: DevnetReady) -> None:
        print(msgspec.json.encode(devnet).decode(), flush=True)

    await run_devnet(home, l1_port=0, l2_port=0, on_ready=ready, stop=stop, challenge_window_s=window_s)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
