from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chain.errors import UsageError
from node.models.catalog import available, lookup, resolve
from node.models.discovery import MAX_MANIFEST_BYTES, FoundModel, ModelFolder, find, places
from node.models.naming import (
    ChoiceError,
    HubFile,
    choose,
    may_chat,
    part_names,
    part_of,
    quantization_of,
    stem_of,
    variants,
)

GGUF = b"GGUF\x03\0\0\0 and more"


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's home folder with nothing in it."""
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "OLLAMA_MODELS"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "user"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


def put(path: Path, content: bytes = GGUF) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def cached(cache: Path, repo: str, file: str, content: bytes = GGUF, commit: str = "c1") -> Path:
    """A file as the Hugging Face cache keeps it: a link from the snapshot to the blob."""
    root = cache / f"models--{repo.replace('/', '--')}"
    blob = put(root / "blobs" / hashlib.sha256(content).hexdigest(), content)
    link = root / "snapshots" / commit / file
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    (root / "refs").mkdir(exist_ok=True)
    (root / "refs" / "main").write_text(commit)
    return link


def ollama(root: Path, name: str, content: bytes = GGUF, digest: str | None = None, **layer: object) -> Path:
    """A model as Ollama keeps it: a manifest that names a blob."""
    told = digest or f"sha256:{hashlib.sha256(content).hexdigest()}"
    put(root / "blobs" / f"sha256-{hashlib.sha256(content).hexdigest()}", content)
    model = {"mediaType": "application/vnd.ollama.image.model", "digest": told, "size": len(content)} | layer
    layers = [{"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:" + "1" * 64}, model]
    return put(root / "manifests" / name, json.dumps({"schemaVersion": 2, "layers": layers}).encode())


def names(found: tuple[FoundModel, ...]) -> dict[str, str]:
    return {each.name: each.source for each in found}


def test_every_programs_models_are_found_where_it_keeps_them(tmp_path: Path, user: Path):
    put(tmp_path / "models" / "mine-Q4_0.gguf", b"GGUF1")
    put(tmp_path / "models" / "owner" / "repo" / "pulled-Q8_0.gguf", b"GGUF2")
    put(tmp_path / "extra" / "deep" / "other.gguf", b"GGUF3")
    cached(user / ".cache/huggingface/hub", "org/Repo-GGUF", "repo-Q5_K_M.gguf", b"GGUF4")
    ollama(user / ".ollama/models", "registry.ollama.ai/library/llama3.2/3b", b"GGUF5")
    put(user / ".lmstudio/models/pub/model/studio-Q6_K.gguf", b"GGUF6")
    put(user / ".cache/lm-studio/models/pub/model/older-Q6_K.gguf", b"GGUF7")
    found = find(places(tmp_path / "models", [tmp_path / "extra"]))
    assert names(found) == {
        "mine-Q4_0": "home",
        "pulled-Q8_0": "home",
        "other": "folder",
        "repo-Q5_K_M": "huggingface",
        "llama3.2:3b": "ollama",
        "studio-Q6_K": "lmstudio",
        "older-Q6_K": "lmstudio",
    }
    for asked in ("org/Repo-GGUF:q5_k_m", "org/repo-gguf", "repo-Q5_K_M.gguf", "REPO-q5_k_m"):
        assert resolve(asked, tmp_path / "models").name == "repo-Q5_K_M.gguf"
    assert resolve("llama3.2:3b", tmp_path / "models").name.startswith("sha256-")
    assert "demo" in available(tmp_path / "models")


def test_their_own_variables_move_their_folders(tmp_path: Path):
    environ = {"HF_HOME": "/hf", "OLLAMA_MODELS": "/ol", "XDG_CACHE_HOME": "/xdg"}
    folders = {(place.source, str(place.folder)) for place in places(tmp_path, environ=environ)}
    assert {("huggingface", "/hf/hub"), ("ollama", "/ol"), ("lmstudio", "/xdg/lm-studio/models")} <= folders
    hub = places(tmp_path, environ={"XDG_CACHE_HOME": "/xdg"})
    assert ModelFolder("huggingface", Path("/xdg/huggingface/hub"), "huggingface") in hub
    assert ModelFolder("huggingface", Path("/cache"), "huggingface") in places(
        tmp_path, environ={"HF_HUB_CACHE": "/cache"}
    )


