"""``kill -9`` of a real process that writes vouchers: everything it acknowledged is there afterwards."""

import random
import signal
import subprocess
import sys
from pathlib import Path

from node.store import ChannelState, Store

WRITER = """
import asyncio, sys
from pathlib import Path
from node.store import Store
from wallet.vouchers import Voucher

async def main():
    store = await Store.open(Path(sys.argv[1]))
    await store.bind_deployment("0x" + "ab" * 32)
    if await store.buyer_channel(1) is None:
        await store.record_opening(provider=b"p" * 20, signer=b"k" * 20, salt=b"", deposit_nano=2**62,
                                   expiry_s=1, opened_at_ms=1)
        await store.confirm_opening(b"k" * 20, 1)
        await store.record_provider_channel(channel_id=1, payer=b"b" * 20, signer=b"k" * 20, deposit_nano=2**62,
                                            expiry_s=1, opened_at_ms=1)
    bought, provided = await store.buyer_channel(1), await store.provider_channel(1)
    print("start", bought.signed_nano, provided.voucher_nano, flush=True)
    amount = max(bought.signed_nano, provided.voucher_nano)
    while True:
        amount += 7
        assert await store.raise_signed(1, amount)
        print("signed", amount, flush=True)
        assert await store.accept_voucher(Voucher(1, amount, amount.to_bytes(64, "big")))
        print("accepted", amount, flush=True)
        print("sequence", await store.next_receipt_sequence(1), flush=True)

asyncio.run(main())
"""


def write_until_killed(path: Path, acknowledgements: int) -> dict[str, list[int]]:
    """Run the writer, kill it after so many lines, and give back everything that it had said."""
    said: dict[str, list[int]] = {"start": [], "signed": [], "accepted": [], "sequence": []}
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    ) as writer:
        assert writer.stdout is not None
        for _ in range(acknowledgements):
            line = writer.stdout.readline()
            assert line, "the writer ended by itself"
            note(said, line)
        writer.send_signal(signal.SIGKILL)
        for line in writer.stdout:
            note(said, line)
    assert writer.returncode == -signal.SIGKILL
    return said


def note(said: dict[str, list[int]], line: str) -> None:
    if line.endswith("\n"):
        kind, *amounts = line.split()
        said[kind].append(int(amounts[-1]))


async def test_every_acknowledged_voucher_outlives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    signed_nano = accepted_nano = 0
    sequences: list[int] = []
    for _ in range(4):
        said = write_until_killed(path, random.randint(4, 40))
        signed_nano = max([signed_nano, *said["signed"]])
        accepted_nano = max([accepted_nano, *said["accepted"]])
        sequences += said["sequence"]
        async with await Store.open(path) as store:
            bought, provided = await store.buyer_channel(1), await store.provider_channel(1)
            assert bought is not None
            assert provided is not None
            assert bought.state is ChannelState.OPEN
            assert bought.signed_nano >= signed_nano
            assert provided.voucher_nano >= accepted_nano
            # A voucher is one row: amount and signature are never from two different ones.
            assert provided.voucher_signature == provided.voucher_nano.to_bytes(64, "big")
            # What the provider holds was signed, and what was signed is at most one voucher ahead.
            assert 0 <= bought.signed_nano - provided.voucher_nano <= 7
    assert len(sequences) == len(set(sequences))
