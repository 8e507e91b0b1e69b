"""The models at hand as a person sees them: listed, inspected, measured against the memory. Blocks: for threads."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from node.hardware.backend import installed_backend
from node.models.catalog import lookup, models
from node.models.digest import DigestCache
from node.models.discovery import FoundModel
from node.models.fit import Device, assess, available_memory_bytes
from node.models.gguf import GgufInfo, inspect
from node.models.model_error import ModelError, printable
from node.models.naming import readable
from node.models.pull import Origin, origins_of
from node.values import DeviceView
from node.values.models import BenchView, FitView, ModelDetail, ModelView
from node.values.text import plain

MAX_TEXT: Final = 200
MAX_NOTE: Final = 400
_KNOWN_INFOS: Final = 256


class ModelLibrary:
    """The models of one home.

    Args:
        models_dir: The home's models folder.
        folders: Further folders with models.
        slots: Requests that the engine serves at once, for whether a model fits.
        context_length: Tokens a request may have; ``None`` for the model's own.
        gpu_layers: 0 keeps the GPU out of it.
        gpus: Tells the GPUs and their free memory.
        is_split: Whether several GPUs share a model.
        backend: Tells what the installed llama.cpp computes on.
        problem: Tells why llama.cpp would not load a file; asks llama.cpp itself only where its last argument says so.
        notes: Tells what a file's chat template can't do, once `problem` was asked.
    """

    def __init__(  # noqa: PLR0913 - collaborators and settings, each with a default
        self,
        models_dir: Path,
        *,
        folders: Sequence[Path] = (),
        slots: int = 4,
        context_length: int | None = None,
        gpu_layers: int = -1,
        gpus: Callable[[], Sequence[Device]] = tuple,
        is_split: bool = True,
        backend: Callable[[], str] = installed_backend,
        problem: Callable[[Path, GgufInfo, bool], ModelError | None] = lambda _path, _info, _ask: None,
        notes: Callable[[Path], tuple[str, ...]] = lambda _path: (),
    ) -> None:
        self.models_dir = models_dir
        self.folders = tuple(folders)
        self._slots = slots
        self._context_length = context_length
        self._gpu_layers = gpu_layers
        self._gpus = gpus
        self._is_split = is_split
        self._backend = backend
        self._problem = problem
        self._notes = notes
        self._digests = DigestCache(models_dir / ".digests.json")

    def list(self, history: Sequence[BenchView] = ()) -> tuple[ModelView, ...]:
        """Every model at hand; what can't be read says why."""
        device = self.device()
        return tuple(self._view(found, device, history) for found in models(self.models_dir, self.folders))

    def find(self, name: str) -> FoundModel:
        """The model that a name means.

        Raises:
            UsageError: If there is none.
        """
        return lookup(name, self.models_dir, self.folders)

    def inspect(self, name: str, history: Sequence[BenchView] = ()) -> ModelDetail:
        """Everything that a model's file says, and its digest: that reads the whole file once.

        Raises:
            UsageError: If there is no such model.
            ModelError: If its file can't be used.
        """
        found = self.find(name)
        info = _info(found)
        problem = self._problem(found.path, info, True)
        origin = self._origin(found)
        try:
            sha256 = self._digests.sha256(found.path)
        except OSError as error:
            raise ModelError(
                f"The model file {printable(found.path.name)} can't be read to its end: {error.strerror}.",
                fix="Check its rights and the disk.",
            ) from error
        view = self._view(found, self.device(), history)
        return ModelDetail(
            view=view,
            title=plain(info.name, MAX_TEXT),
            licence=plain(info.licence or (origin.licence if origin else ""), MAX_TEXT),
            tokenizer=plain(info.tokenizer, MAX_TEXT),
            vocabulary_size=info.vocabulary_size,
            layers=info.layers,
            has_template=info.chat_template is not None,
            notes=tuple(plain(note, MAX_NOTE) for note in self._notes(found.path)),
            sha256=sha256,
            origin=plain(origin.repo, MAX_TEXT) if origin else "",
            fit=self._fit(info, view.name, self.device()) if problem is None else None,
            history=tuple(entry for entry in history if entry.model_sha256 == sha256),
        )

    def fit(
        self, name: str, *, context_length: int | None = None, slots: int | None = None, kv_type: str = "f16"
    ) -> FitView:
        """Whether a model fits into what is free now.

        Args:
            name: As listed.
            context_length: Tokens a request may have; None for what is set.
            slots: Requests that run at once; None for what is set.
            kv_type: The form of the key-value cache.

        Raises:
            UsageError: If there is no such model.
            ModelError: If its file can't be used, or llama.cpp would not load it.
        """
        found = self.find(name)
        info = _info(found)
        if (problem := self._problem(found.path, info, True)) is not None:
            raise problem
        return self._fit(info, plain(found.name, MAX_TEXT), self.device(), context_length, slots, kv_type)

    def device(self) -> Device:
        """Where a model would be loaded: all GPUs together if llama.cpp uses any, or the freest one, else memory."""
        gpus = self._gpus() if self._gpu_layers != 0 and self._backend() != "cpu" else ()
        if not gpus:
            return Device("memory", available_memory_bytes())
        if len(gpus) == 1 or not self._is_split:
            return max(gpus, key=lambda gpu: gpu.free_bytes)
        free_bytes = sum(gpu.free_bytes for gpu in gpus)
        return Device(f"{len(gpus)} GPUs together", free_bytes, is_gpu=True, parts=len(gpus))

    def is_removable(self, found: FoundModel) -> bool:
        """Whether a model is ours to delete: in the home, or in the cache that the hub's own library keeps."""
        inside = found.path.parent.resolve().is_relative_to(self.models_dir.resolve())
        return found.source == "huggingface" or (found.source == "home" and inside)

    def _origin(self, found: FoundModel) -> Origin | None:
        return origins_of(found.path.parent).get(found.path.name) if found.source == "home" else None

    def _view(self, found: FoundModel, device: Device, history: Sequence[BenchView]) -> ModelView:
        name = plain(found.name, MAX_TEXT)
        view = ModelView(
            name=name,
            source=found.source,
            also=tuple(plain(twin.name, MAX_TEXT) for twin in found.twins),
            path=readable(str(found.path)),
            size_bytes=found.size_bytes,
            parts=len(found.parts),
            quantization=plain(found.quantization, 16),
            removable=self.is_removable(found),
        )
        try:
            info = _info(found)
        except ModelError as error:
            return msgspec.structs.replace(view, problem=error.line())
        if (problem := self._problem(found.path, info, False)) is not None:
            view = msgspec.structs.replace(view, problem=problem.line())
        fit = self._fit(info, name, device)
        known = next((entry for entry in history if entry.model == name and entry.rows), None)
        return msgspec.structs.replace(
            view,
            quantization=view.quantization or info.quantization,
            architecture=plain(info.architecture, 40),
            parameters=info.parameters,
            context_length=info.context_length,
            fit=fit.sentence if not view.problem else "",
            fits=fit.fits and not view.problem,
            tokens_per_s=known.rows[0].decode_tokens_per_s if known else 0.0,
        )

    def _fit(
        self,
        info: GgufInfo,
        name: str,
        device: Device,
        context_length: int | None = None,
        slots: int | None = None,
        kv_type: str = "f16",
    ) -> FitView:
        return assess(
            info,
            model=name,
            device=device,
            slots=slots or self._slots,
            context_length=context_length if context_length is not None else self._context_length,
            kv_type=kv_type,
        )


def free_gpus(devices: Iterable[DeviceView]) -> tuple[Device, ...]:
    """The GPUs among a machine's devices that report their memory, and what of it is free."""
    return tuple(
        Device(device.name, max(0, device.memory_total_bytes - (device.memory_used_bytes or 0)), is_gpu=True)
        for device in devices
        if device.kind == "gpu" and device.memory_total_bytes is not None
    )


def _info(found: FoundModel) -> GgufInfo:
    """What the file says, read once as long as it stays the same.

    Raises:
        ModelError: If it can't be used.
    """
    try:
        status = found.path.stat()
    except OSError as error:
        raise ModelError(f"The model file can't be read: {error.strerror}.") from None
    return _read_once(found.path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=_KNOWN_INFOS)
def _read_once(path: Path, _size: int, _modified_ns: int) -> GgufInfo:
    return inspect(path)
