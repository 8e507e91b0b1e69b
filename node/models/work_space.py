"""What a context of llama.cpp takes beside the weights: its cache, and the work space of one micro-batch.

The work space is what llama.cpp's graph allocator needs at its widest place. In attention that is the scores of all
heads over the whole cache (flash attention saves them), in the feed-forward layer three arrays of its width, at the end
the logits of every row that has some; besides, the attention mask, and the logits that are handed out. The widths are
read off the buffers that llama.cpp reports for models of many shapes.
"""

from __future__ import annotations

from typing import Final

import msgspec

from node.models.gguf import GgufInfo

CONTEXT_STEP_TOKENS: Final = 256
"""llama.cpp rounds a cache up to whole steps of this many cells."""
SCORE_PIECE_TOKENS: Final = 128
SCORE_PIECE_ROWS: Final = 16
"""Rows of logits in a piece: each is as wide as the vocabulary, and is put through a softmax."""
MAX_EMBED_TOKENS: Final = 8_192
MAX_EMBED_SEQUENCES: Final = 16


class ContextShape(msgspec.Struct, frozen=True, kw_only=True):
    """What decides the memory of one context.

    Attributes:
        cells: Tokens that its cache holds.
        micro_batch_tokens: Tokens that are computed at once.
        sequences: Sequences that it tells apart.
        outputs: Rows of one micro-batch that have logits.
        flash_attention: Whether it is used.
        pooled: Whether the rows of a sequence become one vector.
        cache_share: Size of the cache's form ÷ that of f16.
    """

    cells: int
    micro_batch_tokens: int
    sequences: int
    outputs: int
    flash_attention: bool
    pooled: bool = False
    cache_share: float = 1.0


def score_context(tokens: int, *, flash_attention: bool) -> ContextShape:
    """The context in which so many tokens are scored, a piece at a time."""
    return ContextShape(
        cells=round_up(tokens),
        micro_batch_tokens=SCORE_PIECE_TOKENS,
        sequences=1,
        outputs=SCORE_PIECE_ROWS,
        flash_attention=flash_attention,
    )


def embed_context(longest_tokens: int, *, flash_attention: bool) -> ContextShape:
    """The context in which texts of up to so many tokens become vectors: what is pooled is computed at once."""
    cells = round_up(max(longest_tokens, SCORE_PIECE_TOKENS))
    return ContextShape(
        cells=cells,
        micro_batch_tokens=cells,
        sequences=MAX_EMBED_SEQUENCES,
        outputs=cells,
        flash_attention=flash_attention,
        pooled=True,
    )


def cache_bytes(info: GgufInfo, shape: ContextShape) -> int:
    """Bytes of the keys and values, and of recurrent states; a model that sees both directions keeps neither."""
    if not info.is_causal:
        return 0
    cells = int(info.kv_bytes_per_token * shape.cache_share * shape.cells)
    return cells + shape.sequences * info.recurrence.sequence_bytes


def work_bytes(info: GgufInfo, shape: ContextShape) -> int:
    """Bytes of the compute buffer and of the logits that are handed out."""
    micro_batch, width = shape.micro_batch_tokens, info.embedding_length
    masks = _mask_bytes(info, shape)
    widest = max(_attention_values(info, shape), _feed_forward_values(info), info.recurrence.token_values)
    layer = 4 * (micro_batch * widest + shape.sequences * info.recurrence.sequence_values)
    if info.is_latent and not shape.flash_attention:
        # The values are a part of each cached key, and are copied out and turned round.
        layer += 2 * info.value_length * shape.cells
    head = 4 * shape.outputs * (info.vocabulary_size + 3 * width)
    if shape.pooled:
        head += 4 * micro_batch * micro_batch
    return max(masks + layer, head) + 4 * shape.sequences * info.vocabulary_size


def round_up(tokens: int) -> int:
    """Cells of a cache for so many tokens."""
    return -(-tokens // CONTEXT_STEP_TOKENS) * CONTEXT_STEP_TOKENS


def _mask_bytes(info: GgufInfo, shape: ContextShape) -> int:
    """A model with a sliding window has two masks. Flash attention takes them in half the precision."""
    if not any(info.kv_heads_per_layer):
        return 0
    masks = 2 if info.sliding_window else 1
    return masks * shape.micro_batch_tokens * shape.cells * (2 if shape.flash_attention else 4)


def _attention_values(info: GgufInfo, shape: ContextShape) -> int:
    """Values for each token of a micro-batch."""
    if not any(info.kv_heads_per_layer):
        return 0
    keys, queries = max(info.kv_heads_per_layer) * info.key_length, info.heads * info.key_length
    scores = 0 if shape.flash_attention else info.heads * shape.cells
    if not info.is_causal:  # with no cache to be put into, keys and values are freed early
        return scores + 3 * info.embedding_length + queries + keys
    return scores + 3 * info.embedding_length + 2 * queries + 2 * keys


def _feed_forward_values(info: GgufInfo) -> int:
    """Values for each token of a micro-batch."""
    width, inner, experts = info.embedding_length, info.feed_forward_length, info.experts_used or 1
    if info.architecture == "bert":  # it has no gate
        return 2 * (inner + width)
    # Models with a sliding window normalize what comes out of a layer too.
    beside = (5 if info.sliding_window else 4) * width
    values = 3 * max(inner * experts, info.dense_feed_forward_length) + beside
    if experts > 1:
        values = max(values, (2 * inner + width) * experts + 3 * width)
    return values
