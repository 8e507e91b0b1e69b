"""What an engine asks its worker, as frames, and what it makes of the answers: values in, values out."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

from node.engine import ipc
from node.engine.checks import check_messages, check_tokens, check_top_k
from node.engine.protocol import Embeddings, GenerateRequest
from node.values.inference import ChatMessage


def generate_frame(ticket: int, request: GenerateRequest, seed: int, grammar: str) -> ipc.Generate:
    """A checked request under a ticket, with the seed that is used and its format's grammar.

    Args:
        ticket: The number that its frames carry.
        request: What was asked, already checked.
        seed: The seed that the answer is drawn with.
        grammar: The format's grammar, or nothing.
    """
    return ipc.Generate(
        ticket,
        request.messages,
        request.max_tokens,
        request.sampling,
        seed,
        request.stop,
        request.logprobs,
        grammar,
        request.cache_key,
        request.priority,
        request.template_options,
    )


def score_question(
    prompt: Sequence[ChatMessage] | Sequence[int],
    completion: str | Sequence[int],
    top_k: int,
    context_length: int,
    vocabulary_size: int,
) -> Callable[[int], ipc.Score]:
    """Makes the frame that asks for a score, once it has a ticket.

    Args:
        prompt: A conversation, or tokens.
        completion: Text, or tokens.
        top_k: Alternatives to report for each token.
        context_length: Tokens that the model's context holds.
        vocabulary_size: Tokens of its vocabulary.

    Raises:
        EngineError: With code ``bad_request`` or ``context_too_long`` if it can't be scored.
    """
    check_top_k(top_k)
    messages = tuple(one for one in prompt if isinstance(one, ChatMessage))
    given = tuple(one for one in prompt if isinstance(one, int))
    text = completion if isinstance(completion, str) else None
    tokens = () if isinstance(completion, str) else tuple(completion)
    if messages or not given:
        check_messages(messages, context_length)
    check_messages((ChatMessage("assistant", text or ""),), context_length)
    check_tokens(given + tokens, vocabulary_size)
    return lambda ticket: ipc.Score(ticket, messages, given, text, tokens, top_k)


def embeddings(answer: ipc.EmbedDone) -> Embeddings:
    """The vectors that a worker sent in one piece."""
    numbers = array("f", answer.vectors)
    length = len(numbers) // len(answer.input_tokens)
    vectors = tuple(tuple(numbers[at : at + length]) for at in range(0, len(numbers), length))
    return Embeddings(vectors=vectors, input_tokens=answer.input_tokens)
