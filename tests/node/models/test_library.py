from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import pytest

from chain.errors import UsageError
from node.models.digest import DigestCache, sha256_file
from node.models.fit import Device, assess
from node.models.gguf import GgufInfo, inspect
from node.models.hub.hub_error import HubError
from node.models.library import ModelLibrary
from node.models.model_error import ModelError
from node.models.pull import ORIGIN_FILE, Origin
from node.models.removal import RemovalError, remove
from node.values.models import BenchRow, BenchView
from tests.node.models.test_discovery import cached, put
from tests.node.models.test_fit import EIGHT_B, GIB


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "OLLAMA_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    return tmp_path / "user"


@pytest.fixture
def models(tmp_path: Path, tiny_model: Path) -> Path:
    folder = tmp_path / "models"
    pulled = folder / "owner" / "repo" / "tiny-Q4_K_M.gguf"
    pulled.parent.mkdir(parents=True)
    shutil.copy(tiny_model, pulled)
    origin = {pulled.name: Origin(repo="owner/repo", commit="c", sha256=sha256_file(pulled), licence="mit")}
    (pulled.parent / ORIGIN_FILE).write_bytes(msgspec.json.encode(origin))
    put(folder / "broken.gguf", b"GGUF and no more")
    return folder


def row(streams: int, speed: float) -> BenchRow:
    return BenchRow(streams=streams, prompt_tokens_per_s=200.0, decode_tokens_per_s=speed, ttft_ms=80.0)


def measured(sha256: str, speed: float, *, model: str = "m", at_ms: int = 1) -> BenchView:
    return BenchView(
        model=model, model_sha256=sha256, at_ms=at_ms, engine_build="b", backend="cpu", threads=2,
        context_length=1024, rows=(row(1, speed), row(4, 2 * speed)),
    )  # fmt: skip


def test_the_list_says_of_each_model_how_it_fits_or_why_it_cannot_be_used(models: Path):
    views = {view.name: view for view in ModelLibrary(models).list([measured("x", 12.5, model="tiny-Q4_K_M")])}
    tiny, broken, demo = views["tiny-Q4_K_M"], views["broken"], views["demo"]
    assert (tiny.source, tiny.quantization, tiny.architecture, tiny.fits) == ("home", "Q4_K_M", "llama", True)
    assert tiny.fit == "fits with 512 context and 4 slots"
    assert tiny.tokens_per_s == 12.5
    assert "broken.gguf" in broken.problem
    assert not broken.fits
    assert (tiny.removable, demo.removable) == (True, False)


def test_inspecting_tells_everything_with_the_digest_and_the_origin(models: Path):
    library = ModelLibrary(models)
    detail = library.inspect("owner/repo:Q4_K_M", [measured(sha256_file(models / "owner/repo/tiny-Q4_K_M.gguf"), 9.0)])
    assert (detail.origin, detail.licence, detail.tokenizer, detail.has_template) == ("owner/repo", "mit", "gpt2", True)
    assert detail.sha256 == sha256_file(models / "owner/repo/tiny-Q4_K_M.gguf")
    assert detail.fit is not None
    assert detail.fit.fits
    assert len(detail.history) == 1
    with pytest.raises(ModelError):
        library.inspect("broken")
    with pytest.raises(UsageError):
        library.inspect("nothing")


def test_a_gpu_is_where_a_model_goes_if_llama_cpp_computes_on_one(models: Path):
    gpus = (Device("small", 1 << 20, is_gpu=True), Device("large", 8 << 30, is_gpu=True))
    assert ModelLibrary(models, gpus=lambda: gpus, backend=lambda: "cpu").fit("tiny-Q4_K_M").device == "memory"
    library = ModelLibrary(models, gpus=lambda: gpus, backend=lambda: "cuda")
    alone = ModelLibrary(models, gpus=lambda: gpus, backend=lambda: "cuda", is_split=False).fit("tiny-Q4_K_M")
    assert (alone.device, alone.available_bytes) == ("large", 8 << 30)
    together = library.fit("tiny-Q4_K_M")
    assert (together.device, together.available_bytes) == ("2 GPUs together", (8 << 30) + (1 << 20))
    assert together.work_bytes > 2 * alone.work_bytes, "each has its own work space"
    switched_off = ModelLibrary(models, gpus=lambda: gpus, backend=lambda: "cuda", gpu_layers=0)
    assert switched_off.fit("tiny-Q4_K_M").device == "memory"


async def test_deleting_what_was_pulled_frees_its_bytes_and_leaves_no_empty_folder(models: Path):
    size = (models / "owner/repo/tiny-Q4_K_M.gguf").stat().st_size
    assert await remove(ModelLibrary(models), "owner/repo") == size
    assert [path.name for path in models.iterdir()] == ["broken.gguf"]
    await remove(ModelLibrary(models), "broken")
    assert models.is_dir()


async def test_a_model_in_use_stays(models: Path):
    with pytest.raises(RemovalError) as kept:
        await remove(ModelLibrary(models), "tiny-Q4_K_M", in_use=lambda path: path.name.startswith("tiny"))
    assert kept.value.code == "model_in_use"
    assert (models / "owner/repo/tiny-Q4_K_M.gguf").is_file()


