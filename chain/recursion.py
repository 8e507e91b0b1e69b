"""Undoes what some Ethereum libraries do to the whole process on import: raise Python's recursion limit to 100,000.

With such a limit a few tens of kilobytes of nested brackets from a stranger overflow the C stack in any
decoder (msgspec, json), and the process dies instead of raising ``RecursionError``. Call
:func:`restore_recursion_limit` right after importing eth-account, web3, eth-tester or py-evm.
"""

from __future__ import annotations

import sys

SAFE_RECURSION_LIMIT = 10_240
"""What py-evm asks for, and what decoders survive on the usual 8 MiB stack."""


def restore_recursion_limit() -> None:
    """Bring the limit back down to what the C stack can bear; a lower one stays."""
    if sys.getrecursionlimit() > SAFE_RECURSION_LIMIT:
        sys.setrecursionlimit(SAFE_RECURSION_LIMIT)
