"""A deployment read back from its contract alone, and contracts that only pretend to be one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.l1.artifacts import artifact
from chain.l1.connection import L1Connection, L1Signer
from chain.l1.deploy import constructor_parameters, deploy
from chain.l1.discover import check_told, read_deployment
from chain.l1.embedded.server import L1Server
from chain.l1.protocol import Deployment
from chain.replay import deployment_id
from tests.chain.in_front import Ask, in_front
from tests.chain.l1.conftest import ALICE, OPERATOR_KEY, PARAMS


async def refusal(url: str, address: bytes) -> ChainRejectedError:
    """What reading a deployment there is refused with."""
    with pytest.raises(ChainRejectedError) as refused:
        await read_deployment(url, address)
    return refused.value


async def test_everything_is_read_the_deploying_block_too(l1: L1Server, deployment: Deployment) -> None:
    assert await read_deployment(l1.url, deployment.rollup_address) == deployment


async def test_an_address_without_a_rollup_is_told(l1: L1Server) -> None:
    assert (await refusal(l1.url, b"\x01" * 20)).code == "foreign_chain"


async def test_an_l1_that_is_not_there_is_told() -> None:
    with pytest.raises(ChainUnavailableError):
        await read_deployment("http://127.0.0.1:1", b"\x01" * 20)


async def test_another_contract_is_no_rollup(l1: L1Server, deployment: Deployment) -> None:
    for address in (deployment.inbox_address, deployment.asset_address, deployment.stf_address):
        refused = await refusal(l1.url, address)

        assert refused.code == "foreign_contract"
        assert "\n" not in refused.line()


@pytest.mark.parametrize("name", ["Rollup", "Inbox", "Stf"])
async def test_one_changed_byte_of_any_contract_is_noticed(l1: L1Server, deployment: Deployment, name: str) -> None:
    place = {
        "Rollup": deployment.rollup_address,
        "Inbox": deployment.inbox_address,
        "Stf": deployment.stf_address,
    }[name]

    async def relay(body: bytes, ask: Ask) -> bytes:
        request, answered = json.loads(body), json.loads(await ask(body))
        if request["method"] == "eth_getCode" and request["params"][0].lower() == "0x" + place.hex():
            code = bytearray.fromhex(answered["result"][2:])
            code[0] ^= 1
            answered["result"] = "0x" + code.hex()
        return json.dumps(answered).encode()

    async with in_front(l1.url, relay) as url:
        refused = await refusal(url, deployment.rollup_address)

    assert refused.code == "foreign_contract"
    assert name in refused.message


async def test_a_rollup_with_a_state_transition_of_somebodys_own_is_refused(l1: L1Server) -> None:
    connection = L1Connection(l1.url)
    try:
        signer = L1Signer.of_key(connection, OPERATOR_KEY)
        asset = await created(signer, connection.contract("TestUSD").constructor())
        # Any contract stands where the state transition should.
        found = await created(
            signer,
            connection.contract("Rollup").constructor(constructor_parameters(asset, asset, PARAMS)),
        )
    finally:
        await connection.aclose()

    assert (await refusal(l1.url, found)).code == "foreign_contract"


async def test_a_rollup_of_another_genesis_is_refused(l1: L1Server) -> None:
    other = await deploy(l1.url, OPERATOR_KEY, msgspec.structs.replace(PARAMS, genesis_root=b"\x01" * 32))

    refused = await refusal(l1.url, other.rollup_address)

    assert refused.code == "foreign_contract"
    assert "genesis" in refused.message


@pytest.mark.parametrize(
    ("selector_of", "answer"),
    [
        ("domainSeparator", "0x" + "11" * 32),
        ("rollup", "0x" + "11" * 32),
        ("asset", "0x" + bytes(12).hex() + "11" * 20),
    ],
)
async def test_immutables_that_contradict_each_other_are_refused(
    l1: L1Server, deployment: Deployment, selector_of: str, answer: str
) -> None:
    connection = L1Connection(l1.url)
    name = "Rollup" if selector_of == "domainSeparator" else "Inbox"
    address = deployment.rollup_address if name == "Rollup" else deployment.inbox_address
    data = connection.contract(name, address).functions[selector_of]()._encode_transaction_data()
    await connection.aclose()

    async with in_front(l1.url, answering(address, data, answer)) as url:
        with pytest.raises((ChainRejectedError, ChainUnavailableError)) as refused:
            await read_deployment(url, deployment.rollup_address)

    assert refused.value.code in {"foreign_contract", "chain_bad_answer"}


def test_what_a_sequencer_tells_is_held_against_l1(deployment: Deployment) -> None:
    identity = "0x" + deployment_id(deployment).hex()

    check_told(deployment, deployment=identity, inbox_address=deployment.inbox_address, l1_chain_id=1337)
    for told in ({"inbox_address": ALICE}, {"asset_address": ALICE}, {"l1_chain_id": 1}, {"l2_chain_id": 1}):
        with pytest.raises(ChainRejectedError) as refused:
            check_told(deployment, deployment=identity, **told)
        assert refused.value.code == "foreign_contract"
    with pytest.raises(ChainRejectedError):
        check_told(deployment, deployment="0x" + bytes(32).hex())


def test_masked_immutables_are_all_that_may_differ() -> None:
    compiled = artifact("Inbox")
    start = 2 + 2 * compiled.deployed.offset_bytes
    code = bytearray.fromhex(compiled.bytecode[start : start + 2 * compiled.deployed.size_bytes])
    places = [tuple(map(int, place.split("+"))) for place in compiled.deployed.immutables.split()]
    free = {position for offset, size in places for position in range(offset, offset + size)}

    assert compiled.is_deployed_as(bytes(code))
    assert free
    for position in range(0, len(code), 37):
        changed = bytearray(code)
        changed[position] ^= 0x80
        assert compiled.is_deployed_as(bytes(changed)) == (position in free)
    assert not compiled.is_deployed_as(bytes(code[:-1]))
    assert not compiled.is_deployed_as(b"")


def answering(address: bytes, data: str, answer: str) -> Callable[[bytes, Ask], Any]:
    """One call to one contract, answered with something else."""

    async def relay(body: bytes, ask: Ask) -> bytes:
        request, answered = json.loads(body), json.loads(await ask(body))
        if request["method"] == "eth_call":
            call = request["params"][0]
            if call["to"].lower() == "0x" + address.hex() and call.get("data", call.get("input")) == data:
                answered["result"] = answer
        return json.dumps(answered).encode()

    return relay


async def created(signer: L1Signer, constructor: Any) -> bytes:
    """The address of a new contract."""
    return bytes.fromhex((await signer.send(constructor))["contractAddress"][2:])
