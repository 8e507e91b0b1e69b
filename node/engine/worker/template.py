"""Renders a GGUF's own chat template: a Jinja program by a stranger, so it runs in a sandbox with bounds.

Bounded are its processor time, its memory (on Linux), its output, and the operators that make much out of little.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import resource
import signal
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, NoReturn

import jinja2
import jinja2.meta
import jinja2.nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from node.engine.protocol import OVERTIME_SIGNAL, EngineError, LoadError
from node.engine.thinking.derive import derive_form
from node.engine.thinking.form import ThinkingForm
from node.models.model_error import printable

MAX_TEMPLATE_CHARS = 512 * 1024
MAX_PROMPT_CHARS = 16 * 1024 * 1024
MAX_REPEATED = 1 << 20

# For base models, which have no template: they continue a text, and know no turns.
COMPLETION_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


@dataclass(frozen=True, slots=True)
class TemplateLimits:
    """What reading or rendering a template may take."""

    cpu_s: float = 2.0
    hard_cpu_s: float = 10.0
    """For one call into Python's own code, such as to compare two lists: that isn't interrupted, and the process ends
    by `OVERTIME_SIGNAL`."""
    memory_bytes: int = 512 * 1024 * 1024
    """Beyond what the process had before; held on Linux."""
    platform: str = sys.platform


DEFAULT_LIMITS = TemplateLimits()


class _TemplateTimeoutError(Exception):
    """A template ran for too long."""


class _TemplateRefusalError(Exception):
    """A template called ``raise_exception``."""


class _GenerationTag(Extension):
    """Lets ``{% generation %}`` blocks, which mark training data, through as they are."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

    def parse(self, parser: Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"**", "*"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            raise SecurityError("powers are not allowed in a chat template")
        for many, times in ((left, right), (right, left)):
            repeats = isinstance(many, str | bytes | list | tuple) and isinstance(times, int)
            if repeats and len(many) * times > MAX_REPEATED:
                raise SecurityError("a chat template may not repeat that much")
        return super().call_binop(context, operator, left, right)


class ChatTemplate:
    """A compiled chat template.

    Args:
        source: The Jinja text, or None for a model without one.
        bos: Text of the token that begins a sequence.
        eos: Text of the token that ends one.
        limits: What reading or rendering it may take.

    Raises:
        LoadError: If it is too long or no valid template.
    """

    def __init__(
        self, source: str | None, *, bos: str = "", eos: str = "", limits: TemplateLimits = DEFAULT_LIMITS
    ) -> None:
        self._limits = limits
        text = COMPLETION_TEMPLATE if source is None else source
        if len(text) > MAX_TEMPLATE_CHARS:
            raise LoadError("The model's chat template is too long.", fix="Choose another model.")
        sandbox = _Sandbox(
            loader=None, trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols], cache_size=0
        )
        sandbox.filters["tojson"] = _to_json
        try:
            with _bounded(self._limits):
                self._template = sandbox.from_string(text)
                self.reads = frozenset(jinja2.meta.find_undeclared_variables(sandbox.parse(text)))
                """Names that it takes from outside."""
        except Exception as error:  # Python's compiler refuses some templates that Jinja takes
            reason = printable(str(error)) or "it takes too much time or memory"
            raise LoadError(
                f"The model's chat template can't be read: {reason}.", fix="Choose another model."
            ) from error
        self._source = source
        self._names = {
            "bos_token": bos,
            "eos_token": eos,
            "raise_exception": _refuse,
            "strftime_now": _Now(),
            "tools": None,
        }
        self.no_tools = sandbox.undefined(name="tools")
        """A value for ``tools`` that the template takes for no value at all."""

    @property
    def completes(self) -> bool:
        """Whether the model's file has no template: then a conversation is a text to continue."""
        return self._source is None

    def render(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        begins: bool = True,
        names: Mapping[str, Any] | None = None,
    ) -> str:
        """The conversation as the model was trained to read it, up to where its answer begins.

        Args:
            messages: Role and content of each message.
            begins: Whether the answer's beginning follows the last message.
            names: Further names that the template sees, such as ``enable_thinking``.

        Raises:
            EngineError: With code ``bad_request`` if the template refuses the conversation or breaks its bounds.
        """
        try:
            with _bounded(self._limits):
                return self._render(messages, begins=begins, names=names)
        except _TemplateRefusalError as error:
            reason = printable(str(error), 160)
            raise EngineError(
                f"The model's chat template refuses this conversation: {reason}.", code="bad_request"
            ) from error
        except (_TemplateTimeoutError, MemoryError, RecursionError) as error:
            raise EngineError("The model's chat template takes too much time or memory.", code="bad_request") from error
        except Exception as error:  # a template may raise anything that Python can
            reason = printable(f"{type(error).__name__}: {error}", 160)
            raise EngineError(f"The model's chat template failed ({reason}).", code="bad_request") from error

    def thinking(
        self, specials: Collection[str] = (), given: Mapping[str, Any] = MappingProxyType({})
    ) -> ThinkingForm | None:
        """How the model marks its thinking, if it thinks.

        Args:
            specials: Texts of its vocabulary's control and user-defined tokens.
            given: Names that the template must be given so that it can be rendered.
        """
        is_broken = False

        def render(messages: Sequence[Mapping[str, Any]], begins: bool, names: Mapping[str, Any]) -> str | None:
            nonlocal is_broken
            if is_broken:
                return None
            try:
                with _bounded(self._limits):
                    return self._render(messages, begins=begins, names={**given, **names})
            except (_TemplateTimeoutError, MemoryError, RecursionError):
                is_broken = True
            except Exception:  # noqa: S110 - a template may raise anything: then it shows nothing
                pass
            return None

        return derive_form(render, specials=specials, source=self._source or "")

    def _render(
        self, messages: Sequence[Mapping[str, Any]], *, begins: bool = True, names: Mapping[str, Any] | None = None
    ) -> str:
        pieces: list[str] = []
        room = MAX_PROMPT_CHARS
        given = {**dates(), **self._names, **(names or {})}
        for piece in self._template.generate(messages=messages, add_generation_prompt=begins, **given):
            room -= len(piece)
            if room < 0:
                raise MemoryError
            pieces.append(piece)
        return "".join(pieces)


