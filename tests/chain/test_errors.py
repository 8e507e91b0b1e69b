"""The registry of error codes, and the errors that read it."""

import re
import subprocess
import sys
from collections import Counter
from typing import get_args

import pytest

from chain.errors import (
    AREAS,
    ERRORS,
    ChainRejectedError,
    ErrorCode,
    IdlewattError,
    JsonRpc,
    UsageError,
    is_known,
)
from chain.l1.artifacts import error_names
from chain.sequencer.refusals import refusal
from chain.stf import Code
from tests.patience import PATIENCE_S


def test_every_code_of_the_type_has_exactly_one_entry():
    entries = Counter(code for area in AREAS.values() for code in area)
    assert set(entries) == set(get_args(ErrorCode))
    assert [code for code, count in entries.items() if count > 1] == []


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_an_entry_is_complete(code):
    entry = ERRORS[code]
    assert re.fullmatch(r"[a-z][a-z0-9_]{0,39}", code, re.ASCII)
    assert re.fullmatch(r"[A-Z][^|\n]{10,110}\.", entry.meaning), entry.meaning
    assert 400 <= entry.http_status < 600
    assert entry.exit_status in {1, 2}
    assert entry.websocket_close in {None, 1008}
    if entry.exit_status == 2:
        assert (entry.json_rpc, entry.http_status) == (JsonRpc.INVALID_PARAMS, 400)


def test_an_error_has_its_class_code_its_own_or_a_peers():
    assert IdlewattError("no").code == "failed"
    assert ChainRejectedError("no").code == "chain_rejected"
    assert ChainRejectedError("no", code="overdraft").code == "overdraft"
    assert ChainRejectedError("no", code="overdraft", peer_code="busy").code == "busy"


def test_a_peers_unknown_word_is_kept_beside_the_code_that_its_kind_falls_back_to():
    error = ChainRejectedError("no", peer_code="from_next_year")
    assert (error.code, error.peer_code, error.wire_code) == ("chain_rejected", "from_next_year", "from_next_year")
    chosen = ChainRejectedError("no", code="overdraft", peer_code="[/x]\n")
    assert (chosen.code, chosen.peer_code, chosen.entry) == ("overdraft", "[/x]\n", ERRORS["overdraft"])
    assert IdlewattError("no", code="busy").wire_code == "busy"


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_a_peers_word_never_says_that_the_command_was_used_wrongly(code):
    assert ChainRejectedError("no", peer_code=code).entry.exit_status == 1
    assert ChainRejectedError("no", peer_code=code).entry.json_rpc == ERRORS[code].json_rpc


def test_an_error_with_a_code_of_no_entry_cannot_be_made():
    assert not is_known("made_up")
    with pytest.raises(AssertionError, match="'made_up' is not in the registry"):
        IdlewattError("no", code="made_up")


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_what_the_caller_did_wrong_is_wrong_usage_on_every_way_out(code):
    entry = UsageError("no", code=code).entry
    assert (entry.exit_status, entry.json_rpc, entry.http_status) == (2, -32602, 400)
    assert entry.meaning == ERRORS[code].meaning


def test_every_error_of_the_contracts_has_an_entry():
    names = set(error_names().values())
    assert names <= set(ERRORS)
    assert set(AREAS["Contracts on L1"]) <= names


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_every_refusal_of_the_transition_has_a_code(code):
    told = refusal(code)
    assert told.entry.json_rpc == JsonRpc.REJECTED
    assert told.message


def test_the_registry_is_light():
    script = "import sys; before = set(sys.modules); import chain.errors; print(*set(sys.modules) - before)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    own = {"chain", "chain.errors"}
    standard = set(sys.stdlib_module_names)
    foreign = {name for name in loaded.stdout.split() if name.split(".")[0] not in standard | own}
    assert foreign == set()
