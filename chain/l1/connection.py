"""One JSON-RPC connection to an L1, as web3 speaks it, with bounded answers and errors a person can read.

web3 is imported here and in what builds on this module only: commands that need no L1 don't pay for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import aiohttp
from eth_abi.exceptions import DecodingError
from eth_account import Account
from web3 import AsyncWeb3, Web3
from web3.exceptions import (
    ContractLogicError,
    TimeExhausted,
    TransactionIndexingInProgress,
    TransactionNotFound,
    Web3Exception,
    Web3RPCError,
)
from web3.providers.async_base import AsyncJSONBaseProvider

from chain.errors import ChainRejectedError, ChainUnavailableError, ErrorCode, IdlewattError
from chain.l1.artifacts import artifact, error_names
from chain.l1.protocol import L1Spent
from chain.recursion import restore_recursion_limit
from chain.text import plain_text

restore_recursion_limit()

MAX_ANSWER_BYTES = 16 * 1024 * 1024
REQUEST_TIMEOUT_S = 30.0
RECEIPT_TIMEOUT_S = 120.0
RECEIPT_POLL_S = 0.1
GAS_MARGIN_PERCENT = 120
MAX_ERROR_CHARS = 200
NONCE_TRIES = 8
"""Attempts at a transaction while other programs with the same key are quicker."""
HTTP_TOO_MANY_REQUESTS = 429
FIX_UNREACHABLE = "Check that the L1 runs and that its URL is right."


class L1Connection:
    """A web3 client of one L1, with our contracts' ABIs.

    Args:
        url: The L1's JSON-RPC over HTTP.
        timeout_s: For one request.
    """

    def __init__(self, url: str, *, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        self._provider = _BoundedProvider(url, timeout_s)
        # No web3 middleware: one of them asks for the chain id before every request.
        self.web3 = AsyncWeb3(self._provider, middleware=[])

    async def aclose(self) -> None:
        """Close the HTTP session."""
        await self._provider.aclose()

    def contract(self, name: str, address: bytes | None = None) -> Any:
        """One of our contracts at an address, or its factory."""
        compiled = artifact(name)
        if address is None:
            return self.web3.eth.contract(abi=compiled.abi, bytecode=compiled.bytecode)
        return self.web3.eth.contract(address=checksum(address), abi=compiled.abi)

    async def call(self, function: Any, *, sender: bytes | None = None) -> Any:
        """A contract function's answer on the newest state.

        Raises:
            ChainUnavailableError: If L1 can't be reached or answers nonsense.
            ChainRejectedError: If the call reverts.
        """
        async with l1_errors():
            return await function.call({"from": checksum(sender)} if sender else {})

    async def call_pending(self, function: Any) -> Any:
        """A contract function's answer in a block mined now, for what depends on the time; see `call`.

        An L1 that shows no pending block answers for its newest one.
        """
        async with l1_errors():
            try:
                return await function.call({}, "pending")
            except ContractLogicError:
                raise
            except Web3RPCError:
                return await function.call({})

    async def request(self, make: Callable[[], Any]) -> Any:
        """Await what ``make`` starts, with errors as in `call`."""
        async with l1_errors():
            return await make()

    async def prepare(self, sender: bytes, function: Any, *, nonce: int, value_wei: int = 0) -> dict[str, Any]:
        """An unsigned EIP-1559 transaction for a contract function or constructor, its gas estimated.

        Args:
            sender: 20 bytes.
            function: A bound contract function or constructor, of web3.
            nonce: The sender's, on L1.
            value_wei: Ether to send along.

        Raises:
            ChainUnavailableError: If L1 can't be reached or answers nonsense.
            ChainRejectedError: If it would revert; ``code`` is the contract's error.
        """
        fields = {"from": checksum(sender), "value": value_wei, "nonce": nonce}
        async with l1_errors():
            try:
                # On the pending block: its time is now, while the newest block may be old.
                gas = await function.estimate_gas(fields, "pending")
            except ContractLogicError:
                raise
            except Web3RPCError:
                gas = await function.estimate_gas(fields)
            return dict(await function.build_transaction(fields | await self.fees() | {"gas": with_margin(gas)}))

    async def gas_price_wei(self) -> int:
        """The newest block's base fee and the tip that L1 suggests."""
        async with l1_errors():
            head = await self.web3.eth.get_block("latest")
            return int(head["baseFeePerGas"]) + int(await self.web3.eth.max_priority_fee)

    async def fees(self) -> dict[str, int]:
        """Chain id and EIP-1559 fees for a transaction sent now; room for the base fee to double."""
        async with l1_errors():
            head = await self.web3.eth.get_block("latest")
            tip = await self.web3.eth.max_priority_fee
            return {
                "chainId": await self.web3.eth.chain_id,
                "maxPriorityFeePerGas": tip,
                "maxFeePerGas": 2 * head["baseFeePerGas"] + tip,
                "type": 2,
            }

    async def next_nonce(self, sender: bytes) -> int:
        """The sender's next nonce, transactions on their way included."""
        async with l1_errors():
            return int(await self.web3.eth.get_transaction_count(checksum(sender), "pending"))

    async def broadcast(self, raw: bytes) -> Any:
        """Send a signed transaction and wait until it is mined; returns its receipt.

        Raises:
            ChainUnavailableError: If L1 can't be reached or doesn't mine it in time.
            ChainRejectedError: If L1 refuses it, or it reverted.
        """
        async with l1_errors():
            try:
                tx_hash = await self.web3.eth.send_raw_transaction(raw)
            except Web3RPCError as error:
                if "already known" not in str(error):
                    raise
                tx_hash = Web3.keccak(raw)
        receipt = await self.mined(tx_hash)
        if receipt["status"] != 1:
            raise ChainRejectedError("The L1 mined the transaction, but it reverted.", code="reverted")
        return receipt

    async def mined(self, tx_hash: Any) -> Any:
        """Wait until a transaction is mined; returns its receipt.

        Raises:
            ChainUnavailableError: If L1 can't be reached or doesn't mine it in time.
        """
        # Not with web3's own waiting: that goes through asyncio.wait_for, which on Python 3.11 forgets that its task
        # was cancelled when the receipt comes at the same moment, so the program would never end.
        async with l1_errors(), asyncio.timeout(RECEIPT_TIMEOUT_S):
            while True:
                try:
                    return await self.web3.eth.get_transaction_receipt(tx_hash)
                except (TransactionNotFound, TransactionIndexingInProgress):
                    await asyncio.sleep(RECEIPT_POLL_S)

    async def transaction(self, tx_hash: bytes) -> tuple[bytes, bytes] | None:
        """To whom a transaction went (empty for a new contract) and its data; ``None`` if there is none of this hash.

        Nothing else of it is read, and not by web3: its sender chose the rest, down to its type.

        Raises:
            ChainUnavailableError: If L1 can't be reached or answers nonsense.
        """
        async with l1_errors():
            found = await self.web3.manager.coro_request("eth_getTransactionByHash", ["0x" + tx_hash.hex()])
            if found is None:
                return None
            to, data = found["to"], found["input"]
            return _bytes_of(to) if to is not None else b"", _bytes_of(data)


