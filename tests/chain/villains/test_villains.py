"""Every villain lies as its table says, and a share of them meets the watchtower on the real contracts."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.codec import BatchHeader, decode_batch
from chain.errors import ChainRejectedError
from chain.l1.protocol import InboxMessage, PostedBatch
from chain.replay import Replayer, ReplayError
from chain.signing import address_of
from chain.state import RollupState
from chain.txs import Transfer
from chain.types import MAX_U64
from chain.villains import VILLAINS, Villain
from chain.villains.draft import Draft, inbox_bodies
from chain.villains.sequencer import VillainL1
from chain.watchtower.core import Wait
from tests.chain.support import RULES, deposit, forced, funded_state, key, open_channel, owner, signed
from tests.docs.pages import ROOT, table_under
from tests.villains.arena import OPERATOR_KEY, arena, transfer
from tests.villains.fight import fight, honest_run

LIARS = [villain for villain in VILLAINS.values() if villain.stopped_by == "proof"]
SHARE = (
    "bad-allocation",
    "bad-signature",
    "wrong-voucher",
    "overflow",
    "wrong-inbox",
    "wrong-cursor",
    "withhold-frame",
    "skip-forced",
    "stall",
)
"""One of each shape; ``make villains`` runs them all."""
VILLAIN_KEY = key(77)


def lie(villain: Villain, state: RollupState, messages: list[InboxMessage]) -> tuple[bytes, bytes]:
    """The villain's batch on this state: its blob, and the root before it."""
    cursor, before = state.meta.inbox_cursor, state.root()
    header = BatchHeader(l2_time_s=100, inbox_to=cursor + len(messages))
    bodies = inbox_bodies(cursor, header.inbox_to)
    if villain.reshape is not None:
        header, bodies = villain.reshape(header, bodies, cursor)
    known = {message.index: message for message in messages}
    draft = Draft(state, header, RULES, known, VILLAIN_KEY)
    for body in bodies:
        draft.add(body)
    if villain.act is not None:
        villain.act(draft)
    return draft.blob(), before


def found_by_replay(state: RollupState, before: bytes, blob: bytes, messages: list[InboxMessage]) -> ReplayError:
    replayer = Replayer(RULES, state=state)
    replayer.add_messages(messages)
    posted = PostedBatch(
        batch_id=0,
        prev_root=before,
        post_root=decode_batch(blob).frames[-1].post_root,
        inbox_hash=bytes(32),
        blob=blob,
        l1_tx=bytes(32),
        l1_block=1,
        submitted_at_s=100,
    )
    with pytest.raises(ReplayError) as wrong:
        replayer.advance(posted)
    return wrong.value


def world(villain: Villain) -> tuple[RollupState, list[InboxMessage]]:
    state = funded_state()
    open_channel(state, amount_nano=500)
    state.settle()
    cursor = state.meta.inbox_cursor
    messages = [forced(cursor + number, b"\xff") for number in range(2)]
    if villain.needs_riches:
        messages += [deposit(cursor + 2 + n, address_of(VILLAIN_KEY), MAX_U64) for n in range(3)]
    return state, messages


@pytest.mark.parametrize("villain", LIARS, ids=lambda villain: villain.name)
def test_a_villains_batch_is_wrong_by_the_code_of_its_table(villain):
    state, messages = world(villain)
    copy = RollupState.from_leaves(state.items())

    blob, before = lie(villain, state, messages)
    error = found_by_replay(copy, before, blob, messages)

    assert error.tx_code is villain.code
    assert error.frame is not None


@pytest.mark.parametrize("villain", [one for one in LIARS if not one.needs_riches], ids=lambda villain: villain.name)
def test_a_villain_needs_no_victim_and_no_channel(villain):
    messages = [deposit(0, owner(1), 5), forced(1, b"\xff")]

    blob, before = lie(villain, RollupState.genesis(), messages)

    assert found_by_replay(RollupState.genesis(), before, blob, messages).tx_code is villain.code


def test_the_printed_table_is_about_these_villains():
    rows = {row[0].strip("`"): row for row in table_under(ROOT / "docs" / "rollup.md", "| Villain |")}

    assert list(rows) == [*VILLAINS, "(none)"]
    for villain in VILLAINS.values():
        assert rows[villain.name][1] == villain.does
        if villain.code is not None:
            assert rows[villain.name][2].startswith(f"code {int(villain.code)},")


async def test_a_villain_that_was_caught_posts_what_it_is_given_and_nothing_else_after_a_restart(
    template: Path, tmp_path: Path
):
    villain = VILLAINS["mint"]
    async with arena(template, tmp_path, villain) as where:
        first = await where.sequencer.post(transfer(where.sequencer.state, where.deployment))
        again = await where.operator.submit_batch(first.batch_id, first.prev_root, first.inbox_hash, first.blob)
        assert again == first
        restarted = VillainL1(where.server.url, where.deployment, OPERATOR_KEY, villain)
        with pytest.raises(ChainRejectedError) as done:
            await restarted.submit_batch(first.batch_id + 1, first.post_root, first.inbox_hash, first.blob)
        await restarted.aclose()
        assert done.value.code == "villain_done"

        step = await (tower := where.tower()).settle()
        assert isinstance(step, Wait)
        await where.mine(step.until_block - await where.prover.block_number())
        await tower.settle()

        with pytest.raises(ChainRejectedError) as refused:
            await where.operator.submit_batch(first.batch_id, first.prev_root, first.inbox_hash, first.blob)
        assert refused.value.code == "bond_too_small"


def test_a_villain_leaves_out_what_the_rules_refuse_after_its_lie():
    state = funded_state()
    draft = Draft(state, BatchHeader(l2_time_s=100, inbox_to=3), RULES, {}, VILLAIN_KEY)
    good, bad = signed(Transfer(1, 2, 5, 0), 1, 0), signed(Transfer(3, 2, 5, 0), 1, 0)
    draft.add(good + bad)
    draft.add(bad)

    assert [frame.body for frame in draft.frames] == [good]


@pytest.mark.parametrize("name", SHARE)
async def test_a_villain_is_stopped_by_what_its_table_says(name, template: Path, tmp_path: Path):
    villain = VILLAINS[name]

    outcome = await fight(template, tmp_path, villain)

    assert outcome.is_detected
    is_liar = villain.stopped_by == "proof"
    assert (outcome.is_proven, outcome.is_reverted, outcome.is_slashed) == (is_liar,) * 3
    if is_liar:
        assert outcome.blocks is not None
        assert outcome.blocks <= 10 + 2
        assert outcome.prove_gas is not None
        assert outcome.prove_gas < 500_000


async def test_an_honest_sequencer_can_not_be_slashed(template: Path, tmp_path: Path):
    outcome = await honest_run(template, tmp_path)

    assert not outcome.is_detected
