"""``python -m node.models.hub.worker``: one request on standard input, answers as JSON lines on standard output.

It ends with its parent: when standard input closes, and on Linux by the kernel too.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec
from huggingface_hub import HfApi, constants, get_session, hf_hub_url, scan_cache_dir
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

from chain.errors import IdlewattError
from node.models.hub import messages as wire
from node.models.hub.hub_error import TOKEN_FIX, HubError, disk_full
from node.models.hub.transfer import BrokenTransferError, ProgressReport, fetch_file, partial_path
from node.models.naming import HubFile, choose, is_gguf, may_chat, part_names, variants

MAX_MEMORY_BYTES: Final = 2 << 30
"""A server may send an endless answer; then this process ends, and nothing else."""
MAX_FILES: Final = 4_096
MAX_NAME_CHARS: Final = 512
MAX_RETRY_AFTER_S: Final = 60.0
REPORT_S: Final = 0.2
SPARE_BYTES: Final = 16 << 20
"""Left free on the disk beyond what a pull takes."""
_CONNECT_S: Final = 10.0
_LOOKING_S: Final = 20.0
_SEARCHERS: Final = 6
_PATIENCE: Final = frozenset({408, 429, 500, 502, 503, 504})


class Output:
    """Standard output as lines of replies."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder()

    def say(self, reply: wire.HubReply) -> None:
        """Write one reply; end if the reader is gone."""
        sys.stdout.buffer.write(self._encoder.encode(reply) + b"\n")
        sys.stdout.buffer.flush()


# -- looking -------------------------------------------------------------------------------------------------------


class _Gguf(msgspec.Struct):
    total: int = 0
    architecture: str = ""
    context_length: int = 0


class _Sibling(msgspec.Struct):
    rfilename: str


class _Hit(msgspec.Struct):
    """One repository, as ``/api/models`` describes it."""

    id: str
    downloads: int = 0
    likes: int = 0
    gated: bool | str = False
    gguf: _Gguf | None = None
    siblings: list[_Sibling] = []


def search(request: wire.SearchRepos) -> wire.SearchResults:
    """GGUF repositories by downloads; the size of what a pull would choose is asked for each, several at once.

    Asked directly: the library's own search retries for half a minute where there is no network.
    """
    params = {
        "search": request.text,
        "filter": "gguf",
        "sort": "downloads",
        "direction": "-1",
        "limit": str(request.limit),
        "expand": ["downloads", "likes", "gguf", "gated", "siblings"],
    }
    url = f"{constants.ENDPOINT}/api/models"
    response = get_session().get(url, params=params, headers=build_hf_headers(), timeout=_LOOKING_S)
    hf_raise_for_status(response)
    hits = msgspec.json.decode(response.content, type=list[_Hit])[: request.limit]
    with ThreadPoolExecutor(_SEARCHERS) as pool:
        return wire.SearchResults(models=tuple(pool.map(_as_found, hits)))


def _as_found(hit: _Hit) -> wire.HubModel:
    about = hit.gguf or _Gguf()
    names = [sibling.rfilename[:MAX_NAME_CHARS] for sibling in hit.siblings[:MAX_FILES]]
    there = variants(HubFile(path=name, size_bytes=0) for name in names)
    size, label = 0, ""
    with contextlib.suppress(IdlewattError, HfHubHTTPError, httpx2.HTTPError, HFValidationError):
        if there:
            chosen = choose(variants(list_files(wire.ListFiles(repo=hit.id)).files))
            size, label = chosen.size_bytes, chosen.quantization
    return wire.HubModel(
        repo=hit.id[:MAX_NAME_CHARS],
        downloads=_whole(hit.downloads),
        likes=_whole(hit.likes),
        parameters=_whole(about.total),
        architecture=about.architecture[:80],
        context_length=_whole(about.context_length),
        is_gated=bool(hit.gated),
        quantizations=tuple(dict.fromkeys(each.quantization for each in there if each.quantization)),
        size_bytes=size,
        quantization=label,
    )


