"""The contract ``Stf`` on revm, fast enough to compare it with the Python state transition by the hundred a second.

revm is asked for answers alone: what it says about gas across calls is wrong, and py-evm is measured for that.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import msgspec
import pytest

from chain.contracts import build
from chain.l1.artifacts import artifact
from chain.signing import keccak256
from chain.stf import Code, execute_body
from chain.witness import Witness, build_witness, encode_messages, named_messages
from tests.fuzz.world import Case

try:
    from pyrevm import EVM, AccountInfo, BlockEnv
except ImportError:
    if sys.version_info < (3, 13):
        raise
    pytest.skip("pyrevm has no wheels for Python 3.13; 3.11 and 3.12 run this", allow_module_level=True)

CONTRACT = "0x" + "5f" * 20
CALLER = "0x" + "ca" * 20
SELECTOR = keccak256(b"execute((bytes32,uint64,uint64,uint64,uint64,bool),bytes32,bytes,bytes,bytes)")[:4]
HEAD_WORDS = 10


class Reverted(Exception):
    """The contract refused its caller's part: ``name`` is its custom error."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that ``Stf.execute`` is told."""

    domain_separator: bytes
    close_delay_s: int
    unstake_delay_s: int
    l2_time_s: int
    inbox_to: int
    is_last: bool
    prev_root: bytes
    frame: bytes
    messages: bytes
    witness: bytes

    def encode(self) -> bytes:
        """The calldata."""
        numbers = (self.close_delay_s, self.unstake_delay_s, self.l2_time_s, self.inbox_to, self.is_last)
        head = [
            SELECTOR,
            self.domain_separator,
            *(int(number).to_bytes(32, "big") for number in numbers),
            self.prev_root,
        ]
        tail: list[bytes] = []
        offset = HEAD_WORDS * 32
        for data in (self.frame, self.messages, self.witness):
            head.append(offset.to_bytes(32, "big"))
            tail += [len(data).to_bytes(32, "big"), data, bytes(-len(data) % 32)]
            offset += 32 + len(data) + -len(data) % 32
        return b"".join(head + tail)


class Prover:
    """One deployed ``Stf``."""

    def __init__(self, runtime: bytes) -> None:
        self._evm = EVM(spec_id="PRAGUE")
        self._evm.insert_account_info(CONTRACT, AccountInfo(code=runtime))
        self._errors = error_names()

    def execute(self, call: Call) -> tuple[Code, bytes]:
        """The code and the root that the contract answers.

        Raises:
            Reverted: If it refuses the witness or the messages.
        """
        try:
            answer = self._evm.message_call(CALLER, CONTRACT, calldata=call.encode(), is_static=True)
        except RuntimeError as error:
            raise Reverted(self._reason(str(error))) from None
        return Code(int.from_bytes(answer[:32], "big")), bytes(answer[32:64])

    def set_block(self, number: int) -> None:
        """The number of the block in which calls run, which only instrumented code asks for."""
        self._evm.set_block_env(BlockEnv(number=number))

    def _reason(self, text: str) -> str:
        return next((name for selector, name in self._errors.items() if f"0x{selector.hex()}" in text), text)


def examine(case: Case) -> tuple[Call, Code, bytes]:
    """What a fraud prover would tell the contract about a case, and the code and root that Python comes to."""
    state, inbox = case.state(), case.inbox()
    prev_root = state.root()
    witness = build_witness(state, case.header, case.frame, case.rules, inbox.__getitem__)
    if case.further_keys:
        order = sorted({key for key, _ in witness.leaves}.union(case.further_keys))
        leaves = tuple((key, state.leaf(key)) for key in order)
        witness = Witness(leaves=leaves, siblings=tuple(state.multiproof(order)))
    call = Call(
        domain_separator=case.rules.domain.separator,
        close_delay_s=case.rules.close_delay_s,
        unstake_delay_s=case.rules.unstake_delay_s,
        l2_time_s=case.header.l2_time_s,
        inbox_to=case.header.inbox_to,
        is_last=case.is_last,
        prev_root=prev_root,
        frame=case.frame.body,
        messages=encode_messages(named_messages(case.frame.body, inbox)),
        witness=witness.encode(),
    )
    code = execute_body(state, case.header, case.frame.body, case.rules, inbox.__getitem__, is_last=case.is_last)
    return call, code, state.root() if code is Code.OK else prev_root


@cache
def error_names() -> dict[bytes, str]:
    """The contract's custom errors by selector."""
    return {
        keccak256(f"{entry['name']}({','.join(argument['type'] for argument in entry['inputs'])})".encode())[:4]: entry[
            "name"
        ]
        for entry in artifact("Stf").abi
        if entry["type"] == "error"
    }


def runtime_of(creation: str) -> bytes:
    """The code that creation code without a constructor of its own deploys."""
    evm = EVM(spec_id="PRAGUE")
    address = evm.deploy(CALLER, bytes.fromhex(creation.removeprefix("0x")))
    return bytes(evm.get_code(address))


def shipped() -> Prover:
    """The committed artifact's contract."""
    return Prover(runtime_of(artifact("Stf").bytecode))


def stf_sources() -> dict[str, str]:
    """The contract's Solidity files by name."""
    return build.sources_of("Stf", build.read_sources(build.SOURCES))


def compiled(sources: dict[str, str]) -> Prover:
    """The contract that these sources compile to."""
    contracts: dict[str, Any] = build.compile_sources(sources)[0]
    return Prover(runtime_of(contracts["Stf.sol"]["Stf"]["evm"]["bytecode"]["object"]))


def difference(prover: Prover, call: Call, code: Code, root: bytes) -> str | None:
    """How the contract's answer differs from Python's code and root; ``None`` where it doesn't."""
    try:
        answered, answered_root = prover.execute(call)
    except Reverted as reverted:
        return f"python {code.name} {root.hex()}, the contract reverts: {reverted.name}"
    if answered is not code:
        return f"python {code.name}, the contract {answered.name}"
    if code is Code.OK and answered_root != root:
        return f"roots differ: python {root.hex()}, the contract {answered_root.hex()}"
    return None
