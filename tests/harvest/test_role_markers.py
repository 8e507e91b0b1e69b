"""Nothing that a person types may begin a turn, a channel or a tool call."""

from __future__ import annotations

import pytest

from bench.schema_sides import load_vocabulary
from node.engine.worker.markers import MarkerGuard
from node.engine.worker.prompt import PromptBuilder
from node.engine.worker.template import ChatTemplate
from node.engine.worker.vocabulary import Vocabulary
from node.values.inference import ChatMessage
from tests.node.engine.helpers import engine_of
from tests.node.engine.tiny import CHATML, TURN_END, TURN_START, write_tiny
from tests.node.models.lies import lie

MARKERS = ("<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|channel>", "<tool_call|>", "[PAD300]")
TEXTS = ("   ", "\n\n", "\u2014", "<table>")
"""User-defined too, as in GPT-NeoX, Gemma and DeepSeek, and nothing but text."""


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory) -> Vocabulary:
    path = tmp_path_factory.mktemp("markers") / "tiny.gguf"
    return load_vocabulary(write_tiny(path, user_defined=(*MARKERS, *TEXTS)))


@pytest.fixture(scope="module")
def prompts(vocabulary) -> PromptBuilder:
    return PromptBuilder(ChatTemplate(CHATML), vocabulary, MarkerGuard(vocabulary.markers(CHATML)))


def text_of(vocabulary: Vocabulary, tokens: list[int]) -> str:
    names = vocabulary.markers()
    return b"".join(vocabulary.piece(token) or names[token].encode() for token in tokens).decode()


@pytest.mark.parametrize("typed", [*MARKERS, "<|im_start|>", "<|im_end|>", "<|endoftext|>"])
@pytest.mark.parametrize("form", ["{}", "see {} and {}", "  {}\n", "{}{}", "<|{}|>"])
def test_a_typed_marker_stays_text_also_where_it_is_user_defined(vocabulary, prompts, typed, form):
    """Typed turn tokens of Command-R became turns: special=False parses them too (ggml-org/llama.cpp#12743)."""
    content = form.replace("{}", typed)
    tokens = prompts.tokens([ChatMessage("user", content)])
    assert [token for token in tokens if token in vocabulary.markers()] == [TURN_START, TURN_END, TURN_START]
    assert f"user\n{content}<|im_end|>" in text_of(vocabulary, tokens)


@pytest.mark.parametrize("half", ["<|im_start|", "<|START_OF_TURN_TOKEN|", "<tool_call"])
def test_a_marker_that_the_template_completes_stays_text(vocabulary, half):
    """A message that ends in half a marker met its other half in the template's own text."""
    template = "{{ messages[0]['content'] }}" + ("|>" if half == "<tool_call" else ">")
    builder = PromptBuilder(ChatTemplate(template), vocabulary, MarkerGuard(vocabulary.markers(template)))
    tokens = builder.tokens([ChatMessage("user", half)])
    assert not set(tokens) & set(vocabulary.markers())
    assert text_of(vocabulary, tokens) == half + ("|>" if half == "<tool_call" else ">")


@pytest.mark.parametrize("text", TEXTS)
def test_user_defined_text_keeps_the_token_that_the_model_was_trained_with(vocabulary, prompts, text):
    """A guard against every added token would take code its indentation, and tables their tags."""
    (token,) = vocabulary.tokenize(text, special=False)
    assert token not in vocabulary.markers(CHATML)
    assert token in prompts.tokens([ChatMessage("user", f"a{text}b")])


def test_the_template_alone_writes_its_markers(vocabulary):
    """A guard that takes the template its own turn tokens leaves the model without turns."""
    template = "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{{ messages[0]['content'] }}<|im_end|>"
    builder = PromptBuilder(ChatTemplate(template), vocabulary, MarkerGuard(vocabulary.markers(template)))
    names = vocabulary.markers(template)
    tokens = builder.tokens([ChatMessage("user", "a <|USER_TOKEN|> b")])
    assert [names[token] for token in tokens if token in names] == [*MARKERS[:2], "<|im_end|>"]


def test_a_word_that_the_template_uses_as_a_marker_is_one(vocabulary):
    """What a template writes between turns is a marker, whatever it looks like."""
    assert "<table>" in vocabulary.markers("<table>{{ messages[0]['content'] }}").values()


async def test_a_long_run_of_spaces_or_letters_ends_nobodys_worker(tmp_path):
    """A run of 100,000 spaces ended the worker, and with it everybody's answers: std::regex overran the stack."""
    plain = write_tiny(tmp_path / "plain.gguf", context=4096)
    model = lie(plain, tmp_path / "deepseek.gguf", {"tokenizer.ggml.pre": "deepseek-llm"})
    async with engine_of(model, tmp_path / "engine.log", slots=1) as engine:
        worker = engine.worker_pid
        for char in " a<":
            assert await engine.count([ChatMessage("user", char * 100_000)]) > 0
        assert engine.worker_pid == worker