def list_files(request: wire.ListFiles) -> wire.RepoFiles:
    """The GGUF files of a repository with sizes and digests, all of one commit."""
    info = HfApi().model_info(request.repo, files_metadata=True, timeout=_LOOKING_S)
    files = []
    for sibling in (info.siblings or [])[:MAX_FILES]:
        if is_gguf(sibling.rfilename):
            digest = sibling.lfs.sha256 if sibling.lfs is not None else ""
            size = sibling.lfs.size if sibling.lfs is not None else sibling.size
            files.append(
                HubFile(path=str(sibling.rfilename)[:MAX_NAME_CHARS], size_bytes=_whole(size), sha256=str(digest)[:64])
            )
    card: Any = info.card_data
    licence = card.get("license") if card is not None else None
    return wire.RepoFiles(
        repo=request.repo,
        commit=str(info.sha or "")[:64],
        licence=licence[:80] if isinstance(licence, str) else "",
        is_gated=bool(info.gated),
        files=tuple(files),
    )


def forget(request: wire.Forget) -> wire.Forgotten:
    """Delete with the library's own strategy, which works by revisions: so not where that would take another model."""
    path, cache = Path(os.fsdecode(request.path)), Path(os.fsdecode(request.cache))
    holding = [
        revision
        for repo in scan_cache_dir(cache).repos
        for revision in repo.revisions
        if any(file.file_path == path for file in revision.files)
    ]
    names = {name for revision in holding for file in revision.files if may_chat(name := file.file_name)}
    if not holding or not names <= set(part_names(path.name)):
        raise HubError(
            "Other models lie in the same revision of the Hugging Face cache.",
            code="not_removable",
            fix="Remove what you don't need with `hf cache`.",
        )
    strategy = scan_cache_dir(cache).delete_revisions(*(revision.commit_hash for revision in holding))
    strategy.execute()
    return wire.Forgotten(freed_bytes=strategy.expected_freed_size)


def _whole(value: object) -> int:
    return min(value, 1 << 60) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


# -- fetching ------------------------------------------------------------------------------------------------------


class Ranged:
    """A server's answer to a ranged request."""

    def __init__(self, response: httpx2.Response, start: int) -> None:
        self._response = response
        self.start = start

    def chunks(self) -> Iterator[bytes]:
        """See ``RangeResponse``."""
        try:
            yield from self._response.iter_bytes()
        except httpx2.HTTPError as error:
            raise BrokenTransferError(_kind(error)) from None


def opener(repo: str, commit: str) -> Any:
    """How ``fetch_file`` reaches this commit's files, with the person's token and endpoint."""

    @contextmanager
    def open_at(path: str, offset: int) -> Iterator[Ranged]:
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        timeout = httpx2.Timeout(constants.HF_HUB_DOWNLOAD_TIMEOUT, connect=_CONNECT_S)
        url = hf_hub_url(repo, path, revision=commit)
        try:
            session = get_session()
            response = session.send(session.build_request("GET", url, headers=headers, timeout=timeout), stream=True)
        except httpx2.HTTPError as error:
            raise BrokenTransferError(_kind(error)) from None
        with contextlib.closing(response):
            if offset and response.status_code == 416:
                with open_at(path, 0) as from_the_start:
                    yield from_the_start
                return
            if response.status_code in _PATIENCE:
                raise BrokenTransferError(f"the server answered {response.status_code}", _retry_after_s(response))
            if response.status_code not in {200, 206}:
                raise refused(response, repo)
            yield Ranged(response, _start(response, offset))

    return open_at


def _start(response: httpx2.Response, offset: int) -> int:
    """Where the answer begins: a server that knows no ranges sends everything."""
    if response.status_code != 206:
        return 0
    told = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    if told != str(offset):
        raise BrokenTransferError("the server sent another part than asked for")
    return offset


def _retry_after_s(response: httpx2.Response) -> float:
    told = response.headers.get("Retry-After", "")
    return min(MAX_RETRY_AFTER_S, max(1.0, float(told))) if told.isdecimal() else 1.0


def fetch(request: wire.Fetch, output: Output) -> wire.Fetched:
    """Bring all files; says how far it is a few times a second."""
    folder = Path(os.fsdecode(request.folder))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_room(request, folder)
    progress = _Progress(output, sum(file.size_bytes for file in request.files))
    open_at = opener(request.repo, request.commit)
    paths = []
    for file in request.files:
        progress.begin(file)
        paths.append(str(fetch_file(file, folder, open_at, ProgressReport(progress.arrived, progress.checking))))
        progress.end(file)
    return wire.Fetched(files=tuple(paths))


