"""The rollup as its users reach it: an async client of the L2 RPC that checks every answer."""

from __future__ import annotations

import asyncio
import itertools
import re
from itertools import pairwise
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec
from msgspec.structs import replace

from chain.eip712 import SigningDomain
from chain.errors import ChainRejectedError, ChainUnavailableError, JsonRpc, UsageError
from chain.orders import SignedOrder
from chain.proofs import ProofKind, leaf_key, proven_leaf
from chain.retry import poll
from chain.rpc.wire import MAX_LIST_ITEMS, bad_answer, from_wire
from chain.signing import checksum_address, parse_address
from chain.text import plain_text
from chain.txs import tx_id
from chain.urls import shown_url
from chain.views import (
    AccountView,
    AttestationView,
    BatchView,
    ChainEvent,
    ChainInfo,
    ChannelView,
    DisputeView,
    FaucetGrant,
    FeeQuote,
    Inclusion,
    SafetyView,
    SoftReceipt,
    StateProof,
    TxStatus,
    WaitingMessage,
    WithdrawalOfferView,
    WithdrawalView,
)

MAX_ANSWER_BYTES = 4 * 1024 * 1024
SLOW_CALL_TIMEOUT_S = 65.0
"""For calls that wait for L1 by their nature."""

MAX_PAGES = 64
"""Of an answer that comes in pieces."""
MAX_RETRY_AFTER_S = 3_600
_SIGNATURE = re.compile(r"0x[0-9a-f]{128}", re.ASCII)
_CODE = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
_SERVER_FAILURES = (JsonRpc.INTERNAL_ERROR, JsonRpc.UNAVAILABLE)
_RANKS = {Inclusion.UNKNOWN: 0, Inclusion.SOFT: 1, Inclusion.BATCHED: 2, Inclusion.FINAL: 3}

T = TypeVar("T")


