import pytest

from chain.client import RollupClient
from chain.rpc.server import RpcServer
from chain.sequencer import Sequencer, SequencerConfig
from chain.signing import checksum_address
from chain.views import FaucetGrant
from tests.chain.support import MemoryL1

FAUCET_NANO = 1_000_000


@pytest.fixture
def l1() -> MemoryL1:
    return MemoryL1()


@pytest.fixture
async def sequencer(l1, tmp_path):
    config = SequencerConfig(batch_interval_s=60, poll_s=0.01, inbox_confirmations=0, min_fee_nano=10, retry_s=0.01)
    async with Sequencer(l1, tmp_path / "l2.db", config=config) as running:
        yield running


@pytest.fixture
async def server(sequencer, l1):
    async def faucet(address: bytes) -> FaucetGrant:
        l1.deposit(address, FAUCET_NANO, hint=sequencer.head.account_number(address))
        sequencer.poke()
        return FaucetGrant(
            address=checksum_address(address),
            l2_amount_nano=FAUCET_NANO,
            l1_amount_nano=1,
            l1_gas_wei=10**17,
            l1_tx="0x" + bytes(32).hex(),
        )

    async with RpcServer(
        sequencer, l1_rpc_url="http://127.0.0.1:1", faucet=faucet, is_devnet=True, safety_fresh_s=0
    ) as running:
        await running.start()
        yield running


@pytest.fixture
async def client(server):
    async with RollupClient(server.url) as connected:
        yield connected