def _refuse(reason: object = "") -> NoReturn:
    raise _TemplateRefusalError(str(reason))


class _Now:
    """``strftime_now`` of a template: called with a form, or written by itself."""

    def __call__(self, form: str = "%Y-%m-%d") -> str:
        return datetime.datetime.now().astimezone().strftime(form[:64])

    def __str__(self) -> str:
        return self()


def dates() -> dict[str, str]:
    """Today, by the names under which templates look for it; without them they name a day of their own."""
    now = _Now()
    return {"date_string": now("%d %b %Y"), "datetime": now("%b %d %Y"), "current_date": now("%Y-%m-%d")}


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    indent = None if indent is None else min(indent, 8)
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@contextlib.contextmanager
def _bounded(limits: TemplateLimits) -> Iterator[None]:
    """Processor time by signals, the first of which only the main thread can take, and memory by a soft limit."""

    def expire(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise _TemplateTimeoutError

    earlier = signal.signal(signal.SIGPROF, expire)
    overtime = signal.signal(OVERTIME_SIGNAL, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, limits.cpu_s)
    signal.setitimer(signal.ITIMER_VIRTUAL, limits.hard_cpu_s)
    try:
        with _limited_memory(limits):
            yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGPROF, earlier)
        signal.signal(OVERTIME_SIGNAL, overtime)


@contextlib.contextmanager
def _limited_memory(limits: TemplateLimits) -> Iterator[None]:
    used = _private_memory_bytes() if limits.platform == "linux" else None
    if used is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = used + limits.memory_bytes
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _private_memory_bytes() -> int | None:
    """What Linux counts against RLIMIT_DATA (`VmData`)."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return None
