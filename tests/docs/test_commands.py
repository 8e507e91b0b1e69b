"""Documentation is part of the feature: every command, path, link, setting and code in it exists."""

import contextlib
import re
import shlex
from functools import cache
from typing import get_args

import click
import pytest

from app.cli import COMMANDS, cli
from app.config import Config
from app.settings_schema import settings_of
from app.variables import HOME_VARIABLE
from chain.codec import MAX_BLOB_BYTES
from chain.contracts.build import DEPLOYED, SOURCES
from chain.devnet.config import DevnetParams
from chain.devnet.faucet import L1_GRANT_NANO, L2_GRANT_NANO
from chain.devnet.service import L1_CHAIN_ID, L2_CHAIN_ID
from chain.eip712 import RECEIPT_TYPE
from chain.errors import ERRORS
from chain.errors.page import errors_page
from chain.money import NANO_PER_USD
from chain.rpc import methods
from chain.sequencer.config import SequencerConfig
from chain.sequencer.refusals import refusal
from chain.stf import Code
from chain.txs import TX_SIZES, Tx
from docs.settings import with_tables
from node.market.offers import MAX_OFFER_BYTES, MAX_VALIDITY_MS, OFFER_TYPE, VALIDITY_MS
from node.provider.limits import ProviderLimits
from node.provider.rejections import REASONS
from node.relay.limits import RelayLimits
from node.session.buyer import VOUCHER_STEP_TOKENS
from node.session.provider import ProviderPolicy
from node.session.sealed import PAD_BLOCK_BYTES
from node.session.terms import DEFAULT_CREDIT_TOKENS, TEMPLATE_TOKENS, TEMPLATE_TOKENS_PER_MESSAGE
from node.wire.messages import FRAME_COST_BYTES
from tests.docs.pages import (
    PAGES,
    ROOT,
    Command,
    code_words,
    inline_commands,
    links,
    shell_commands,
    source,
    table_under,
    text_of,
)
from tests.suites.__main__ import command_line as suites_command_line

README = ROOT / "README.md"
OPERATING = ROOT / "docs" / "operating.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PROTOCOL = ROOT / "docs" / "protocol.md"
ERROR_CODES = ROOT / "docs" / "errors.md"
ROLLUP = ROOT / "docs" / "rollup.md"
PROGRAMS = {"idlewatt", "make", "sudo", "uv", "pipx", ".venv/bin/python", ".venv/bin/keyring"}
ROOT_FILES = re.compile(r"[\w./-]+\.(?:py|md|toml|sol|tcss)|requirements[\w-]*\.lock")
NOT_OURS = {"config.toml", "backup.json", "deployment.json"}
"""Files of a user's home, not of this repository."""

all_source = cache(source)
in_blocks = [command for command in shell_commands() if command.words[0] == "idlewatt"]


def parse(command: Command) -> None:
    """Parse as the command line would, running nothing."""
    descend(cli, "idlewatt", command.words[1:], None)


def descend(command: click.Command, name: str | None, words: list[str], parent: click.Context | None) -> None:
    context = command.make_context(name, words, parent=parent)
    left = [*context._protected_args, *context.args] if isinstance(command, click.Group) else []
    if isinstance(command, click.Group) and left:
        name, child, words = command.resolve_command(context, left)
        assert child is not None
        descend(child, name, words, context)


@pytest.mark.parametrize("command", in_blocks, ids=str)
def test_a_documented_command_parses(command):
    parse(command)


@pytest.mark.parametrize("command", inline_commands(), ids=str)
def test_a_command_named_in_running_text_exists(command):
    # Its required options may be left out there.
    with contextlib.suppress(click.MissingParameter):
        parse(command)


def test_the_parser_of_this_test_refuses_what_the_command_line_refuses():
    with pytest.raises(click.UsageError):
        parse(Command("here", "idlewatt serve --no-such-option"))
    with pytest.raises(click.UsageError):
        parse(Command("here", "idlewatt wallet no-such-command"))


@pytest.mark.parametrize("command", shell_commands(), ids=str)
def test_a_shell_block_uses_known_programs_only(command):
    assert command.words[0] in PROGRAMS


