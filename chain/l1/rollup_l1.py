"""The rollup's contracts over JSON-RPC: the one implementation of `RollupL1`, for the embedded L1 and any other.

Whatever an L1 answers is checked against what the contracts committed to (a deposit against its hash, a batch against
its calldata) before anybody acts on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import msgspec

from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.l1.connection import L1Connection, L1Signer, checksum
from chain.l1.protocol import Deployment, InboxMessage, PostedBatch
from chain.signing import keccak256

MAX_PAGE_MESSAGES = 500
MAX_PAGE_BATCHES = 16
MAX_FINALIZED_AT_ONCE = 512
DEPOSIT_KIND = 1
SEQUENCER_BOND_WEI = 10**18


class DeployParams(msgspec.Struct, frozen=True, kw_only=True):
    """What a new rollup is deployed with."""

    l2_chain_id: int
    genesis_root: bytes
    challenge_window_s: int
    force_delay_s: int
    close_delay_s: int
    asset_address: bytes | None = None
    """An ERC-20 with 9 to 27 decimals; a new `TestUSD` if not given."""


class JsonRpcRollupL1:
    """`RollupL1` over an L1's JSON-RPC.

    Args:
        url: The L1's JSON-RPC over HTTP.
        deployment: The contracts to talk to.
        operator_key: Signs and pays for what is sent; without it this instance only reads.
    """

    def __init__(self, url: str, deployment: Deployment, operator_key: bytes | None = None) -> None:
        self.connection = L1Connection(url)
        self.signer = L1Signer(self.connection, operator_key) if operator_key is not None else None
        self._deployment = deployment
        self._rollup = self.connection.contract("Rollup", deployment.rollup_address)
        self._inbox = self.connection.contract("Inbox", deployment.inbox_address)

    async def aclose(self) -> None:
        """Close the connection."""
        await self.connection.aclose()

    async def deployment(self) -> Deployment:
        """The contracts this instance talks to."""
        return self._deployment

    async def check_chain(self) -> None:
        """Make sure that the L1 is the one this deployment lives on.

        Raises:
            ChainUnavailableError: If L1 can't be reached.
            ChainRejectedError: With code ``foreign_chain`` if it is another chain, or was reset.
        """
        eth = self.connection.web3.eth
        chain_id = await self.connection.request(lambda: eth.chain_id)
        try:
            block = await self.connection.request(lambda: eth.get_block(self._deployment.block_number))
        except ChainRejectedError:
            block = None
        if chain_id != self._deployment.l1_chain_id or block is None or block["hash"] != self._deployment.block_hash:
            raise ChainRejectedError(
                "This L1 is not the one the rollup was deployed on.",
                code="foreign_chain",
                fix="Point to the right L1, or start over with a new home.",
            )

    async def time_s(self) -> int:
        """The timestamp that a block mined now would have, or the newest block's where the L1 shows no pending one."""
        eth = self.connection.web3.eth
        try:
            block = await self.connection.request(lambda: eth.get_block("pending"))
        except ChainRejectedError:
            block = await self.connection.request(lambda: eth.get_block("latest"))
        return _integer(block["timestamp"])

    # -------------------------------------------------------------------------------------------------------- reading

    async def inbox_messages(self, start: int, limit: int) -> Sequence[InboxMessage]:
        """Messages from index ``start`` on, in order."""
        records = await self.connection.call(self._inbox.functions.messages(start, min(limit, MAX_PAGE_MESSAGES)))
        if not records:
            return []
        blocks = [_integer(record[2]) for record in records]
        logs = await self._logs(
            self._inbox.events.Deposited, min(blocks), max(blocks), range(start, start + len(records))
        )
        by_index = {log["args"]["index"]: log for log in logs}
        return [self._deposit(start + i, record, by_index.get(start + i)) for i, record in enumerate(records)]

    def _deposit(self, index: int, record: Any, log: Any) -> InboxMessage:
        commitment, timestamp, block, kind = record
        if log is None or kind != DEPOSIT_KIND:
            _contradiction(f"inbox message {index} has no event")
        fields = log["args"]
        owner = bytes.fromhex(fields["owner"][2:])
        hint, amount = fields["indexHint"], fields["amountNano"]
        content = bytes([kind]) + index.to_bytes(8, "big") + timestamp.to_bytes(8, "big") + owner
        if keccak256(content + hint.to_bytes(4, "big") + amount.to_bytes(8, "big")) != commitment:
            _contradiction(f"inbox message {index} differs from its hash")
        return InboxMessage(
            index=index,
            kind="deposit",
            owner=owner,
            index_hint=hint,
            amount_nano=amount,
            body=b"",
            at_s=timestamp,
            l1_block=block,
        )

    async def batch_count(self) -> int:
        """How many batches stand on L1; the next one's id."""
        return _integer(await self.connection.call(self._rollup.functions.count()))

    async def final_count(self) -> int:
        """How many of them are final."""
        return _integer(await self.connection.call(self._rollup.functions.finalCount()))

    async def batches(self, start: int, limit: int) -> Sequence[PostedBatch]:
        """Batches from id ``start`` on, blobs read back from the transactions that posted them."""
        records = await self.connection.call(self._rollup.functions.batches(start, min(limit, MAX_PAGE_BATCHES)))
        if not records:
            return []
        blocks = [_integer(record[7]) for record in records]
        ids = range(start, start + len(records))
        logs = await self._logs(self._rollup.events.BatchSubmitted, min(blocks), max(blocks), ids)
        # A batch that was taken back leaves its event behind; the record tells the one that stands.
        standing = {(log["args"]["id"], log["blockNumber"], log["args"]["framesRoot"]): log for log in logs}
        return [
            await self._posted(start + i, record, standing.get((start + i, record[7], record[0])))
            for i, record in enumerate(records)
        ]

    async def _posted(self, batch_id: int, record: Any, log: Any) -> PostedBatch:
        if log is None:
            _contradiction(f"batch {batch_id} has no event")
        transaction = await self.connection.transaction(log["transactionHash"])
        if transaction is None or transaction["to"] != self._rollup.address:
            _contradiction(f"batch {batch_id} has no transaction")
        try:
            function, arguments = self._rollup.decode_function_input(transaction["input"])
        except Exception as error:
            raise ChainUnavailableError("The L1's batch data can't be read.", code="chain_bad_answer") from error
        is_submission = function.fn_name == "submitBatch" and arguments["id"] == batch_id
        if not is_submission or arguments["prevRoot"] != log["args"]["prevRoot"]:
            _contradiction(f"batch {batch_id} was posted by another call")
        return PostedBatch(
            batch_id=batch_id,
            prev_root=arguments["prevRoot"],
            post_root=record[1],
            blob=arguments["blob"],
            l1_tx=bytes(log["transactionHash"]),
            l1_block=record[7],
            submitted_at_s=record[3],
        )

    async def is_claimed(self, index: int) -> bool:
        """Whether the withdrawal at this state index was paid."""
        return bool(await self.connection.call(self._rollup.functions.claimed(index)))

    async def claim_tx(self, index: int) -> bytes | None:
        """The L1 transaction that paid the withdrawal at this state index; ``None`` if none did."""
        if not await self.is_claimed(index):
            return None
        event = self._rollup.events.WithdrawalClaimed
        logs = await self._logs(event, self._deployment.block_number, "latest", [index])
        if not logs:
            _contradiction(f"the claim of withdrawal {index} has no event")
        return bytes(logs[0]["transactionHash"])

    async def _logs(self, event: Any, from_block: int, to_block: int | str, indexes: Sequence[int]) -> list[Any]:
        """A contract's events of one kind whose first indexed field is one of ``indexes``."""
        contract_event = event()
        query = {
            "address": contract_event.address,
            "fromBlock": from_block,
            "toBlock": to_block,
            "topics": [contract_event.topic, ["0x" + index.to_bytes(32, "big").hex() for index in indexes]],
        }
        logs = await self.connection.request(lambda: self.connection.web3.eth.get_logs(query))

        async def decoded() -> list[Any]:
            return [contract_event.process_log(log) for log in logs]

        return list(await self.connection.request(decoded))

    # -------------------------------------------------------------------------------------------------------- sending

    async def submit_batch(self, batch_id: int, prev_root: bytes, blob: bytes) -> PostedBatch:
        """Post a batch and wait for its L1 receipt; the same batch is returned as it is where it stands already."""
        standing = await self._standing(batch_id, prev_root, blob)
        if standing is None:
            try:
                await self._signer().send(self._rollup.functions.submitBatch(batch_id, prev_root, blob))
            except ChainRejectedError:
                # Posted by an earlier attempt whose answer was lost, and mined meanwhile.
                standing = await self._standing(batch_id, prev_root, blob)
                if standing is None:
                    raise
            standing = standing or await self._standing(batch_id, prev_root, blob)
        if standing is None:
            _contradiction(f"batch {batch_id} was mined but doesn't stand")
        return standing

    async def _standing(self, batch_id: int, prev_root: bytes, blob: bytes) -> PostedBatch | None:
        found = await self.batches(batch_id, 1)
        if not found:
            return None
        if found[0].blob != blob or found[0].prev_root != prev_root:
            raise ChainRejectedError(
                f"Another batch stands on L1 as number {batch_id}.",
                code="batch_taken",
                fix="Rebuild the L2 state from L1 before posting again.",
            )
        return found[0]

    async def finalize(self) -> int:
        """Make every batch past its window final; returns the new final count."""
        final = await self.final_count()
        ready = _integer(await self.connection.call(self._rollup.functions.finalizable(MAX_FINALIZED_AT_ONCE)))
        if ready <= final:
            return final
        await self._signer().send(self._rollup.functions.finalize(ready))
        return ready

    async def claim_withdrawal(
        self, batch_id: int, index: int, recipient: bytes, amount_nano: int, siblings: Sequence[bytes]
    ) -> bytes:
        """Pay a withdrawal by its proof; returns the hash of the L1 transaction that pays or, earlier, paid it."""
        paid = await self.claim_tx(index)
        if paid is not None:
            return paid
        claim = self._rollup.functions.claimWithdrawal(
            batch_id, index, checksum(recipient), amount_nano, list(siblings)
        )
        try:
            receipt = await self._signer().send(claim)
        except ChainRejectedError as error:
            paid = await self.claim_tx(index) if error.code == "already_claimed" else None
            if paid is None:
                raise
            return paid
        return bytes(receipt["transactionHash"])

    def _signer(self) -> L1Signer:
        if self.signer is None:
            raise ChainRejectedError("This L1 connection only reads: it has no key to send with.", code="read_only")
        return self.signer


