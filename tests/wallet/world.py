"""A rollup whose sequencer a test can end while its L1 lives on, with the clock in the test's hands."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from msgspec.structs import replace

from chain.client import RollupClient
from chain.codec import BatchData, BatchHeader, Frame, encode_batch
from chain.frames import fraud_proof
from chain.l1.connection import L1Connection, L1Signer, checksum
from chain.l1.deploy import deploy
from chain.l1.embedded.evm import EmbeddedEvm
from chain.l1.embedded.server import L1Server
from chain.l1.protocol import Deployment, FraudProof
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.money import AssetUnits
from chain.replay import rules_of
from chain.rpc.server import RpcServer
from chain.sequencer import Sequencer, SequencerConfig
from chain.txs import CreateAccount
from chain.witness import build_witness
from tests.chain.contracts.conftest import compiled_odd_contracts
from tests.chain.l1.conftest import CHAIN_ID, ETHER, OPERATOR, OPERATOR_KEY, PARAMS, REVEAL_BLOCKS
from tests.patience import PATIENCE_S
from tests.wallet.network import fresh_account
from wallet.account import UnlockedAccount
from wallet.l1 import open_rollup
from wallet.rollup_follower import RollupFollower
from wallet.service import WalletService

WINDOW_S, FORCE_S, TAKEOVER_S, FREEZE_S = 600, 200, 400, 1_200
CLOSE_S = 900
"""So long that a slow machine never passes one by itself: tests move the clock."""
DELAYS = {
    "challenge_window_s": WINDOW_S,
    "force_delay_s": FORCE_S,
    "takeover_delay_s": TAKEOVER_S,
    "freeze_delay_s": FREEZE_S,
    "close_delay_s": CLOSE_S,
    "unstake_delay_s": CLOSE_S,
}
QUICK = SequencerConfig(batch_interval_s=0.1, poll_s=0.05, inbox_confirmations=0)


class World:
    """An L1 process of its own would be the same to whoever talks to it: everything goes over its JSON-RPC."""

    sequencer_class: type[Sequencer] = Sequencer
    """What sequences; another one may censor."""

    def __init__(
        self, folder: Path, people: int = 3, config: SequencerConfig = QUICK, decimals: int = 18, **params: int
    ) -> None:
        self._folder = folder
        self._config = config
        self._decimals = decimals
        self._units = AssetUnits() if decimals == 18 else AssetUnits(units_per_nano=1, nano_per_unit=1_000)
        self._params = replace(PARAMS, **(DELAYS | params))
        self._sequencer_stack = AsyncExitStack()
        self._stack = AsyncExitStack()
        self.people = [fresh_account() for _ in range(people)]
        self.deployment: Deployment
        self.operator: JsonRpcRollupL1
        self.sequencer: Sequencer
        self.client: RollupClient

    async def __aenter__(self) -> Self:
        funded = {OPERATOR: 10**9 * ETHER, **{account.address: ETHER for account in self.people}}
        self.l1 = L1Server(lambda: EmbeddedEvm(self._folder / "l1.db", chain_id=CHAIN_ID, genesis_balances_wei=funded))
        await self.l1.start("127.0.0.1", 0)
        self._stack.push_async_callback(self.l1.aclose)
        if self._decimals != 18:
            self._params = replace(self._params, asset_address=await self._deploy_asset())
        self.deployment = await deploy(self.l1.url, OPERATOR_KEY, self._params)
        self.operator = JsonRpcRollupL1(self.l1.url, self.deployment, OPERATOR_KEY)
        self._stack.push_async_callback(self.operator.aclose)
        await self.start_sequencer()
        return self

    async def _deploy_asset(self) -> bytes:
        """A dollar with six decimals, as USDC has them."""
        compiled = compiled_odd_contracts()["SixDecimals"]
        connection = L1Connection(self.l1.url)
        try:
            signer = L1Signer.of_key(connection, OPERATOR_KEY)
            bytecode = "0x" + compiled["evm"]["bytecode"]["object"]
            factory = connection.web3.eth.contract(abi=compiled["abi"], bytecode=bytecode)
            receipt = await signer.send(factory.constructor())
            return bytes.fromhex(receipt["contractAddress"][2:])
        finally:
            await connection.aclose()

    async def __aexit__(self, *_: object) -> None:
        await self.stop_sequencer()
        await self._stack.aclose()

    async def start_sequencer(self) -> None:
        rollup = JsonRpcRollupL1(self.l1.url, self.deployment, OPERATOR_KEY)
        self._sequencer_stack.push_async_callback(rollup.aclose)
        self.sequencer = self.sequencer_class(rollup, self._folder / "l2.db", config=self._config)
        await self._sequencer_stack.enter_async_context(self.sequencer)
        rpc = RpcServer(self.sequencer, l1_rpc_url=self.l1.url, is_devnet=True, safety_fresh_s=0)
        await self._sequencer_stack.enter_async_context(rpc)
        await rpc.start()
        self.client = await self._sequencer_stack.enter_async_context(RollupClient(rpc.url))

    async def stop_sequencer(self) -> None:
        """From here on nobody sequences, answers or claims."""
        await self._sequencer_stack.aclose()

    def wallet(self, number: int) -> WalletService:
        return WalletService(self.people[number], self.client)

    async def funded(self, number: int, amount_nano: int) -> WalletService:
        """A wallet with so much on L2, and in a batch on L1."""
        await self.mint(number, amount_nano)
        wallet = self.wallet(number)
        await wallet.deposit(amount_nano, credit_timeout_s=PATIENCE_S)
        await self.client.flush()
        return wallet

    async def mint(self, number: int, amount_nano: int) -> None:
        asset = self.operator.connection.contract("TestUSD", self.deployment.asset_address)
        assert self.operator.signer is not None
        to = checksum(self.people[number].address)
        await self.operator.signer.send(asset.functions.mint(to, self._units.checked_units_of(amount_nano)))

    async def give_ether(self, owner: bytes) -> None:
        """Gas for whoever wasn't there when the chain began."""
        assert self.operator.signer is not None
        await self.operator.signer.send_ether(owner, ETHER)

    async def l1_nano(self, address: bytes) -> int:
        """What an address holds on L1; whole nanos only are ever paid."""
        asset = self.operator.connection.contract("TestUSD", self.deployment.asset_address)
        units = int(await self.operator.connection.call(asset.functions.balanceOf(checksum(address))))
        assert units % self._units.units_per_nano == 0
        return self._units.nano_of(units)

    async def rollup_for(self, account: UnlockedAccount) -> JsonRpcRollupL1:
        """The contracts as a wallet reaches them, knowing nothing but an L1 and an address."""
        rollup = await open_rollup(self.l1.url, self.deployment.rollup_address, account)
        self._stack.push_async_callback(rollup.aclose)
        return rollup

    async def lie(self, salt: bytes = bytes(32)) -> FraudProof:
        """Post a batch with a root that nothing leads to; returns what proves it."""
        return await lie(self.operator, salt)

    async def prove(self, proof: FraudProof) -> None:
        """Commit, wait, and reveal."""
        assert self.operator.signer is not None
        await self.operator.commit_fraud(proof.commitment(self.operator.signer.address))
        for _ in range(REVEAL_BLOCKS):
            await self.l1.mine_for_reveal(self.deployment.rollup_address, REVEAL_BLOCKS)
        await self.operator.prove_fraud(proof)

    async def later(self, seconds: int) -> None:
        await self.l1.advance_time(seconds)


async def lie(l1: JsonRpcRollupL1, salt: bytes = bytes(32)) -> FraudProof:
    """Post a batch with a root that nothing leads to; returns what proves it."""
    state, deployment = await RollupFollower(l1).catch_up(), await l1.deployment()
    header = BatchHeader(l2_time_s=await l1.time_s(), inbox_to=state.meta.inbox_cursor)
    frame = Frame(post_root=b"\x66" * 32, body=CreateAccount(b"\x88" * 20).encode())
    witness = build_witness(state, header, frame, rules_of(deployment), {}.__getitem__).encode()
    batch = BatchData(header=header, frames=(frame,))
    batch_id = await l1.batch_count()
    inbox_hash = await l1.inbox_hash(header.inbox_to)
    await l1.submit_batch(batch_id, state.root(), inbox_hash, encode_batch(header, [frame]))
    return fraud_proof(batch_id, batch, 0, messages=b"", witness=witness, salt=salt)
