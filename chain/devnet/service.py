"""The devnet as one service: what starts in which order, what is kept, and what ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from chain.devnet.home import DevnetHome
from chain.errors import ChainRejectedError
from chain.l1.embedded.server import L1Server
from chain.l1.protocol import Deployment
from chain.sequencer.config import SequencerConfig
from chain.signing import address_of

if TYPE_CHECKING:
    from chain.l1.embedded.evm import EmbeddedEvm
    from chain.l1.rollup_l1 import JsonRpcRollupL1
    from chain.sequencer import Sequencer

L1_CHAIN_ID = 31_337
L2_CHAIN_ID = 31_338
OPERATOR_ETHER_WEI = 10**9 * 10**18
POLL_S = 0.5
"""How often the sequencer looks at L1; the faucet's deposits are announced to it besides."""

log = logging.getLogger(__name__)


class DevnetParams(msgspec.Struct, frozen=True, kw_only=True):
    """What a new devnet's rollup is deployed with; an existing one keeps its own."""

    challenge_window_s: int = 60
    force_delay_s: int = 20
    close_delay_s: int = 30


class DevnetReady(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running devnet answers, and which chain it is."""

    l1_url: str
    l2_url: str
    deployment: str
    """32-byte hash as ``0x`` hex that no other deployment shares."""
    rollup_address: str
    inbox_address: str
    asset_address: str
    is_new: bool
    """Whether this start deployed the contracts."""


class Devnet:
    """An embedded L1 with the rollup on it, its sequencer, RPC and faucet; an async context manager.

    Args:
        home: Its directory; the same one resumes the same chain.
        host: Where to listen.
        l1_port: For the L1's JSON-RPC; 0 picks a free port.
        l2_port: For the rollup's RPC; 0 picks a free port.
        params: For a new chain.
        sequencer: The sequencer's limits and rhythms, if they should be others than usual.
    """

    def __init__(
        self,
        home: Path,
        *,
        host: str = "127.0.0.1",
        l1_port: int = 0,
        l2_port: int = 0,
        params: DevnetParams | None = None,
        sequencer: SequencerConfig | None = None,
    ) -> None:
        self._path = home
        self._host = host
        self._ports = l1_port, l2_port
        self._params = params or DevnetParams()
        self._sequencer_config = sequencer or SequencerConfig(poll_s=POLL_S)
        self._stack = AsyncExitStack()
        self.ready: DevnetReady
        self.l1: L1Server
        self.rollup: JsonRpcRollupL1
        self.sequencer: Sequencer

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _start(self, stack: AsyncExitStack) -> None:
        home = DevnetHome(self._path)
        stack.callback(home.release)
        key = home.operator_key()
        self.l1 = L1Server(lambda: _open_evm(home.l1_database, address_of(key)))
        # Both load for a second, off the loop: py-evm in the L1's thread, web3 in another.
        client = asyncio.ensure_future(asyncio.to_thread(_load_client))
        try:
            await self.l1.start(self._host, self._ports[0])
            stack.push_async_callback(self.l1.aclose)
        finally:
            await client
        deployment, is_new = await self._deployment(home, key)
        await self._start_l2(stack, home, key, deployment, is_new=is_new)

    async def _start_l2(
        self, stack: AsyncExitStack, home: DevnetHome, key: bytes, deployment: Deployment, *, is_new: bool
    ) -> None:
        from chain.devnet.faucet import Faucet
        from chain.l1.rollup_l1 import JsonRpcRollupL1
        from chain.rpc.server import RpcServer
        from chain.sequencer import Sequencer
        from chain.sequencer.sequencer import deployment_id

        self.rollup = JsonRpcRollupL1(self.l1.url, deployment, key)
        stack.push_async_callback(self.rollup.aclose)
        identity = deployment_id(deployment)
        self.sequencer = Sequencer(self.rollup, home.l2_database(identity), config=self._sequencer_config)
        await stack.enter_async_context(self.sequencer)
        faucet = Faucet(self.rollup, self._account_number, self.sequencer.poke)
        await faucet.prepare()
        rpc = RpcServer(self.sequencer, l1_rpc_url=self.l1.url, faucet=faucet.grant, is_devnet=True)
        await stack.enter_async_context(rpc)
        await rpc.start(self._host, self._ports[1])
        self.ready = DevnetReady(
            l1_url=self.l1.url,
            l2_url=rpc.url,
            deployment="0x" + identity.hex(),
            rollup_address="0x" + deployment.rollup_address.hex(),
            inbox_address="0x" + deployment.inbox_address.hex(),
            asset_address="0x" + deployment.asset_address.hex(),
            is_new=is_new,
        )

    def _account_number(self, owner: bytes) -> int | None:
        # The sequencer replaces its head when a write fails, so it is asked anew each time.
        return self.sequencer.head.account_number(owner)

    async def _deployment(self, home: DevnetHome, key: bytes) -> tuple[Deployment, bool]:
        """The home's deployment, checked against its L1; a new one where there is none."""
        from chain.l1.rollup_l1 import DeployParams, JsonRpcRollupL1, deploy
        from chain.state import GENESIS_ROOT

        known = home.deployment()
        if known is not None:
            reader = JsonRpcRollupL1(self.l1.url, known)
            try:
                await reader.check_chain()
            except ChainRejectedError as error:
                if error.code != "foreign_chain":
                    raise
                log.warning("the L1 was reset; its old deployment is kept at %s", home.archive_deployment(known))
            else:
                return known, False
            finally:
                await reader.aclose()
        params = DeployParams(
            l2_chain_id=L2_CHAIN_ID,
            genesis_root=GENESIS_ROOT,
            challenge_window_s=self._params.challenge_window_s,
            force_delay_s=self._params.force_delay_s,
            close_delay_s=self._params.close_delay_s,
        )
        deployment = await deploy(self.l1.url, key, params)
        home.keep_deployment(deployment)
        return deployment, True


async def run_devnet(
    home: Path,
    *,
    host: str = "127.0.0.1",
    l1_port: int,
    l2_port: int,
    on_ready: Callable[[DevnetReady], None],
    stop: asyncio.Event,
    challenge_window_s: int | None = None,
) -> None:
    """Run a devnet until ``stop`` is set; the same home resumes the same chain.

    Args:
        home: Its directory.
        host: Where to listen.
        l1_port: For the L1's JSON-RPC; 0 picks a free port.
        l2_port: For the rollup's RPC; 0 picks a free port.
        on_ready: Called once both answer.
        stop: Ends it.
        challenge_window_s: Of a new chain; an existing one keeps its own.

    Raises:
        IdlewattError: With code ``port_in_use``, ``devnet_running``, ``home_unusable`` or ``devnet_damaged``.
    """
    params = DevnetParams() if challenge_window_s is None else DevnetParams(challenge_window_s=challenge_window_s)
    async with Devnet(home, host=host, l1_port=l1_port, l2_port=l2_port, params=params) as devnet:
        on_ready(devnet.ready)
        await stop.wait()


def _open_evm(path: Path, operator: bytes) -> EmbeddedEvm:
    from chain.l1.embedded.evm import EmbeddedEvm

    return EmbeddedEvm(path, chain_id=L1_CHAIN_ID, genesis_balances_wei={operator: OPERATOR_ETHER_WEI})


def _load_client() -> Any:
    import chain.l1.rollup_l1

    return chain.l1.rollup_l1
