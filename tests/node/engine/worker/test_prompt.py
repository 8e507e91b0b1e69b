from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.engine.protocol import EngineError
from node.engine.worker.prompt import COUNTED_KEPT, ControlTextGuard, PromptBuilder
from node.engine.worker.template import ChatTemplate
from node.values.inference import ChatMessage
from tests.node.engine.tiny import CHATML

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

CONTROLS = ("<|im_start|>", "<|im_end|>", "<s>")
GUARD = ControlTextGuard([*CONTROLS, ""])


class Characters:
    """A vocabulary of characters, and of control tokens numbered from -1 down."""

    def __init__(self, leading: list[int] | None = None) -> None:
        self.leading_tokens = leading or []

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        tokens: list[int] = []
        for piece in re.split("(" + "|".join(map(re.escape, CONTROLS)) + ")", text) if special else [text]:
            tokens += [-1 - CONTROLS.index(piece)] if special and piece in CONTROLS else [ord(char) for char in piece]
        return tokens


def build(*contents: str, template: str = CHATML, leading: list[int] | None = None) -> list[int]:
    builder = PromptBuilder(ChatTemplate(template), Characters(leading), GUARD)
    return builder.tokens([ChatMessage("user", content) for content in contents])


hostile = st.lists(
    st.sampled_from([*CONTROLS, "<|im_", "start|>", "<", "|>", "s>", "hello", " ", "\n", "im_start"]), max_size=6
).map("".join)


@UNHURRIED
@given(st.lists(hostile, min_size=1, max_size=3))
def test_no_message_can_add_a_control_token(contents: list[str]):
    tokens = build(*contents)
    # One start and one end for each message, and the start of the answer.
    assert [token for token in tokens if token < 0] == [-1, -2] * len(contents) + [-1]
    text = "".join(CONTROLS[-1 - token] if token < 0 else chr(token) for token in tokens)
    plain = "".join(f"<|im_start|>user\n{content}<|im_end|>\n" for content in contents) + "<|im_start|>assistant\n"
    assert text == plain


def test_a_control_token_can_not_be_completed_across_the_border_of_a_message():
    tokens = build("<|im_start|", template="{{ messages[0]['content'] }}>")
    assert all(token >= 0 for token in tokens)
    assert all(token >= 0 for token in build("s>", template="<{{ messages[0]['content'] }}"))


def test_a_template_may_trim_a_message_that_holds_control_text():
    tokens = build("  <s> x \n", template="[{{ messages[0]['content'] | trim }}]")
    assert "".join(map(chr, tokens)) == "[<s> x]"


def test_ordinary_text_is_tokenized_in_one_piece():
    assert not GUARD.is_risky("an ordinary question")
    assert GUARD.is_risky("a <s> b")
    assert GUARD.is_risky("ends with <")
    assert not ControlTextGuard([]).is_risky("<s>")


def test_a_template_that_rewrites_control_text_is_refused():
    with pytest.raises(EngineError) as error:
        build("<s>", template="{{ messages[0]['content'] | upper | replace(':', ';') }}")
    assert error.value.code == "bad_request"


def test_the_leading_token_is_added_once():
    assert build("x", template="{{ messages[0]['content'] }}", leading=[-3]) == [-3, ord("x")]
    assert build("x", template="<s>{{ messages[0]['content'] }}", leading=[-3]) == [-3, ord("x")]


def test_what_was_counted_is_the_prompt_that_follows_and_is_made_only_once():
    class Counting(Characters):
        texts = 0

        def tokenize(self, text: str, *, special: bool) -> list[int]:
            self.texts += 1
            return super().tokenize(text, special=special)

    vocabulary = Counting()
    builder = PromptBuilder(ChatTemplate(CHATML), vocabulary, GUARD)
    questions = [[ChatMessage("user", f"question {number}")] for number in range(COUNTED_KEPT + 1)]
    counts = [builder.count(question) for question in questions]
    made = vocabulary.texts
    prompts = [builder.tokens(question) for question in questions]
    assert [len(prompt) for prompt in prompts] == counts
    assert vocabulary.texts == made + 1, "all but the oldest were kept"
    assert prompts == [build(question[0].content) for question in questions]
    assert builder.tokens(questions[-1]) == prompts[-1]
    assert vocabulary.texts == made + 2, "what was asked is forgotten"