class RollupClient:
    """One rollup RPC. Use it as an async context manager, or call ``aclose``.

    Every method may raise ``ChainUnavailableError`` (unreachable, too slow, or an answer that makes no sense) or
    ``ChainRejectedError`` with the server's code.

    Args:
        url: ``http://`` or ``https://`` URL of the RPC.
        timeout_s: The longest that one call may take.
        max_answer_bytes: Longer answers are not read.
        own_l1: The L1 that counts, in place of the one that the RPC names.

    Raises:
        UsageError: If the URL is none.
    """

    def __init__(
        self, url: str, *, timeout_s: float = 10.0, max_answer_bytes: int = MAX_ANSWER_BYTES, own_l1: str = ""
    ) -> None:
        self.url = _checked_url(url)
        self._own_l1 = own_l1
        self._timeout_s = timeout_s
        self._max_answer_bytes = max_answer_bytes
        self._session: aiohttp.ClientSession | None = None
        self._ids = itertools.count(1)
        self._domain: SigningDomain | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def info(self) -> ChainInfo:
        """Which chain this is, and where its L1 is: the person's own one, if there is one."""
        info = from_wire(await self._call("rollup_info"), ChainInfo)
        if self._own_l1:
            return replace(info, l1_rpc_url=self._own_l1)
        # Other programs connect to what stands here. A sequencer may keep its L1 to itself.
        _require(not info.l1_rpc_url or _is_url(info.l1_rpc_url))
        return info

    async def domain(self) -> SigningDomain:
        """What binds signatures to this deployment; asked for once."""
        if self._domain is None:
            info = await self.info()
            try:
                self._domain = SigningDomain.of_texts(info.l1_chain_id, info.rollup_address, info.deployment_salt)
            except ValueError:
                raise bad_answer() from None
        return self._domain

    async def fees(self) -> FeeQuote:
        """What a transaction of each kind costs now, and how long that holds."""
        return from_wire(await self._call("rollup_fees"), FeeQuote)

    async def account(self, address: bytes) -> AccountView | None:
        """The account of an address at the head; ``None`` where it has none."""
        result = await self._call("rollup_account", checksum_address(address))
        return None if result is None else _of_address(from_wire(result, AccountView), address)

    async def accounts_of(self, address: bytes) -> list[AccountView]:
        """Every account of an address at the head, by number; the first is the one that `account` gives."""
        views = from_wire(await self._call("rollup_accountsOf", checksum_address(address)), list[AccountView])
        _require(all(before.index < after.index for before, after in pairwise(views)))
        return [_of_address(view, address) for view in views]

    async def create_account(self, address: bytes) -> AccountView:
        """The account of an address, created if it has none."""
        result = await self._call("rollup_createAccount", checksum_address(address))
        return _of_address(from_wire(result, AccountView), address)

    async def channel(self, channel_id: int) -> ChannelView | None:
        """An open channel at the head; ``None`` where there is none of this id, or it is closed."""
        result = await self._call("rollup_channel", channel_id)
        if result is None:
            return None
        view = from_wire(result, ChannelView)
        _require(view.channel_id == channel_id)
        return view

    async def channels_of(self, address: bytes) -> list[ChannelView]:
        """The newest open channels that an address pays into or is paid from."""
        views = from_wire(await self._call("rollup_channelsOf", checksum_address(address)), list[ChannelView])
        # Told twice, money would count twice.
        _require(all(before.channel_id > after.channel_id for before, after in pairwise(views)))
        _require(all(address in (parse_address(view.payer), parse_address(view.payee)) for view in views))
        return views

    async def submit(self, raw_tx: bytes) -> SoftReceipt:
        """Hand in a transaction; once this returns, the sequencer has executed it and keeps it durably."""
        receipt = from_wire(await self._call("rollup_submit", "0x" + raw_tx.hex()), SoftReceipt)
        _require(receipt.l2_tx == "0x" + tx_id(raw_tx).hex())
        return receipt

    async def transaction(self, l2_tx: str) -> TxStatus:
        """Where a transaction stands; ``Inclusion.UNKNOWN`` (and sequence -1) where the server never saw it."""
        result = await self._call("rollup_transaction", l2_tx)
        if result is None:
            return TxStatus(
                l2_tx=l2_tx,
                kind="unknown",
                inclusion=Inclusion.UNKNOWN,
                sequence=-1,
                batch_id=None,
                l1_tx=None,
                state_root=None,
                final_at_s=None,
            )
        status = from_wire(result, TxStatus)
        _require(status.l2_tx == l2_tx.lower())
        return status

    async def wait_for(self, l2_tx: str, inclusion: Inclusion, *, timeout_s: float) -> TxStatus:
        """Wait until a transaction has come at least as far as ``inclusion``; short outages are waited out.

        Raises:
            ChainUnavailableError: With code ``not_included`` if it did not within ``timeout_s``.
        """

        async def status() -> TxStatus | None:
            found = await self.transaction(l2_tx)
            return found if _RANKS[found.inclusion] >= _RANKS[inclusion] else None

        message = f"The transaction wasn't {inclusion.value} within {timeout_s:g} seconds."
        return await poll(status, timeout_s=timeout_s, message=message)

    async def batches(self, limit: int = 20) -> list[BatchView]:
        """The newest batches on L1, newest first."""
        views = from_wire(await self._call("rollup_batches", limit), list[BatchView])
        _require(len(views) <= limit and all(before.batch_id > after.batch_id for before, after in pairwise(views)))
        return views

    async def batch(self, batch_id: int) -> BatchView | None:
        """One batch on L1; ``None`` where none of this id stands there."""
        result = await self._call("rollup_batch", batch_id)
        if result is None:
            return None
        view = from_wire(result, BatchView)
        _require(view.batch_id == batch_id)
        return view

    async def withdrawals_of(self, address: bytes) -> list[WithdrawalView]:
        """The newest withdrawals to an L1 address, newest first."""
        views = from_wire(await self._call("rollup_withdrawalsOf", checksum_address(address)), list[WithdrawalView])
        _require(all(parse_address(view.recipient) == address for view in views))
        _require(all(before.withdrawal_index > after.withdrawal_index for before, after in pairwise(views)))
        return views

    async def offer_withdrawal(self, signed: SignedOrder) -> None:
        """Put a withdrawal's claim up for sale, in place of an earlier offer of it."""
        order, sold = signed.order, signed.order.withdrawal
        await self._call(
            "rollup_offerWithdrawal",
            sold.account,
            sold.nonce,
            str(sold.amount_nano),
            checksum_address(sold.recipient),
            str(order.max_fee_nano),
            order.start_s,
            order.deadline_s,
            "0x" + signed.signature.hex(),
        )

    async def withdrawal_offers(self) -> list[WithdrawalOfferView]:
        """The claims that are for sale; hold each against L1 before you believe it."""
        return from_wire(await self._call("rollup_withdrawalOffers"), list[WithdrawalOfferView])

    async def attest(self, batch_id: int, signature: bytes) -> None:
        """Publish a bonded watchtower's word that a batch is right."""
        await self._call("rollup_attest", batch_id, "0x" + signature.hex())

    async def attestations(self, batch_id: int) -> list[AttestationView]:
        """What watchtowers said about each batch that isn't final, up to this one; hold it against L1 too."""
        views: list[AttestationView] = []
        for _ in range(MAX_PAGES):
            page = from_wire(await self._call("rollup_attestations", batch_id), list[AttestationView])
            _require(all(view.batch_id <= batch_id and _SIGNATURE.fullmatch(view.signature) for view in page))
            views = page + [view for view in views if view.batch_id > batch_id]
            if len(page) < MAX_LIST_ITEMS or page[0].batch_id == batch_id:
                break
            # A full answer has the newest words, and perhaps not all about the oldest of their batches.
            batch_id = page[0].batch_id
        return views

    async def proof(self, kind: ProofKind, index: int, batch_id: int | None = None) -> StateProof:
        """A proof of an account, channel or withdrawal (its number), checked to lead to the root it names.

        The answer's ``index`` is the leaf's state index, which L1 is given with the siblings. Whether L1 has that root
        is for L1 to say (`wallet.verifier`).

        Args:
            kind: What the number is of.
            index: The number.
            batch_id: Against the state after this batch, one of the newest on L1, where absence is proven too; without
                it against the newest final one.
        """
        params = (kind, index) if batch_id is None else (kind, index, batch_id)
        proof = from_wire(await self._call("rollup_proof", *params), StateProof)
        try:
            leaf = proven_leaf(proof, leaf_key(kind, index), bytes.fromhex(proof.state_root[2:]))
        except ValueError:
            raise bad_answer() from None
        _require(leaf is not None or batch_id is not None)
        _require(batch_id is None or proof.batch_id == batch_id)
        return proof

    async def events(self, limit: int = 50) -> list[ChainEvent]:
        """The newest events of the chain, newest first."""
        views = from_wire(await self._call("rollup_events", limit), list[ChainEvent])
        _require(len(views) <= limit)
        return views

    async def safety(self) -> SafetyView:
        """What L1 says about bonds, waiting messages, disputes and the freeze, as this server reads it there."""
        return from_wire(await self._call("rollup_safety"), SafetyView)

    async def disputes(self, limit: int = 20, skip: int = 0) -> list[DisputeView]:
        """Frauds that were proven on L1, newest first."""
        views = from_wire(await self._call("rollup_disputes", limit, skip), list[DisputeView])
        _require(len(views) <= limit)
        return views

    async def waiting(self, start: int = 0, limit: int = 20) -> list[WaitingMessage]:
        """The L1 inbox's messages from an index on that no batch executes yet, oldest first."""
        views = from_wire(await self._call("rollup_waiting", start, limit), list[WaitingMessage])
        _require(len(views) <= limit and all(view.index >= start for view in views))
        return views

    async def faucet(self, address: bytes) -> FaucetGrant:
        """Ask a devnet for test money; returns once it is on its way."""
        result = await self._call("devnet_faucet", checksum_address(address), timeout_s=SLOW_CALL_TIMEOUT_S)
        grant = from_wire(result, FaucetGrant)
        _require(parse_address(grant.address) == address)
        return grant

    async def flush(self) -> None:
        """Have a devnet post everything acknowledged so far, and wait until it stands on L1."""
        await self._call("rollup_flush", timeout_s=SLOW_CALL_TIMEOUT_S)

    async def _call(self, method: str, *params: Any, timeout_s: float | None = None) -> Any:
        identity = next(self._ids)
        request = {"jsonrpc": "2.0", "id": identity, "method": method, "params": list(params)}
        answer = await self._post(msgspec.json.encode(request), max(timeout_s or 0, self._timeout_s))
        if not isinstance(answer, dict) or answer.get("id") != identity:
            raise bad_answer()
        error = answer.get("error")
        if error is not None:
            raise _refusal(error)
        return answer.get("result")

    async def _post(self, body: bytes, timeout_s: float) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=False)
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.post(
                    self.url,
                    data=body,
                    headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
                    allow_redirects=False,
                ) as response,
            ):
                if response.status != 200:
                    raise bad_answer()
                data = await _read_bounded(response, self._max_answer_bytes)
        except TimeoutError:
            raise ChainUnavailableError(
                f"The chain at {shown_url(self.url)} didn't answer in time.",
                code="chain_timeout",
                fix="Check that it runs, then try again.",
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise ChainUnavailableError(
                f"The chain at {shown_url(self.url)} can't be reached.",
                fix="Start it with `idlewatt devnet`, or give another address with --chain.",
            ) from error
        try:
            return msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise bad_answer() from None


async def _read_bounded(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > max_bytes:
            raise bad_answer()
    return bytes(data)


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and url.isprintable()
    except ValueError:
        return False


def _checked_url(url: str) -> str:
    if not _is_url(url):
        raise UsageError(
            "The chain's address is not a URL.", code="bad_url", fix="Write one such as http://127.0.0.1:8547."
        )
    return url


def _refusal(error: Any) -> ChainRejectedError | ChainUnavailableError:
    if not isinstance(error, dict):
        return bad_answer()
    data = error.get("data")
    data = data if isinstance(data, dict) else {}
    word = data.get("code")
    word = word if isinstance(word, str) and _CODE.fullmatch(word) else ""
    message = plain_text(error.get("message"), 300) or "The chain refused."
    wait_s = data.get("retry_after_s")
    is_wait = isinstance(wait_s, int) and not isinstance(wait_s, bool) and 0 <= wait_s <= MAX_RETRY_AFTER_S
    kind = ChainUnavailableError if error.get("code") in _SERVER_FAILURES else ChainRejectedError
    return kind(
        message,
        code="chain_rejected",
        fix=plain_text(data.get("fix"), 300),
        peer_code=word,
        retry_after_s=wait_s if is_wait else None,
    )


def _of_address(view: AccountView, address: bytes) -> AccountView:
    _require(parse_address(view.address) == address)
    return view


def _require(is_consistent: bool) -> None:
    if not is_consistent:
        raise bad_answer()
