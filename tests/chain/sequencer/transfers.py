"""Two accounts with money, and transfers between them."""

from chain.txs import Transfer
from tests.chain.sequencer.conftest import fund
from tests.chain.support import signed


def transfer(nonce: int, sender: int = 1, receiver: int = 2, amount: int = 5, fee: int = 0, signer: int = 1) -> bytes:
    return signed(Transfer(sender, receiver, amount, fee), signer, nonce)


async def two_accounts(sequencer, l1) -> None:
    await fund(sequencer, l1, 1)
    await fund(sequencer, l1, 2)
