"""Answers arrive as the model wrote them, and only what draws them changes anything."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import pty
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.chat import ask
from app.cli.common import announce, emit, note
from app.cli.stdout import AnswerOutput
from app.control.server import serve_control
from app.home import Home
from chain.errors import IdlewattError
from node.models.library import ModelLibrary
from node.values import ChatMessage, ChatTurn, Sampling
from node.values.text import TextDrawing, drawn, plain
from screens import clipboard
from tests.harvest.corpus import CORPUS, hash_of, market
from tests.harvest.test_thinking import ANSWER, THOUGHT, model_of
from tests.node.conftest import PASSPHRASE
from tests.node.engine.thinking_families import FAMILIES, QUESTION
from tests.node.engine.tiny import write_tiny
from tests.patience import PATIENCE_S
from tests.screens.support import PatientApp, seen, until, write


def question(*texts: str) -> ChatTurn:
    roles = ("user", "assistant")
    return ChatTurn(messages=tuple(ChatMessage(roles[at % 2], text) for at, text in enumerate(texts)))


async def test_what_is_printed_has_the_hash_of_the_receipt(run_node, relay, devnet, capfdbinary):
    """Tabs became spaces and joiners vanished between the model and stdout, so nobody could check a receipt."""
    async with market(run_node, relay.url, devnet.l2_url) as (server, _seller, buyer):
        for name, text in CORPUS.items():
            capfdbinary.readouterr()
            assert await ask(buyer, question(name), as_json=False) == text, name
            printed = capfdbinary.readouterr().out
            assert printed == text.encode() + b"\n", name
            (job, *_) = buyer.snapshot().recent_jobs
            assert job.receipt is not None
            assert hash_of(printed[:-1]) == job.receipt.output_hash, name

            await ask(buyer, question(name), as_json=True)
            printed = capfdbinary.readouterr().out
            said = json.loads(printed)
            assert said["answer"] == text, name
            assert hash_of(said["answer"].encode()) == said["done"]["receipt"]["output_hash"], name
            assert not set("\x1b\x9b\x07\x85\u202e\u2066\u2028") & set(printed.decode()), name

            await ask(buyer, question(name, text, name), as_json=True)
            sent = [message["content"] for message in server.bodies("/v1/chat/completions")[-1]["messages"]]
            assert sent == [name, text, name]


async def test_a_receipt_over_thinking_is_checked_by_the_whole_output(run_node, relay, devnet, tmp_path, capfdbinary):
    """The tags around thinking were taken out before anybody could hash what the receipt is about."""
    urls = {"relay": relay.url, "chain": devnet.l2_url}
    family = FAMILIES[0]
    model_of(family, Home(tmp_path / "seller").prepare().models)
    async with run_node("seller", **urls) as seller, run_node("buyer", **urls) as buyer:
        await seller.create_wallet("main", PASSPHRASE)
        await buyer.create_wallet("main", PASSPHRASE)
        await buyer.faucet("main")
        await seller.go_online()
        capfdbinary.readouterr()
        turn = ChatTurn(messages=question(QUESTION).messages, sampling=Sampling(temperature=0.0))
        assert await ask(buyer, turn, as_json=True) == ANSWER
        said = json.loads(capfdbinary.readouterr().out)
        assert (said["answer"], said["thinking"].strip()) == (ANSWER, THOUGHT)
        assert said["output"].endswith(ANSWER)
        assert hash_of(said["output"].encode()) == said["done"]["receipt"]["output_hash"]


async def test_a_file_that_the_command_writes_holds_the_answer_and_nothing_else(run_node, relay, devnet, tmp_path):
    """`chat … > Makefile` wrote spaces for tabs, and another locale than UTF-8 wrote question marks."""
    home = Home(tmp_path / "buyer")
    async with market(run_node, relay.url, devnet.l2_url) as (_server, _seller, buyer):
        with home.locked():
            async with serve_control(buyer, home.control_socket):
                for name, encoding in (("a Makefile", "utf-8"), ("pointed Hebrew", "latin-1")):
                    written = tmp_path / "answer"
                    with written.open("wb") as out:
                        command = await asyncio.create_subprocess_exec(
                            sys.executable, "-m", "app.cli", "chat", "--home", str(home.root), name,
                            stdout=out,
                            stderr=subprocess.PIPE,
                            env={**os.environ, "PYTHONIOENCODING": encoding},
                        )  # fmt: skip
                        _, err = await asyncio.wait_for(command.communicate(), PATIENCE_S)
                    assert command.returncode == 0, err
                    assert written.read_bytes() == CORPUS[name].encode() + b"\n"


async def test_what_the_app_copies_saves_and_sends_is_the_answer(run_node, relay, devnet, monkeypatch):
    """The clipboard, saved chats and the next question's history held what the screen had drawn."""

    async def nowhere(_text: str) -> bool:
        return False

    monkeypatch.setattr(clipboard, "copied_by_system", nowhere)
    monkeypatch.delenv("TMUX", raising=False)
    async with market(run_node, relay.url, devnet.l2_url) as (server, _seller, buyer):
        app = PatientApp(buyer, first_mode="chat")
        async with app.run_test(size=(100, 40), notifications=True) as pilot:
            told: list[str] = []
            for name, text in CORPUS.items():
                await write(pilot, name, "#prompt")
                await pilot.press("enter")
                told.append(name)
                await until(pilot, lambda: not app.screen.running and len(app.screen.messages) == len(told) + 1)
                told.append(text)
                assert [message.content for message in app.screen.messages] == told
                sent = server.bodies("/v1/chat/completions")[-1]["messages"]
                assert [message["content"] for message in sent] == told[:-1]
                app.screen.query_one("#transcript").focus()
                await pilot.press("y")
                await until(pilot, lambda text=text: app.clipboard == text)
                assert not set("\x1b\x9b\x07\u202e\u2066\u2028") & set(seen(app))
            await until(pilot, lambda: bool(app.screen.sessions))
            (kept,) = await buyer.chat_sessions()
            assert [message.content for message in kept.messages] == told
            await app.screen._open(kept)
            app.screen.query_one("#transcript").focus()
            await pilot.press("y")
            await until(pilot, lambda: app.clipboard == told[-1])