async def deploy(url: str, operator_key: bytes, params: DeployParams) -> Deployment:
    """Deploy the rollup, its inbox and, if no asset is given, a `TestUSD`; put up the operator's sequencer bond.

    Raises:
        ChainUnavailableError: If L1 can't be reached.
        ChainRejectedError: If L1 refuses, for example because the operator has no ether.
    """
    connection = L1Connection(url)
    try:
        signer = L1Signer(connection, operator_key)
        asset = params.asset_address
        if asset is None:
            asset = _created(await signer.send(connection.contract("TestUSD").constructor()))
        constructor = connection.contract("Rollup").constructor(
            checksum(asset),
            params.genesis_root,
            params.challenge_window_s,
            params.force_delay_s,
            params.close_delay_s,
            params.l2_chain_id,
        )
        receipt = await signer.send(constructor)
        rollup = connection.contract("Rollup", _created(receipt))
        await signer.send(rollup.functions.depositBond(), value_wei=SEQUENCER_BOND_WEI)
        return Deployment(
            l1_chain_id=_integer(await connection.request(lambda: connection.web3.eth.chain_id)),
            l2_chain_id=params.l2_chain_id,
            rollup_address=_created(receipt),
            inbox_address=bytes.fromhex((await connection.call(rollup.functions.inbox()))[2:]),
            asset_address=asset,
            block_number=receipt["blockNumber"],
            block_hash=bytes(receipt["blockHash"]),
            challenge_window_s=params.challenge_window_s,
            force_delay_s=params.force_delay_s,
            close_delay_s=params.close_delay_s,
            genesis_root=params.genesis_root,
        )
    finally:
        await connection.aclose()


def _created(receipt: Any) -> bytes:
    return bytes.fromhex(receipt["contractAddress"][2:])


def _integer(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        _contradiction("a number is missing")
    return value


def _contradiction(what: str) -> NoReturn:
    raise ChainUnavailableError(
        f"The L1 contradicts itself: {what}.", code="chain_bad_answer", fix="Use an L1 node that you trust."
    )
