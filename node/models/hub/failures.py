"""Says of anything that can go wrong with the hub what it was, who is to blame, and what to do about it.

Nothing that a server wrote is repeated: its words are compared, and told in ours.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import ssl
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import httpx2
import msgspec
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

from node.models.hub import messages as wire
from node.models.hub.hub_error import HubError, disk_error, gated_fix

MAX_WAIT_S: Final = 24 * 3600
_EXPIRED, _NOT_YET = 10, 9
_WRONG_HOST: Final = frozenset({62, 64})
_UNKNOWN_ISSUER: Final = frozenset({2, 18, 19, 20, 21, 27})
"""OpenSSL's X509_V_ERR_… numbers: no issuer, self-signed, or an issuer that isn't trusted."""
_WEB: Final = frozenset({"http", "https"})
_RETRYABLE_UNREACHED: Final = "Check the connection, and HF_ENDPOINT if you set it."


# -- what the hub refuses ------------------------------------------------------------------------------------------


def refused(
    response: httpx2.Response, repo: str, *, token: str = "", dropped: str = "", pulling: bool = False
) -> HubError:
    """What a hub's refusal means, and what to do.

    Args:
        response: The refusal.
        repo: The repository that was asked for; empty for a search.
        token: Where the token that was sent comes from; empty if none was.
        dropped: What was wrong with a token that was not sent again.
        pulling: Whether the repository's files were listed before: then it was there.
    """
    status, code = response.status_code, response.headers.get("X-Error-Code", "")
    said = response.headers.get("X-Error-Message", "")
    what = repo or "this search"
    if dropped and status in {401, 403}:
        return HubError(
            f"The hub doesn't let you see {what} ({status}). {dropped.partition('. ')[0]}.",
            code="unknown_repo" if code == "RepoNotFound" else "gated_repo",
            fix="Set HF_TOKEN to a new token, and check the spelling.",
        )
    if code == "GatedRepo":
        if "fine-grained" in said:
            return HubError(
                f"{repo} is gated, and the token in {token or 'use'} may not read gated repositories.",
                code="gated_repo",
                fix="Allow that in the token's settings on the hub.",
            )
        return HubError(
            f"{repo} is gated: its owner lets in who accepted its terms.",
            code="gated_repo",
            fix=_gated_fix(repo, token),
        )
    if "disabled" in said and status == 403:
        return HubError(f"The hub has disabled {what}.", fix="Choose another repository.")
    if status in {401, 403} and code != "RepoNotFound":
        return HubError(f"The hub refuses {what} to you ({status}).", code="gated_repo", fix=_gated_fix(repo, token))
    if status == 404 and pulling:
        return HubError(
            f"The hub has this version of {repo} no more: it was changed during the pull.",
            code="unknown_repo",
            fix="Pull again.",
        )
    if status in {401, 404}:
        return HubError(
            f"The hub has no {what} that you may see.",
            code="unknown_repo",
            fix="Check the spelling, or search for it; a private one needs HF_TOKEN.",
        )
    return _other_status(response, token)


def _other_status(response: httpx2.Response, token: str) -> HubError:
    status = response.status_code
    if status == 407:
        return HubError(
            f"{_proxy_words(str(response.request.url))} wants a name and a password (407).",
            code="hub_unreachable",
            fix="Write them into its address: http://NAME:PASSWORD@HOST:PORT.",
        )
    if status == 429:
        wait_s = wait_of(response)
        wait = f"Wait {_duration(wait_s)}" if wait_s else "Wait a few minutes"
        more = "" if token else ", or set HF_TOKEN for a higher limit"
        return HubError("The hub asks for patience: too many requests.", code="hub_rate_limited", fix=f"{wait}{more}.")
    if status == 451:
        return HubError("The hub may not give this out where you are (451).", fix="Choose another repository.")
    if status >= 500:
        return HubError(
            f"The hub has trouble itself: it answers {status}.", fix="Try again later; status.huggingface.co says more."
        )
    return HubError(f"The hub answers {status}.", fix="Try again later.")


def wait_of(response: httpx2.Response) -> int:
    """Seconds that the hub asks to wait for; 0 where it tells none."""
    told = response.headers.get("Retry-After", "")
    if told.isascii() and told.isdecimal():
        return min(MAX_WAIT_S, int(told[:9]))
    limit = parse_ratelimit_headers(response.headers)
    return min(MAX_WAIT_S, limit.reset_in_seconds) if limit is not None and limit.remaining == 0 else 0


def _duration(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{-(-seconds // 60)} min"


def _gated_fix(repo: str, token: str) -> str:
    return gated_fix(f"{constants.ENDPOINT}/{repo}" if repo else "", token)


# -- what keeps the hub from being reached -------------------------------------------------------------------------


def unreached(error: BaseException) -> HubError:
    """What kept a request from being answered: the name, the proxy, the certificate, the clock, or the network."""
    request = getattr(error, "_request", None)
    url = str(request.url) if request is not None else constants.ENDPOINT
    why, fix = _why(error, url)
    return HubError(f"The hub can't be reached: {why}.", code="hub_unreachable", fix=fix)


def reason(error: BaseException) -> str:
    """The same in a few words, for a line that says more."""
    request = getattr(error, "_request", None)
    return _why(error, str(request.url) if request is not None else constants.ENDPOINT)[0]


def _why(error: BaseException, url: str) -> tuple[str, str]:
    host = httpx2.URL(url).host or url
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _certificate(cause, host)
        if isinstance(cause, ssl.SSLError):
            return (
                f"{_through(url, host)} speaks no TLS that is understood here ({cause.reason or 'SSLError'})",
                "Check that https:// is right in HF_ENDPOINT, and http:// in the address of a proxy.",
            )
    proxy = _proxy(url)
    if proxy is not None and isinstance(error, httpx2.ProxyError | httpx2.ConnectError | httpx2.ConnectTimeout):
        denied = "wants other credentials" if "407" in str(error) or "uth" in str(error) else "gives no connection"
        refused_there = isinstance(error, httpx2.ProxyError)
        return (
            f"{_proxy_words(url)} {denied if refused_there else 'does not answer'}",
            f"Check it, or unset {proxy[0]}.",
        )
    for cause in chain:
        if isinstance(cause, socket.gaierror):
            return (
                f"the name {host} can't be resolved",
                "Check that you are online, the DNS of this machine, and HF_ENDPOINT if you set it.",
            )
    if isinstance(error, httpx2.TimeoutException):
        return f"{host} didn't answer in time ({_kind(error)})", _RETRYABLE_UNREACHED
    numbers = {cause.errno for cause in chain if isinstance(cause, OSError)}
    if errno.ECONNREFUSED in numbers:
        return f"{host} refuses the connection", _RETRYABLE_UNREACHED
    if numbers & {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN}:
        return f"there is no network on which {host} can be reached", "Check that you are online."
    if isinstance(error, httpx2.RemoteProtocolError | httpx2.DecodingError):
        return f"{_through(url, host)} sends what is no HTTP answer", _RETRYABLE_UNREACHED
    if isinstance(error, httpx2.TooManyRedirects):
        return f"{_through(url, host)} sends in a circle", _RETRYABLE_UNREACHED
    if isinstance(error, httpx2.UnsupportedProtocol):
        return f"{_through(url, httpx2.URL(constants.ENDPOINT).host)} sends on to no web address", _RETRYABLE_UNREACHED
    return f"the connection to {host} broke off ({_kind(error)})", _RETRYABLE_UNREACHED


def _certificate(error: ssl.SSLCertVerificationError, host: str) -> tuple[str, str]:
    if error.verify_code in {_EXPIRED, _NOT_YET}:
        now = datetime.now().astimezone()
        when = "has expired" if error.verify_code == _EXPIRED else "is not valid yet"
        return (
            f"the certificate of {host} {when}, by this machine's clock ({now:%Y-%m-%d %H:%M %Z})",
            "Set the clock if it is wrong.",
        )
    if error.verify_code in _WRONG_HOST:
        return (
            f"the certificate that {host} shows is another name's",
            "A login page of this network, a proxy, or HF_ENDPOINT may be the reason.",
        )
    if error.verify_code in _UNKNOWN_ISSUER:
        return (
            f"the certificate of {host} is signed by nobody that this machine trusts",
            "Behind a company's proxy, set SSL_CERT_FILE to a file with its CA certificate and the usual ones.",
        )
    return f"the certificate of {host} is refused", "Check the clock, the proxy, and HF_ENDPOINT if you set it."


def _through(url: str, host: str) -> str:
    return f"{host}, or a proxy before it," if _proxy(url) is not None else host


def _proxy(url: str) -> tuple[str, str] | None:
    """The variable that names the proxy for an address, and the proxy, without its name and password."""
    parsed = httpx2.URL(url)
    there = urllib.request.getproxies()
    kind = parsed.scheme if parsed.scheme in there else "all"
    if kind not in there or urllib.request.proxy_bypass(parsed.host):
        return None
    name = next((name for name in (f"{kind}_proxy", f"{kind.upper()}_PROXY") if os.environ.get(name)), f"{kind}_proxy")
    scheme, _, rest = there[kind].rpartition("://")
    return name, f"{scheme + '://' if scheme else ''}{rest.rpartition('@')[2]}"


def _proxy_words(url: str) -> str:
    proxy = _proxy(url)
    return f"the proxy {proxy[1]} of {proxy[0]}" if proxy is not None else "a proxy on the way"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _kind(error: BaseException) -> str:
    return type(error).__name__.removesuffix("Error")


# -- anything ------------------------------------------------------------------------------------------------------


def explain(
    error: BaseException, repo: str, *, token: str = "", dropped: str = "", folder: str = ""
) -> wire.HubFailure:
    """Any failure as what to tell a person.

    Args:
        error: What was raised.
        repo: The repository that was asked for; empty for a search.
        token: Where the token that was sent comes from; empty if none was.
        dropped: What was wrong with a token that was not sent again.
        folder: Where files were written to; empty if nowhere.
    """
    match error:
        case HubError():
            told = error
        case HfHubHTTPError():
            told = refused(error.response, repo, token=token, dropped=dropped)
        case OfflineModeIsEnabled():
            told = HubError("HF_HUB_OFFLINE is set.", code="hub_unreachable", fix="Unset it to reach the hub.")
        case HFValidationError():
            told = HubError("That is no repository's name.", code="unknown_repo", fix="Write it as OWNER/NAME.")
        case httpx2.UnsupportedProtocol() if _was_sent_on(error):
            told = unreached(error)
        case httpx2.UnsupportedProtocol() | httpx2.InvalidURL():
            told = _unusable_address()
        case ValueError() if "proxy URL" in str(error):
            told = _unusable_proxy()
        case ImportError() if "socksio" in str(error):
            told = HubError(
                "The package socksio, through which SOCKS proxies are reached, is not installed.",
                code="hub_unreachable",
                fix="Install Idlewatt anew with its dependencies, or unset the proxy's variable.",
            )
        case httpx2.HTTPError() | ConnectionError() | socket.gaierror() | ssl.SSLError():
            told = unreached(error)
        case OSError():
            told = disk_error(error, folder)
        case MemoryError():
            told = HubError("The hub's answer is too large.", fix="Choose another repository.")
        case msgspec.ValidationError():
            told = HubError(
                "What answers is not the hub: its JSON has another form.",
                code="hub_unreachable",
                fix="Check HF_ENDPOINT and the proxy, if you set them; else update Idlewatt.",
            )
        case json.JSONDecodeError() | msgspec.DecodeError() | UnicodeDecodeError():
            told = HubError(
                "What answers is not the hub: it sends no JSON.",
                code="hub_unreachable",
                fix="Open a web page: this network may ask you to log in first. Check HF_ENDPOINT and the proxy too.",
            )
        case _:
            told = HubError(f"The hub's answer can't be understood ({_kind(error)}).", fix="Try again later.")
    return wire.HubFailure(code=told.code, message=told.message, fix=told.fix)


def _was_sent_on(error: httpx2.UnsupportedProtocol) -> bool:
    """Whether an address that can't be used came from a server, not from this machine's settings."""
    try:
        asked = httpx2.URL(constants.ENDPOINT)
        return asked.scheme in _WEB and bool(asked.host) and error.request.url.scheme not in _WEB
    except (RuntimeError, httpx2.InvalidURL):  # no request was made, or the setting is no address at all
        return False


def _unusable_address() -> HubError:
    proxy = _proxy(constants.ENDPOINT)
    which = "HF_ENDPOINT" + (f" or {proxy[0]}" if proxy else "")
    return HubError(
        f"The address in {which} can't be used.", code="hub_unreachable", fix="Write it as https://HOST, or unset it."
    )


def _unusable_proxy() -> HubError:
    there = urllib.request.getproxies()
    known = ("http://", "https://", "socks5://", "socks5h://")
    kind = next((kind for kind, value in there.items() if kind != "no" and not value.startswith(known)), "all")
    return HubError(
        f"The proxy in {kind.upper()}_PROXY is of a kind that can't be used here.",
        code="hub_unreachable",
        fix="http://, https://, socks5:// and socks5h:// can be used.",
    )
