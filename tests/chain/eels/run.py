"""Executes a chain's transactions on EELS, Ethereum's executable specification, in an environment that has it.

Reads the accounts and blocks as JSON from the standard input; writes what each transaction did, with the state root
after the last one, to the standard output. Nothing here is of this project, nor of the environment of its tests.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from ethereum.crypto.hash import Hash32, keccak256
from ethereum.forks.prague import vm
from ethereum.forks.prague.blocks import Receipt, decode_receipt
from ethereum.forks.prague.fork import process_transaction
from ethereum.forks.prague.fork_types import Account, Address
from ethereum.forks.prague.state import State, set_account, state_root
from ethereum.forks.prague.transactions import decode_transaction
from ethereum.forks.prague.trie import trie_get
from ethereum_rlp import rlp
from ethereum_types.bytes import Bytes, Bytes32
from ethereum_types.numeric import U64, U256, Uint

BLOCK_HASHES = 256


def execute(chain: dict[str, Any]) -> dict[str, Any]:
    """One block after another on one state; a block holds at most one transaction."""
    state = State()
    for address, balance_wei in chain["balances_wei"].items():
        set_account(state, Address(bytes.fromhex(address)), Account(Uint(0), U256(balance_wei), Bytes()))
    hashes = [Hash32(bytes.fromhex(chain["genesis_hash"]))]
    outcomes = []
    for block in chain["blocks"]:
        environment = vm.BlockEnvironment(
            chain_id=U64(chain["chain_id"]),
            state=state,
            block_gas_limit=Uint(block["gas_limit"]),
            block_hashes=hashes[-BLOCK_HASHES:],
            coinbase=Address(bytes.fromhex(block["coinbase"])),
            number=Uint(block["number"]),
            base_fee_per_gas=Uint(block["base_fee_wei"]),
            time=U256(block["timestamp_s"]),
            prev_randao=Bytes32(bytes.fromhex(block["prev_randao"])),
            excess_blob_gas=U64(0),
            parent_beacon_block_root=Hash32(bytes(32)),
        )
        if block["transaction"]:
            outcomes.append(outcome(environment, bytes.fromhex(block["transaction"])))
        hashes.append(Hash32(bytes.fromhex(block["hash"])))
    return {"outcomes": outcomes, "state_root": state_root(state).hex()}


def outcome(environment: vm.BlockEnvironment, raw: bytes) -> dict[str, Any]:
    """What one transaction does."""
    output = vm.BlockOutput()
    process_transaction(environment, output, decode_transaction(Bytes(raw)), Uint(0))
    receipt = trie_get(output.receipts_trie, output.receipt_keys[0])
    assert receipt is not None
    decoded: Receipt = decode_receipt(receipt)
    return {
        "succeeded": bool(decoded.succeeded),
        "gas_used": int(decoded.cumulative_gas_used),
        "logs_hash": keccak256(rlp.encode(decoded.logs)).hex(),
    }


if __name__ == "__main__":
    json.dump(execute(json.load(sys.stdin)), sys.stdout)
