"""The devnet as one service: starts its parts in order, keeps what must last, and ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from chain.devnet.config import DevnetConfig, DevnetParams, DevnetReady, OperatorTerms, OtherL1
from chain.devnet.home import DevnetHome
from chain.errors import ChainRejectedError
from chain.l1.embedded.server import L1Server
from chain.l1.protocol import Deployment
from chain.logs import get_logger
from chain.signing import address_of

if TYPE_CHECKING:
    from chain.l1.embedded.evm import EmbeddedEvm
    from chain.l1.rollup_l1 import JsonRpcRollupL1
    from chain.sequencer import Sequencer
    from chain.villains import Villain

L1_CHAIN_ID = 31_337
L2_CHAIN_ID = 31_338
OPERATOR_ETHER_WEI = 10**9 * 10**18
log = get_logger(__name__)


class Devnet:
    """An L1, embedded or another, with the rollup on it, its sequencer, RPC and faucet; an async context manager.

    Args:
        home: Its directory; the same one resumes the same chain.
        host: Where to listen.
        l1_port: For the L1's JSON-RPC; 0 picks a free port.
        l2_port: For the rollup's RPC; 0 picks a free port.
        params: For a new chain.
        config: Limits and intervals of what runs.
        other_l1: An L1 to deploy to and sequence on, instead of an embedded one.
        villain: How the sequencer misbehaves, if it should.
    """

    def __init__(
        self,
        home: Path,
        *,
        host: str = "127.0.0.1",
        l1_port: int = 0,
        l2_port: int = 0,
        params: DevnetParams | None = None,
        config: DevnetConfig | None = None,
        other_l1: OtherL1 | None = None,
        villain: Villain | None = None,
    ) -> None:
        self._other_l1 = other_l1
        self._villain = villain
        self._l1_url = other_l1.url if other_l1 else ""
        self._path = home
        self._host = host
        self._ports = l1_port, l2_port
        self._params = params or DevnetParams()
        self._config = config or DevnetConfig()
        if other_l1 is None:
            # The embedded L1 takes no block back, and mines none while nothing is sent.
            embedded = msgspec.structs.replace(self._config.sequencer, inbox_confirmations=0)
            self._config = msgspec.structs.replace(self._config, sequencer=embedded)
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
        if self._other_l1 is not None:
            deployment, is_new = await self._deployment_on_other_l1(home, key, self._other_l1)
            await self._start_l2(stack, home, key, deployment, is_new=is_new)
            return
        home.deployment()  # fails for a home that can't be used, before a chain is opened in it
        self.l1 = L1Server(lambda: _open_evm(home.l1_database, address_of(key)))
        # Both load for a second, off the loop: py-evm in the L1's thread, web3 in another.
        client = asyncio.ensure_future(asyncio.to_thread(_load_client))
        try:
            await self.l1.start(self._host, self._ports[0])
            stack.push_async_callback(self.l1.aclose)
        finally:
            await client
        self._l1_url = self.l1.url
        deployment, is_new = await self._deployment(home, key)
        miner = asyncio.create_task(self._mine_for_reveals(deployment), name="devnet-reveals")
        stack.push_async_callback(_end, miner)
        await self._start_l2(stack, home, key, deployment, is_new=is_new)

    async def _mine_for_reveals(self, deployment: Deployment) -> None:
        while True:
            await asyncio.sleep(self._config.reveal_block_s)
            try:
                await self.l1.mine_for_reveal(deployment.rollup_address, deployment.reveal_delay_blocks)
            except Exception:
                log.exception("empty_block_not_mined")

    async def _start_l2(
        self, stack: AsyncExitStack, home: DevnetHome, key: bytes, deployment: Deployment, *, is_new: bool
    ) -> None:
        from chain.devnet.faucet import Faucet
        from chain.l1.rollup_l1 import JsonRpcRollupL1
        from chain.replay import deployment_id
        from chain.rpc.server import RpcServer
        from chain.sequencer import Sequencer
        from chain.sequencer.snapshots import SnapshotKeeper

        if self._villain is None:
            self.rollup = JsonRpcRollupL1(self._l1_url, deployment, key)
        else:
            from chain.villains.sequencer import VillainL1

            self.rollup = VillainL1(self._l1_url, deployment, key, self._villain)
            await self.rollup.prepare()
        stack.push_async_callback(self.rollup.aclose)
        identity = deployment_id(deployment)
        config = self._config.sequencer
        if self._other_l1 is not None:
            config = msgspec.structs.replace(config, snapshot=self._other_l1.snapshot)
        self.sequencer = Sequencer(self.rollup, home.l2_database(identity), config=config)
        await stack.enter_async_context(self.sequencer)
        if self._other_l1 is not None and not self._config.sequencer.fees.ether_price_nano:
            log.warning("fees_leave_out_l1_gas", fix="Say what an ether costs with --ether-price, unless it is free.")
        grant = None
        if self._other_l1 is None or self._other_l1.use_dev_account:
            # On another L1 the operator paid for its ether: don't give it away.
            faucet = Faucet(self.rollup, self._account_number, self.sequencer.poke, limits=self._config.faucet)
            await faucet.prepare()
            grant = faucet.grant
        snapshots = SnapshotKeeper(
            self.sequencer.ledger, home.snapshot(identity), every_s=self._config.snapshot_every_s
        )
        stack.push_async_callback(_end, asyncio.create_task(snapshots.run(), name="devnet-snapshots"))
        rpc = RpcServer(
            self.sequencer,
            l1_rpc_url=self._l1_url,
            faucet=grant,
            is_devnet=True,
            snapshot=snapshots.path,
            trusted_proxies=self._config.trusted_proxies,
        )
        await stack.enter_async_context(rpc)
        await rpc.start(self._host, self._ports[1])
        self.ready = DevnetReady(
            l1_url=self._l1_url,
            l2_url=rpc.url,
            deployment="0x" + identity.hex(),
            rollup_address="0x" + deployment.rollup_address.hex(),
            inbox_address="0x" + deployment.inbox_address.hex(),
            asset_address="0x" + deployment.asset_address.hex(),
            is_new=is_new,
        )

    def _account_number(self, owner: bytes) -> int | None:
        # Read each time: the sequencer replaces its head when a write fails.
        return self.sequencer.head.account_number(owner)

    async def _deployment(self, home: DevnetHome, key: bytes) -> tuple[Deployment, bool]:
        """The home's deployment, checked against its L1; a new one where there is none."""
        from chain.l1.rollup_l1 import JsonRpcRollupL1

        known = home.deployment()
        if known is not None:
            reader = JsonRpcRollupL1(self._l1_url, known)
            try:
                await reader.check_chain()
            except ChainRejectedError as error:
                if error.code != "foreign_chain":
                    raise
                log.warning("l1_reset_detected", old_deployment=str(home.archive_deployment(known)))
            else:
                await _check_version(home, reader, known)
                return known, False
            finally:
                await reader.aclose()
        deployment = await self._deploy(key)
        home.keep_deployment(deployment)
        return deployment, True

    async def _deployment_on_other_l1(self, home: DevnetHome, key: bytes, other_l1: OtherL1) -> tuple[Deployment, bool]:
        """The home's deployment on somebody else's L1; a new one where it has none there and can pay for it."""
        await asyncio.to_thread(_load_client)
        from chain.devnet.foreign import check_funds, identify, join
        from chain.l1.connection import L1Connection
        from chain.l1.rollup_l1 import JsonRpcRollupL1

        connection = L1Connection(self._l1_url)
        try:
            identity = await identify(connection)
            known = home.deployment(identity)
            await check_funds(
                connection,
                address_of(key),
                is_new=known is None,
                use_dev_account=other_l1.use_dev_account,
                bond_wei=self._params.min_bond_wei,
            )
        finally:
            await connection.aclose()
        if known is not None:
            if other_l1.rollup_address not in (None, known.rollup_address):
                raise ChainRejectedError(
                    "This home sequences another rollup on that L1.", code="foreign_chain", fix="Use another --home."
                )
            reader = JsonRpcRollupL1(self._l1_url, known)
            try:
                await reader.check_chain()
                await _check_version(home, reader, known)
            finally:
                await reader.aclose()
            return known, False
        if other_l1.rollup_address is not None:
            deployment = await join(self._l1_url, other_l1.rollup_address, key)
            home.keep_deployment(deployment, identity)
            return deployment, False
        deployment = await self._deploy(key)
        home.keep_deployment(deployment, identity)
        return deployment, True

    async def _deploy(self, key: bytes) -> Deployment:
        from chain.l1.deploy import DeployParams, deploy
        from chain.state import GENESIS_ROOT

        params = DeployParams(
            l2_chain_id=L2_CHAIN_ID,
            genesis_root=GENESIS_ROOT,
            challenge_window_s=self._params.challenge_window_s,
            force_delay_s=self._params.force_delay_s,
            takeover_delay_s=self._params.takeover_delay_s,
            freeze_delay_s=self._params.freeze_delay_s,
            close_delay_s=self._params.close_delay_s,
            unstake_delay_s=self._params.unstake_delay_s,
            reveal_delay_blocks=self._params.reveal_delay_blocks,
            max_time_ahead_s=self._params.max_time_ahead_s,
            min_bond_wei=self._params.min_bond_wei,
            turn_batches=self._params.turn_batches,
            turn_s=self._params.turn_s,
            turn_grace_s=self._params.turn_grace_s,
        )
        return await deploy(self._l1_url, key, params)