SignTransaction = Callable[[dict[str, Any]], bytes]
"""Signs one transaction's fields as eth-account takes them; returns it raw."""


class L1Signer:
    """Sends transactions of one key, one after the other, so that their nonces never collide.

    Args:
        connection: Where to send them.
        address: The key's; 20 bytes.
        sign: Signs one transaction: the key stays where it is, in an unlocked wallet for example.
    """

    def __init__(self, connection: L1Connection, address: bytes, sign: SignTransaction) -> None:
        self._connection = connection
        self._sign_transaction = sign
        self._lock = asyncio.Lock()
        self.address = address
        self.spent = L1Spent()
        """The gas of everything that it sent and saw mined; what reverted on L1 isn't in it."""

    @classmethod
    def of_key(cls, connection: L1Connection, private_key: bytes) -> Self:
        """The signer of a bare key of 32 bytes, which is never shown."""
        account = Account.from_key(private_key)
        address = bytes.fromhex(account.address[2:])
        return cls(connection, address, lambda fields: bytes(account.sign_transaction(fields).raw_transaction))

    async def send(self, function: Any, *, value_wei: int = 0) -> Any:
        """Call a contract function, or run a constructor, in a mined transaction; returns the receipt.

        Raises:
            ChainUnavailableError: If L1 can't be reached or doesn't mine it in time.
            ChainRejectedError: If it reverts or is refused; ``code`` is the contract's error.
        """

        async def fields(nonce: int) -> dict[str, Any]:
            return await self._connection.prepare(self.address, function, nonce=nonce, value_wei=value_wei)

        return await self._send(fields)

    async def send_ether(self, recipient: bytes, value_wei: int) -> Any:
        """Pay ether; returns the receipt.

        Raises:
            ChainUnavailableError: If L1 can't be reached or doesn't mine it in time.
            ChainRejectedError: If it is refused.
        """

        async def fields(nonce: int) -> dict[str, Any]:
            payment = {"to": checksum(recipient), "value": value_wei, "nonce": nonce, "gas": 21_000}
            return payment | await self._connection.fees()

        return await self._send(fields)

    async def _send(self, make_fields: Callable[[int], Awaitable[dict[str, Any]]]) -> Any:
        async with self._lock:
            for _ in range(NONCE_TRIES - 1):
                try:
                    return await self._attempt(make_fields)
                except ChainRejectedError as error:
                    # Another program with this key used the nonce first. L1 never mines what it refused for its nonce.
                    if error.code != "nonce":
                        raise
            return await self._attempt(make_fields)

    async def _attempt(self, make_fields: Callable[[int], Awaitable[dict[str, Any]]]) -> Any:
        fields = await make_fields(await self._connection.next_nonce(self.address))
        # eth-account derives the sender from the key and refuses a "from" field.
        fields.pop("from", None)
        receipt = await self._connection.broadcast(self._sign_transaction(fields))
        gas = int(receipt["gasUsed"])
        self.spent = L1Spent(self.spent.gas + gas, self.spent.wei + gas * int(receipt["effectiveGasPrice"]))
        return receipt