def test_a_split_model_is_one_and_an_unfinished_one_none(tmp_path: Path):
    for number in (1, 2, 3):
        put(tmp_path / f"big-Q4_K_M-{number:05d}-of-00003.gguf", GGUF * number)
    put(tmp_path / "half-00001-of-00002.gguf")
    (big,) = find([ModelFolder("home", tmp_path)])
    assert (big.name, len(big.parts), big.size_bytes) == ("big-Q4_K_M", 3, 6 * len(GGUF))
    assert big.path.name == "big-Q4_K_M-00001-of-00003.gguf"


def test_projectors_adapters_and_importance_matrices_are_no_chat_models(tmp_path: Path):
    for name in ("mmproj-model-f16.gguf", "x.mmproj.gguf", "my-lora.gguf", "imatrix.gguf", "notes.txt", ".hidden.gguf"):
        put(tmp_path / name)
    assert find([ModelFolder("home", tmp_path)]) == ()
    assert may_chat("lorax-7b.gguf")


def test_one_file_under_several_names_is_one_model(tmp_path: Path, user: Path):
    path = put(tmp_path / "models" / "a.gguf")
    os.link(path, tmp_path / "models" / "b.gguf")
    (tmp_path / "models" / "c.gguf").symlink_to(path)
    cached(user / "hub", "o/r", "same-Q4_0.gguf", GGUF * 2)
    cached(user / "hub", "o/r", "same-Q4_0.gguf", GGUF * 2, commit="c2")
    ollama(user / "ol", "registry.ollama.ai/library/same/latest", GGUF * 2)
    found = find(
        [ModelFolder("home", tmp_path / "models"), ModelFolder("huggingface", user / "hub", "huggingface"),
         ModelFolder("ollama", user / "ol", "ollama")]
    )  # fmt: skip
    assert names(found) == {"a": "home", "same-Q4_0": "huggingface"}


def test_two_models_of_one_name_can_both_be_named(tmp_path: Path):
    put(tmp_path / "one" / "same.gguf", GGUF)
    put(tmp_path / "two" / "same.gguf", GGUF * 2)
    first, second = find([ModelFolder("home", tmp_path / "one"), ModelFolder("lmstudio", tmp_path / "two")])
    assert (first.name, second.name) == ("same", "same (lmstudio)")


def test_the_snapshot_that_main_names_comes_first(tmp_path: Path):
    cached(tmp_path, "o/r", "m-Q4_0.gguf", GGUF, commit="aaa")
    newer = cached(tmp_path, "o/r", "m-Q4_0.gguf", GGUF * 2, commit="bbb")
    found = find([ModelFolder("huggingface", tmp_path, "huggingface")])
    assert found[0].path == newer


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:../../../../etc/passwd",
        "/etc/passwd",
        "sha256:" + "A" * 64,
        "sha256:" + "0" * 64,
        "",
        "sha1:" + "0" * 40,
    ],
)
def test_a_manifest_can_only_name_a_blob_that_is_there(tmp_path: Path, digest: str):
    ollama(tmp_path, "registry.ollama.ai/library/evil/latest", digest=digest or "x")
    assert find([ModelFolder("ollama", tmp_path, "ollama")]) == ()


def test_broken_manifests_and_blobs_that_are_no_gguf_are_left_out(tmp_path: Path):
    put(tmp_path / "manifests/r/n/m/a", b"{not json")
    put(tmp_path / "manifests/r/n/m/b", b"[" * 100_000)
    put(tmp_path / "manifests/r/n/m/c", b" " * (MAX_MANIFEST_BYTES + 1))
    put(tmp_path / "manifests/r/n/m/d", b'{"layers": [{"mediaType": 7}]}')
    put(tmp_path / "manifests/r/n/m/h", b'{"layers": [{"mediaType": "\xff"}]}')
    ollama(tmp_path, "r/n/m/e", b"not a model")
    (tmp_path / "manifests/r/n/m/f").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "manifests/r/n/m/g")
    good = ollama(tmp_path, "hf.co/some/Model-GGUF/Q4_K_M")
    (found,) = find([ModelFolder("ollama", tmp_path, "ollama")])
    assert (found.name, found.quantization) == ("hf.co/some/Model-GGUF:Q4_K_M", "Q4_K_M")
    good.unlink()


