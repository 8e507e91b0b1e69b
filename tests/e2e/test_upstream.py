"""Somebody else's server, rented out by a node of ours: a real ``llama_cpp.server``, asked and paid over the market."""

import time

import pytest

from tests.e2e.conftest import free_port
from tests.node.engine.upstream.llama_server import ALIAS, llama_cpp_server

pytestmark = pytest.mark.e2e
KEY = "sk-of-the-owner"


def until(commands, wanted) -> None:
    deadline_s = time.monotonic() + 60
    while not wanted(commands.facts("status", "--home", "iw/seller")["snapshot"]):
        assert time.monotonic() < deadline_s


def test_a_rented_out_server_is_asked_and_paid_and_comes_back_after_it_died(commands, tmp_path, monkeypatch):
    monkeypatch.setenv("SERVER_KEY", KEY)
    l1, l2, relay_port, port = (str(free_port()) for _ in range(4))
    chain, relay = f"http://127.0.0.1:{l2}", f"ws://127.0.0.1:{relay_port}"
    commands.start("devnet", "--home", "iw/net", "--l1-port", l1, "--l2-port", l2, "--challenge-window-s", "5")
    commands.start("relay", "--home", "iw/relay", "--port", relay_port)
    commands.run("wallet", "new", "--home", "iw/seller")
    commands.run("wallet", "new", "--home", "iw/buyer")
    commands.run("wallet", "faucet", "--home", "iw/buyer", "--chain", chain)
    upstream = f"http://127.0.0.1:{port}/v1"
    rent = ["serve", "--home", "iw/seller", "--relay", relay, "--chain", chain, "--price-in", "0.10"]
    rent += ["--upstream", upstream, "--upstream-key-env", "SERVER_KEY"]

    with llama_cpp_server(tmp_path, port=int(port), key=KEY):
        assert f"it has: {ALIAS}" in commands.refusal(*rent, "--model", "nothing")
        ready = commands.start(*rent, "--model", ALIAS)
        assert ready["model"] == ALIAS
        (offer,) = commands.facts("market", "--home", "iw/buyer", "--relay", relay)["offers"]
        assert (offer["model"], offer["architecture"], offer["auditable"]) == (ALIAS, "upstream", False)
        chat = ["chat", "--home", "iw/buyer", "--relay", relay, "--chain", chain, "--max-spend", "0.01"]
        done = commands.facts(*chat, "What is 17 + 25?")
        assert "42" in done["answer"]
        assert done["done"]["receipt"]["model_sha256"].removeprefix("0x") == offer["model_sha256"]
        assert done["done"]["output_tokens"] <= len(done["answer"].encode())

    until(commands, lambda snapshot: snapshot["provider"]["engine_state"] == "restarting")
    assert commands.facts("market", "--home", "iw/buyer")["offers"] == []
    with llama_cpp_server(tmp_path, port=int(port), key=KEY):
        until(commands, lambda snapshot: snapshot["phase"] == "idle")
        assert "42" in commands.facts(*chat, "What is 17 + 25?")["answer"]
    assert KEY not in (tmp_path / "serve.err").read_text()
    for log in (tmp_path / "iw" / "seller" / "logs").iterdir():
        assert KEY not in log.read_text()
    assert KEY not in (tmp_path / "iw" / "seller" / "config.toml").read_text()