async def _check_version(home: DevnetHome, reader: JsonRpcRollupL1, known: Deployment) -> None:
    """Refuse contracts of another version: its clients would call this devnet a liar."""
    from chain.l1.discover import check_code

    try:
        await check_code(reader.connection, known)
    except ChainRejectedError as error:
        if error.code != "foreign_contract":
            raise
        raise home.made_by_another_version() from error


async def run_devnet(  # noqa: PLR0913 - one for each option of the command
    home: Path,
    *,
    host: str = "127.0.0.1",
    l1_port: int,
    l2_port: int,
    on_ready: Callable[[DevnetReady], None],
    stop: asyncio.Event,
    challenge_window_s: int | None = None,
    turn_batches: int | None = None,
    turn_s: int | None = None,
    other_l1: OtherL1 | None = None,
    villain: Villain | None = None,
    inbox_confirmations: int | None = None,
    terms: OperatorTerms | None = None,
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
        turn_batches: After how many batches a sequencer's turn ends; of a new chain too.
        turn_s: After how many seconds it ends.
        other_l1: An L1 to deploy to and sequence on, instead of an embedded one.
        villain: How the sequencer misbehaves, if it should.
        inbox_confirmations: How many blocks of another L1 must stand on an inbox message's before it is executed.
        terms: What the operator asks of others, and whom it believes.

    Raises:
        IdlewattError: With code ``port_in_use``, ``devnet_running``, ``home_unusable``, ``devnet_damaged`` or
            ``old_devnet``; on another L1 also ``operator_unfunded``, ``no_dev_account`` or ``foreign_chain``.
    """
    terms = terms or OperatorTerms()
    params = DevnetParams() if challenge_window_s is None else DevnetParams.with_window(challenge_window_s)
    turns = {"turn_batches": turn_batches, "turn_s": turn_s}
    params = msgspec.structs.replace(params, **{name: value for name, value in turns.items() if value is not None})
    async with Devnet(
        home,
        host=host,
        l1_port=l1_port,
        l2_port=l2_port,
        params=params,
        config=DevnetConfig(
            sequencer=terms.sequencer(inbox_confirmations=inbox_confirmations), trusted_proxies=terms.trusted_proxies
        ),
        other_l1=other_l1,
        villain=villain,
    ) as devnet:
        on_ready(devnet.ready)
        await stop.wait()


def _open_evm(path: Path, operator: bytes) -> EmbeddedEvm:
    from chain.l1.embedded.evm import EmbeddedEvm

    return EmbeddedEvm(path, chain_id=L1_CHAIN_ID, genesis_balances_wei={operator: OPERATOR_ETHER_WEI})


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _load_client() -> Any:
    import chain.l1.rollup_l1

    return chain.l1.rollup_l1
