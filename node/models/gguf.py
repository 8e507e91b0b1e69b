"""What a GGUF file says about its model: shape, cache, vocabulary, template, sizes."""

from __future__ import annotations

from pathlib import Path

import msgspec

from node.models.ggml_types import FILE_TYPE_LABELS
from node.models.gguf_file import MAX_KEPT_ITEMS, GgufContents, Value, read, whole_number
from node.models.model_error import TO_WHOLE_FILE, ModelError, printable
from node.models.naming import part_names, part_of
from node.models.recurrence import Recurrence, recurrence

POOLING_TYPES = frozenset({1, 2, 3, 4})
"""Mean, first token, last token, rank. 0 is none, and -1, also as an unsigned number, leaves it open."""
_BESIDE = {
    "adapter": "a LoRA adapter to one",
    "mmproj": "the image projector of one",
    "imatrix": "the importance matrix of one, which only quantizing needs",
    "vocab": "the vocabulary of one",
}


class GgufInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a GGUF header says; every count is what the file claims, every size was checked against the file."""

    name: str
    architecture: str
    quantization: str
    parameters: int
    context_length: int
    layers: int
    embedding_length: int
    feed_forward_length: int
    heads: int
    kv_heads_per_layer: tuple[int, ...]
    key_length: int
    value_length: int
    vocabulary_size: int
    chat_template: str | None
    file_bytes: int
    """Of all parts, as are the next two."""
    tensor_bytes: int
    tensors: int
    parts: int = 1
    tokenizer: str = ""
    licence: str = ""
    embedding_bytes: int = 0
    """Of the token embeddings, which stay in main memory when a GPU computes."""
    is_tied: bool = False
    """Whether the embeddings are the output matrix too."""
    sliding_window: int = 0
    experts_used: int = 0
    dense_feed_forward_length: int = 0
    """Of the first layers of a model with experts, where those have none."""
    is_latent: bool = False
    """Whether keys and values are compressed into one vector (multi-head latent attention): only keys are cached."""
    is_causal: bool = True
    """Whether a token sees only those before it: else nothing is cached."""
    pools: bool = False
    """Whether the file says how to make one vector of a text."""
    recurrence: Recurrence = Recurrence()

    @property
    def embeds_only(self) -> bool:
        """Whether the model was made for vectors: it writes no text, and has no context until it is asked for some."""
        return self.pools or not self.is_causal

    @property
    def sequences_per_slot(self) -> int:
        """Two where prompts can share a part of their cells, which recurrent states and sliding windows can't."""
        return 1 if self.recurrence.layers or self.sliding_window else 2

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes that one token takes in an f16 key-value cache, over all layers."""
        return 2 * sum(self.kv_heads_per_layer) * (self.key_length + (0 if self.is_latent else self.value_length))


def inspect(path: Path) -> GgufInfo:
    """Read the header of a GGUF file.

    Raises:
        ModelError: If it can't be read, is no GGUF, is truncated, or contradicts itself.
    """
    shown = printable(path.name)
    try:
        if part_of(path.name) is None:
            return _describe((read(path),), shown)
        parts = [path.with_name(name) for name in part_names(path.name)]
        missing = [part.name for part in parts if not part.is_file()]
        if missing:
            raise ModelError(
                f"The model {shown} is split, and its part {printable(missing[0])} is missing.", fix=TO_WHOLE_FILE
            )
        return _describe(tuple(read(part) for part in parts), printable(parts[0].name))
    except OSError as error:
        raise ModelError(
            f"The model file {shown} can't be read: {error.strerror or error}.", fix="Check its rights and the disk."
        ) from error
    except ValueError as error:  # a null byte in the path
        raise ModelError(f"{shown} is not a usable path.", fix="Check the path.") from error


def _describe(files: tuple[GgufContents, ...], shown: str) -> GgufInfo:
    facts, array_lengths = files[0].facts, files[0].array_lengths

    def broken(why: str) -> ModelError:
        return ModelError(f"The model file {shown} is broken: {why}.", fix=TO_WHOLE_FILE)

    if (beside := _beside_a_model(facts)) is not None:
        raise ModelError(f"{shown} is no model, but {beside}.", fix="Choose the model itself.")
    architecture = facts.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise broken("it doesn't name its architecture")
    parts = max(1, whole_number(facts.get("split.count")))
    if parts != len(files):
        raise ModelError(
            f"The model file {shown} is one of {parts} parts, and its name doesn't tell which.",
            fix="Give the parts their names back: NAME-00001-of-00003.gguf.",
        )
    vocabulary = array_lengths.get("tokenizer.ggml.tokens", 0)
    if not vocabulary:
        raise ModelError(
            f"The model file {shown} has no vocabulary, so it can't write text.", fix="Choose a chat model."
        )

    def count(key: str) -> int:
        return whole_number(facts.get(f"{architecture}.{key}"))

    layers, embedding, heads = count("block_count"), count("embedding_length"), count("attention.head_count")
    head_length = embedding // heads if heads else 0
    name, template = facts.get("general.name"), facts.get("tokenizer.chat_template", "")
    if not isinstance(template, str):
        raise broken("its chat template is too long or no text")
    kv_heads = _kv_heads(facts.get(f"{architecture}.attention.head_count_kv"), layers, heads)
    if interval := count("full_attention_interval"):
        # Of each so many layers the last one only has keys and values (Qwen3-Next and its heirs).
        kv_heads = tuple(each if (layer + 1) % interval == 0 else 0 for layer, each in enumerate(kv_heads))
    return GgufInfo(
        name=printable(name) if isinstance(name, str) and name else shown,
        architecture=printable(architecture),
        quantization=FILE_TYPE_LABELS.get(whole_number(facts.get("general.file_type"), missing=-1), "unknown"),
        parameters=sum(file.tensors.parameters for file in files),
        context_length=count("context_length"),
        layers=layers,
        embedding_length=embedding,
        feed_forward_length=count("expert_feed_forward_length") or count("feed_forward_length"),
        heads=heads,
        kv_heads_per_layer=kv_heads,
        key_length=count("attention.key_length") or head_length,
        value_length=count("attention.value_length") or head_length,
        vocabulary_size=vocabulary,
        chat_template=template or None,
        file_bytes=sum(file.file_bytes for file in files),
        tensor_bytes=sum(file.tensors.total_bytes for file in files),
        tensors=sum(file.tensors.count for file in files),
        parts=parts,
        tokenizer=_words(facts.get("tokenizer.ggml.model")),
        licence=_words(facts.get("general.license")),
        embedding_bytes=max(file.tensors.embedding_bytes for file in files),
        is_tied=not any(file.tensors.has_output for file in files),
        sliding_window=count("attention.sliding_window"),
        experts_used=count("expert_used_count"),
        dense_feed_forward_length=count("feed_forward_length") if count("leading_dense_block_count") else 0,
        is_latent=count("attention.kv_lora_rank") > 0 and count("attention.key_length_mla") > 0,
        is_causal=facts.get(f"{architecture}.attention.causal") is not False,
        pools=facts.get(f"{architecture}.pooling_type") in POOLING_TYPES,
        recurrence=recurrence(count, kv_heads, layers),
    )


def _beside_a_model(facts: dict[str, Value]) -> str | None:
    """What a file is that belongs to a model and is none itself; ``None`` for a model."""
    kind = facts.get("general.type")
    if isinstance(kind, str) and kind not in {"", "model"}:
        return _BESIDE.get(kind, f"a model's {printable(kind, 20)}")
    # Converters that didn't write a type yet wrote these.
    if facts.get("general.architecture") == "clip":
        return _BESIDE["mmproj"]
    if "adapter.type" in facts:
        return _BESIDE["adapter"]
    return _BESIDE["imatrix"] if "imatrix.datasets" in facts else None


def _words(value: Value) -> str:
    return printable(value) if isinstance(value, str) else ""


def _kv_heads(value: Value, layers: int, heads: int) -> tuple[int, ...]:
    if isinstance(value, tuple):
        return tuple(whole_number(item) for item in value[:MAX_KEPT_ITEMS])
    return (whole_number(value) or heads,) * min(layers, MAX_KEPT_ITEMS)
