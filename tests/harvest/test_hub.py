"""Failures on the way to the model hub, with a hub that misbehaves: each blames the right thing and says what to do."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from app.cli import run
from node.models.hub.failures import explain, refused, unreached
from node.models.hub.hub_error import HubError, disk_error
from node.models.pull import pulling, search
from node.values.models import PullChosen, PullDone, PullEvent
from tests.node.engine.tiny import write_tiny
from tests.node.models.fake_hub import Hub, running
from tests.node.models.socks_proxy import running_proxy
from tests.node.models.test_pull import stalled

REPO, FILE = "some/Thing-7B-GGUF", "thing-7b-Q4_K_M.gguf"
STALE = "hf_a_token_that_was_revoked"
CERTIFICATES = Path(__file__).parents[1] / "node" / "models" / "certificates"
SETTINGS = (
    "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_HUB_DOWNLOAD_TIMEOUT", "SSL_CERT_FILE",
    "SSL_CERT_DIR", "NO_PROXY", "no_proxy",
    *(f"{kind}_PROXY" for kind in ("HTTP", "HTTPS", "ALL")), *(f"{kind}_proxy" for kind in ("http", "https", "all")),
)  # fmt: skip


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No token, cache or proxy of whoever runs the tests."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HOME", str(tmp_path / "user"))


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny.gguf").read_bytes()


@pytest.fixture
async def hub(monkeypatch: pytest.MonkeyPatch, content: bytes) -> AsyncIterator[Hub]:
    async with running(Hub(files={REPO: {FILE: content}})) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


async def pulled(models: Path, spec: str = REPO) -> list[PullEvent]:
    async with pulling(spec, models) as events:
        return [event async for event in events]


async def failure(models: Path, spec: str = REPO) -> HubError:
    with pytest.raises(HubError) as error:
        await pulled(models, spec)
    assert error.value.fix
    assert error.value.line().isprintable()
    assert STALE not in error.value.line()
    return error.value


# -- tokens --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["HF_TOKEN", "file"])
async def test_a_token_that_expired_is_dropped_where_none_is_needed_and_said(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
):
    """Public models could not be pulled because of a forgotten token (huggingface/huggingface_hub#2847)."""
    if place == "file":
        (tmp_path / "hf").mkdir()
        (tmp_path / "hf" / "token").write_text(STALE + "\n")
    else:
        monkeypatch.setenv(place, STALE)
    hub.refused_tokens = {STALE}
    chosen, *_, done = await pulled(tmp_path / "models")
    assert isinstance(chosen, PullChosen)
    assert "is not valid any more" in chosen.notice
    assert (place if place != "file" else "hf/token") in chosen.notice
    assert isinstance(done, PullDone)
    assert STALE not in chosen.notice
    told: list[str] = []
    assert await search("Thing", on_notice=told.append)
    assert told == [chosen.notice]


async def test_the_command_says_on_stderr_that_a_token_was_dropped(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A token that was dropped silently stays wrong until a gated model fails."""
    monkeypatch.setenv("HF_TOKEN", STALE)
    monkeypatch.setenv("IDLEWATT_HOME", str(tmp_path))
    hub.refused_tokens = {STALE}
    assert await asyncio.to_thread(run, ["models", "search", "Thing"]) == 0
    shown = capsys.readouterr()
    assert "The hub's token in HF_TOKEN is not valid any more" in shown.err
    assert REPO in shown.out


async def test_where_a_token_is_needed_an_expired_one_is_blamed(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """ "Repository not found" was the answer to an expired token (huggingface/huggingface_hub#1124)."""
    monkeypatch.setenv("HF_TOKEN", STALE)
    hub.refused_tokens = {STALE}
    error = await failure(tmp_path, "some/other")
    assert error.code == "unknown_repo"
    assert "The hub's token in HF_TOKEN is not valid any more" in error.message
    hub.is_gated = True
    error = await failure(tmp_path)
    assert error.code == "gated_repo"
    assert "The hub's token in HF_TOKEN is not valid any more" in error.message


@pytest.mark.parametrize("token", ["hf_ünicode", "two words", "hf_bell\x07"])
async def test_a_token_that_can_not_be_sent_is_dropped_and_said(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str
):
    """A token that was copied with a stray character ended in a traceback about headers."""
    monkeypatch.setenv("HF_TOKEN", token)
    chosen, *_ = await pulled(tmp_path / "models")
    assert isinstance(chosen, PullChosen)
    assert "holds characters that no token has" in chosen.notice
    assert hub.tokens == set()


async def test_a_stored_token_that_can_not_be_read_is_said_and_not_needed(hub: Hub, tmp_path: Path):
    """A folder, or another user's file, in the token's place was "the disk refuses"."""
    (tmp_path / "hf" / "token").mkdir(parents=True)
    chosen, *_ = await pulled(tmp_path / "models")
    assert isinstance(chosen, PullChosen)
    assert "can't be read (IsADirectoryError)" in chosen.notice


async def test_a_gated_repository_is_told_with_the_page_on_which_its_licence_is_accepted(hub: Hub, tmp_path: Path):
    """ "401" didn't say that a licence waits to be accepted, nor where (janhq/jan#6861)."""
    hub.is_gated = True
    error = await failure(tmp_path)
    assert error.code == "gated_repo"
    assert f"Accept the licence on {hub.url}/{REPO}" in error.fix


# -- proxies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_a_socks_proxy_is_used(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str):
    """With ALL_PROXY=socks5://… every request failed: the package for it was missing (lfnovo/open-notebook#48)."""
    async with running_proxy() as proxy:
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://{proxy.address}")
        assert isinstance((await pulled(tmp_path))[-1], PullDone)
    assert set(proxy.connected) == {hub.url.removeprefix("http://")}


async def test_a_proxy_that_refuses_or_is_away_is_blamed_with_its_variable_and_without_its_password(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """ "The hub can't be reached" sent people to look at the hub."""
    async with running_proxy(refuses=True) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5://me:secret@{proxy.address}")
        error = await failure(tmp_path)
        assert f"the proxy socks5://{proxy.address} of ALL_PROXY" in error.message
        assert "secret" not in error.line()
    for address in ("socks5://127.0.0.1:1", "http://me:secret@127.0.0.1:1"):
        monkeypatch.setenv("ALL_PROXY", address)
        error = await failure(tmp_path)
        assert "127.0.0.1:1 of ALL_PROXY does not answer" in error.message
        assert error.fix == "Check it, or unset ALL_PROXY."
        assert "secret" not in error.line()


async def test_a_proxy_of_a_kind_that_is_not_known_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """socks4:// ended in "Unknown scheme for proxy URL" and a traceback."""
    monkeypatch.setenv("HTTPS_PROXY", "socks4://127.0.0.1:9")
    error = await failure(tmp_path)
    assert "The proxy in HTTPS_PROXY is of a kind" in error.message
    assert error.code == "hub_unreachable"


# -- names, networks, certificates ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ("http://nothing.invalid", "the name nothing.invalid can't be resolved"),
        ("http://127.0.0.1:1", "127.0.0.1 refuses the connection"),
        ("huggingface", "The address in HF_ENDPOINT can't be used"),
        ("ftp://127.0.0.1", "The address in HF_ENDPOINT can't be used"),
    ],
)
async def test_a_hub_that_is_not_there_is_told_by_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str, says: str
):
    """A missing name, a closed port and a mistyped address were all "ConnectError"."""
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    error = await failure(tmp_path)
    assert says in error.message
    assert error.code == "hub_unreachable"


@pytest.mark.parametrize(
    ("certificate", "trusted", "says", "fix"),
    [
        ("valid", False, "is signed by nobody that this machine trusts", "SSL_CERT_FILE"),
        ("expired", True, "has expired, by this machine's clock (", "Set the clock"),
        ("early", True, "is not valid yet, by this machine's clock (", "Set the clock"),
        ("other_host", True, "that 127.0.0.1 shows is another name's", "login page"),
    ],
)
async def test_a_certificate_is_blamed_for_what_is_wrong_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificate: str, trusted: bool, says: str, fix: str
):
    """A company's proxy and a wrong clock both were "SSL: CERTIFICATE_VERIFY_FAILED" (ollama/ollama#823)."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATES / f"{certificate}.pem")
    async with running(Hub(), tls) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / f"{certificate}.pem"))
        error = await failure(tmp_path)
    assert says in error.message
    assert fix in error.fix
    assert error.code == "hub_unreachable"


async def test_the_certificate_of_a_companys_proxy_can_be_trusted_by_the_variable_that_the_fix_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
):
    """The advice of a message must work as it stands there."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATES / "valid.pem")
    async with running(Hub(files={REPO: {FILE: content}}), tls) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "valid.pem"))
        assert isinstance((await pulled(tmp_path))[-1], PullDone)


