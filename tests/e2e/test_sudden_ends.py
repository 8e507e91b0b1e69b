"""A process that is killed in the middle of an answer: nobody pays for more than was said, and the money adds up."""

import re
import subprocess

import pytest

from tests.e2e.conftest import Commands
from tests.e2e.test_separate_processes import nano, place
from tests.node.engine.tiny import write_tiny
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.e2e

PRICE_IN, PRICE_OUT = 100_000_000, 200_000_000
"""Nano per million tokens: what ``RENT`` says in dollars."""
RENT = ("--price-in", "0.10", "--price-out", "0.20", "--context-length", "16384", "--slots", "1")
LONG = ("--max-tokens", "12000", "Tell me everything.")


@pytest.fixture
def market(commands):
    """A chain, a relay, and a seller whose model talks until its limit; plus a buyer with money."""
    (commands.folder / "iw" / "seller" / "models").mkdir(parents=True)
    write_tiny(commands.folder / "iw" / "seller" / "models" / "talker.gguf", context=16_384, width=256, layers=4)
    commands.urls = commands.start("devnet", "--home", "iw/net", "--l1-port", "0", "--l2-port", "0")
    relay = commands.start("relay", "--home", "iw/relay", "--port", "0")["relay"]
    commands.reach = ["--relay", relay, "--chain", commands.urls["l2"]]
    commands.run("wallet", "new", "--home", "iw/seller")
    commands.start("serve", "--home", "iw/seller", *commands.reach, "--model", "talker", *RENT)
    commands.run("wallet", "new", "--home", "iw/buyer")
    faucet = commands.facts("wallet", "faucet", "--home", "iw/buyer", "--chain", commands.urls["l2"])
    commands.granted = nano(faucet["amount_nano"])
    return commands


def asked_until_it_answers(market: Commands) -> tuple[subprocess.Popen, bytes]:
    """A chat that has said its first words and has many more to say."""
    chat = market.begin("chat", "--home", "iw/buyer", *market.reach, *LONG)
    said = b""
    while len(said) < 400:
        piece = chat.stdout.read1(4096)
        assert piece, chat.stderr.read()
        said += piece
    assert chat.poll() is None
    return chat, said


def channel_of(market: Commands, home: str) -> dict:
    (channel,) = market.facts("channels", "--home", home, "list")["channels"]
    return channel


def l2_balance(market: Commands, home: str) -> int:
    return place(market.facts("wallet", "show", "--home", home, "--chain", market.urls["l2"]), "wallet")


def idle_again(market: Commands) -> None:
    """Wait until the seller has noticed, by asking something that only then gets its one slot."""
    status = market.facts("status", "--home", "iw/seller")
    while status["snapshot"]["active_jobs"]:
        status = market.facts("status", "--home", "iw/seller")


def test_a_buyer_killed_in_the_middle_of_an_answer_owes_what_it_signed_and_no_more(market):
    chat, _said = asked_until_it_answers(market)
    chat.kill()
    chat.communicate(timeout=PATIENCE_S)
    idle_again(market)

    signed = channel_of(market, "iw/buyer")
    held = channel_of(market, "iw/seller")
    assert signed["channel_id"] == held["channel_id"]
    assert signed["state"] == "open"
    # Between writing an amount down and sending its voucher there is room for one.
    assert 0 < nano(held["spent_nano"]) <= nano(signed["spent_nano"])

    market.run("channels", "redeem", "--home", "iw/seller", str(held["channel_id"]))
    redeemed = nano(channel_of(market, "iw/buyer")["redeemed_nano"])
    assert redeemed == nano(held["spent_nano"])
    assert l2_balance(market, "iw/seller") == redeemed

    done = market.facts("chat", "--home", "iw/buyer", *market.reach, "--max-tokens", "8", "And then?")["done"]
    assert done["receipt"]["channel_id"] == held["channel_id"], "the restarted buyer goes on with its channel"
    total = nano(signed["spent_nano"]) + nano(done["cost_nano"])
    assert nano(channel_of(market, "iw/buyer")["spent_nano"]) == total

    before = l2_balance(market, "iw/buyer")
    market.run("channels", "close", "--home", "iw/buyer", str(held["channel_id"]))
    assert l2_balance(market, "iw/seller") == total
    opening_fee = market.granted - before - nano(signed["deposit_nano"])
    assert 0 <= opening_fee < 1_000_000
    assert l2_balance(market, "iw/buyer") + l2_balance(market, "iw/seller") + opening_fee == market.granted


def test_a_buyer_whose_seller_is_killed_gets_one_line_and_pays_at_most_for_what_came(market):
    chat, said = asked_until_it_answers(market)
    market.kill(market.services[-1])
    rest, told = chat.communicate(timeout=PATIENCE_S)

    assert chat.returncode == 1
    lines = [line for line in told.decode().splitlines() if not line.startswith("·")]
    assert len(lines) == 1, told
    assert lines[0].startswith("idlewatt: ")
    assert "Traceback" not in told.decode()
    input_tokens, most = re.search(r"(\d+) tokens in, at most (\d+) out", told.decode()).groups()
    # A token is a byte at least, so this is more than the bill of what arrived can be.
    received_tokens = min(int(most), len(said) + len(rest))
    paid = nano(channel_of(market, "iw/buyer")["spent_nano"])
    assert 0 < paid <= -(-int(input_tokens) * PRICE_IN // 10**6) - (-received_tokens * PRICE_OUT // 10**6)

    market.start("serve", "--home", "iw/seller", *market.reach, "--model", "talker", *RENT)
    held = channel_of(market, "iw/seller")
    assert nano(held["spent_nano"]) <= paid
    done = market.facts("chat", "--home", "iw/buyer", *market.reach, "--max-tokens", "8", "And then?")["done"]
    assert done["receipt"]["channel_id"] == held["channel_id"]
    total = paid + nano(done["cost_nano"])
    market.run("channels", "redeem", "--home", "iw/seller", str(held["channel_id"]))
    assert l2_balance(market, "iw/seller") == total == nano(channel_of(market, "iw/buyer")["spent_nano"])