def _check_room(request: wire.Fetch, folder: Path) -> None:
    needed = 0
    for file in request.files:
        partial, target = partial_path(folder, file), folder / file.path.rpartition("/")[2]
        if target.is_file() and target.stat().st_size == file.size_bytes:
            continue
        needed += file.size_bytes - (partial.stat().st_size if partial.is_file() else 0)
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    if needed > 0 and needed + SPARE_BYTES > free:
        raise disk_full(str(folder), needed + SPARE_BYTES - free)


class _Progress:
    """Adds files up and reports now and then."""

    def __init__(self, output: Output, total_bytes: int) -> None:
        self._output = output
        self._total = total_bytes
        self._finished = self._here = self._fresh = 0
        self._file = ""
        self._said_at = 0.0

    def begin(self, file: HubFile) -> None:
        self._file, self._here = file.path.rpartition("/")[2], 0
        self._say()

    def end(self, file: HubFile) -> None:
        self._finished += file.size_bytes
        self._here = 0
        self._say()

    def checking(self) -> None:
        self._say(checking=True)

    def arrived(self, here: int, fresh: bool) -> None:
        if fresh:
            self._fresh += max(0, here - self._here)
        self._here = here
        if time.monotonic() - self._said_at >= REPORT_S:
            self._say()

    def _say(self, checking: bool = False) -> None:
        self._said_at = time.monotonic()
        self._output.say(
            wire.Transferred(
                file=self._file,
                done_bytes=self._finished + self._here,
                total_bytes=self._total,
                fresh_bytes=self._fresh,
                checking=checking,
            )
        )


# -- what goes wrong -----------------------------------------------------------------------------------------------


def refused(response: httpx2.Response, repo: str) -> HubError:
    """What a hub's refusal means, and what to do; nothing that the server wrote is repeated."""
    status, code = response.status_code, response.headers.get("X-Error-Code", "")
    if code == "GatedRepo":
        return HubError(f"{repo} is gated: its owner lets in who accepted its terms.", code="gated_repo", fix=TOKEN_FIX)
    if status in {401, 403} and code != "RepoNotFound":
        return HubError(f"The hub refuses {repo} to you ({status}).", code="gated_repo", fix=TOKEN_FIX)
    if status in {401, 404}:
        return HubError(
            f"The hub has no {repo} that you may see.",
            code="unknown_repo",
            fix="Check the spelling, or search for it; a private one needs HF_TOKEN.",
        )
    if status == 429:
        return HubError(
            "The hub asks for patience: too many requests.",
            code="hub_rate_limited",
            fix="Wait a few minutes, or set HF_TOKEN for a higher limit.",
        )
    return HubError(f"The hub answers {status}.", fix="Try again later.")


def _kind(error: BaseException) -> str:
    return type(error).__name__.removesuffix("Error")


def explain(error: BaseException, repo: str) -> wire.HubFailure:
    """Any failure as what to tell a person."""
    match error:
        case HubError():
            told = error
        case HfHubHTTPError():
            told = refused(error.response, repo)
        case OfflineModeIsEnabled():
            told = HubError("HF_HUB_OFFLINE is set.", code="hub_unreachable", fix="Unset it to reach the hub.")
        case HFValidationError():
            told = HubError("That is no repository's name.", code="unknown_repo", fix="Write it as OWNER/NAME.")
        case httpx2.HTTPError() | ConnectionError():
            told = HubError(
                f"The hub can't be reached ({_kind(error)}).",
                code="hub_unreachable",
                fix="Check the connection, and HF_ENDPOINT if you set it.",
            )
        case OSError():
            told = HubError(f"The disk refuses: {error.strerror or _kind(error)}.", fix="Check the models folder.")
        case _:
            told = HubError(f"The hub's answer can't be understood ({_kind(error)}).", fix="Try again later.")
    return wire.HubFailure(code=told.code, message=told.message, fix=told.fix)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> None:
    """Do what the first line asks for."""
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    request = msgspec.json.decode(sys.stdin.buffer.readline(), type=wire.HubRequest)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    output = Output()
    repo = request.repo if isinstance(request, wire.ListFiles | wire.Fetch) else ""
    try:
        match request:
            case wire.SearchRepos():
                output.say(search(request))
            case wire.ListFiles():
                output.say(list_files(request))
            case wire.Forget():
                output.say(forget(request))
            case wire.Fetch():
                output.say(fetch(request, output))
    except BrokenPipeError:
        os._exit(1)
    except Exception as error:
        output.say(explain(error, repo))
    os._exit(0)


if __name__ == "__main__":
    main()
