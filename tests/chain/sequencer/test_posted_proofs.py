"""Proofs against the newest batches on L1: of what is there, of what is not, and after L1's history changed."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from chain.errors import ChainRejectedError
from chain.proofs import leaf_key, proven_leaf
from chain.sequencer.posted import KEPT_BATCHES
from chain.types import Account
from chain.views import StateProof
from tests.chain.sequencer.conftest import until
from tests.chain.sequencer.transfers import transfer, two_accounts
from tests.chain.support import owner


async def account_at(sequencer, l1, batch_id: int, number: int = 1) -> Account | None:
    proof = await sequencer.queries.posted_proof("account", number, batch_id)
    leaf = proven_leaf(proof, leaf_key("account", number), l1.posted[batch_id].post_root)
    assert leaf is None or isinstance(leaf, Account)
    return leaf


class TestPostedProofs:
    async def test_the_newest_batches_are_proven_before_they_are_final(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            await sequencer.flush()
            first = len(l1.posted) - 1
            for nonce in range(3):
                await sequencer.submit(transfer(nonce))
                await sequencer.flush()
            newest = len(l1.posted) - 1

            nonces = [(await account_at(sequencer, l1, batch_id)).nonce for batch_id in range(first, newest + 1)]
            again = await account_at(sequencer, l1, newest)

            assert (nonces, again.nonce) == ([0, 1, 2, 3], 3)

    async def test_absence_is_proven_too(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            await sequencer.flush()
            newest = len(l1.posted) - 1

            proof = await sequencer.queries.posted_proof("channel", 1, newest)

            assert proof.leaf == "0x"
            assert proven_leaf(proof, leaf_key("channel", 1), l1.posted[newest].post_root) is None
            assert await account_at(sequencer, l1, newest, 77) is None

    async def test_batches_that_are_not_kept_are_refused(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            for nonce in range(KEPT_BATCHES + 1):
                await sequencer.submit(transfer(nonce))
                await sequencer.flush()
            for batch_id in (len(l1.posted), len(l1.posted) - KEPT_BATCHES - 1):
                with pytest.raises(ChainRejectedError) as caught:
                    await sequencer.queries.posted_proof("account", 1, batch_id)
                assert caught.value.code == "no_such_batch"

    async def test_proofs_go_on_when_batches_become_final_and_after_a_restart(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            await sequencer.flush()
            assert (await account_at(sequencer, l1, len(l1.posted) - 1)).nonce == 0
            await sequencer.submit(transfer(0))
            await sequencer.flush()
            l1.now_s += 10
            await until(lambda: sequencer.ledger.final.count == len(l1.posted))
            assert (await account_at(sequencer, l1, len(l1.posted) - 1)).nonce == 1
        async with start() as sequencer:
            assert (await account_at(sequencer, l1, len(l1.posted) - 1)).owner == owner(1)


class TestCheckingAProof:
    @pytest.fixture
    async def proof(self, start, l1) -> tuple[StateProof, bytes]:
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            await sequencer.flush()
            newest = len(l1.posted) - 1
            return await sequencer.queries.posted_proof("account", 1, newest), l1.posted[newest].post_root

    async def test_nothing_of_it_can_be_changed(self, proof):
        honest, root = proof
        key = leaf_key("account", 1)
        flipped = honest.leaf[:-1] + ("0" if honest.leaf[-1] != "0" else "1")
        for wrong in (
            replace(honest, index=2),
            replace(honest, leaf=flipped),
            replace(honest, leaf="0x"),
            replace(honest, siblings=honest.siblings[::-1]),
            replace(honest, siblings=honest.siblings[:-1]),
        ):
            with pytest.raises(ValueError, match="proof"):
                proven_leaf(wrong, key, root)
        with pytest.raises(ValueError, match="another root"):
            proven_leaf(honest, key, bytes(32))
        assert proven_leaf(honest, key, root).owner == owner(1)
