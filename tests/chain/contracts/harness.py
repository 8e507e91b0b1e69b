"""Contracts on the embedded EVM without any socket between: deploy, send, call, and read custom errors by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eth_account import Account
from web3 import Web3
from web3.contract import Contract

from chain.l1.artifacts import CONTRACT_NAMES, artifact
from chain.l1.embedded.evm import CallRequest, EmbeddedEvm, ExecutionFailedError, MinedTransaction
from chain.signing import address_of, keccak256

CHAIN_ID = 1337
START_S = 1_800_000_000
KEYS = [keccak256(b"contract tests %d" % i) for i in range(4)]


class Reverted(Exception):
    """A contract refused; ``name`` is its custom error and ``arguments`` what it carries."""

    def __init__(self, name: str, arguments: tuple[Any, ...]) -> None:
        super().__init__(f"{name}{arguments}")
        self.name = name
        self.arguments = arguments


class Ledger:
    """A fresh chain whose clock stands still until a test moves it."""

    def __init__(self, folder: Path) -> None:
        self.now_s = START_S
        self.errors: dict[bytes, dict[str, Any]] = {}
        self.evm = EmbeddedEvm(
            folder / "l1.db",
            chain_id=CHAIN_ID,
            genesis_balances_wei={address_of(key): 10**24 for key in KEYS},
            clock=lambda: self.now_s,
        )
        for name in CONTRACT_NAMES:
            self._learn_errors(artifact(name).abi)

    def deploy(self, name: str, *arguments: Any, key: bytes = KEYS[0]) -> Handle:
        """One of the shipped contracts."""
        return self.deploy_compiled(artifact(name).abi, artifact(name).bytecode, *arguments, key=key)

    def deploy_compiled(self, abi: list[Any], bytecode: str, *arguments: Any, key: bytes = KEYS[0]) -> Handle:
        self._learn_errors(abi)
        factory = Web3().eth.contract(abi=abi, bytecode=bytecode)
        mined = self.transact(key, b"", bytes.fromhex(factory.constructor(*arguments).data_in_transaction[2:]))
        assert mined.receipt.state_root == b"\x01"
        return self.at(abi, created_address(mined.transaction.sender, mined.transaction.nonce))

    def at(self, abi: Sequence[Any], address: bytes) -> Handle:
        return Handle(self, Web3().eth.contract(address=Web3.to_checksum_address(address), abi=abi), address)

    def transact(self, key: bytes, to: bytes, data: bytes, value_wei: int = 0, **extra: Any) -> MinedTransaction:
        """Mine a transaction; what would revert is refused with its error instead."""
        sender = address_of(key)
        try:
            self.evm.call(CallRequest(sender=sender, to=to, data=data, value_wei=value_wei))
        except ExecutionFailedError as failure:
            raise self._reverted(failure) from failure
        return self.transact_unchecked(key, to, data, value_wei=value_wei, **extra)

    def transact_unchecked(
        self, key: bytes, to: bytes, data: bytes, value_wei: int = 0, **extra: Any
    ) -> MinedTransaction:
        """Mine a transaction whatever comes of it."""
        fields = {
            "chainId": CHAIN_ID,
            "nonce": self.evm.nonce(address_of(key)),
            "gas": 15_000_000,
            "maxFeePerGas": 10**11,
            "maxPriorityFeePerGas": 1,
            "value": value_wei,
            "data": data,
            **({"to": Web3.to_checksum_address(to)} if to else {}),
            **extra,
        }
        signed = Account.sign_transaction(fields, key)
        mined = self.evm.transaction(self.evm.send_raw(bytes(signed.raw_transaction)))
        assert mined is not None
        return mined

    def mine(self, blocks: int) -> None:
        """Let the chain grow by empty blocks."""
        for _ in range(blocks):
            self.evm.mine()

    def _learn_errors(self, abi: Sequence[Any]) -> None:
        for entry in abi:
            if entry["type"] == "error":
                kinds = ",".join(argument["type"] for argument in entry["inputs"])
                self.errors[keccak256(f"{entry['name']}({kinds})".encode())[:4]] = entry

    def _reverted(self, failure: ExecutionFailedError) -> Exception:
        entry = self.errors.get(failure.data[:4])
        if entry is None:
            return failure
        kinds = [argument["type"] for argument in entry["inputs"]]
        return Reverted(entry["name"], Web3().codec.decode(kinds, failure.data[4:]))


class Handle:
    """One contract."""

    def __init__(self, ledger: Ledger, contract: Contract, address: bytes) -> None:
        self.ledger = ledger
        self.contract = contract
        self.address = address

    def encode(self, function: str, *arguments: Any) -> bytes:
        return bytes.fromhex(self.contract.encode_abi(function, list(arguments))[2:])

    def send(self, function: str, *arguments: Any, key: bytes = KEYS[0], value_wei: int = 0) -> Sent:
        mined = self.ledger.transact(key, self.address, self.encode(function, *arguments), value_wei)
        assert mined.receipt.state_root == b"\x01"
        return Sent(self, mined)

    def call(self, function: str, *arguments: Any, sender: bytes = bytes(20)) -> Any:
        data = self.encode(function, *arguments)
        try:
            answer = self.ledger.evm.call(CallRequest(sender=sender, to=self.address, data=data))
        except ExecutionFailedError as failure:
            raise self.ledger._reverted(failure) from failure
        outputs = self.contract.get_function_by_name(function).abi["outputs"]
        values = Web3().codec.decode([_kind(output) for output in outputs], answer)
        return values[0] if len(values) == 1 else values


class Sent:
    """A mined call."""

    def __init__(self, handle: Handle, mined: MinedTransaction) -> None:
        self._handle = handle
        self.gas_used = mined.receipt.gas_used
        self._number = mined.block.number

    def event(self, name: str) -> dict[str, Any]:
        """The one event of this name that the contract emitted."""
        found = self.events(name)
        assert len(found) == 1
        return found[0]

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of this name that the contract emitted."""
        event = self._handle.contract.events[name]()
        rows = self._handle.ledger.evm.logs(self._number, self._number, [self._handle.address], 100)
        found = [row for row in rows if row.topics[0].hex() == event.topic.removeprefix("0x")]
        return [dict(event.process_log(_log(row))["args"]) for row in found]


def _log(row: Any) -> dict[str, Any]:
    from hexbytes import HexBytes

    return {
        "address": Web3.to_checksum_address(row.address),
        "topics": [HexBytes(topic) for topic in row.topics],
        "data": HexBytes(row.data),
        "blockNumber": row.block,
        "blockHash": HexBytes(bytes(32)),
        "transactionHash": HexBytes(row.tx_hash),
        "transactionIndex": 0,
        "logIndex": row.log_index,
    }


def _kind(output: dict[str, Any]) -> str:
    if not output["type"].startswith("tuple"):
        return str(output["type"])
    inner = ",".join(_kind(component) for component in output["components"])
    return f"({inner}){output['type'].removeprefix('tuple')}"


def created_address(sender: bytes, nonce: int) -> bytes:
    """Where the contract lives that an address deploys with this nonce."""
    import rlp

    return keccak256(bytes(rlp.encode([sender, nonce])))[12:]
