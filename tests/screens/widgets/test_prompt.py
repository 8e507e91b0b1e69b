"""The prompt and the messages, each in a host app of its own."""

from textual.app import App
from textual.content import Content
from textual.widgets import Markdown, Static

from screens.widgets.messages import Answer, Question
from screens.widgets.prompt import Prompt


class PromptHost(App):
    def __init__(self):
        super().__init__()
        self.sent = []

    def compose(self):
        yield Prompt()

    def on_mount(self):
        self.query_one(Prompt).focus()

    def on_prompt_sent(self, event):
        self.sent.append(event.text)

    def on_prompt_model_wanted(self):
        self.sent.append("MODEL")


async def test_enter_sends_what_is_not_blank():
    host = PromptHost()
    async with host.run_test(size=(40, 20)) as pilot:
        await pilot.press("enter", "space", "enter", "h", "i", "enter")
        await pilot.pause()
    assert host.sent == ["hi"]


async def test_a_slash_asks_for_a_model_only_in_an_empty_prompt():
    host = PromptHost()
    async with host.run_test(size=(40, 20)) as pilot:
        await pilot.press("slash", "a", "slash")
        await pilot.pause()
        assert host.query_one(Prompt).text == "a/"
    assert host.sent == ["MODEL"]


async def test_it_grows_to_ten_lines_and_no_further():
    host = PromptHost()
    async with host.run_test(size=(40, 30)) as pilot:
        prompt = host.query_one(Prompt)
        assert prompt.size.height == 1
        prompt.replace_all("\n".join("line" for _ in range(30)))
        await pilot.pause()
        assert prompt.size.height == 10
        assert prompt.cursor_location == (29, 4)


class AnswerHost(App):
    def compose(self):
        yield Question("[/x] what?")
        yield Answer()


async def test_an_answer_streams_in_and_ends_with_its_price():
    host = AnswerHost()
    async with host.run_test(size=(40, 20)) as pilot:
        answer = host.query_one(Answer)
        for piece in ("**bo", "ld** ", "and [/x]", "\x1b[31m"):
            await answer.feed(piece)
        await answer.finish(Content("$0.01"))
        await pilot.pause()
        assert answer.text == "**bold** and [/x]\x1b[31m"
        assert answer.query_one(Markdown).source == "**bold** and [/x]"
        assert str(answer.query_one(".outcome", Static).render()) == "$0.01"


async def test_an_answer_without_a_word_still_has_an_outcome():
    host = AnswerHost()
    async with host.run_test(size=(40, 20)) as pilot:
        answer = host.query_one(Answer)
        await answer.finish(Content("✗ failed"))
        await pilot.pause()
        assert answer.text == ""
