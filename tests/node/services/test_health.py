"""The headline says whether the node is rentable now, and if not, why and what to do."""

from __future__ import annotations

import msgspec
import pytest

from node.services.health import Facts, judge
from node.values import Health, Phase, WalletState

GOOD = Facts(
    wanted=True,
    starting=False,
    stopping=False,
    wallet=WalletState.UNLOCKED,
    relay="online",
    relay_url="ws://relay",
    chain_url="http://chain",
    chain_reachable=True,
    engine_state="ready",
    offer_published=True,
    account_exists=True,
    active_jobs=0,
    free_slots=2,
    slots=2,
    backed_up=True,
    model="demo",
)


def verdict(**changes):
    return judge(msgspec.structs.replace(GOOD, **changes))


@pytest.mark.parametrize(
    ("changes", "phase", "words"),
    [
        ({}, Phase.IDLE, "Rentable now: demo"),
        ({"active_jobs": 1, "free_slots": 1}, Phase.SERVING, "Serving 1 request; 1 of 2"),
        ({"active_jobs": 2, "free_slots": 0}, Phase.SERVING, "Serving 2 requests"),
        ({"stopping": True}, Phase.STOPPING, "Running answers end first"),
        ({"wanted": False}, Phase.OFF, "Not renting out"),
        ({"wanted": False, "wallet": WalletState.NONE}, Phase.OFF, "no wallet"),
        ({"starting": True, "engine_state": "loading"}, Phase.STARTING, "Loading demo"),
        ({"offer_published": False}, Phase.STARTING, "Publishing"),
        ({"wallet": WalletState.LOCKED}, Phase.DEGRADED, "locked"),
        ({"wallet": WalletState.NONE}, Phase.DEGRADED, "no wallet"),
        ({"engine_state": "restarting"}, Phase.DEGRADED, "crashed"),
        ({"engine_state": "failed", "engine_error": "It is broken."}, Phase.DEGRADED, "It is broken."),
        ({"relay": "off"}, Phase.DEGRADED, "No relay"),
        ({"relay": "reconnecting", "relay_error": "refused"}, Phase.DEGRADED, "(refused)"),
        ({"relay": "connecting", "offer_published": False}, Phase.STARTING, "Publishing"),
        ({"chain_url": ""}, Phase.DEGRADED, "No chain"),
        ({"chain_reachable": False, "chain_error": "timeout"}, Phase.DEGRADED, "(timeout)"),
    ],
)
def test_the_headline_names_the_first_thing_that_is_wrong(changes, phase, words):
    found = verdict(**changes)
    assert found.phase is phase
    assert words in found.why
    if phase in {Phase.DEGRADED, Phase.OFF}:
        assert found.fix


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"backed_up": False}, "backup"),
        ({"account_exists": False}, "account"),
        ({"chain_foreign": True}, "chain"),
        ({"engine_state": "none"}, "engine"),
    ],
)
def test_what_is_only_worth_a_warning_does_not_stop_renting(changes, name):
    found = verdict(**changes)
    assert found.phase is Phase.IDLE
    assert next(item for item in found.checklist if item.name == name).health is Health.WARN


def test_a_healthy_node_has_a_clean_checklist():
    assert {item.health for item in verdict().checklist} == {Health.OK}
    assert verdict(wanted=False, wallet=WalletState.NONE, account_exists=False).checklist