async def test_deleting_one_of_two_names_of_a_file_frees_nothing(models: Path, tmp_path: Path):
    os.link(models / "broken.gguf", tmp_path / "another name")
    assert await remove(ModelLibrary(models), "broken") == 0


async def test_other_programs_models_and_files_elsewhere_are_not_ours_to_delete(models: Path, user: Path):
    put(user / ".lmstudio/models/a/b/studio-Q4_0.gguf")
    outside = put(user / "outside.gguf")
    (models / "link").symlink_to(user, target_is_directory=True)
    for name in ("studio-Q4_0", "demo", str(outside)):
        with pytest.raises(RemovalError) as kept:
            await remove(ModelLibrary(models), name)
        assert kept.value.code == "not_removable"
    assert outside.is_file()


async def test_the_hub_cache_is_changed_by_the_hubs_own_library_and_only_where_nothing_else_goes(
    models: Path, user: Path, monkeypatch: pytest.MonkeyPatch
):
    cache = user / ".cache/huggingface/hub"
    alone = cached(cache, "o/alone", "alone-Q4_0.gguf", b"GGUF" * 300, commit="a" * 40)
    both = cached(cache, "o/both", "both-Q4_0.gguf", b"GGUF" * 10, commit="b" * 40)
    cached(cache, "o/both", "both-Q8_0.gguf", b"GGUF" * 20, commit="b" * 40)
    assert await remove(ModelLibrary(models), "alone-Q4_0") == 1200
    assert not alone.exists()
    with pytest.raises(HubError, match="Other models lie in the same revision"):
        await remove(ModelLibrary(models), "both-Q4_0")
    assert both.exists()


# -- fit -------------------------------------------------------------------------------------------------------------


def said(gib: float, *, slots: int = 4, context: int | None = None, info: GgufInfo = EIGHT_B, kv: str = "f16") -> str:
    view = assess(
        info, model="m", device=Device("memory", int(gib * GIB)), slots=slots, context_length=context, kv_type=kv
    )
    assert view.fits == view.sentence.startswith("fits")
    if view.fits:
        assert view.needed_bytes <= view.available_bytes
    return view.sentence


def test_the_sentence_says_what_fits_or_what_would():
    assert said(64) == "fits with 4k context and 4 slots (up to 103k)"
    assert said(64, context=8192) == "fits with 8k context and 4 slots"
    assert said(7, context=4096) == "fits with 4k context; 4 slots share 9k"
    assert said(6, context=65_536).startswith("doesn't fit with 64k context: it would with ")
    assert said(4) == "doesn't fit: needs 5.8 GiB and 4.0 GiB are free"


def test_the_longest_context_grows_with_the_memory_and_falls_with_the_slots():
    def longest(sentence: str) -> int:
        return int(sentence.partition("(up to ")[2].removesuffix("k)"))

    assert longest(said(12)) < longest(said(24)) < longest(said(48))
    assert longest(said(24, slots=8)) < longest(said(24, slots=2))
    assert longest(said(24, kv="q8_0")) > longest(said(24))


def test_a_tied_model_needs_its_embeddings_twice_on_a_gpu_and_another_leaves_them_in_memory():
    apart = msgspec.structs.replace(EIGHT_B, embedding_bytes=GIB)
    tied = msgspec.structs.replace(apart, is_tied=True)
    need = {
        name: assess(info, model="m", device=Device("GPU", 64 * GIB, is_gpu=True), slots=1).weights_bytes
        for name, info in (("apart", apart), ("tied", tied))
    }
    assert need["tied"] - need["apart"] == GIB


def test_a_split_model_has_the_digest_of_its_parts_digests(tmp_path: Path):
    parts = [put(tmp_path / f"m-0000{number}-of-00002.gguf", b"GGUF%d" % number) for number in (1, 2)]
    cache = DigestCache()
    assert cache.sha256(parts[0]) == cache.sha256(parts[1])
    before = cache.sha256(parts[0])
    parts[1].write_bytes(b"GGUF and other")
    assert cache.sha256(parts[0]) != before


def test_a_split_model_is_read_as_one(tmp_path: Path, tiny_model: Path):
    import gguf

    whole = inspect(tiny_model)
    reader = gguf.GGUFReader(tiny_model)
    writer = gguf.GGUFWriter(tmp_path / "split.gguf", "llama", split_max_tensors=8)
    for field in reader.fields.values():
        if field.name.startswith(("GGUF.", "general.architecture")):
            continue
        kind, value = field.types[0], field.contents()
        sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, value, kind, sub_type=sub)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    writer.write_header_to_file(tmp_path / "split.gguf")
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    parts = sorted(tmp_path.glob("split-*.gguf"))
    assert len(parts) > 1
    info = inspect(parts[0])
    assert (info.parts, info.parameters, info.tensor_bytes, info.tensors) == (
        len(parts), whole.parameters, whole.tensor_bytes, whole.tensors,
    )  # fmt: skip
    parts[-1].unlink()
    with pytest.raises(ModelError, match="is missing"):
        inspect(parts[0])
