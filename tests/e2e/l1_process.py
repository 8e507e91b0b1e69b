"""An embedded L1 as a process of its own, which outlives the sequencer that runs on it."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from chain.l1.embedded.evm import EmbeddedEvm
from chain.l1.embedded.server import L1Server

CHAIN_ID = 41_337
ETHER = 10**18


async def main(folder: Path, funded: list[bytes]) -> None:
    """Serve until SIGTERM; says its URL when it answers."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    balances = dict.fromkeys(funded, 100 * ETHER)
    server = L1Server(lambda: EmbeddedEvm(folder / "l1.db", chain_id=CHAIN_ID, genesis_balances_wei=balances))
    await server.start("127.0.0.1", 0)
    try:
        print(server.url, flush=True)
        await stop.wait()
    finally:
        await server.aclose()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), [bytes.fromhex(address) for address in sys.argv[2:]]))
