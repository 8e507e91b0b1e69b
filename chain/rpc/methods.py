"""The methods of the L2 RPC: what a wallet expects of an Ethereum node, and the rollup's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from chain.errors import IdlewattError
from chain.jsonrpc import CLIENT
from chain.money import ASSET_WEI_PER_NANO
from chain.orders import SignedOrder
from chain.rpc import params
from chain.rpc.board import Attested, BoardLimits, Offers, read_order
from chain.rpc.params import Param, read_params
from chain.rpc.safety import SafetyQueries
from chain.rpc.wire import to_wire
from chain.sequencer.sequencer import Sequencer
from chain.views import FaucetGrant

FaucetGrantor = Callable[[bytes], Awaitable[FaucetGrant]]
"""Gives test money to an L2 owner's address."""

_ADDRESS = Param("address", params.address)
_TAG = Param("block", params.block_tag, "latest")
_NONE: tuple[Param, ...] = ()
_ORDER = (
    Param("account_index", params.number),
    Param("nonce", params.u64),
    Param("amount_nano", params.amount),
    Param("recipient", params.address),
    Param("max_fee_nano", params.amount),
    Param("start_s", params.u64),
    Param("deadline_s", params.u64),
    Param("signature", params.signature),
)


_OF_THE_HEAD = frozenset(
    {
        "eth_getBalance",
        "eth_getTransactionCount",
        "rollup_account",
        "rollup_accountsOf",
        "rollup_channel",
        "rollup_channelsOf",
    }
)
"""Methods that read the head: they wait where it lacks what was acknowledged, since L1's history has changed."""


class UnknownMethodError(IdlewattError):
    """No such method."""

    default_code = "unknown_method"


