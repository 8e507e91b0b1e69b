"""Recorded models of this machine and of the hub."""

from contextlib import asynccontextmanager

from node.values import (
    BenchRow,
    BenchView,
    FitView,
    HubModelView,
    ModelDetail,
    ModelView,
    PullChosen,
    PullDone,
    PullProgress,
)
from tests.screens.fake_node.constants import GIB, NOW_MS, SHA
from tests.screens.fake_node.played import Played


def model_view(name="Qwen3-8B-Instruct-Q4_K_M", **changes):
    fields = {
        "name": name,
        "source": "home",
        "path": f"/home/ada/.local/share/idlewatt/models/{name}.gguf",
        "size_bytes": int(4.7 * GIB),
        "quantization": "Q4_K_M",
        "architecture": "qwen3",
        "parameters": 8_200_000_000,
        "context_length": 40_960,
        "fit": "fits with 24k context and 4 slots",
        "fits": True,
        "removable": True,
    }
    return ModelView(**(fields | changes))


def model_views():
    return (
        model_view(
            "demo", source="built-in", path="/opt/idlewatt/demo.gguf", size_bytes=1_608_256, quantization="F16",
            architecture="llama", parameters=787_584, context_length=1024, fit="fits with 1k context and 4 slots",
            removable=False, in_use=True, offered=True, tokens_per_s=274.9,
        ),
        model_view(tokens_per_s=31.4),
        model_view(
            "llama3.3:70b", source="ollama", size_bytes=int(39.6 * GIB), architecture="llama",
            parameters=70_600_000_000, context_length=131_072, fits=False,
            fit="doesn't fit: needs 41.2 GiB and 22.9 GiB are free", removable=False,
        ),
        model_view("gemma-3-12b-it-Q5_K_M", source="lmstudio", quantization="Q5_K_M", size_bytes=int(7.9 * GIB),
                   parameters=12_000_000_000, architecture="gemma3", fit="fits with 8k context; 4 slots share 20k",
                   removable=False),
        model_view("half-a-file-Q8_0", source="huggingface", quantization="Q8_0", size_bytes=900_000_000, fit="",
                   fits=False, architecture="", parameters=0, context_length=0,
                   problem="The model file half-a-file-Q8_0.gguf is truncated. Download it again."),
    )  # fmt: skip


def fit_view(model):
    return FitView(
        model=model,
        fits=True,
        sentence="fits with 24k context and 4 slots",
        device="memory",
        available_bytes=int(22.9 * GIB),
        needed_bytes=int(18.2 * GIB),
        weights_bytes=int(4.7 * GIB),
        cache_bytes=int(13.2 * GIB),
        work_bytes=300 * 2**20,
        context_length=24_576,
        cache_tokens=98_304,
        slots=4,
    )


def bench_view(model):
    rows = ((1, 212.5, 31.4, 602.0), (2, 240.1, 52.0, 1_061.0), (4, 251.7, 77.3, 2_032.0), (8, 255.0, 96.8, 4_011.0))
    return BenchView(
        model=model,
        model_sha256=SHA[2:],
        at_ms=NOW_MS - 3_600_000,
        engine_build="llama.cpp",
        backend="cpu",
        threads=8,
        context_length=1024,
        rows=tuple(
            BenchRow(streams=count, prompt_tokens_per_s=reading, decode_tokens_per_s=writing, ttft_ms=first)
            for count, reading, writing, first in rows
        ),
    )


def model_detail(view):
    return ModelDetail(
        view=view,
        title="Qwen3 8B Instruct",
        licence="apache-2.0",
        tokenizer="gpt2",
        vocabulary_size=151_936,
        layers=36,
        has_template=True,
        notes=(),
        sha256=SHA[2:],
        origin="someone/Qwen3-8B-Instruct-GGUF",
        fit=fit_view(view.name),
        history=(bench_view(view.name),),
    )


def hub_models():
    return tuple(
        HubModelView(
            repo=repo,
            downloads=downloads,
            likes=12,
            parameters=4_000_000_000,
            architecture="qwen3",
            context_length=40_960,
            is_gated=gated,
            quantizations=("Q2_K", "Q4_K_M", "Q8_0"),
            size_bytes=int(2.3 * GIB),
            quantization="Q4_K_M",
        )
        for repo, downloads, gated in (
            ("someone/Qwen3-4B-GGUF", 1_200_000, False),
            ("other/Qwen3-4B-GGUF", 9_100, True),
        )
    )


def pull_script(model):
    def step(share, eta_s):
        return PullProgress(
            done_bytes=int(share * 2.3 * GIB), total_bytes=int(2.3 * GIB), bytes_per_s=24e6, eta_s=eta_s
        )

    return [
        PullChosen(
            repo="someone/Qwen3-4B-GGUF", name="Qwen3-4B-Q4_K_M", quantization="Q4_K_M", size_bytes=int(2.3 * GIB),
            files=1, others=("Q2_K", "Q8_0"), licence="apache-2.0",
        ),
        step(0.1, 95.0),
        step(0.43, 58.0),
        PullDone(model=model, path="/models/x.gguf", size_bytes=int(2.3 * GIB), sha256=SHA[2:]),
    ]  # fmt: skip


class ModelCalls(Played):
    """What ``NodeApi`` says about models."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.model_views = model_views()

    async def library(self):
        self._called("library")
        return self.model_views

    async def model_detail(self, model):
        self._called("model_detail", model)
        return model_detail(next(view for view in self.model_views if view.name == model))

    async def model_fit(self, model, context_length=None, slots=None):
        self._called("model_fit", model, context_length, slots)
        return fit_view(model)

    async def search_models(self, text):
        self._called("search_models", text)
        return hub_models()

    @asynccontextmanager
    async def pull_model(self, model):
        self._called("pull_model", model)
        async with self._playing(pull_script(model)) as events:
            yield events

    @asynccontextmanager
    async def bench_model(self, model):
        self._called("bench_model", model)
        measured = bench_view(model)
        async with self._playing([*measured.rows, measured]) as events:
            yield events

    async def remove_model(self, model):
        self._called("remove_model", model)
        (gone,) = (view for view in self.model_views if view.name == model)
        self.model_views = tuple(view for view in self.model_views if view is not gone)
        return gone.size_bytes
