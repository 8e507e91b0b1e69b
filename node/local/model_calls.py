"""The part of ``NodeApi`` that is about models on this machine and on the Hugging Face hub."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from chain.errors import IdlewattError
from node.engine.benchmark import engine_for, history, keep, measure, summary
from node.engine.load_check import CHECKS_FILE, LoadChecks
from node.hardware.backend import installed_backend, unused_gpu
from node.models import pull
from node.models.catalog import lookup
from node.models.library import ModelLibrary, free_gpus
from node.models.naming import readable
from node.models.removal import remove
from node.provider.service import ProviderService
from node.runtime.events import EventBus
from node.runtime.settings import NodeHome, NodeSettings
from node.values import DeviceView
from node.values.models import BenchEvent, FitView, HubModelView, ModelDetail, ModelView, PullEvent
from node.values.text import plain


class ModelCalls:
    """What ``NodeApi`` says about models.

    Args:
        home: Where models and logs are.
        settings: Further folders of models, and how models are loaded.
        provider: Knows what is rented out.
        devices: What the machine has, as last read.
        events: Told when the models changed.
    """

    def __init__(
        self,
        home: NodeHome,
        settings: NodeSettings,
        provider: ProviderService,
        devices: Callable[[], tuple[DeviceView, ...]],
        events: EventBus,
    ) -> None:
        self._home = home
        self._settings = settings
        self._provider = provider
        self._devices = devices
        self._events = events
        self._backend = installed_backend()
        self._measured: Path | None = None
        """The file that is being measured now."""

    def unused_gpu(self) -> str:
        """The GPU on which models could run, if llama.cpp were built for it; empty where there is none."""
        settings = self._settings
        asked_for_none = settings.upstream is not None or settings.gpu_layers == 0
        return "" if asked_for_none else unused_gpu(self._devices(), self._backend)

    async def library(self) -> tuple[ModelView, ...]:
        """See ``NodeApi``."""
        views = await asyncio.to_thread(self._library().list, history(self._home.models))
        loaded = await self._loaded()
        used = await asyncio.to_thread(lambda: [loaded is not None and _shows(view, loaded) for view in views])
        return tuple(
            msgspec.structs.replace(view, in_use=True, offered=self._provider.offers.published) if is_used else view
            for view, is_used in zip(views, used, strict=True)
        )

    async def model_detail(self, model: str) -> ModelDetail:
        """See ``NodeApi``."""
        return await asyncio.to_thread(self._library().inspect, model, history(self._home.models))

    async def model_fit(self, model: str, context_length: int | None = None, slots: int | None = None) -> FitView:
        """See ``NodeApi``."""
        library = self._library()
        return await asyncio.to_thread(lambda: library.fit(model, context_length=context_length, slots=slots))

    async def search_models(self, text: str) -> tuple[HubModelView, ...]:
        """See ``NodeApi``."""
        return await pull.search(text, on_notice=lambda text: self._events.notice("warning", text))

    @asynccontextmanager
    async def pull_model(self, model: str) -> AsyncIterator[AsyncIterator[PullEvent]]:
        """See ``NodeApi``."""
        async with pull.pulling(model, self._home.models) as events:
            yield events
        self._events.changed("models")

    @asynccontextmanager
    async def bench_model(self, model: str) -> AsyncIterator[AsyncIterator[BenchEvent]]:
        """See ``NodeApi``."""
        if self._provider.wanted or self._measured is not None:
            raise IdlewattError(
                "A model is loaded already, and both would be slow.", code="model_in_use", fix="Go offline first."
            )
        settings = self._settings
        found = await asyncio.to_thread(lookup, model, self._home.models, settings.model_paths)
        self._measured = found.path
        engine = engine_for(
            found,
            self._home.models,
            self._home.logs / "engine.log",
            threads=settings.threads,
            gpu_layers=settings.gpu_layers,
        )
        try:
            async with engine as loaded:

                async def steps() -> AsyncIterator[BenchEvent]:
                    rows = []
                    async for row in measure(loaded):
                        rows.append(row)
                        yield row
                    measured = summary(plain(found.name, 96), await loaded.info(), rows, threads=settings.threads)
                    await asyncio.to_thread(keep, self._home.models, measured)
                    yield measured

                yield steps()
        finally:
            self._measured = None
            self._events.changed("models")

    async def remove_model(self, model: str) -> int:
        """See ``NodeApi``."""
        used = {path for path in (await self._loaded(), self._measured) if path is not None}
        freed = await remove(self._library(), model, in_use=lambda path: any(_is_same(path, other) for other in used))
        self._events.changed("models")
        return freed

    def _library(self) -> ModelLibrary:
        settings = self._settings
        devices = self._devices()
        checks = LoadChecks(self._home.models / CHECKS_FILE)
        return ModelLibrary(
            self._home.models,
            folders=settings.model_paths,
            slots=settings.slots,
            context_length=settings.context_length,
            gpu_layers=settings.gpu_layers,
            gpus=lambda: free_gpus(devices),
            is_split=settings.split_mode != "none",
            problem=lambda path, info, ask: checks.problem(path, info, ask=ask),
            notes=checks.notes,
        )

    async def _loaded(self) -> Path | None:
        """The file of the model that is rented out or being loaded; ``None`` where none is."""
        settings = self._settings
        if not self._provider.wanted or settings.upstream is not None:
            return None
        try:
            found = await asyncio.to_thread(lookup, self._provider.asked_model, self._home.models, settings.model_paths)
        except IdlewattError:
            return None
        return found.path


def _shows(view: ModelView, path: Path) -> bool:
    """Whether a model's row stands for this file, which may have been named by another of its names."""
    return view.path == readable(str(path)) or _is_same(Path(view.path), path)


def _is_same(path: Path, other: Path) -> bool:
    """Whether two paths lead to one file, by whatever names."""
    try:
        return path == other or path.samefile(other)
    except OSError:  # one of them is gone
        return False
