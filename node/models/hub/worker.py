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
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

from chain.errors import IdlewattError
from node.models.hub import messages as wire
from node.models.hub.failures import explain, reason, refused, wait_of
from node.models.hub.hub_error import HubError, disk_full
from node.models.hub.token import UNAUTHORIZED, HubToken
from node.models.hub.transfer import BrokenTransferError, ProgressReport, fetch_file, partial_path
from node.models.model_error import printable
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


def _status(error: Exception) -> int:
    return error.response.status_code if isinstance(error, HfHubHTTPError) else 0


def search(request: wire.SearchRepos, token: HubToken) -> wire.SearchResults:
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

    def ask() -> httpx2.Response:
        response = get_session().get(url, params=params, headers=token.headers(), timeout=_LOOKING_S)
        hf_raise_for_status(response)
        return response

    response = token.asking(ask, _status)
    hits = msgspec.json.decode(response.content, type=list[_Hit])[: request.limit]
    with ThreadPoolExecutor(_SEARCHERS) as pool:
        found = tuple(pool.map(lambda hit: _as_found(hit, token), hits))
    return wire.SearchResults(models=found, notice=token.notice)


def _as_found(hit: _Hit, token: HubToken) -> wire.HubModel:
    about = hit.gguf or _Gguf()
    names = [sibling.rfilename[:MAX_NAME_CHARS] for sibling in hit.siblings[:MAX_FILES]]
    there = variants(HubFile(path=name, size_bytes=0) for name in names)
    size, label = 0, ""
    with contextlib.suppress(IdlewattError, HfHubHTTPError, httpx2.HTTPError, HFValidationError):
        if there:
            chosen = choose(variants(list_files(wire.ListFiles(repo=hit.id), token).files))
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


def list_files(request: wire.ListFiles, token: HubToken) -> wire.RepoFiles:
    """The GGUF files of a repository with sizes and digests, all of one commit."""
    info = token.asking(
        lambda: HfApi(token=token.sent()).model_info(request.repo, files_metadata=True, timeout=_LOOKING_S), _status
    )
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
        notice=token.notice,
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
            raise BrokenTransferError(reason(error)) from None


def opener(repo: str, commit: str, token: HubToken) -> Any:
    """How ``fetch_file`` reaches this commit's files, with the person's token and endpoint."""

    @contextmanager
    def open_at(path: str, offset: int) -> Iterator[Ranged]:
        headers = {**token.headers(), "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        timeout = httpx2.Timeout(constants.HF_HUB_DOWNLOAD_TIMEOUT, connect=_CONNECT_S)
        url = hf_hub_url(repo, path, revision=commit)
        try:
            session = get_session()
            response = session.send(session.build_request("GET", url, headers=headers, timeout=timeout), stream=True)
        except httpx2.HTTPError as error:
            raise BrokenTransferError(reason(error)) from None
        with contextlib.closing(response):
            if offset and response.status_code == 416:
                with open_at(path, 0) as from_the_start:
                    yield from_the_start
                return
            _check(response, repo, token)
            yield Ranged(response, _start(response, offset))

    return open_at


def _check(response: httpx2.Response, repo: str, token: HubToken) -> None:
    """Raise what an answer that brings no bytes of the file means."""
    status, host = response.status_code, response.url.host
    if status in _PATIENCE:
        raise BrokenTransferError(f"{host} answered {status}", _retry_after_s(response))
    if status >= 400 and response.history:
        # The hub sent us on to another server with an address that is good for some minutes: it gives a new one.
        raise BrokenTransferError(f"{host}, to which the hub sends for its files, answered {status}")
    if status == UNAUTHORIZED and token.source:
        token.drop_refused()
        raise BrokenTransferError(f"{host} refused the token")
    if status not in {200, 206}:
        raise refused(response, repo, token=token.source, dropped=token.notice, pulling=True)
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise BrokenTransferError(f"{host} answered with a web page, as a network does that wants a login first")


def _start(response: httpx2.Response, offset: int) -> int:
    """Where the answer begins: a server that knows no ranges sends everything."""
    if response.status_code != 206:
        return 0
    told = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    if told != str(offset):
        raise BrokenTransferError("the server sent another part than asked for")
    return offset


def _retry_after_s(response: httpx2.Response) -> float:
    return min(MAX_RETRY_AFTER_S, max(1.0, float(wait_of(response))))


def fetch(request: wire.Fetch, output: Output, token: HubToken) -> wire.Fetched:
    """Bring all files; says how far it is a few times a second."""
    folder = Path(os.fsdecode(request.folder))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_room(request, folder)
    progress = _Progress(output, sum(file.size_bytes for file in request.files))
    open_at = opener(request.repo, request.commit, token)
    for file in request.files:
        progress.begin(file)
        fetch_file(file, folder, open_at, ProgressReport(progress.arrived, progress.checking))
        progress.end(file)
    return wire.Fetched()


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


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> None:
    """Do what the first line asks for."""
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    request = msgspec.json.decode(sys.stdin.buffer.readline(), type=wire.HubRequest)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    output, token = Output(), None
    folder = printable(os.fsdecode(request.folder), 200) if isinstance(request, wire.Fetch) else ""
    repo = request.repo if isinstance(request, wire.ListFiles | wire.Fetch) else ""
    try:
        token = HubToken()
        match request:
            case wire.SearchRepos():
                output.say(search(request, token))
            case wire.ListFiles():
                output.say(list_files(request, token))
            case wire.Forget():
                output.say(forget(request))
            case wire.Fetch():
                output.say(fetch(request, output, token))
    except BrokenPipeError:
        os._exit(1)
    except Exception as error:
        sent, dropped = (token.source, token.notice) if token is not None else ("", "")
        output.say(explain(error, repo, token=sent, dropped=dropped, folder=folder))
    os._exit(0)


if __name__ == "__main__":
    main()
