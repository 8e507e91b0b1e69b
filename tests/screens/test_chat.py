"""Chat: asking, stopping, failing, asking again, copying."""

import asyncio

import msgspec
import pytest
from textual.widgets import Collapsible, Markdown

from node.values import ChatDelta, ChatFailed, ChatMessage, ChatStage, IdlewattError
from screens.chat.screen import ChatScreen
from screens.chat.transcript import Transcript
from screens.widgets.messages import Answer, Question
from screens.widgets.prompt import Prompt
from tests.screens.fake_node import ANSWER, FakeNode, chat_script
from tests.screens.support import NARROW, WIDE, make_app, seen, until, until_seen, until_told, write


async def ask(pilot, question):
    await until(pilot, lambda: isinstance(pilot.app.focused, Prompt))
    await write(pilot, question)
    await pilot.press("enter")


async def until_idle(pilot):
    await until(pilot, lambda: isinstance(pilot.app.screen, ChatScreen) and not pilot.app.screen.running)
    await pilot.pause()


async def test_a_question_is_answered_paid_and_saved():
    node = FakeNode()
    async with make_app(node, first_mode="chat").run_test(size=NARROW) as pilot:
        await ask(pilot, "What is 17 + 25?")
        await until_seen(pilot, "17 + 25 = 42.", "$0.0000108", "✓ receipt", "deposit left $0.0999688")
        await until(pilot, lambda: node.called("save_chat"))
    (turn,) = node.called("chat")[0]
    assert turn.messages == (ChatMessage("user", "What is 17 + 25?"),)
    saved = node.called("save_chat")[0][0]
    assert [message.content for message in saved.messages] == ["What is 17 + 25?", ANSWER]
    assert saved.title == "What is 17 + 25?"


async def test_a_second_question_carries_the_conversation():
    node = FakeNode()
    async with make_app(node, first_mode="chat").run_test(size=NARROW) as pilot:
        for question in ("first", "second"):
            await ask(pilot, question)
            await until(pilot, lambda: not pilot.app.screen.running and pilot.app.screen.messages)
            await until_idle(pilot)
        await until(pilot, lambda: len(node.called("chat")) == 2)
    (turn,) = node.called("chat")[1]
    assert [message.content for message in turn.messages] == ["first", ANSWER, "second"]


async def test_before_the_first_token_the_line_says_what_happens_and_for_how_long():
    node = FakeNode()
    node.hold = asyncio.Event()
    node.script = lambda: (
        [ChatStage(stage="opening_channel", detail="deposit $0.10"), *chat_script()][0:1] + list(chat_script())[-1:]
    )
    async with make_app(node, first_mode="chat").run_test(size=NARROW) as pilot:
        await ask(pilot, "hello")
        await until_seen(pilot, "opening a payment channel: deposit $0.10 · 0 s · esc stops")
        node.hold.set()
        await until_idle(pilot)


async def test_escape_stops_the_answer_and_keeps_what_was_paid_for():
    node = FakeNode()
    node.hold = asyncio.Event()
    async with make_app(node, first_mode="chat").run_test(size=NARROW) as pilot:
        await ask(pilot, "count")
        await until_seen(pilot, "esc stops", "ones: 7 + 5")
        await pilot.press("escape")
        await until_seen(pilot, "stopped after", "paid $0.0000")
        assert node.left_early.is_set()
        await until(pilot, lambda: node.called("save_chat"))
        assert not pilot.app.screen.running
        (session,) = node.called("save_chat")[0]
        assert [(saved.message, saved.ending.reason) for saved in session.endings] == [(1, "cancelled")]
        await pilot.app.screen.action_new()
        await pilot.app.screen._open(session)
        await until_seen(pilot, f"Stopped after {session.endings[0].ending.output_tokens} tokens.")


async def test_a_failed_turn_shows_code_message_fix_and_cost():
    node = FakeNode()
    node.script = lambda: [
        ChatDelta(text="Half an ans", output_tokens=3, spent_nano=600),
        ChatFailed(code="engine_crashed", message="The engine died.", fix="Ask again.", cost_nano=600),
    ]
    async with make_app(node, first_mode="chat").run_test(size=NARROW) as pilot:
        await ask(pilot, "hello")
        await until_seen(pilot, "✗ engine_crashed The engine died.", "→ Ask again.", "$0.0000006 was paid")


async def test_a_turn_that_could_not_begin_costs_nothing_and_says_why():
    node = FakeNode()
    node.errors["chat"] = IdlewattError("There is no money.", code="no_funds", fix="Ask the faucet.")
    async with make_app(node, first_mode="chat").run_test(size=NARROW) as pilot:
        await ask(pilot, "hello")
        await until_seen(pilot, "✗ no_funds There is no money.", "→ Ask the faucet.", "It cost nothing")
        assert pilot.app.screen.messages == []


async def test_a_bug_in_the_stream_ends_the_turn_and_not_the_app():
    node = FakeNode()
    node.errors["chat"] = ZeroDivisionError("oops")
    async with make_app(node, first_mode="chat").run_test(size=NARROW) as pilot:
        await ask(pilot, "hello")
        await until_seen(pilot, "✗ Something failed inside")
        assert not pilot.app.screen.running