def test_links_in_a_circle_and_folders_that_cannot_be_read_are_harmless(tmp_path: Path):
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self.gguf").symlink_to(tmp_path / "self.gguf")
    (tmp_path / "gone.gguf").symlink_to(tmp_path / "nowhere")
    put(tmp_path / "real.gguf")
    os.mkfifo(tmp_path / "pipe.gguf")
    assert names(find([ModelFolder("home", tmp_path), ModelFolder("folder", tmp_path / "missing")])) == {"real": "home"}


def test_a_folder_that_is_too_deep_is_not_followed(tmp_path: Path):
    put(tmp_path.joinpath(*["d"] * 30) / "deep.gguf")
    assert find([ModelFolder("home", tmp_path)]) == ()


def test_a_path_still_names_a_file_that_no_place_holds(tmp_path: Path):
    path = put(tmp_path / "elsewhere" / "x-Q4_0.gguf")
    assert lookup(str(path), tmp_path / "models").quantization == "Q4_0"
    with pytest.raises(UsageError) as unknown:
        lookup("nothing/here", tmp_path / "models")
    assert "models pull" in unknown.value.fix


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("Qwen2.5-7B-Instruct-Q4_K_M.gguf", "Q4_K_M"),
        ("model.q8_0.gguf", "Q8_0"),
        ("model-IQ4_XS.gguf", "IQ4_XS"),
        ("model-UD-Q2_K_XL.gguf", "Q2_K_XL"),
        ("BF16/model-00001-of-00002.gguf", "BF16"),
        ("model-fp16.gguf", "F16"),
        ("gpt-oss-20b-MXFP4.gguf", "MXFP4"),
        ("Q4-is-my-name.gguf", ""),
        ("plain.gguf", ""),
    ],
)
def test_a_name_tells_the_quantization(path: str, label: str):
    assert quantization_of(path) == label


def test_the_parts_of_a_split_name_each_other():
    assert part_of("a-00002-of-00003.gguf") == ("a", 2, 3)
    assert part_names("a-00002-of-00003.gguf") == tuple(f"a-0000{n}-of-00003.gguf" for n in (1, 2, 3))
    assert part_of("a-00004-of-00003.gguf") is part_of("a-00001-of-99999.gguf") is None
    assert stem_of("a-00002-of-00003.gguf") == "a"


def repo(*paths: str) -> list[HubFile]:
    return [HubFile(path=path, size_bytes=10 + number, sha256="") for number, path in enumerate(paths)]


def test_a_repositorys_files_are_models_by_quantization():
    there = variants(
        repo("README.md", "m-Q8_0.gguf", "Q4_K_M/m-Q4_K_M-00002-of-00002.gguf", "Q4_K_M/m-Q4_K_M-00001-of-00002.gguf",
             "mmproj-F16.gguf", "F32/m-F32-00001-of-00002.gguf")
    )  # fmt: skip
    assert {each.quantization: (len(each.files), each.is_complete) for each in there} == {
        "Q8_0": (1, True),
        "Q4_K_M": (2, True),
        "F32": (1, False),
    }
    assert choose(there).files[0].path.endswith("00001-of-00002.gguf")
    assert choose(there, "q8_0").name == choose(there, "m-Q8_0.gguf").name == choose(there, "m-Q8_0").name
    with pytest.raises(ChoiceError, match="there is"):
        choose(there, "F32")


def test_without_a_preferred_quantization_something_is_chosen_and_without_a_model_nothing():
    assert choose(variants(repo("odd.gguf"))).name == "odd"
    with pytest.raises(ChoiceError, match="no complete GGUF"):
        choose(variants(repo("mmproj.gguf")))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(alphabet="aQ4_K-M0.1of/gu\x00é ", max_size=40), max_size=8), st.text(max_size=20))
def test_any_names_are_grouped_and_chosen_from_without_surprise(paths: list[str], wanted: str):
    there = variants(repo(*(path + ".gguf" for path in paths)))
    assert sum(len(each.files) for each in there) <= len(paths)
    try:
        chosen = choose(there, wanted)
    except ChoiceError as error:
        assert error.line().isprintable()  # noqa: PT017 - both outcomes are right
    else:
        assert chosen in there
