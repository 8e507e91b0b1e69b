"""Where villains meet an honest watchtower: one L1, its clock and its blocks in the runner's hands."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from chain.codec import BatchHeader
from chain.l1.connection import checksum
from chain.l1.deploy import DeployParams, deploy
from chain.l1.embedded.evm import EmbeddedEvm
from chain.l1.embedded.server import L1Server
from chain.l1.protocol import Deployment, PostedBatch
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.replay import Replayer, replay_l1, rules_of
from chain.rules.binding import bound_address
from chain.signing import address_of, keccak256, sign_digest
from chain.state import GENESIS_ROOT, RollupState
from chain.txs import OpenChannel, Redeem, Stake, Transfer
from chain.views import WatchEvent
from chain.villains import Villain
from chain.villains.draft import Draft, inbox_bodies
from chain.villains.sequencer import VillainL1
from chain.watchtower import Prover, Watchtower, WatchtowerConfig

CHAIN_ID = 1337
ETHER = 10**18
NANO = 10**9
START_S = 1_900_000_000
OPERATOR_KEY, PROVER_KEY, SECOND_KEY, ALICE_KEY, BOB_KEY, VOUCHER_KEY = (
    keccak256(b"arena " + name) for name in (b"operator", b"prover", b"second", b"alice", b"bob", b"voucher")
)
OPERATOR, PROVER, SECOND, ALICE, BOB = map(address_of, (OPERATOR_KEY, PROVER_KEY, SECOND_KEY, ALICE_KEY, BOB_KEY))
ALICE_NUMBER, BOB_NUMBER = 1, 2
NO_HINT = 2**32 - 1
PARAMS = DeployParams(
    l2_chain_id=31_338,
    genesis_root=GENESIS_ROOT,
    challenge_window_s=600,
    force_delay_s=20,
    takeover_delay_s=40,
    freeze_delay_s=660,
    close_delay_s=90,
    unstake_delay_s=90,
    reveal_delay_blocks=10,
)


@dataclass
class Clock:
    """Seconds as the runner says."""

    now_s: int = START_S

    def __call__(self) -> float:
        return self.now_s


class Sequencer:
    """An honest one: executes what it is given, and posts it through whatever L1 it believes to have."""

    def __init__(self, l1: JsonRpcRollupL1, deployment: Deployment, key: bytes, clock: Clock) -> None:
        self.l1 = l1
        self._rules = rules_of(deployment)
        self._key = key
        self._clock = clock
        self._replayer = Replayer(self._rules)

    @property
    def state(self) -> RollupState:
        return self._replayer.state

    async def sync(self) -> None:
        """Start over from what L1 holds."""
        self._replayer = Replayer(self._rules)
        async for _ in replay_l1(self.l1, replayer=self._replayer):
            pass

    async def post(self, *bodies: bytes) -> PostedBatch:
        """Everything that waits in the inbox, then these frames."""
        cursor = self.state.meta.inbox_cursor
        messages = {message.index: message for message in await self.l1.inbox_messages(cursor, 500)}
        header = BatchHeader(l2_time_s=self._clock.now_s, inbox_to=cursor + len(messages))
        prev_root, mark, batch_id = self.state.root(), self.state.mark(), self._replayer.next_batch
        draft = Draft(self.state, header, self._rules, messages, self._key)
        try:
            for body in [*inbox_bodies(cursor, header.inbox_to), *bodies]:
                draft.add(body)
            inbox_hash = await self.l1.inbox_hash(header.inbox_to)
            posted = await self.l1.submit_batch(batch_id, prev_root, inbox_hash, draft.blob())
        except BaseException:
            self.state.rollback(mark)
            raise
        self.state.settle()
        self._replayer.next_batch += 1
        return posted


@dataclass
class Arena:
    """One L1 with one rollup and the people on it."""

    server: L1Server
    clock: Clock
    deployment: Deployment
    operator: JsonRpcRollupL1
    """The first sequencer's; a villain's where there is one."""
    prover: JsonRpcRollupL1
    second: JsonRpcRollupL1
    sequencer: Sequencer
    events: list[WatchEvent] = field(default_factory=list)

    def tower(self, *, proves: bool = True, config: WatchtowerConfig | None = None) -> Watchtower:
        """A watchtower that knows nothing yet."""
        prover = Prover(PROVER, partial(sign_digest, PROVER_KEY)) if proves else None
        return Watchtower(self.prover, prover=prover, config=config, on_event=self.events.append)

    async def takeover(self) -> Sequencer:
        """The second sequencer, in step with L1."""
        sequencer = Sequencer(self.second, self.deployment, SECOND_KEY, self.clock)
        await sequencer.sync()
        return sequencer

    async def mine(self, blocks: int = 1) -> None:
        """Empty blocks."""
        for _ in range(blocks):
            await self.prover.connection.web3.provider.make_request("evm_mine", [])

    async def pass_time(self, seconds: int) -> None:
        """Let time pass, and a block come."""
        self.clock.now_s += seconds
        await self.mine()

    async def ether(self, address: bytes) -> int:
        """What an address holds on L1."""
        eth = self.prover.connection.web3.eth
        return int(await self.prover.connection.request(lambda: eth.get_balance(checksum(address))))

    async def held_wei(self) -> int:
        """What the rollup holds: bonds, rewards that wait, and what is burnt by never leaving it."""
        return await self.ether(self.deployment.rollup_address)

    async def gas_cost_wei(self, tx: str) -> int:
        """What a transaction cost its sender."""
        receipt = await self.prover.connection.web3.eth.get_transaction_receipt(tx)
        return int(receipt["gasUsed"] * receipt["effectiveGasPrice"])

    def kinds(self) -> list[str]:
        """The events so far, by kind."""
        return [event.kind for event in self.events]


def transfer(state: RollupState, deployment: Deployment, amount_nano: int = 1_000) -> bytes:
    """Alice pays Bob."""
    return signed(state, deployment, Transfer(ALICE_NUMBER, BOB_NUMBER, amount_nano, 10))


def signed(
    state: RollupState, deployment: Deployment, tx: Transfer | OpenChannel | Stake, key: bytes = ALICE_KEY
) -> bytes:
    """Signed with the sender's nonce in this state."""
    account = state.account(tx.sender)
    assert account is not None
    return tx.encode(sign_digest(key, tx.digest(deployment.domain, account.nonce, bound_address(state, tx))))