async def test_regenerating_asks_the_last_question_again_in_place():
    node = FakeNode()
    async with make_app(node, first_mode="chat").run_test(size=NARROW) as pilot:
        await ask(pilot, "once")
        await until(pilot, lambda: pilot.app.screen.messages)
        await until_idle(pilot)
        await pilot.press("ctrl+r")
        await until(pilot, lambda: len(node.called("chat")) == 2)
        await until_idle(pilot)
        assert len(pilot.app.screen.query(Question)) == 1
        assert len(pilot.app.screen.messages) == 2
    assert node.called("chat")[1][0].messages == (ChatMessage("user", "once"),)


async def test_an_edited_question_replaces_the_old_one():
    node = FakeNode()
    async with make_app(node, first_mode="chat").run_test(size=NARROW) as pilot:
        await ask(pilot, "wrong")
        await until(pilot, lambda: pilot.app.screen.messages)
        await until_idle(pilot)
        await pilot.press("alt+up")
        await until_seen(pilot, "editing the last question")
        assert pilot.app.focused.text == "wrong"
        await ask(pilot, "right")
        await until(pilot, lambda: len(node.called("chat")) == 2)
        await until_idle(pilot)
        assert [message.content for message in pilot.app.screen.messages] == ["right", ANSWER]


async def test_an_answer_goes_on_while_another_screen_is_looked_at():
    node = FakeNode()
    node.hold = asyncio.Event()
    async with make_app(node, first_mode="chat").run_test(size=NARROW) as pilot:
        await ask(pilot, "slowly")
        await until_seen(pilot, "esc stops")
        chat = pilot.app.screen
        await pilot.press("alt+1")
        await until(pilot, lambda: pilot.app.current_mode == "dashboard")
        node.hold.set()
        await until(pilot, lambda: not chat.running)
        await pilot.press("5")
        await until_seen(pilot, "✓ receipt")


async def test_a_reader_who_scrolled_up_is_left_alone():
    node = FakeNode()
    node.hold = asyncio.Event()
    long_text = "\n\n".join(f"paragraph {number}" for number in range(60))
    node.script = lambda: list(chat_script(long_text))
    async with make_app(node, first_mode="chat").run_test(size=NARROW) as pilot:
        await ask(pilot, "at length")
        await until_seen(pilot, "paragraph 59")
        transcript = pilot.app.screen.query_one(Transcript)
        transcript.focus()
        transcript.scroll_to(y=5, animate=False, immediate=True)
        transcript.release_anchor()
        await pilot.pause()
        node.hold.set()
        await until_idle(pilot)
        assert transcript.scroll_y == 5


async def test_slash_in_an_empty_prompt_chooses_whose_model_answers():
    node = FakeNode()
    async with make_app(node, first_mode="chat").run_test(size=NARROW) as pilot:
        await until(pilot, lambda: isinstance(pilot.app.focused, Prompt))
        await pilot.press("slash")
        await until_seen(pilot, "Who answers", "Best offer", "Mistral-Small-24B")
        await write(pilot, "mistral")
        await pilot.press("enter")
        await until_seen(pilot, "Mistral-Small-24B · spent")
        await ask(pilot, "hello")
        await until(pilot, lambda: node.called("chat"))
        await until_idle(pilot)
    assert node.called("chat")[0][0].offer_id == "offer-4"


async def test_new_lines_and_slashes_within_a_text_are_just_text():
    async with make_app(first_mode="chat").run_test(size=NARROW) as pilot:
        await until(pilot, lambda: isinstance(pilot.app.focused, Prompt))
        await pilot.press("a", "ctrl+j", "slash", "shift+enter", "1")
        assert pilot.app.focused.text == "a\n/\n1"


async def test_the_last_answer_is_copied_as_raw_markdown_and_honestly():
    async with make_app(first_mode="chat").run_test(size=NARROW, notifications=True) as pilot:
        await ask(pilot, "hello")
        await until(pilot, lambda: pilot.app.screen.messages)
        await until_idle(pilot)
        await pilot.press("escape", "y")
        await until_told(pilot, "whether it takes it (OSC 52)")
        assert pilot.app.clipboard == ANSWER
        await pilot.press("c")
        await until(pilot, lambda: pilot.app.clipboard == "print(17 + 25)\n")


async def test_who_comes_back_from_another_screen_writes_at_once():
    async with make_app(first_mode="chat").run_test(size=NARROW) as pilot:
        await until(pilot, lambda: isinstance(pilot.app.focused, Prompt))
        await pilot.press("escape", "4")
        await until_seen(pilot, "rentable now")
        await pilot.press("5")
        await until(pilot, lambda: isinstance(pilot.app.focused, Prompt))
        await pilot.press(*"4 + 5")
        await until_seen(pilot, "4 + 5")
        await pilot.press("f1")
        await until_seen(pilot, "Help · Chat")


