"""Two strangers, a relay and a chain, each a process of its own: asked, answered, paid, withdrawn to the last nano."""

import pytest

from tests.e2e.conftest import free_port

pytestmark = pytest.mark.e2e


def nano(value) -> int:
    assert isinstance(value, str), "money in JSON is a decimal string"
    return int(value)


def place(show: dict, name: str) -> int:
    return sum(nano(line["amount_nano"]) for line in show["money"]["lines"] if line["place"] == name)


def test_a_model_is_rented_asked_paid_and_the_earnings_withdrawn(commands):
    l1, l2, relay_port = (str(free_port()) for _ in range(3))
    chain, relay = f"http://127.0.0.1:{l2}", f"ws://127.0.0.1:{relay_port}"
    commands.start("devnet", "--home", "iw/net", "--l1-port", l1, "--l2-port", l2, "--challenge-window-s", "5")
    commands.start("relay", "--home", "iw/relay", "--port", relay_port)
    seller = commands.facts("wallet", "new", "--home", "iw/seller")["address"]
    rent = ["--relay", relay, "--chain", chain, "--model", "demo", "--price-in", "0.10", "--price-out", "0.20"]
    commands.start("serve", "--home", "iw/seller", *rent)
    commands.run("wallet", "new", "--home", "iw/buyer")
    granted = nano(commands.facts("wallet", "faucet", "--home", "iw/buyer", "--chain", chain)["amount_nano"])

    (offer,) = commands.facts("market", "--home", "iw/buyer", "--relay", relay)["offers"]
    assert offer["provider"] == seller
    assert offer["prices"] == {"input_nano_per_mtok": "100000000", "output_nano_per_mtok": "200000000"}

    chat = ["chat", "--home", "iw/buyer", "--relay", relay, "--chain", chain, "--max-spend", "0.01"]
    assert "42" in commands.run(*chat, "What is 17 + 25?").stdout
    done = commands.facts(*chat, "What is 17 + 25?")
    assert "42" in done["answer"]

    (channel,) = commands.facts("channels", "--home", "iw/buyer", "list")["channels"]
    spent = nano(channel["spent_nano"])
    assert spent == nano(done["done"]["receipt"]["cumulative_nano"])
    assert 0 < spent < 10_000_000
    buyer_has = commands.facts("wallet", "show", "--home", "iw/buyer", "--chain", chain)
    opening_fee = granted - place(buyer_has, "wallet") - nano(channel["deposit_nano"])
    assert 0 <= opening_fee < 1_000_000

    withdrawn = commands.facts("wallet", "withdraw", "--home", "iw/seller", "--amount", "all", "--wait")

    assert withdrawn["recipient"] == seller
    assert withdrawn["claim_l1_tx"].startswith("0x")
    (channel,) = commands.facts("channels", "--home", "iw/buyer", "list")["channels"]
    assert nano(channel["redeemed_nano"]) == spent
    seller_has = commands.facts("wallet", "show", "--home", "iw/seller", "--chain", chain)
    assert place(seller_has, "l1") == nano(withdrawn["amount_nano"])
    withdrawal_fee = spent - nano(withdrawn["amount_nano"])
    assert 0 <= withdrawal_fee < spent
    assert place(seller_has, "wallet") == place(seller_has, "claimable") == place(seller_has, "withdrawing") == 0
