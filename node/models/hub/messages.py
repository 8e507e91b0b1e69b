"""What the node sends its hub child on standard input, and what comes back on standard output, a JSON line each."""

from __future__ import annotations

import msgspec

from node.models.naming import HubFile


class SearchRepos(msgspec.Struct, frozen=True, kw_only=True, tag="search"):
    """Find GGUF repositories."""

    text: str
    limit: int


class ListFiles(msgspec.Struct, frozen=True, kw_only=True, tag="list"):
    """Say which files a repository has."""

    repo: str


class Fetch(msgspec.Struct, frozen=True, kw_only=True, tag="fetch"):
    """Download files of one commit into a folder."""

    repo: str
    commit: str
    folder: bytes
    """As the system names it: a folder's name need not be UTF-8."""
    files: tuple[HubFile, ...]


class Forget(msgspec.Struct, frozen=True, kw_only=True, tag="forget"):
    """Delete the revisions of the hub's cache that hold a file, if no other model is in them."""

    path: bytes
    cache: bytes


HubRequest = SearchRepos | ListFiles | Fetch | Forget


class HubModel(msgspec.Struct, frozen=True, kw_only=True):
    """One repository found."""

    repo: str
    downloads: int
    likes: int
    parameters: int
    """0 where the hub doesn't report."""
    architecture: str
    context_length: int
    is_gated: bool
    quantizations: tuple[str, ...]
    size_bytes: int
    """Of the file that a pull would choose; 0 where unknown."""
    quantization: str
    """Of that file."""


class SearchResults(msgspec.Struct, frozen=True, kw_only=True, tag="found"):
    """The answer to a search."""

    models: tuple[HubModel, ...]
    notice: str = ""
    """What a person should know beside the answer, such as of a token that the hub refuses."""


class RepoFiles(msgspec.Struct, frozen=True, kw_only=True, tag="listing"):
    """The answer to a list."""

    repo: str
    commit: str
    licence: str
    is_gated: bool
    files: tuple[HubFile, ...]
    notice: str = ""


class Transferred(msgspec.Struct, frozen=True, kw_only=True, tag="transferred"):
    """How far a download is."""

    file: str
    done_bytes: int
    """Of all files, with what an earlier run left behind."""
    total_bytes: int
    fresh_bytes: int
    """Of those, what came over the network in this run."""
    checking: bool = False


class Fetched(msgspec.Struct, frozen=True, kw_only=True, tag="fetched"):
    """All files are there and have the digests that the hub reported."""


class HubFailure(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """It went wrong; what to tell a person."""

    code: str
    message: str
    fix: str


class Forgotten(msgspec.Struct, frozen=True, kw_only=True, tag="forgotten"):
    """It is deleted."""

    freed_bytes: int


HubReply = Forgotten | SearchResults | RepoFiles | Transferred | Fetched | HubFailure