KEPT = [name for name in CORPUS if name not in {"what attacks a terminal", "CRLF and lone CR"}]


@pytest.mark.parametrize("name", KEPT)
def test_drawing_changes_no_character_that_attacks_nothing(name):
    """Persian and Hindi words changed, family emoji fell apart, new emoji became question marks on screen."""
    assert drawn(CORPUS[name].replace("\r\n", "\n"), tab="\t") == CORPUS[name].replace("\r\n", "\n")


def test_drawing_shows_where_a_control_character_stood():
    """A sequence without an end swallowed the rest of the answer with it."""
    assert drawn("a\x1b[31mred\x1b[0m \x1b]0;title\x07b\x9b2J\x1bc\x1b(B.") == "ared b."
    assert drawn("a\x1b]0;title and all that follows\nb\x9d\x1b[31") == "a␛]0;title and all that follows\nb\ufffd␛[31"
    assert drawn("a\r\nb\rc\x00\x7f\x85\ud800") == "a\nb␍c␀␡\ufffd\ufffd"
    assert drawn("\u202eevil\u202c \u2066x\u2069 \u200fא\u200e") == "evil x \u200fא\u200e"


def test_a_pile_of_marks_that_comes_one_by_one_stays_as_low_as_one_that_comes_at_once():
    """Marks painted over the lines above when each came in a piece of its own, or behind a zero-width character."""
    drawing = TextDrawing()
    pile = "z" + "\u0301\u0316" * 100 + "\u200d\u3164" + "\u0334" * 100
    one_by_one = "".join(drawing.feed(char) for char in pile) + drawing.finish()
    assert one_by_one == drawn(pile)
    assert sum(unicodedata.category(char) == "Mn" for char in one_by_one) == 8