class Methods:
    """Calls by name on one sequencer.

    Args:
        sequencer: Answers.
        l1_rpc_url: Told to clients, who deposit there.
        faucet: On a devnet, gives test money.
        is_devnet: Whether anyone may have batches posted at once.
        safety_fresh_s: How long an answer about the rollup's safety is reused before L1 is asked again.
    """

    def __init__(
        self,
        sequencer: Sequencer,
        *,
        l1_rpc_url: str,
        faucet: FaucetGrantor | None = None,
        is_devnet: bool = False,
        safety_fresh_s: float = 1.0,
    ) -> None:
        self._sequencer = sequencer
        self._l1_rpc_url = l1_rpc_url
        self._faucet = faucet
        limits = BoardLimits()
        self._offers, self._attested = Offers(sequencer, limits), Attested(sequencer, limits)
        self._safety = SafetyQueries(sequencer.l1, fresh_s=safety_fresh_s)
        self._client_version = f"idlewatt/{_own_version()}"
        self._methods: dict[str, tuple[Callable[..., Awaitable[Any]], tuple[Param, ...]]] = {
            "eth_chainId": (self._eth_chain_id, _NONE),
            "eth_blockNumber": (self._eth_block_number, _NONE),
            "eth_getBalance": (self._eth_get_balance, (_ADDRESS, _TAG)),
            "eth_getTransactionCount": (self._eth_get_transaction_count, (_ADDRESS, _TAG)),
            "eth_accounts": (self._eth_accounts, _NONE),
            "eth_syncing": (self._eth_syncing, _NONE),
            "eth_gasPrice": (self._eth_gas_price, _NONE),
            "net_version": (self._net_version, _NONE),
            "web3_clientVersion": (self._web3_client_version, _NONE),
            "rollup_info": (self._info, _NONE),
            "rollup_fees": (self._fees, _NONE),
            "rollup_account": (self._account, (_ADDRESS,)),
            "rollup_accountsOf": (self._accounts_of, (_ADDRESS,)),
            "rollup_channel": (self._channel, (Param("channel_id", params.number),)),
            "rollup_channelsOf": (self._channels_of, (_ADDRESS,)),
            "rollup_createAccount": (self._create_account, (_ADDRESS,)),
            "rollup_submit": (self._submit, (Param("raw_tx", params.transaction),)),
            "rollup_transaction": (self._transaction, (Param("l2_tx", params.tx_hash),)),
            "rollup_batches": (self._batches, (Param("limit", params.limit, 20),)),
            "rollup_batch": (self._batch, (Param("batch_id", params.number),)),
            "rollup_withdrawalsOf": (self._withdrawals_of, (_ADDRESS,)),
            "rollup_offerWithdrawal": (self._offer_withdrawal, _ORDER),
            "rollup_withdrawalOffers": (self._withdrawal_offers, _NONE),
            "rollup_attest": (
                self._attest,
                (Param("batch_id", params.number), Param("signature", params.signature)),
            ),
            "rollup_attestations": (self._attestations, (Param("batch_id", params.number),)),
            "rollup_proof": (
                self._proof,
                (
                    Param("kind", params.proof_kind),
                    Param("index", params.number),
                    Param("batch_id", params.number, None),
                ),
            ),
            "rollup_events": (self._events, (Param("limit", params.limit, 50),)),
            "rollup_safety": (self._safety_view, _NONE),
            "rollup_disputes": (self._disputes, (Param("limit", params.limit, 20), Param("skip", params.number, 0))),
            "rollup_waiting": (self._waiting, (Param("start", params.number, 0), Param("limit", params.limit, 20))),
        }
        if is_devnet:
            self._methods["rollup_flush"] = (self._flush, _NONE)
        if faucet is not None:
            self._methods["devnet_faucet"] = (self._give, (_ADDRESS,))

    async def call(self, method: str, given: Any) -> Any:
        """The result of a method, as JSON values.

        Raises:
            UnknownMethodError: If there is no such method.
            UsageError: If the parameters are wrong.
            IdlewattError: If the sequencer refuses or fails.
        """
        found = self._methods.get(method)
        if found is None:
            raise UnknownMethodError("This RPC has no such method.")
        function, specs = found
        values = read_params(specs, given)
        if method in _OF_THE_HEAD:
            await self._sequencer.realigner.settled()
        return await function(*values)

    async def _eth_chain_id(self) -> str:
        return hex(self._sequencer.deployment.l2_chain_id)

    async def _eth_block_number(self) -> str:
        """Batches are this chain's blocks."""
        return hex(self._sequencer.ledger.posted_count)

    async def _eth_get_balance(self, address: bytes, _block: str) -> str:
        account = self._sequencer.queries.account(address)
        return hex(account.balance_nano * ASSET_WEI_PER_NANO if account else 0)

    async def _eth_get_transaction_count(self, address: bytes, _block: str) -> str:
        account = self._sequencer.queries.account(address)
        return hex(account.nonce if account else 0)

    async def _eth_accounts(self) -> list[str]:
        return []

    async def _eth_syncing(self) -> bool:
        return False

    async def _eth_gas_price(self) -> str:
        return "0x0"

    async def _net_version(self) -> str:
        return str(self._sequencer.deployment.l2_chain_id)

    async def _web3_client_version(self) -> str:
        return self._client_version

    async def _info(self) -> Any:
        has_faucet = self._faucet is not None
        return to_wire(self._sequencer.queries.info(l1_rpc_url=self._l1_rpc_url, has_faucet=has_faucet))

    async def _account(self, address: bytes) -> Any:
        return to_wire(self._sequencer.queries.account(address))

    async def _accounts_of(self, address: bytes) -> Any:
        return to_wire(self._sequencer.queries.accounts_of(address))

    async def _channel(self, channel_id: int) -> Any:
        return to_wire(await self._sequencer.queries.channel(channel_id))

    async def _channels_of(self, address: bytes) -> Any:
        return to_wire(await self._sequencer.queries.channels_of(address))

    async def _create_account(self, address: bytes) -> Any:
        await self._sequencer.create_account(address, CLIENT.get())
        return to_wire(self._sequencer.queries.account(address))

    async def _fees(self) -> Any:
        return to_wire(self._sequencer.queries.fees())

    async def _submit(self, raw_tx: bytes) -> Any:
        return to_wire(await self._sequencer.submit(raw_tx, CLIENT.get()))

    async def _transaction(self, l2_tx: bytes) -> Any:
        return to_wire(await self._sequencer.queries.transaction(l2_tx))

    async def _batches(self, limit: int) -> Any:
        return to_wire(await self._sequencer.queries.batches(limit))

    async def _batch(self, batch_id: int) -> Any:
        return to_wire(await self._sequencer.queries.batch(batch_id))

    async def _withdrawals_of(self, address: bytes) -> Any:
        return to_wire(await self._sequencer.queries.withdrawals_of(address))

    async def _offer_withdrawal(self, *values: Any) -> None:
        *terms, signature = values
        await self._offers.put(SignedOrder(order=read_order(*terms), signature=signature))

    async def _withdrawal_offers(self) -> Any:
        return to_wire(self._offers.views())

    async def _attest(self, batch_id: int, signature: bytes) -> None:
        await self._attested.put(batch_id, signature, CLIENT.get())

    async def _attestations(self, batch_id: int) -> Any:
        return to_wire(self._attested.views(batch_id))

    async def _proof(self, kind: Any, index: int, batch_id: int | None) -> Any:
        if batch_id is None:
            return to_wire(self._sequencer.queries.proof(kind, index))
        return to_wire(await self._sequencer.queries.posted_proof(kind, index, batch_id))

    async def _events(self, limit: int) -> Any:
        return to_wire(await self._sequencer.queries.events(limit))

    async def _safety_view(self) -> Any:
        return to_wire(await self._safety.view())

    async def _disputes(self, limit: int, skip: int) -> Any:
        return to_wire(await self._safety.disputes(limit, skip))

    async def _waiting(self, start: int, limit: int) -> Any:
        return to_wire(await self._safety.waiting(start, limit))

    async def _flush(self) -> None:
        await self._sequencer.flush()

    async def _give(self, address: bytes) -> Any:
        assert self._faucet is not None
        # First, so that the deposit names the account: a deposit without a number would allocate a second account.
        await self._sequencer.create_account(address, CLIENT.get())
        return to_wire(await self._faucet(address))


def _own_version() -> str:
    try:
        return version("idlewatt")
    except PackageNotFoundError:
        return "source"