async def test_a_closed_dialog_leaves_the_focus_on_the_answers():
    async with make_app(first_mode="chat").run_test(size=NARROW) as pilot:
        await until(pilot, lambda: isinstance(pilot.app.focused, Prompt))
        await pilot.press("escape", "f1")
        await until_seen(pilot, "Help · Chat")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.focused, Transcript))


async def test_with_nothing_to_copy_nothing_is_claimed():
    async with make_app(first_mode="chat").run_test(size=NARROW, notifications=True) as pilot:
        await until(pilot, lambda: isinstance(pilot.app.focused, Prompt))
        await pilot.press("escape", "y")
        await until_told(pilot, "There is no answer to copy yet.")
        assert pilot.app.clipboard == ""


@pytest.mark.parametrize("size", [NARROW, WIDE])
async def test_the_receipt_is_one_key_away(size):
    async with make_app(first_mode="chat").run_test(size=size) as pilot:
        await ask(pilot, "hello")
        await until(pilot, lambda: pilot.app.screen.messages)
        await until_idle(pilot)
        if size == NARROW:
            await pilot.press("ctrl+o")
        await until_seen(pilot, "#7, answer 3", "0x5b5b5b…5b5b")
        await pilot.press("escape" if size == NARROW else "ctrl+o")
        await until(pilot, lambda: "#7, answer 3" not in seen(pilot.app))


@pytest.mark.parametrize("size", [NARROW, WIDE])
async def test_an_earlier_chat_is_opened_and_a_new_one_begun(size):
    async with make_app(first_mode="chat").run_test(size=size) as pilot:
        await until(pilot, lambda: pilot.app.screen.sessions)
        if size == NARROW:
            await pilot.press("ctrl+b")
            await until_seen(pilot, "What is a voucher?")
            await pilot.press("enter")
        else:
            pilot.app.screen.query_one("#sessions").focus()
            await pilot.press("down", "enter")
        await until_seen(pilot, "A signed promise to pay.")
        await pilot.press("ctrl+n")
        await until(pilot, lambda: "A signed promise to pay." not in seen(pilot.app))
        assert pilot.app.screen.messages == []


async def test_a_chat_is_deleted_only_after_asking():
    node = FakeNode()
    async with make_app(node, first_mode="chat").run_test(size=NARROW) as pilot:
        await until(pilot, lambda: pilot.app.screen.sessions)
        await pilot.press("ctrl+b")
        await until_seen(pilot, "What is a voucher?")
        await pilot.press("enter")
        await until_seen(pilot, "A signed promise to pay.")
        await pilot.press("escape", "ctrl+x")
        await until_seen(pilot, "Delete this chat?")
        await pilot.press("enter")
        await until(pilot, lambda: node.called("delete_chat") == [("old",)])


async def test_a_link_is_opened_only_after_asking_and_only_if_it_is_a_web_page(monkeypatch):
    opened = []
    async with make_app(first_mode="chat").run_test(size=NARROW, notifications=True) as pilot:
        monkeypatch.setattr(pilot.app, "open_url", opened.append)
        await ask(pilot, "hello")
        await until(pilot, lambda: pilot.app.screen.messages)
        await until_idle(pilot)
        markdown = pilot.app.screen.query_one(Answer).query_one(Markdown)
        markdown.post_message(Markdown.LinkClicked(markdown, "file:///etc/passwd"))
        await until_told(pilot, "it is not opened")
        markdown.post_message(Markdown.LinkClicked(markdown, "https://example.org/[/x]"))
        await until_seen(pilot, "Open this link?", "https://example.org/[/x]")
        assert opened == []
        await pilot.press("enter")
        await until(pilot, lambda: opened == ["https://example.org/[/x]"])


async def test_thinking_is_folded_away_and_no_part_of_the_answer():
    node = FakeNode()
    *_, done = chat_script()
    node.script = lambda: [
        ChatDelta(text="Seven \x1b[2J and five", output_tokens=3, spent_nano=600, thinking=True),
        ChatDelta(text=" make twelve.", output_tokens=6, spent_nano=900, thinking=True),
        ChatDelta(text="Twelve.", output_tokens=8, spent_nano=1_000),
        msgspec.structs.replace(done, thinking_tokens=6),
    ]
    async with make_app(node, first_mode="chat").run_test(size=NARROW) as pilot:
        await ask(pilot, "What is 7 + 5?")
        await until_seen(pilot, "Thinking", "Twelve.", "42 tokens (6 thinking)")
        await until_idle(pilot)
        assert pilot.app.screen.messages[-1].content == "Twelve."
        folded = pilot.app.screen.query_one(Collapsible)
        assert folded.collapsed
        folded.collapsed = False
        await until_seen(pilot, "Seven  and five make twelve.")


async def test_a_paste_beyond_the_limit_is_refused_with_its_count_and_stays_in_the_prompt():
    async with make_app(first_mode="chat").run_test(size=NARROW, notifications=True) as pilot:
        await until(pilot, lambda: isinstance(pilot.app.focused, Prompt))
        prompt = pilot.app.focused
        prompt.replace_all("x" * 200_001)
        await pilot.press("enter")
        await until_told(pilot, "This text has 200,001 characters")
        assert len(prompt.text) == 200_001
        assert not pilot.app.screen.running
