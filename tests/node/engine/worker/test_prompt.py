from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.engine.protocol import EngineError
from node.engine.worker.markers import MarkerGuard, is_marker
from node.engine.worker.prompt import COUNTED_KEPT, PromptBuilder
from node.engine.worker.template import ChatTemplate
from node.values.inference import ChatMessage
from tests.node.engine.tiny import CHATML

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

CONTROLS = ("<|im_start|>", "<|im_end|>", "<s>")
DEFINED = ("<|tool>", "[INST]")
MARKERS = dict(enumerate((*CONTROLS, *DEFINED, ""), 1))
GUARD = MarkerGuard({-token: text for token, text in MARKERS.items()})


class Characters:
    """A vocabulary of characters, and of tokens numbered from -1 down: control, and user-defined as in llama.cpp."""

    def __init__(self, leading: list[int] | None = None) -> None:
        self.leading_tokens = leading or []

    def tokenize(self, text: str, *, special: bool, continues: bool = False) -> list[int]:
        tokens: list[int] = []
        known = (*CONTROLS, *DEFINED) if special else DEFINED
        for piece in re.split("(" + "|".join(map(re.escape, known)) + ")", text):
            tokens += [-1 - (*CONTROLS, *DEFINED).index(piece)] if piece in known else [ord(char) for char in piece]
        return tokens


class Counting(Characters):
    """Counts the texts that it is given."""

    texts = 0

    def tokenize(self, text: str, *, special: bool, continues: bool = False) -> list[int]:
        self.texts += 1
        return super().tokenize(text, special=special, continues=continues)


def build(*contents: str, template: str = CHATML, leading: list[int] | None = None) -> list[int]:
    builder = PromptBuilder(ChatTemplate(template), Characters(leading), GUARD)
    return builder.tokens([ChatMessage("user", content) for content in contents])


hostile = st.lists(
    st.sampled_from(
        [*CONTROLS, *DEFINED, "<|im_", "start|>", "<", "|>", "s>", "[IN", "ST]", "hello", " ", "\n", "im_start"]
    ),
    max_size=6,
).map("".join)


@UNHURRIED
@given(st.lists(hostile, min_size=1, max_size=3))
def test_no_message_can_add_a_control_token(contents: list[str]):
    tokens = build(*contents)
    # One start and one end for each message, and the start of the answer.
    assert [token for token in tokens if token < 0] == [-1, -2] * len(contents) + [-1]
    text = "".join(MARKERS[-token] if token < 0 else chr(token) for token in tokens)
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
    assert GUARD.spans("an ordinary question") == GUARD.spans("a < b") == GUARD.spans(" \n") == []
    assert GUARD.spans("a <s> b<|tool>") == [(2, 5), (7, 14)]
    assert GUARD.spans("ends with <") == [(10, 11)]
    assert MarkerGuard({}).spans("<s>") == []


def test_a_template_may_look_at_a_message_that_holds_control_text():
    template = "{{ messages[0]['content'].split('<s>')[-1] }}"
    assert "".join(map(chr, build("<|tool> thought <s> said", template="{{ messages[0]['content'] }}"))) == (
        "<|tool> thought <s> said"
    )
    assert all(token >= 0 for token in build("<|tool> thought <s> said", template=template))


def test_a_longer_marker_is_found_where_a_shorter_one_begins_it():
    guard = MarkerGuard({1: "<a>", 2: "<a><b>", 3: "<ab>", 4: "x\u2581y"})
    assert guard.spans(".<a><b>.<ab>.<a>.") == [(1, 7), (8, 12), (13, 16)]
    assert guard.spans(".x y. x\u2581y.") == [(1, 4), (6, 9)]


@UNHURRIED
@given(st.lists(st.text("<>|ab", min_size=1, max_size=5), min_size=1, max_size=12), st.text("<>|ab ", max_size=30))
def test_every_marker_inside_a_text_is_found(texts: list[str], content: str):
    spans = MarkerGuard(dict(enumerate(texts))).spans(content)
    covered = {at for first, last in spans for at in range(first, last)}
    for text in texts:
        for at in range(len(content)):
            assert not content.startswith(text, at) or at in covered


@pytest.mark.parametrize(
    "text",
    ["<|channel>", "<tool_call|>", "<|START_OF_TURN_TOKEN|>", "<\uff5cUser\uff5c>", "[PAD5]", "<think>", "|||NAME|||"],
)
def test_what_is_written_between_brackets_is_a_marker(text: str):
    assert is_marker(text, "")


@pytest.mark.parametrize("text", ["  ", "\n\n", "\u00f7", "<table>", "</h2>", "<s>", "<br />", "covid", "def f("])
def test_spaces_letters_and_html_are_text_unless_the_template_writes_them(text: str):
    assert not is_marker(text, "")
    assert is_marker(text, f"a {text} b") is (len(text) > 1 and not text.isspace())


def test_a_template_that_rewrites_control_text_is_refused():
    with pytest.raises(EngineError) as error:
        build("<s>", template="{{ messages[0]['content'] | upper | replace(':', ';') }}")
    assert error.value.code == "bad_request"


def test_the_leading_token_is_added_once():
    assert build("x", template="{{ messages[0]['content'] }}", leading=[-3]) == [-3, ord("x")]
    assert build("x", template="<s>{{ messages[0]['content'] }}", leading=[-3]) == [-3, ord("x")]


def test_a_marker_that_is_typed_over_and_over_is_tokenized_once():
    vocabulary = Counting()
    content = "<|im_start|> " * 5_000
    made = PromptBuilder(ChatTemplate(CHATML), vocabulary, GUARD).tokens([ChatMessage("user", content)])
    assert made == build(content)
    assert vocabulary.texts < 20, "each text holds up the streams of others"


def test_what_was_counted_is_the_prompt_that_follows_and_is_made_only_once():
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
