"""The headline says whether the node is rentable now, and if not, why and what to do."""

from __future__ import annotations

import msgspec
import pytest

from node.provider.health import HealthFacts, judge
from node.values import Health, Phase, WalletState

GOOD = HealthFacts(
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
        ({"relay": "reconnecting"}, Phase.DEGRADED, "The relay ws://relay can't be reached."),
        ({"relay": "reconnecting", "relay_error": "The relay at ws://relay is full."}, Phase.DEGRADED, "is full."),
        ({"relay": "connecting", "offer_published": False}, Phase.STARTING, "Publishing"),
        ({"chain_url": ""}, Phase.DEGRADED, "No chain"),
        ({"chain_reachable": False, "chain_error": "The chain is slow."}, Phase.DEGRADED, "The chain is slow."),
        ({"chain_reachable": False, "offer_published": False}, Phase.STARTING, "Publishing"),
        ({"paused": "Steam runs."}, Phase.PAUSED, "Steam runs."),
        ({"paused": "Steam runs.", "active_jobs": 1}, Phase.PAUSED, "Steam runs. Running answers end first."),
        ({"paused": "Steam runs.", "engine_state": "none", "offer_published": False}, Phase.PAUSED, "Steam runs."),
        ({"paused": "Steam runs.", "wanted": False}, Phase.OFF, "Not renting out"),
    ],
)
def test_the_headline_names_the_first_thing_that_is_wrong(changes, phase, words):
    found = verdict(**changes)
    assert found.phase is phase
    assert words in found.why
    if phase in {Phase.DEGRADED, Phase.OFF}:
        assert found.fix


def test_what_a_relay_says_to_do_stands_in_the_headline():
    refused = verdict(relay="reconnecting", relay_error="The relay refused (version).", relay_fix="Update Idlewatt.")
    assert (refused.why, refused.fix) == ("The relay refused (version).", "Update Idlewatt.")


def test_what_the_chain_says_to_do_stands_in_the_headline():
    away = verdict(chain_reachable=False, chain_error="That is an L1.", chain_fix="Give the rollup's address.")
    assert (away.why, away.fix) == ("That is an L1.", "Give the rollup's address.")


@pytest.mark.parametrize(
    "changes",
    [{}, {"chain_reachable": False}, {"wallet": WalletState.NONE}, {"wallet": WalletState.LOCKED}],
)
@pytest.mark.parametrize("account_exists", [True, False])
def test_every_line_of_the_checklist_says_something(changes, account_exists):
    assert all(item.detail for item in verdict(**changes, account_exists=account_exists).checklist)


def test_a_chain_that_was_not_asked_yet_is_not_called_unreachable():
    item = next(item for item in verdict(chain_reachable=False).checklist if item.name == "chain")
    assert (item.health, item.detail) == (Health.WARN, "Connecting to http://chain.")


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


def test_a_pause_and_power_that_costs_more_than_it_brings_stand_on_the_checklist_with_their_fixes():
    found = verdict(paused="Steam runs.", pause_fix="Close it.", below_cost="Power cost more.", cost_fix="Raise it.")
    lines = {item.name: (item.health, item.detail, item.fix) for item in found.checklist}
    assert found.fix == "Close it."
    assert lines["machine"] == (Health.WARN, "Steam runs.", "Close it.")
    assert lines["power"] == (Health.WARN, "Power cost more.", "Raise it.")
    assert {"machine", "power"}.isdisjoint(item.name for item in verdict().checklist)
