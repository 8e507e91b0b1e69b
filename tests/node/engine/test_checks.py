from __future__ import annotations

import math

import msgspec
import pytest

from node.engine.checks import MAX_MESSAGES, SEEDS, check_messages, check_request, check_texts, effective_seed
from node.engine.protocol import EngineError, GenerateRequest
from node.values.inference import ChatMessage, JsonSchema, Sampling

HELLO = (ChatMessage("user", "hello"),)
GOOD = GenerateRequest(request_id="a", messages=HELLO, max_tokens=1)


def test_an_ordinary_request_passes():
    check_request(GOOD, 100)
    check_request(msgspec.structs.replace(GOOD, sampling=Sampling(logit_bias=((49, -100.0),)), logprobs=20), 100, 50)


@pytest.mark.parametrize(
    "change",
    [
        {"request_id": ""},
        {"request_id": "x" * 129},
        {"max_tokens": 0},
        {"messages": ()},
        {"messages": HELLO * (MAX_MESSAGES + 1)},
        {"messages": (ChatMessage("user", "half \ud83d"),)},
        {"stop": ("",)},
        {"stop": ("x" * 257,)},
        {"stop": ("x",) * 17},
        {"sampling": Sampling(temperature=-0.1)},
        {"sampling": Sampling(temperature=math.nan)},
        {"sampling": Sampling(temperature=math.inf)},
        {"sampling": Sampling(top_p=1.1)},
        {"sampling": Sampling(min_p=-1)},
        {"sampling": Sampling(frequency_penalty=3)},
        {"sampling": Sampling(presence_penalty=-3)},
        {"sampling": Sampling(repeat_penalty=0)},
        {"sampling": Sampling(top_k=-2)},
        {"sampling": Sampling(typical_p=1.1)},
        {"sampling": Sampling(logit_bias=((50, 1.0),))},
        {"sampling": Sampling(logit_bias=((-1, 1.0),))},
        {"sampling": Sampling(logit_bias=((1, math.nan),))},
        {"sampling": Sampling(logit_bias=((1, 101.0),))},
        {"sampling": Sampling(logit_bias=((1, 1.0),) * 301)},
        {"logprobs": 21},
        {"logprobs": -1},
        {"response_format": JsonSchema("x" * 65_537)},
        {"cache_key": "x" * 129},
        {"priority": 101},
    ],
    ids=str,
)
def test_what_no_model_can_do_is_a_bad_request(change):
    with pytest.raises(EngineError) as error:
        check_request(msgspec.structs.replace(GOOD, **change), 100, 50)
    assert error.value.code == "bad_request"


def test_a_conversation_far_beyond_the_context_is_refused_before_it_is_tokenized():
    with pytest.raises(EngineError) as error:
        check_messages((ChatMessage("user", "x" * 6401),), 100)
    assert error.value.code == "context_too_long"


@pytest.mark.parametrize("texts", [[], ["x"] * 257, ["half \ud83d"], ["x" * 6_401]], ids=len)
def test_texts_that_no_model_can_embed_are_refused(texts):
    check_texts(["x"] * 256, 100)
    with pytest.raises(EngineError):
        check_texts(texts, 100)


def test_seeds_stay_in_range_and_are_drawn_when_not_given():
    assert effective_seed(7) == 7
    assert effective_seed(SEEDS) == 0
    assert 0 <= effective_seed(-1) < SEEDS
    assert len({effective_seed(None) for _ in range(8)}) > 1