@pytest.mark.parametrize("command", [c for c in shell_commands() if c.words[0] == "make"], ids=str)
def test_a_documented_make_target_exists(command):
    targets = set(re.findall(r"^([a-z]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    wanted = {word for word in command.words[1:] if "=" not in word}
    assert wanted
    assert wanted <= targets


@pytest.mark.parametrize("command", [c for c in shell_commands() if " ARGS=" in c.line], ids=str)
def test_arguments_handed_through_make_parse(command):
    given = next(word.removeprefix("ARGS=") for word in command.words if word.startswith("ARGS="))
    if command.words[1] == "suites":
        suites_command_line().parse_args(shlex.split(given))
    else:
        parse(Command(command.page, f"idlewatt {command.words[1]} {given}"))


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_is_documented(name):
    assert any(f"idlewatt {name}" in text_of(page) or f"make {name}" in text_of(page) for page in (README, OPERATING))


def test_the_walk_through_is_what_the_separate_processes_test_runs():
    tested = text_of(ROOT / "tests" / "e2e" / "test_separate_processes.py")
    words = {word for command in shell_commands() if command.page == "README.md" for word in command.words}
    walked = {word for word in words if "iw/" in word or word.startswith("--price") or word in {"0.10", "0.20", "0.01"}}
    assert {"iw/net", "iw/relay", "iw/seller", "iw/buyer", "--price-in", "--price-out"} <= walked
    assert {word for word in walked if f'"{word}"' not in tested} == set()
    for command in ("devnet", "relay", "serve", "market", "chat", "channels", "faucet", "withdraw"):
        assert command in words
        assert f'"{command}"' in tested


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_in_backticks_exists(page):
    named = [word.split(":")[0] for word in code_words(page)]
    paths = [
        word
        for word in named
        if (ROOT_FILES.fullmatch(word) and word not in NOT_OURS)
        or re.fullmatch(r"(?:app|node|screens|wallet|chain|tests|bench|docs)/[\w./-]*", word)
    ]
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_internal_link_resolves(page):
    inside = [link.partition("#")[0] for link in links(page) if not link.startswith(("http://", "https://"))]
    assert [link for link in inside if link and not (page.parent / link).exists()] == []


def test_the_documented_settings_are_the_settings():
    assert with_tables(text_of(OPERATING)) == text_of(OPERATING), "run: python docs/settings.py"
    for setting in settings_of(Config):
        assert f"| `{setting.key}` |" in text_of(OPERATING)
        assert setting.help


def test_the_documented_tariff_and_availability_are_read_as_they_stand(tmp_path):
    text = next(
        block for block in re.findall(r"```toml\n(.*?)```", text_of(OPERATING), re.DOTALL) if "[availability]" in block
    )
    (tmp_path / "config.toml").write_text(text)
    config = Config.load(tmp_path / "config.toml")
    assert len(config.energy.tariff) == 1
    assert config.availability.pause_for == ("steam", "blender")


def test_every_documented_variable_is_read_somewhere():
    settings = {setting.variable for setting in settings_of(Config)}
    documented = {word for page in PAGES for word in re.findall(r"IDLEWATT_[A-Z_]*[A-Z]", text_of(page))}
    assert HOME_VARIABLE in documented
    assert [name for name in documented - settings if f'"{name}"' not in all_source()] == []


def test_the_documented_reasons_for_no_jobs_are_those_that_are_counted():
    documented = {row[0].strip("`") for row in table_under(OPERATING, "| Group |")}
    assert documented == {about.group for about in REASONS.values()}


def test_the_page_of_error_codes_is_what_the_registry_says():
    assert text_of(ERROR_CODES) == errors_page()


def test_every_code_that_stands_in_the_troubleshooting_table_is_registered():
    documented = {row[0].strip("`") for row in table_under(OPERATING, "| Code |")}
    assert len(documented) > 50
    assert documented <= set(ERRORS)


def test_the_protocol_page_names_every_code_that_a_relay_ends_something_with():
    text = text_of(PROTOCOL)
    limits = " ".join(row[1] for row in table_under(PROTOCOL, "| Limit (default) |"))
    further = re.search(r"^Further codes: (.*?)\. ", text, re.MULTILINE)
    closing = re.search(
        r"^Closing codes a circuit may end with, beside what the peers choose: (.*)$", text, re.MULTILINE
    )
    assert further is not None
    assert closing is not None
    named = set(re.findall(r"`(\w+)`", limits + further[1]))
    assert named == {code for code, entry in ERRORS.items() if entry.websocket_close is not None}
    assert set(re.findall(r"`(\w+)`", closing[1])) == {code for code, entry in ERRORS.items() if entry.ends_circuit}


def test_the_documented_refusal_of_each_code_of_the_transition_is_the_real_one():
    rows = table_under(ROLLUP, "| Code | Meaning | Refusal code at the RPC |")
    documented = {int(row[0]): row[2].strip("`") or "refused" for row in rows}
    assert documented == {int(code): refusal(code).code for code in Code if code is not Code.OK}


def test_every_rpc_method_is_documented_and_every_documented_one_exists():
    text = text_of(ROLLUP)
    known = set(re.findall(r'"((?:eth|net|web3|rollup|devnet)_\w+)"', (ROOT / methods.__file__).read_text()))
    assert len(known) > 20
    assert known == set(re.findall(r"`((?:eth|net|web3|rollup|devnet)_\w+)`", text))


def test_the_documented_sizes_of_transactions_are_the_real_ones():
    rows = table_under(ROLLUP, "| Type | Body |")
    assert {int(row[0].split()[0]): int(row[2]) for row in rows} == TX_SIZES


def test_the_documented_structs_are_what_is_signed():
    protocol, rollup = text_of(PROTOCOL), text_of(ROLLUP)
    assert f"`{OFFER_TYPE.decode()}`" in protocol
    assert f"`{RECEIPT_TYPE.decode()}`" in protocol
    signed = {kind.STRUCT.decode() for kind in get_args(Tx) if hasattr(kind, "STRUCT")}
    assert len(signed) >= 9
    assert [struct for struct in signed if f"`{struct}`" not in rollup] == []


def test_the_documented_contract_functions_exist():
    rows = table_under(ROLLUP, "| Contract |")
    assert {row[0].strip("`") for row in rows if row[0]} == set(DEPLOYED)
    sources = solidity()
    named = {name for row in rows for name in re.findall(r"`(\w+)", row[1])}
    assert [name for name in named if not re.search(rf"\b{name}\b", sources)] == []


def test_the_numbers_of_the_protocol_page_are_those_of_the_code():
    limits, text = RelayLimits(), text_of(PROTOCOL)
    said = (
        f"`max(1, min({VOUCHER_STEP_TOKENS}, credit_tokens / 2))`",
        f"The default is {DEFAULT_CREDIT_TOKENS} tokens.",
        f"`bytes sent + {TEMPLATE_TOKENS} + {TEMPLATE_TOKENS_PER_MESSAGE} · messages`",
        f"blocks of {PAD_BLOCK_BYTES} bytes",
        f"{ProviderLimits().payment_timeout_s:.0f} s without payment",
        f"no sooner than {ProviderPolicy.__dataclass_fields__['expiry_margin_s'].default} s",
        f"| frame {limits.frame_bytes:,} bytes |",
        f"| window {limits.window_bytes:,} bytes",
        f"| {limits.circuits_per_node} circuits a node |",
        f"| {limits.offers_per_node} offers a node, {limits.offer_bytes:,} bytes each |",
        f"| {limits.nodes:,} sessions |",
        f"| {limits.connections_per_ip} TCP connections",
        f"| handshake {limits.handshake_s:.0f} s |",
        f"| silence {limits.idle_s:.0f} s |",
        f"plus {FRAME_COST_BYTES} bytes",
        f"at most {MAX_OFFER_BYTES:,} bytes",
        f"for more than {MAX_VALIDITY_MS // 60_000} minutes",
        f"Providers sign offers for {VALIDITY_MS // 60_000} minutes",
    )
    assert [line for line in said if line not in text] == []


def test_the_numbers_of_the_rollup_page_are_those_of_the_code():
    config, params, text = SequencerConfig(), DevnetParams(), text_of(ROLLUP)
    said = (
        f"a fee of at least {config.min_fee_nano:,} nano",
        f"at most {config.max_batch_txs:,} transactions or {config.max_batch_bytes:,} bytes",
        f"at most {config.accounts_per_minute} a minute",
        f"waits at most {config.batch_interval_s:.0f} s",
        f"at most {MAX_BLOB_BYTES:,} bytes",
        f"| challenge window | {params.challenge_window_s} s",
        f"| {params.force_delay_s} s |",
        f"| close delay, on L2 | {params.close_delay_s} s |",
        f"{L2_GRANT_NANO // NANO_PER_USD} USD on L2",
        f"{L1_GRANT_NANO // NANO_PER_USD} USD and 0.1 ether on L1",
        f"L1 chain id {L1_CHAIN_ID}, L2 chain id {L2_CHAIN_ID}",
    )
    assert [line for line in said if line not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_function_that_is_named_exists(page):
    named = [word for word in code_words(page) if re.fullmatch(r"[A-Z]\w+\.\w+|[\w/]+\.py: \w+", word)]
    missing = []
    for word in named:
        place, name = word.split(": ") if ": " in word else word.split(".")
        text = text_of(ROOT / place) if ": " in word else all_source() + solidity()
        is_known = re.search(rf"\bclass {place}\b|\bcontract {place}\b", text) if ": " not in word else True
        if not is_known or not re.search(rf"\b(?:def|function) {name}\b|\b{name}(?::| =)", text):
            missing.append(word)
    assert missing == []


def solidity() -> str:
    return "\n".join(path.read_text() for path in SOURCES.glob("*.sol"))