async def test_a_server_without_tls_behind_https_is_told(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """WRONG_VERSION_NUMBER told nobody that the address begins with the wrong word."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url.replace("http://", "https://"))
    error = await failure(tmp_path)
    assert "speaks no TLS" in error.message
    assert "https://" in error.fix


async def test_what_answers_with_a_web_page_is_not_the_hub(hub: Hub, tmp_path: Path):
    """The login page of a hotel's network was "the hub's answer can't be understood"."""
    hub.api_page = "<!doctype html><title>Welcome to the hotel</title>"
    error = await failure(tmp_path)
    assert "What answers is not the hub" in error.message
    assert "log in first" in error.fix
    with pytest.raises(HubError, match="is not the hub"):
        await search("Thing")


def test_an_installation_that_reaches_no_socks_proxy_says_what_it_lacks():
    """An environment of before the dependency: "the hub's answer can't be understood (Import)"."""
    missing = ImportError("Using SOCKS proxy, but the 'socksio' package is not installed.")
    told = explain(missing, repo="")
    assert "socksio" in told.message
    assert told.code == "hub_unreachable"


async def test_an_answer_of_another_form_is_not_called_a_web_page(hub: Hub, tmp_path: Path):
    """JSON of a company's mirror was called no JSON, and a login page was looked for."""
    hub.api_page = '[{"id": 5}]'
    with pytest.raises(HubError, match="its JSON has another form"):
        await search("Thing")


@pytest.mark.parametrize("elsewhere", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
async def test_a_hub_that_sends_on_to_no_web_address_is_blamed_itself(monkeypatch: pytest.MonkeyPatch, elsewhere: str):
    """The person's setting was blamed for an address that a server had sent, also where there was no setting."""

    async def send_on(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": elsewhere})

    app = web.Application()
    app.router.add_get("/{path:.*}", send_on)
    async with TestServer(app) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.port}")
        with pytest.raises(HubError, match=r"127\.0\.0\.1 sends on to no web address"):
            await search("Thing")


@pytest.mark.parametrize("address", ["", "foo", "http://", "file:///x", "ftp://x"])
async def test_an_address_of_a_hub_that_is_none_is_blamed(monkeypatch: pytest.MonkeyPatch, address: str):
    """What a person mistyped is named by its variable."""
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(HubError, match="The address in HF_ENDPOINT can't be used"):
        await search("Thing")


async def test_a_setting_of_the_hubs_library_that_is_no_number_is_blamed(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A mistyped variable ended the process that downloads, and "try again" was the advice."""
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "ten")
    error = await failure(tmp_path)
    assert "The hub's client library can't be loaded (ValueError: " in error.message
    assert "'ten'" in error.message
    assert "HF_" in error.fix


def test_a_hub_that_does_not_answer_in_time_and_a_network_that_is_away_are_told():
    """Both were the name of a class of exceptions."""
    request = httpx2.Request("GET", "https://hub.example/api")
    assert "hub.example didn't answer in time" in unreached(httpx2.ReadTimeout("x", request=request)).message
    away = httpx2.ConnectError("x", request=request)
    away.__cause__ = OSError(errno.ENETUNREACH, "Network is unreachable")
    assert "there is no network on which hub.example can be reached" in unreached(away).message
    garbage = httpx2.RemoteProtocolError("x", request=request)
    assert "hub.example sends what is no HTTP answer" in unreached(garbage).message


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "45"}, "Wait 45 s"),
        ({"RateLimit": '"api";r=0;t=290'}, "Wait 5 min"),
        ({"RateLimit": '"api";r=7;t=290'}, "Wait a few minutes"),
        ({"Retry-After": "²"}, "Wait a few minutes"),
        ({"Retry-After": "9" * 400}, "Wait 1440 min"),
        ({}, "Wait a few minutes"),
    ],
    ids=str,
)
def test_a_hub_that_asks_for_patience_says_how_long(headers: dict[str, str], wait: str):
    """ "429" without a time made people try again at once (huggingface/huggingface_hub#3377)."""
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    response = httpx2.Response(429, headers=raw, request=httpx2.Request("GET", "https://hub.example/api"))
    error = refused(response, REPO)
    assert error.code == "hub_rate_limited"
    assert error.fix.startswith(wait)


@pytest.mark.parametrize(
    ("status", "headers", "says"),
    [
        (503, {}, "The hub has trouble itself: it answers 503."),
        (451, {}, "may not give this out where you are"),
        (403, {"X-Error-Message": "Access to this resource is disabled."}, "has disabled some/Thing"),
        (403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "… fine-grained token settings"}, "may not read gated"),
        (407, {}, "wants a name and a password"),
        (418, {}, "The hub answers 418."),
    ],
    ids=str,
)
def test_each_refusal_is_told_as_what_it_is(status: int, headers: dict[str, str], says: str):
    """All of these were "the hub refuses it to you: accept the licence"."""
    raw = {name: value.encode() for name, value in headers.items()}
    response = httpx2.Response(status, headers=raw, request=httpx2.Request("GET", "https://hub.example/api"))
    error = refused(response, REPO, token="HF_TOKEN")
    assert says in error.message
    assert error.fix


async def test_a_repository_that_changes_during_a_pull_is_not_blamed_on_its_spelling(hub: Hub, tmp_path: Path):
    """An owner replaced the files between the listing and the download: "the hub has no such repository"."""
    async with pulling(REPO, tmp_path) as events:
        await anext(events)
        hub.commit = "b" * 40
        with pytest.raises(HubError, match="was changed during the pull") as error:
            async for _ in events:
                pass
    assert error.value.fix == "Pull again."
    assert isinstance((await pulled(tmp_path))[-1], PullDone)


async def test_an_address_for_the_bytes_that_expired_is_asked_for_again(hub: Hub, tmp_path: Path):
    """The hub sends on to addresses that are good for an hour; a 403 of theirs was "accept the licence"."""
    hub.blob_statuses = [403, 401]
    assert isinstance((await pulled(tmp_path))[-1], PullDone)


# -- disks and files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [
        (errno.ENOSPC, "disk_full", "is full"),
        (errno.EDQUOT, "disk_full", "quota"),
        (errno.EROFS, "home_unusable", "can't be written to: Read-only file system"),
        (errno.EACCES, "home_unusable", "can't be written to: Permission denied"),
        (errno.EIO, "hub_failed", "The disk refuses: Input/output error"),
    ],
)
def test_a_disk_is_blamed_for_what_it_refuses(number: int, code: str, says: str):
    """A full quota and a read-only disk were "the hub failed"."""
    error = disk_error(OSError(number, os.strerror(number)), "/home/me/models")
    assert error.code == code
    assert says in error.message
    assert "/home/me/models" in error.line()
    assert explain(OSError(number, "x"), REPO, folder="/home/me/models").code == code


async def test_a_folder_that_can_not_be_made_is_named(hub: Hub, tmp_path: Path):
    """A file in the place of the owner's folder was an error without a path."""
    (tmp_path / "some").write_text("a file")
    error = await failure(tmp_path)
    assert str(tmp_path / "some") in error.line()


async def test_what_an_earlier_run_left_damaged_is_fetched_anew_once(hub: Hub, tmp_path: Path, content: bytes):
    """A part that was damaged on the disk was resumed, found wrong and thrown away, after hours."""
    async with stalled(hub, tmp_path, 200_000) as part:
        pass
    with part.open("r+b") as file:
        file.write(b"damaged")
    assert isinstance((await pulled(tmp_path))[-1], PullDone)
    assert (tmp_path / REPO / FILE).read_bytes() == content


async def test_a_home_whose_name_is_not_utf_8_takes_models(hub: Hub, tmp_path: Path, content: bytes):
    """The folder's name could not be told to the process that downloads."""
    models = tmp_path / "mod\udce8les"
    assert isinstance((await pulled(models))[-1], PullDone)
    assert (models / REPO / FILE).read_bytes() == content