class _BoundedProvider(AsyncJSONBaseProvider):  # type: ignore[misc]  # web3 is untyped to us
    """JSON-RPC over one aiohttp session of ours: no answer is longer than we take, none is waited for without end."""

    # With CCIP read (EIP-3668) an L1 could make this program connect to any address.
    global_ccip_read_enabled = False

    def __init__(self, url: str, timeout_s: float) -> None:
        super().__init__()
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def make_request(self, method: str, params: Any) -> Any:
        """One request's decoded answer."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        body = self.encode_rpc_request(method, params)
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
            if response.status == HTTP_TOO_MANY_REQUESTS:
                raise ChainUnavailableError("The L1 node asks for fewer requests.", code="l1_slow")
            answer = bytearray()
            async for part in response.content.iter_chunked(64 * 1024):
                answer += part
                if len(answer) > MAX_ANSWER_BYTES:
                    raise ChainUnavailableError("The L1's answer is too long.", code="chain_bad_answer")
        return self.decode_rpc_response(bytes(answer))


@asynccontextmanager
async def l1_errors() -> AsyncIterator[None]:
    """Turn whatever goes wrong with an L1 into one of our errors."""
    try:
        yield
    except IdlewattError:
        raise
    except ContractLogicError as error:
        name = _error_name(error)
        raise ChainRejectedError(
            f"The L1 contract refused: {name.replace('_', ' ') or _brief(error)}.", code="reverted", peer_code=name
        ) from error
    except (TimeExhausted, TimeoutError) as error:
        raise ChainUnavailableError(
            "The L1 did not answer in time.", code="chain_timeout", fix=FIX_UNREACHABLE
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        raise ChainUnavailableError("The L1 can't be reached.", fix=FIX_UNREACHABLE) from error
    except Web3RPCError as error:
        if _is_pruned(error):
            raise ChainUnavailableError(
                "The L1 node keeps no history that old.",
                code="l1_pruned",
                fix="Use a node that keeps it, or start from a snapshot (idlewatt watch --snapshot).",
            ) from error
        if _is_busy(str(error).lower()):
            raise ChainUnavailableError("The L1 node asks for fewer requests.", code="l1_slow") from error
        raise ChainRejectedError(f"The L1 refused: {_brief(error)}", code=_rpc_code(error)) from error
    except (
        Web3Exception,
        DecodingError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        # web3's formatters raise many kinds of errors on a hostile server's answer.
        raise ChainUnavailableError(
            "The L1 answered something that makes no sense.", code="chain_bad_answer", fix=FIX_UNREACHABLE
        ) from error


def _bytes_of(text: Any) -> bytes:
    if not isinstance(text, str) or not text.startswith("0x"):
        raise ValueError("no bytes in hex")
    return bytes.fromhex(text[2:])


def checksum(address: bytes) -> str:
    """A 20-byte address in EIP-55 form."""
    return str(Web3.to_checksum_address(address))


def with_margin(gas: int) -> int:
    """A gas limit with room for what changes between estimate and execution."""
    return gas * GAS_MARGIN_PERCENT // 100


def _error_name(error: ContractLogicError) -> str:
    data = error.data
    if not isinstance(data, str) or not data.startswith("0x") or len(data) < 10:
        return ""
    try:
        return error_names().get(bytes.fromhex(data[2:10]), "")
    except ValueError:
        return ""


def _is_pruned(error: Web3RPCError) -> bool:
    text = str(error).lower()
    return "pruned" in text or "pruning" in text


def _is_busy(text: str) -> bool:
    return any(word in text for word in ("rate limit", "too many requests", "compute units", "request count exceeded"))


def _rpc_code(error: Web3RPCError) -> ErrorCode:
    text = str(error).lower()
    if "insufficient funds" in text or "cannot afford" in text or "enough balance" in text:
        return "no_gas"
    if "nonce too" in text:
        return "nonce"
    return "chain_rejected"


def _brief(error: Exception) -> str:
    """A server's message as printable text of bounded length: it may be hostile."""
    response = getattr(error, "rpc_response", None)
    message = str(error)
    if isinstance(response, dict) and isinstance(response.get("error"), dict):
        message = str(response["error"].get("message", message))
    return plain_text(message, MAX_ERROR_CHARS)
