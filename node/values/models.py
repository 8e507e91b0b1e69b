"""What is told about models: on disk, on the hub, how they fit, how fast they are; harmless on any screen."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

KV_BYTES: Final = {
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "q8_0": 34 / 32,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
}
"""Bytes of one value of the key-value cache, by its form."""

Ability = Literal["completion", "chat", "turns", "system", "enable_thinking", "reasoning_effort"]
"""What can be asked of a model: to continue a text (``completion``), or to answer a question (``chat``); after others
(``turns``), with a system message, and with these options of its chat template."""

Source = Literal["built-in", "home", "huggingface", "ollama", "lmstudio", "folder"]


class ModelView(msgspec.Struct, frozen=True, kw_only=True):
    """One model on this machine's disk."""

    name: str
    """What ``serve --model`` and every call here take."""
    source: Source
    path: str
    size_bytes: int
    parts: int = 1
    quantization: str = ""
    architecture: str = ""
    parameters: int = 0
    context_length: int = 0
    """What the model was trained for."""
    fit: str = ""
    """Whether and how it fits into this machine, in words."""
    fits: bool = False
    problem: str = ""
    """Why it can't be used; empty when it can."""
    in_use: bool = False
    """Whether this node has it loaded now."""
    offered: bool = False
    """Whether its offer is published now."""
    also: tuple[str, ...] = ()
    """Further names under which the same file lies on this disk; each can be used as well."""
    removable: bool = False
    tokens_per_s: float = 0.0
    """Decode speed of one stream, as last measured; 0 when it never was."""


class FitView(msgspec.Struct, frozen=True, kw_only=True):
    """What loading a model takes, and what there is."""

    model: str
    fits: bool
    sentence: str
    device: str
    """Where it would be loaded: ``memory``, or a GPU's name."""
    available_bytes: int
    needed_bytes: int
    weights_bytes: int
    cache_bytes: int
    work_bytes: int
    process_bytes: int = 0
    """The engine's own: its code and the vocabulary."""
    headroom_bytes: int = 0
    """What of the free memory is left to other programs."""
    context_length: int
    """Tokens one request may have."""
    cache_tokens: int
    """Tokens that all running requests share."""
    slots: int
    kv_type: str = "f16"


class ModelDetail(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a model file says about itself."""

    view: ModelView
    title: str
    licence: str
    tokenizer: str
    vocabulary_size: int
    layers: int
    has_template: bool
    notes: tuple[str, ...]
    """What its chat template can't do, and what is done about it."""
    sha256: str
    origin: str
    """The repository that it was pulled from, where that is known."""
    fit: FitView | None
    history: tuple[BenchView, ...] = ()


class BenchRow(msgspec.Struct, frozen=True, kw_only=True, tag="row"):
    """Speed with so many streams at once."""

    streams: int
    prompt_tokens_per_s: float
    """Of all streams together."""
    decode_tokens_per_s: float
    """Of all streams together."""
    ttft_ms: float


class BenchView(msgspec.Struct, frozen=True, kw_only=True, tag="bench"):
    """One measurement of one model on this machine."""

    model: str
    model_sha256: str
    at_ms: int
    engine_build: str
    backend: str
    threads: int
    context_length: int
    rows: tuple[BenchRow, ...]


class HubModelView(msgspec.Struct, frozen=True, kw_only=True):
    """One repository on the hub."""

    repo: str
    downloads: int
    likes: int
    parameters: int
    architecture: str
    context_length: int
    is_gated: bool
    quantizations: tuple[str, ...]
    size_bytes: int
    quantization: str


class PullChosen(msgspec.Struct, frozen=True, kw_only=True, tag="chosen"):
    """What will be downloaded, and what else there is."""

    repo: str
    name: str
    quantization: str
    size_bytes: int
    files: int
    others: tuple[str, ...]
    licence: str
    notice: str = ""
    """What a person should know beside it, such as of a token that the hub refuses."""


class PullProgress(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """How far it is; an ETA of ``None`` while nothing can be told."""

    done_bytes: int
    total_bytes: int
    bytes_per_s: float
    eta_s: float | None
    checking: bool = False


class PullDone(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """It is there and checked."""

    model: str
    path: str
    size_bytes: int
    sha256: str


PullEvent = PullChosen | PullProgress | PullDone
BenchEvent = BenchRow | BenchView