def voucher(deployment: Deployment, cumulative_nano: int) -> bytes:
    """A redeem of Alice's channel to Bob."""
    tx = Redeem(1, cumulative_nano)
    return tx.encode(sign_digest(VOUCHER_KEY, tx.digest(rules_of(deployment).domain)))


async def deposit(l1: JsonRpcRollupL1, owner: bytes, amount_nano: int, hint: int = NO_HINT) -> None:
    """Test money from nowhere into the rollup."""
    assert l1.signer is not None
    deployment = await l1.deployment()
    asset = l1.connection.contract("TestUSD", deployment.asset_address)
    inbox = l1.connection.contract("Inbox", deployment.inbox_address)
    await l1.signer.send(asset.functions.mint(checksum(l1.signer.address), amount_nano * NANO))
    await l1.signer.send(asset.functions.approve(inbox.address, 2**256 - 1))
    await l1.signer.send(inbox.functions.deposit(checksum(owner), hint, amount_nano))


def open_server(folder: Path, clock: Clock) -> L1Server:
    """The L1 of a folder."""
    rich = dict.fromkeys((OPERATOR, PROVER, SECOND, ALICE), 1000 * ETHER)
    return L1Server(lambda: EmbeddedEvm(folder / "l1.db", chain_id=CHAIN_ID, genesis_balances_wei=rich, clock=clock))


async def build_template(folder: Path) -> Deployment:
    """A rollup with two people, a channel and a stake in its first batch, from which every fight starts."""
    folder.mkdir(parents=True, exist_ok=True)
    clock = Clock()
    server = open_server(folder, clock)
    await server.start("127.0.0.1", 0)
    operator: JsonRpcRollupL1 | None = None
    second: JsonRpcRollupL1 | None = None
    try:
        deployment = await deploy(server.url, OPERATOR_KEY, PARAMS)
        operator = JsonRpcRollupL1(server.url, deployment, OPERATOR_KEY)
        second = JsonRpcRollupL1(server.url, deployment, SECOND_KEY)
        await second.deposit_bond(ETHER)
        await deposit(operator, ALICE, 100 * NANO)
        await deposit(operator, BOB, 5 * NANO)
        sequencer = Sequencer(operator, deployment, OPERATOR_KEY, clock)
        await sequencer.post()
        clock.now_s += 1
        state = sequencer.state
        opening = OpenChannel(ALICE_NUMBER, BOB_NUMBER, address_of(VOUCHER_KEY), 2 * NANO, clock.now_s + 10_000, 10)
        await sequencer.post(signed(state, deployment, opening))
        await sequencer.post(
            voucher(deployment, NANO // 2), signed(state, deployment, Stake(BOB_NUMBER, NANO, 10), BOB_KEY)
        )
    finally:
        for l1 in (operator, second):
            if l1 is not None:
                await l1.aclose()
        await server.aclose()
    (folder / "deployment.json").write_bytes(msgspec.json.encode(deployment))
    return deployment


@asynccontextmanager
async def arena(template: Path, folder: Path, villain: Villain | None = None) -> AsyncIterator[Arena]:
    """A copy of the template to fight in."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in template.glob("l1.db*"):
        shutil.copy(file, folder / file.name)
    deployment = msgspec.json.decode((template / "deployment.json").read_bytes(), type=Deployment)
    clock = Clock(START_S + 10)
    async with AsyncExitStack() as stack:
        server = open_server(folder, clock)
        await server.start("127.0.0.1", 0)
        stack.push_async_callback(server.aclose)
        operator = (
            JsonRpcRollupL1(server.url, deployment, OPERATOR_KEY)
            if villain is None
            else VillainL1(server.url, deployment, OPERATOR_KEY, villain)
        )
        prover, second = (JsonRpcRollupL1(server.url, deployment, key) for key in (PROVER_KEY, SECOND_KEY))
        for l1 in (operator, prover, second):
            stack.push_async_callback(l1.aclose)
        sequencer = Sequencer(operator, deployment, OPERATOR_KEY, clock)
        await sequencer.sync()
        yield Arena(server, clock, deployment, operator, prover, second, sequencer)


class Stopwatch:
    """Seconds that went by inside of it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._since = time.perf_counter()

    def __exit__(self, *_: Any) -> None:
        self.seconds += time.perf_counter() - self._since
