import hashlib
from collections import Counter

import gguf
import pytest

from bench.demo_model.corpus import is_reserved
from bench.demo_model.corpus.arithmetic import SUM, Problem
from bench.demo_model.evaluate import AIMS, Model, questions, wrong_answers
from bench.demo_model.export import read_tokenizer
from bench.demo_model.tokenizer import CHAT_TEMPLATE
from node.models.demo import DEMO_MODEL_NAME, demo_model_path, demo_model_sha256


@pytest.fixture(scope="module")
def model():
    model = Model(demo_model_path())
    yield model
    model.close()


@pytest.fixture(scope="module")
def asked():
    """A few dozen questions of each kind: `evaluate.py` asks them all."""
    drawn = questions(seed=2, each=40)
    about_idlewatt = [question for question in drawn if question.category == "idlewatt"]
    return [question for question in drawn if question.category != "idlewatt"] + about_idlewatt[::3]


def test_the_shipped_model_is_the_one_whose_hash_stands_beside_it():
    assert hashlib.sha256(demo_model_path().read_bytes()).hexdigest() == demo_model_sha256()
    assert DEMO_MODEL_NAME == "idlewatt-demo"


def test_the_shipped_model_is_small():
    assert demo_model_path().stat().st_size <= 6_000_000


def test_the_shipped_model_carries_our_chat_template():
    fields = gguf.GGUFReader(demo_model_path()).fields
    assert fields["tokenizer.chat_template"].contents() == CHAT_TEMPLATE
    assert fields["general.architecture"].contents() == "llama"


def test_llama_cpp_cuts_every_question_and_answer_as_our_tokenizer_does(model, asked):
    vocabulary = read_tokenizer(demo_model_path())
    for question in asked:
        assert model.tokenize(question.text) == vocabulary.encode(question.text)
        assert model.tokenize(question.answer) == vocabulary.encode(question.answer)


def test_the_prompt_llama_cpp_sees_is_the_one_training_used(model):
    turns = [("user", "What is 17 + 25?")]
    text = "<|im_start|>user\nWhat is 17 + 25?<|im_end|>\n<|im_start|>assistant\n"
    assert model.tokenize(text) == read_tokenizer(demo_model_path()).encode_prompt(turns)


def test_the_first_question_of_the_demo_is_answered_with_42(model):
    assert Problem(SUM, 17, 25).reserved
    assert model.answer("What is 17 + 25?") == "17 + 25 = 30 + 12 = 42."


def test_the_evaluation_asks_only_what_training_excludes(asked):
    for question in asked:
        if question.category in ("idlewatt", "smalltalk", "out_of_scope"):
            assert is_reserved(question.text)


def test_held_out_questions_are_answered_as_well_as_promised(model, asked):
    asked = [question for question in asked if question.category in AIMS]
    total = Counter(question.category for question in asked)
    wrong = Counter(question.category for question, _ in wrong_answers(model, asked))
    accuracy = {category: 1 - wrong[category] / total[category] for category in total}
    assert {category: accuracy[category] for category, aim in AIMS.items() if accuracy[category] < aim} == {}
