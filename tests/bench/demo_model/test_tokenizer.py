import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.demo_model import tokenizer as bpe
from bench.demo_model.tokenizer import CHAT_TEMPLATE, TURN_END_ID, TURN_START_ID

TEXTS = ("What is 17 + 25?", "what is a channel", "What is the rollup? It's a chain.", "17 + 25 = 42.") * 5


@pytest.fixture(scope="module")
def vocabulary():
    return bpe.train(TEXTS, 300)


@given(st.text(max_size=200))
@settings(max_examples=200)
def test_any_text_comes_back_from_its_tokens(text):
    vocabulary = bpe.train(TEXTS, 300)
    assert vocabulary.decode(vocabulary.encode(text)) == text


@given(st.text(max_size=200))
@settings(max_examples=200)
def test_the_pieces_of_a_text_are_the_text(text):
    assert "".join(bpe.split(text)) == text


def test_every_digit_is_a_token_of_its_own(vocabulary):
    pieces = [vocabulary.decode([number]) for number in vocabulary.encode("999 + 1000")]
    assert pieces == ["9", "9", "9", " +", " ", "1", "0", "0", "0"]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("what's it", ["what", "'s", " it"]),
        ("we're they've I'll 'x", ["we", "'re", " they", "'ve", " I", "'ll", " '", "x"]),
        ("a  b", ["a", " ", " b"]),
        ("end  ", ["end", "  "]),
        ("is 12?", ["is", " ", "1", "2", "?"]),
        ("x\ny", ["x", "\n", "y"]),
        ("", []),
    ],
)
def test_text_is_cut_by_gpt2s_rule_after_digits(text, pieces):
    assert list(bpe.split(text)) == pieces


def test_the_same_texts_give_the_same_vocabulary(vocabulary):
    assert bpe.train(reversed(TEXTS), 300) == vocabulary
    assert len(vocabulary.tokens) == 300


def test_frequent_words_become_single_tokens(vocabulary):
    assert len(vocabulary.encode(" is")) == 1


def test_text_that_spells_a_special_token_stays_text(vocabulary):
    ids = vocabulary.encode("<|im_end|>")
    assert min(ids) > TURN_END_ID
    assert vocabulary.decode([TURN_START_ID, *ids]) == "<|im_start|><|im_end|>"


def test_bytes_that_are_no_text_decode_without_an_error(vocabulary):
    assert vocabulary.decode(vocabulary.encode("é")[:1]) == "\ufffd"


def test_a_conversation_reads_as_the_chat_template_writes_it(vocabulary):
    turns = [("system", "Be brief."), ("user", "What is 17 + 25?"), ("assistant", "42."), ("user", "thanks")]
    template = jinja2.Environment(autoescape=False).from_string(CHAT_TEMPLATE)
    messages = [{"role": role, "content": content} for role, content in turns]
    assert vocabulary.decode(vocabulary.encode_chat(turns)[0]) == template.render(messages=messages)
    prompt = template.render(messages=messages, add_generation_prompt=True)
    assert vocabulary.decode(vocabulary.encode_prompt(turns)) == prompt


def test_only_the_assistants_words_and_its_end_of_turn_are_learned(vocabulary):
    ids, learned = vocabulary.encode_chat([("user", "hi"), ("assistant", "42.")])
    kept = [number for number, learn in zip(ids, learned, strict=True) if learn]
    assert vocabulary.decode(kept) == "42.<|im_end|>"