ATTACKS = {*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), *map(chr, range(0xD800, 0xE000))} - {"\n", "\t"}
ATTACKS |= set("\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
ANY = st.text(
    st.one_of(st.characters(exclude_categories=()), st.sampled_from("\x1b[]\r\n\t\u0301\u200d\u202e\x9b\ud800")),
    max_size=60,
)


@given(ANY, st.lists(st.integers(0, 60), max_size=8))
def test_what_is_drawn_attacks_nothing_and_does_not_depend_on_how_the_text_came(text, cuts):
    shown = drawn(text)
    assert not ATTACKS & set(shown)
    shown.encode()
    assert drawn(shown) == shown
    drawing = TextDrawing()
    edges = [0, *sorted(cuts), len(text)]
    pieces = [drawing.feed(text[begin:end]) for begin, end in itertools.pairwise(edges)]
    assert "".join(pieces) + drawing.finish() == shown


@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Mn", "Mc", "Me", "Zl", "Zp")), max_size=60))
def test_what_attacks_nothing_is_drawn_as_it_is(text):
    kept = "".join(char for char in text if char not in ATTACKS)
    assert drawn(text) == kept


def test_a_terminal_gets_the_answer_neutralized_and_a_pipe_gets_it_raw(tmp_path):
    """An answer set the terminal's title and the clipboard; a filter for that broke what was piped into a file."""
    attack = CORPUS["what attacks a terminal"]
    main, side = pty.openpty()
    with os.fdopen(side, "w", encoding="utf-8") as terminal:
        output = AnswerOutput(terminal)
        for char in attack:
            output.write(char)
        output.end()
        read = b""
        while not read.endswith(b"\n"):
            read += os.read(main, 10_000)
    os.close(main)
    assert read.decode() == drawn(attack, tab="\t") + "\r\n"
    with (tmp_path / "out").open("w", encoding="latin-1", newline="\r\n") as file:
        output = AnswerOutput(file)
        output.write(attack)
        output.end()
    assert (tmp_path / "out").read_bytes() == attack.encode() + b"\n"


def test_words_in_labels_keep_their_joiners_and_nothing_else_that_is_invisible():
    """A Persian or Hindi title became another word where a filter took joiners for an attack."""
    for name in ("Persian with non-joiners", "Devanagari with joiners"):
        assert plain(CORPUS[name], 80) == CORPUS[name]
    assert plain("new \U0001faea", 80) == "new \U0001faea"
    assert plain("gpt\u200d-4\u200c می\u200c\u200d", 80) == "gpt-4 می"


def test_what_commands_tell_of_others_is_neutralized_and_its_json_keeps_its_value(capfdbinary):
    """A peer's name set the terminal's title through a table, a line of progress, or a JSON string."""
    attack = CORPUS["what attacks a terminal"]
    emit({"model": attack}, as_json=True, text="")
    announce({"model": attack}, as_json=True, text="")
    printed = capfdbinary.readouterr().out.decode()
    whole, line = printed.rsplit("\n", 2)[0], printed.splitlines()[-1]
    assert [json.loads(text) for text in (whole, line)] == [{"model": attack}] * 2
    assert not (ATTACKS & set(printed))
    emit({}, as_json=False, text=f"a\tb\n{attack}")
    announce({}, as_json=False, text=attack)
    note(attack)
    shown = capfdbinary.readouterr()
    assert shown.out.decode() == f"a\tb\n{drawn(attack)}\n{drawn(attack)}\n"
    assert shown.err.decode() == drawn(attack) + "\n"


async def test_a_question_with_half_a_character_is_refused_with_a_line(run_node, relay, devnet):
    """Half of an emoji in a question ended in a crash report."""
    urls = {"relay": relay.url, "chain": devnet.l2_url}
    async with run_node("seller", **urls) as seller, run_node("buyer", **urls) as buyer:
        await seller.create_wallet("main", PASSPHRASE)
        await buyer.create_wallet("main", PASSPHRASE)
        await seller.go_online()
        with pytest.raises(IdlewattError) as refused:
            await ask(buyer, question("\ud83d"), as_json=True)
        assert refused.value.code == "bad_request"


def test_a_models_path_is_told_as_it_is(tmp_path):
    """A file below a folder with joiners or private-use characters was listed under a path that doesn't exist."""
    folder = tmp_path / "مدل\u200cها \ue0b0"
    folder.mkdir()
    write_tiny(folder / "a.gguf")
    library = ModelLibrary(tmp_path / "home", folders=(folder,))
    (found,) = (view for view in library.list() if view.name == "a")
    assert found.path == str(folder / "a.gguf")
