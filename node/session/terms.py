"""What both sides of a metered session compute in the same way: the bill, the bounds of the recount, hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from chain.views import Inclusion
from node.pricing import TOKENS_PER_PRICE_UNIT, cost_nano
from node.values import Prices
from node.values.inference import NO_OPTIONS, ChatMessage, ResponseFormat, Sampling, TemplateOptions, content_bytes
from wallet.vouchers import Voucher

DEFAULT_CREDIT_TOKENS = 64
"""Output tokens that a provider streams ahead of payment, by default."""
TEMPLATE_TOKENS = 192
"""Tokens that a chat template may add to any prompt: markers, dates, a default system text."""
TEMPLATE_TOKENS_PER_MESSAGE = 24
"""Tokens that a chat template may add to each message."""
_HASHED = ("temperature", "top_p", "min_p", "frequency_penalty", "presence_penalty", "repeat_penalty")


class ChannelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the chain and this node's disk say about a channel at one moment. Addresses are 20 bytes."""

    channel_id: int
    payer: bytes
    payee: bytes
    signer: bytes
    deposit_nano: int
    redeemed_nano: int
    expiry_s: int
    closing_at_s: int
    inclusion: Inclusion
    now_s: int
    """The chain's time."""
    held: Voucher | None = None
    """The best voucher on disk."""
    written_off_nano: int = 0
    """Delivered in earlier requests of this channel and never paid."""

    @property
    def held_nano(self) -> int:
        """What vouchers have promised so far, redeemed or not."""
        return max(self.redeemed_nano, self.held.cumulative_nano if self.held else 0)


def bill_nano(prices: Prices, input_tokens: int, output_tokens: int) -> int:
    """What a request costs so far.

    Args:
        prices: The quoted prices, nano per million tokens.
        input_tokens: Tokens of the prompt.
        output_tokens: Tokens delivered so far.

    Returns:
        Nano: nothing before the first output token; then the input and the output, each rounded up.
    """
    if output_tokens == 0:
        return 0
    return cost_nano(input_tokens, prices.input_nano_per_mtok) + cost_nano(output_tokens, prices.output_nano_per_mtok)


def window_nano(prices: Prices, input_tokens: int, credit_tokens: int) -> int:
    """The most that a provider delivers without being paid: the prompt and ``credit_tokens`` of output, in nano."""
    return cost_nano(input_tokens, prices.input_nano_per_mtok) + cost_nano(credit_tokens, prices.output_nano_per_mtok)


def affordable_tokens(prices: Prices, input_tokens: int, budget_nano: int) -> int | None:
    """Output tokens that ``budget_nano`` pays for after the input.

    Returns:
        The number of tokens; ``None`` if output is free, -1 if the budget doesn't even pay for the input.
    """
    left = budget_nano - cost_nano(input_tokens, prices.input_nano_per_mtok)
    if left < 0:
        return -1
    if prices.output_nano_per_mtok == 0:
        return None
    return left * TOKENS_PER_PRICE_UNIT // prices.output_nano_per_mtok


def most_input_tokens(messages: Sequence[ChatMessage], template_tokens: int = 0) -> int:
    """The most input tokens that a buyer accepts for its prompt.

    A token of a byte-level tokenizer stands for at least one byte, and the chat template adds some tokens.

    Args:
        messages: The conversation.
        template_tokens: What the offer says that the template adds to a question: some have a long text of their own.
    """
    sent_bytes = content_bytes(messages)
    return sent_bytes + template_tokens + TEMPLATE_TOKENS + TEMPLATE_TOKENS_PER_MESSAGE * len(messages)


def prompt_hash(messages: Sequence[ChatMessage]) -> bytes:
    """SHA-256 over every role and content, each preceded by its length in bytes (u32, big-endian)."""
    digest = hashlib.sha256()
    for message in messages:
        for field in (message.role.encode(), message.content.encode()):
            digest.update(len(field).to_bytes(4, "big") + field)
    return digest.digest()


def fingerprint_hash(
    sampling: Sampling,
    stop: Sequence[str],
    max_output_tokens: int,
    seed: int,
    response_format: ResponseFormat | None = None,
    template_options: TemplateOptions = NO_OPTIONS,
) -> bytes:
    """SHA-256 over what a replay needs besides the prompt.

    ``typical_p``, ``logit_bias``, the format and the template's options are hashed only where they are used. So a
    request without them has the same fingerprint at a peer of an older version, and a receipt of a peer that ignored
    them doesn't match.

    Args:
        sampling: The requested sampling parameters.
        stop: The stop strings.
        max_output_tokens: The quoted limit.
        seed: The seed that was used.
        response_format: The requested format of the answer, if any.
        template_options: What the chat template was told beside the conversation.
    """
    # 1 and 1.0 are the same parameter: both sides must hash one form.
    values: dict[str, object] = {name: float(getattr(sampling, name)) for name in _HASHED}
    values["top_k"] = int(sampling.top_k)
    if sampling.typical_p != 1.0:
        values["typical_p"] = float(sampling.typical_p)
    if sampling.logit_bias:
        values["logit_bias"] = [[token, float(bias)] for token, bias in sampling.logit_bias]
    hashed: list[object] = [values, seed, list(stop), max_output_tokens]
    if response_format is not None:
        hashed.append(response_format)
    if template_options != NO_OPTIONS:
        hashed.append({"template_options": template_options})
    return hashlib.sha256(msgspec.json.encode(hashed, order="sorted")).digest()
