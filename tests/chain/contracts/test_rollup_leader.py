"""Who may sequence, what a batch owes the inbox, and when anyone may end it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chain.delays import Delays, broken_rules
from chain.l1.connection import checksum
from chain.l1.protocol import EMPTY_INBOX_HASH
from chain.signing import address_of
from tests.chain.contracts.conftest import (
    AHEAD_S,
    FORCE_S,
    FREEZE_S,
    GRACE_S,
    REVEAL_BLOCKS,
    TAKEOVER_S,
    TURN_BATCHES,
    TURN_S,
    WINDOW_S,
    inbox_hash,
    person,
)
from tests.chain.contracts.harness import KEYS, START_S, Handle, Ledger, Reverted
from tests.chain.contracts.test_rollup import ETHER, blob

ALICE, BOB = checksum(person(0)), checksum(person(1))
NOBODY = "0x" + "00" * 20
LEAST_CLOSE_S = 2 * FORCE_S + TAKEOVER_S + AHEAD_S


@pytest.fixture
def rollup(rollup: Handle) -> Handle:
    """Keys 0 and 1 are bonded."""
    rollup.send("depositBond", key=KEYS[1], value_wei=ETHER)
    return rollup


def post(rollup: Handle, ledger: Ledger, *, key: bytes = KEYS[0], inbox_to: int = 0) -> None:
    data, _ = blob(l2_time_s=ledger.now_s, inbox_to=inbox_to)
    end = inbox_hash(rollup, inbox_to)
    rollup.send("submitBatch", rollup.call("count"), rollup.call("headRoot"), end, data, key=key)


def everything(rollup: Handle, inbox: Handle, ledger: Ledger) -> dict[str, Any]:
    """What an honest sequencer and its users have on L1."""
    names = ("count", "finalCount", "headRoot", "leader", "frozenAt", "oldestPending", "isOverdue")
    count = rollup.call("count")
    return {
        **{name: rollup.call(name) for name in names},
        "batches": rollup.call("batches", 0, count),
        "bond": rollup.call("bonds", ALICE),
        "ether": ledger.evm.balance_wei(person(0)),
        "held": ledger.evm.balance_wei(rollup.address),
        "inbox": inbox.call("messages", 0, 9),
    }


class TestWhoeverMayNotPost:
    """Batches without a bond, out of order, or in another's turn are mined for their sender's gas, and for nothing."""

    @pytest.mark.parametrize("moment", ["led", "overdue", "leaderless"])
    @pytest.mark.parametrize("wrong", ["no bond", "too early", "too late", "another history", "not a batch", "unread"])
    def test_what_is_refused_costs_no_honest_party_anything(
        self, rollup: Handle, inbox: Handle, ledger: Ledger, wrong: str, moment: str
    ) -> None:
        if moment != "leaderless":
            post(rollup, ledger)
        inbox.send("deposit", ALICE, 0, 5)
        ledger.now_s += TAKEOVER_S + 1 if moment == "overdue" else FORCE_S + 1
        count, head = rollup.call("count"), rollup.call("headRoot")
        (good, _), end = blob(l2_time_s=ledger.now_s, inbox_to=1), inbox_hash(rollup, 1)
        # Key 1 is bonded, key 2 is nobody.
        key, arguments = {
            "no bond": (KEYS[2], (count, head, end, good)),
            "too early": (KEYS[1], (count + 1, head, end, good)),
            "too late": (KEYS[1], (count - 1 if count else 2**256 - 1, head, end, good)),
            "another history": (KEYS[1], (count, b"\x09" * 32, end, good)),
            "not a batch": (KEYS[1], (count, head, end, good[:-1])),
            "unread": (KEYS[1], (count, head, end, blob(l2_time_s=ledger.now_s)[0])),
        }[wrong]
        before, paid_by = everything(rollup, inbox, ledger), address_of(key)
        purse_wei, bond = ledger.evm.balance_wei(paid_by), rollup.call("bonds", checksum(paid_by))

        mined = ledger.transact_unchecked(key, rollup.address, rollup.encode("submitBatch", *arguments))

        assert mined.receipt.state_root == b""
        assert everything(rollup, inbox, ledger) == before
        assert ledger.evm.balance_wei(paid_by) < purse_wei
        assert rollup.call("bonds", checksum(paid_by)) == bond
        # Who is honest goes on with the batch that it had ready.
        rollup.send("submitBatch", count, head, end, good)
        assert rollup.call("leader") == ALICE.lower()


class TestParameters:
    def test_everything_that_was_chosen_can_be_read(self, rollup: Handle, stf: Handle) -> None:
        names = ("takeoverDelay", "freezeDelay", "unstakeDelay", "revealDelay", "leader", "frozenAt")

        assert [rollup.call(name) for name in names] == [TAKEOVER_S, FREEZE_S, 91, 10, NOBODY, 0]
        assert rollup.call("stf") == stf.contract.address.lower()

    @pytest.mark.parametrize(
        ("rule", "change"),
        [
            (1, {"stf": "0x" + "11" * 20}),
            (2, {"minBond": 0}),
            (2, {"turnBatches": 0}),
            (2, {"turnSeconds": 0}),
            (3, {"forceDelay": 0}),
            (3, {"revealDelay": 0}),
            (4, {"challengeWindow": 0}),
            (4, {"challengeWindow": REVEAL_BLOCKS}),
            (5, {"forceDelay": TAKEOVER_S + 1}),
            (6, {"closeDelay": LEAST_CLOSE_S - 1}),
            (7, {"unstakeDelay": LEAST_CLOSE_S - 1}),
            (6, {"maxTimeAhead": AHEAD_S + 1}),
            (8, {"freezeDelay": WINDOW_S + TAKEOVER_S + FORCE_S - 1}),
        ],
    )
    def test_what_could_never_work_is_not_deployed(
        self, deploy_rollup: Callable[..., Handle], rule: int, change: dict[str, object]
    ) -> None:
        with pytest.raises(Reverted) as refused:
            deploy_rollup(**change)

        assert (refused.value.name, refused.value.arguments) == ("InvalidParameters", (rule,))

    @given(
        small=st.tuples(*[st.integers(0, 5)] * 3),
        slack=st.tuples(*[st.integers(-1, 1)] * 4),
        ahead_s=st.integers(0, 3),
    )
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_the_contract_refuses_what_the_program_would(
        self,
        deploy_rollup: Callable[..., Handle],
        small: tuple[int, ...],
        slack: tuple[int, ...],
        ahead_s: int,
    ) -> None:
        window_s, force_s, takeover_s = small
        least_s = 2 * force_s + takeover_s + ahead_s
        delays = Delays(
            challenge_window_s=window_s,
            force_delay_s=force_s,
            takeover_delay_s=takeover_s,
            freeze_delay_s=max(0, window_s + takeover_s + force_s + slack[0]),
            close_delay_s=max(0, least_s + slack[1]),
            unstake_delay_s=max(0, least_s + slack[2]),
            reveal_delay_blocks=max(0, window_s + slack[3]),
            max_time_ahead_s=ahead_s,
        )
        names = (
            "challengeWindow", "forceDelay", "takeoverDelay", "freezeDelay", "closeDelay", "unstakeDelay",
            "revealDelay", "maxTimeAhead",
        )  # fmt: skip
        broken = broken_rules(delays)
        try:
            deploy_rollup(**dict(zip(names, msgspec.structs.astuple(delays), strict=True)))
        except Reverted as refused:
            assert refused.arguments == (min(broken),)  # noqa: PT017 - either may come
        else:
            assert not broken


class TestLeader:
    def test_the_first_to_post_leads_and_nobody_else_posts(self, rollup: Handle, ledger: Ledger) -> None:
        data, _ = blob()
        first = rollup.send("submitBatch", 0, rollup.call("headRoot"), EMPTY_INBOX_HASH, data)
        assert first.event("LeaderChanged") == {"leader": ALICE}
        assert rollup.call("leader") == ALICE.lower()

        with pytest.raises(Reverted) as refused:
            post(rollup, ledger, key=KEYS[1])

        assert (refused.value.name, refused.value.arguments) == ("NotLeader", (ALICE.lower(),))
        data, _ = blob()
        again = rollup.send("submitBatch", 1, rollup.call("headRoot"), EMPTY_INBOX_HASH, data)
        assert again.events("LeaderChanged") == []

    def test_an_overdue_leader_is_taken_over_from(self, rollup: Handle, inbox: Handle, ledger: Ledger) -> None:
        post(rollup, ledger)
        inbox.send("forceTx", b"ignored")
        ledger.now_s += TAKEOVER_S
        assert rollup.call("isOverdue") is False
        with pytest.raises(Reverted, match="NotLeader"):
            post(rollup, ledger, key=KEYS[1], inbox_to=1)

        ledger.now_s += 1

        assert rollup.call("isOverdue") is True
        post(rollup, ledger, key=KEYS[1], inbox_to=1)
        assert rollup.call("leader") == BOB.lower()
        with pytest.raises(Reverted, match="NotLeader"):
            post(rollup, ledger, inbox_to=1)

    def test_an_overdue_leader_may_still_catch_up(self, rollup: Handle, inbox: Handle, ledger: Ledger) -> None:
        post(rollup, ledger)
        inbox.send("forceTx", b"late")
        ledger.now_s += TAKEOVER_S + 1

        post(rollup, ledger, inbox_to=1)

        assert rollup.call("isOverdue") is False

    def test_a_leader_without_its_bond_leads_no_more(self, rollup: Handle, ledger: Ledger) -> None:
        post(rollup, ledger)
        ledger.now_s += WINDOW_S
        rollup.send("finalize", 1)
        rollup.send("withdrawBond")

        post(rollup, ledger, key=KEYS[1])

        assert rollup.call("leader") == BOB.lower()

    def test_an_empty_inbox_makes_nobody_overdue(self, rollup: Handle, inbox: Handle, ledger: Ledger) -> None:
        inbox.send("forceTx", b"executed")
        post(rollup, ledger, inbox_to=1)
        ledger.now_s += 100 * TAKEOVER_S

        assert rollup.call("isOverdue") is False
        assert rollup.call("oldestPending") == (1, 0)


class TestTurns:
    """Keys 0 and 1 take turns; key 2 has no bond, unless told otherwise."""

    def test_a_turn_ends_after_its_seconds_and_the_next_alone_may_begin_one(
        self, rollup: Handle, ledger: Ledger
    ) -> None:
        rollup.send("depositBond", key=KEYS[2], value_wei=ETHER)
        post(rollup, ledger)
        assert who_may_post(rollup) == [True, False, False]
        ledger.now_s += TURN_S - 1
        assert who_may_post(rollup) == [True, False, False]

        ledger.now_s += 1

        assert rollup.call("nextLeader") == BOB.lower()
        assert who_may_post(rollup) == [False, True, False]
        with pytest.raises(Reverted) as refused:
            post(rollup, ledger)
        assert (refused.value.name, refused.value.arguments) == ("NotLeader", (BOB.lower(),))
        post(rollup, ledger, key=KEYS[1])
        assert who_may_post(rollup) == [False, True, False]
        assert rollup.call("nextLeader") == checksum(person(2)).lower()

    def test_a_turn_ends_after_its_batches(self, rollup: Handle, ledger: Ledger) -> None:
        for _ in range(TURN_BATCHES):
            assert who_may_post(rollup)[:2] == [True, not rollup.call("count")]
            post(rollup, ledger)

        assert who_may_post(rollup) == [False, True, False]
        assert rollup.call("turnEndsAt") == ledger.now_s
        post(rollup, ledger, key=KEYS[1])
        assert rollup.call("turnFirstBatch") == TURN_BATCHES

    def test_whoever_misses_its_turn_is_passed_over_by_anyone(self, rollup: Handle, ledger: Ledger) -> None:
        rollup.send("depositBond", key=KEYS[2], value_wei=ETHER)
        post(rollup, ledger)
        ledger.now_s += TURN_S + GRACE_S
        assert who_may_post(rollup) == [False, True, False]

        ledger.now_s += 1

        assert who_may_post(rollup) == [True, True, True]
        post(rollup, ledger, key=KEYS[2])
        assert who_may_post(rollup) == [False, False, True]
        assert rollup.call("nextLeader") == ALICE.lower()

    def test_one_alone_goes_on(self, deploy_rollup: Callable[..., Handle], ledger: Ledger) -> None:
        rollup = deploy_rollup()
        rollup.send("depositBond", value_wei=ETHER)
        post(rollup, ledger)
        ledger.now_s += TURN_S

        assert rollup.call("nextLeader") == ALICE.lower()
        post(rollup, ledger)

        assert rollup.call("turnStartedAt") == ledger.now_s

    def test_a_turn_can_be_taken_without_a_batch_but_not_made_longer(self, rollup: Handle, ledger: Ledger) -> None:
        assert rollup.send("takeTurn").event("LeaderChanged") == {"leader": ALICE}
        ends_at_s = rollup.call("turnEndsAt")
        ledger.now_s += TURN_S - 1
        rollup.send("takeTurn")
        assert rollup.call("turnEndsAt") == ends_at_s
        for key in KEYS[1:3]:
            with pytest.raises(Reverted):
                rollup.send("takeTurn", key=key)

        ledger.now_s += 1

        assert rollup.send("takeTurn", key=KEYS[1]).event("LeaderChanged") == {"leader": BOB}
        assert rollup.call("turnEndsAt") == ledger.now_s + TURN_S

    def test_the_list_holds_whoever_has_a_bond_and_nobody_else(self, rollup: Handle, ledger: Ledger) -> None:
        """Whoever leaves, the others keep their turns."""
        for key in KEYS[2:4]:
            rollup.send("depositBond", key=key, value_wei=ETHER - 1)
        assert listed(rollup) == [ALICE.lower(), BOB.lower()]
        for key in KEYS[2:4]:
            rollup.send("depositBond", key=key, value_wei=1)
        carol, dave = (checksum(person(number)).lower() for number in (2, 3))
        assert listed(rollup) == [ALICE.lower(), BOB.lower(), carol, dave]

        ledger.now_s += WINDOW_S
        rollup.send("withdrawBond", key=KEYS[1])
        assert listed(rollup) == [ALICE.lower(), dave, carol]
        rollup.send("withdrawBond", key=KEYS[2])
        assert listed(rollup) == [ALICE.lower(), dave]
        rollup.send("withdrawBond")
        rollup.send("withdrawBond", key=KEYS[3])

        assert listed(rollup) == []
        assert who_may_post(rollup) == [False, False, False]
        rollup.send("depositBond", key=KEYS[1], value_wei=ETHER)
        assert listed(rollup) == [BOB.lower()]


class TestSeatsThatLeaveAndComeBack:
    def test_two_silent_seats_cannot_keep_everyone_else_from_being_next(
        self, deploy_rollup: Callable[..., Handle], ledger: Ledger
    ) -> None:
        """Each would step behind the other again before its turn ends, and an honest sequencer would never be next."""
        rollup = deploy_rollup(turnSeconds=WINDOW_S // 3)
        for key in KEYS[:3]:
            rollup.send("depositBond", key=key, value_wei=ETHER)
        honest = checksum(person(2)).lower()
        rollup.send("takeTurn")
        ledger.now_s += WINDOW_S
        rollup.send("takeTurn", key=KEYS[1])
        rollup.send("withdrawBond")
        rollup.send("depositBond", value_wei=ETHER)
        assert listed(rollup) == [honest, BOB.lower(), ALICE.lower()]
        joined_s = ledger.now_s
        ledger.now_s += WINDOW_S // 3
        rollup.send("takeTurn")

        with pytest.raises(Reverted) as refused:
            rollup.send("withdrawBond", key=KEYS[1])

        assert (refused.value.name, refused.value.arguments) == ("BondStays", (joined_s + WINDOW_S,))
        assert rollup.call("nextLeader") == honest

    def test_a_leader_cannot_hand_its_turn_on_by_leaving(self, rollup: Handle, ledger: Ledger) -> None:
        ledger.now_s += WINDOW_S
        rollup.send("takeTurn")
        with pytest.raises(Reverted, match="BondStays"):
            rollup.send("withdrawBond")
        ledger.now_s += WINDOW_S - 1
        with pytest.raises(Reverted, match="BondStays"):
            rollup.send("withdrawBond")

        ledger.now_s += 1

        rollup.send("withdrawBond")

    def test_who_just_joined_the_list_stays_a_window(self, rollup: Handle, ledger: Ledger) -> None:
        until_s = rollup.call("bondStaysUntil", BOB)
        assert until_s == START_S + WINDOW_S
        rollup.send("depositBond", key=KEYS[1], value_wei=1)
        assert rollup.call("bondStaysUntil", BOB) == until_s
        with pytest.raises(Reverted, match="BondStays"):
            rollup.send("withdrawBond", key=KEYS[1])
        rollup.send("depositBond", key=KEYS[2], value_wei=1)

        rollup.send("withdrawBond", key=KEYS[2])


def who_may_post(rollup: Handle) -> list[bool]:
    return [rollup.call("mayPost", checksum(person(number))) for number in range(3)]


def listed(rollup: Handle) -> list[str]:
    return [rollup.call("sequencers", place) for place in range(rollup.call("sequencerCount"))]


class TestForceDelay:
    def test_a_batch_covers_every_message_that_waited_long_enough(
        self, rollup: Handle, inbox: Handle, ledger: Ledger
    ) -> None:
        inbox.send("forceTx", b"first")
        ledger.now_s += 1
        inbox.send("forceTx", b"second")
        ledger.now_s += FORCE_S - 1
        post(rollup, ledger)
        ledger.now_s += 1
        with pytest.raises(Reverted) as refused:
            post(rollup, ledger)
        assert (refused.value.name, refused.value.arguments) == ("InboxIgnored", (0,))

        post(rollup, ledger, inbox_to=1)

        ledger.now_s += 1
        with pytest.raises(Reverted) as refused:
            post(rollup, ledger, inbox_to=1)
        assert refused.value.arguments == (1,)

    def test_more_messages_than_a_batch_takes_cannot_stop_it(
        self, deploy_rollup: Callable[..., Handle], ledger: Ledger, odd: Callable[..., Handle]
    ) -> None:
        rollup = deploy_rollup()
        rollup.send("depositBond", value_wei=ETHER)
        ample = rollup.call("AMPLE_MESSAGES")
        flood = odd("Flood")
        inbox = checksum(bytes.fromhex(rollup.call("inbox")[2:]))
        for _ in range(6):
            flood.send("force", inbox, 100)
        ledger.now_s += FORCE_S + 1
        with pytest.raises(Reverted, match="InboxIgnored"):
            post(rollup, ledger, inbox_to=ample - 1)

        post(rollup, ledger, inbox_to=ample)

        post(rollup, ledger, inbox_to=600)


class TestFreeze:
    def test_anyone_ends_a_rollup_whose_inbox_nobody_executes(
        self, rollup: Handle, inbox: Handle, ledger: Ledger
    ) -> None:
        post(rollup, ledger)
        inbox.send("forceTx", b"ignored")
        ledger.now_s += FREEZE_S
        with pytest.raises(Reverted, match="NotOverdue"):
            rollup.send("freeze", key=KEYS[3])
        ledger.now_s += 1

        sent = rollup.send("freeze", key=KEYS[3])

        assert sent.event("Frozen") == {"messageIndex": 0, "messageArrivedAt": START_S}
        assert rollup.call("frozenAt") == ledger.now_s
        with pytest.raises(Reverted, match="AlreadyFrozen"):
            post(rollup, ledger, inbox_to=1)
        with pytest.raises(Reverted, match="AlreadyFrozen"):
            rollup.send("freeze")

    def test_an_executed_inbox_is_never_frozen(self, rollup: Handle, inbox: Handle, ledger: Ledger) -> None:
        with pytest.raises(Reverted, match="NotOverdue"):
            rollup.send("freeze")
        inbox.send("forceTx", b"executed")
        post(rollup, ledger, inbox_to=1)
        ledger.now_s += 10 * FREEZE_S

        with pytest.raises(Reverted, match="NotOverdue"):
            rollup.send("freeze")

    def test_what_stands_becomes_final_after_a_freeze_and_bonds_come_back(
        self, rollup: Handle, inbox: Handle, ledger: Ledger
    ) -> None:
        inbox.send("forceTx", b"ignored")
        ledger.now_s += FORCE_S
        post(rollup, ledger)
        ledger.now_s += FREEZE_S
        rollup.send("freeze")

        rollup.send("finalize", 1)

        assert rollup.send("withdrawBond").event("BondWithdrawn") == {"sequencer": ALICE, "amount": ETHER}
