"""``idlewatt chat``: asks a model on a provider's machine, paid by the token."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence

import click
import msgspec

from app.asking import Heard, answered
from app.cli.common import as_coroutine, chain_option, emit, home_option, json_option, note, relay_option, speed_said
from app.cli.dollars import Dollars
from app.cli.node_access import any_node, configured, tell_clock, unlocked_wallet
from app.cli.stdout import AnswerOutput
from app.cli.terminal_input import typed_line
from app.streams import argument_text, read_text, say
from chain.errors import IdlewattError, UsageError
from node.api import NodeApi
from node.values import (
    AnswerEnding,
    AnswerLimit,
    ChatDelta,
    ChatDone,
    ChatEvent,
    ChatFailed,
    ChatMessage,
    ChatQuote,
    ChatStage,
    ChatTurn,
    Sampling,
    TemplateOptions,
    format_usd,
)
from node.values.text import TextDrawing, plain

MAX_PROMPT_BYTES = 1_000_000
MAX_LINE_CHARS = 400
LONGER: dict[AnswerLimit, str] = {
    "max_tokens": "--max-tokens allows more.",
    "max_spend": "--max-spend allows more.",
    "answer_budget": "--max-spend allows more.",
    "deposit": "A wallet with more money tops the channel up.",
    "context": "Start a new conversation, or choose an offer with more context.",
}
"""What to do about an answer that was cut."""


@click.command(
    "chat",
    help="Ask a model on somebody's machine, paying by the token. Without PROMPT it holds a conversation at a "
    "terminal, or reads one question from a pipe.",
)
@click.argument("prompt", required=False)
@home_option
@relay_option
@chain_option
@click.option("--model", default="", help="The model's name; the best offer when absent.")
@click.option("--offer", default="", help="A particular offer, from `idlewatt market`.")
@click.option("--max-spend", type=Dollars(), help="Never pay more than this for the answer, in dollars.")
@click.option(
    "--max-tokens",
    type=click.IntRange(1, 131_072),
    help="The most tokens of the answer; by default what the model's context, the deposit and --max-spend leave.",
)
@click.option("--temperature", default=0.0, show_default=True, type=click.FloatRange(0, 2))
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="For an answer that can be repeated.")
@click.option(
    "--think/--no-think", default=None, help="Whether a reasoning model should think, if its offer says it can be told."
)
@click.option(
    "--reasoning-effort",
    callback=lambda _context, _option, word: effort(word),
    metavar="WORD",
    help="How much it should think, in the model's own word: low, medium, high, or another one.",
)
@click.option("--show-thinking", is_flag=True, help="Show a reasoning model's thinking too, dim and on stderr.")
@json_option
@as_coroutine
async def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    prompt: str | None,
    home_path: str | None,
    relay: str | None,
    chain: str | None,
    model: str,
    offer: str,
    max_spend: int | None,
    max_tokens: int | None,
    temperature: float,
    seed: int | None,
    think: bool | None,
    reasoning_effort: str | None,
    show_thinking: bool,
    as_json: bool,
) -> None:
    """Ask one question, or hold a conversation at a terminal."""
    home, config = configured(home_path, relay=relay, chain=chain)
    template = ChatTurn(
        messages=(),
        model=argument_text(model),
        offer_id=offer,
        max_tokens=max_tokens,
        max_spend_nano=max_spend,
        sampling=Sampling(temperature=temperature, seed=seed),
        template_options=TemplateOptions(enable_thinking=think, reasoning_effort=reasoning_effort),
    )
    is_conversation = prompt is None and sys.stdin.isatty()
    question = "" if is_conversation else _question(prompt)
    async with any_node(home, config) as node:
        await unlocked_wallet(node, config)

        async def answer_to(messages: Sequence[ChatMessage]) -> str:
            turn = msgspec.structs.replace(template, messages=tuple(messages))
            try:
                return await ask(node, turn, as_json=as_json, show_thinking=show_thinking)
            finally:
                # Also where nobody answered, which a wrong clock may be why; once is enough for a conversation.
                if len(messages) == 1:
                    tell_clock(node)

        if is_conversation:
            await converse(lambda: typed_line("you"), answer_to)
        else:
            await answer_to([ChatMessage("user", question)])


def effort(word: str | None) -> str | None:
    """A word for how much to think, in the form that requests carry.

    Raises:
        BadParameter: If it has another form.
    """
    try:
        options = msgspec.convert({"reasoning_effort": word}, TemplateOptions)
    except msgspec.ValidationError:
        raise click.BadParameter("Write one word of up to 16 small letters, for instance low.") from None
    return options.reasoning_effort


async def converse(
    next_line: Callable[[], Awaitable[str | None]], answer_to: Callable[[Sequence[ChatMessage]], Awaitable[str]]
) -> None:
    """Hold a conversation. A question that fails leaves it as it was, and an empty line asks the same again.

    Args:
        next_line: What the person types next; ``None`` when there is no more.
        answer_to: Asks for the answer to a conversation, and shows it.
    """
    history: list[ChatMessage] = []
    unanswered = ""
    while (line := await next_line()) is not None:
        text = line if line.strip() else unanswered
        if not text:
            continue
        asked = [*history, ChatMessage("user", text)]
        try:
            answer = await answer_to(asked)
        except IdlewattError as error:
            unanswered = text
            note(f"idlewatt: {plain(error.line(), MAX_LINE_CHARS)}")
            note("· The conversation is kept. Press enter to ask the same again, or write another question.")
        else:
            # A model is shown no turn that it never took.
            is_empty = not answer.strip()
            history, unanswered = (history, text) if is_empty else ([*asked, ChatMessage("assistant", answer)], "")


def _question(prompt: str | None) -> str:
    """The question from the command line, or from standard input.

    Raises:
        UsageError: If there is none, or it is too long.
    """
    text = argument_text(prompt) if prompt is not None else read_text("The question", MAX_PROMPT_BYTES)
    if not text.strip():
        raise UsageError("There is no question.", fix='Write one: idlewatt chat "What is 17 + 25?"')
    size = len(text.encode())
    if size > MAX_PROMPT_BYTES:
        raise UsageError(
            f"The question has {size:,} bytes; it was not sent.", fix=f"Keep it within {MAX_PROMPT_BYTES:,} bytes."
        )
    return text


async def ask(node: NodeApi, turn: ChatTurn, *, as_json: bool, show_thinking: bool = False) -> str:
    """Ask one turn: text to stdout as it comes, facts to stderr; or one JSON object at the end.

    The text is the model's own, also in the JSON and in what is returned; only a terminal gets it neutralized.
    A reasoning model's thinking is never on stdout: it is no part of the answer, and of no later question.

    Raises:
        IdlewattError: If the answer failed; what was delivered has been printed, and paid.
    """
    heard, telling = Heard(), _Telling(show_thinking)
    try:
        await answered(node, turn, (lambda _event: None) if as_json else telling, heard)
    except (IdlewattError, asyncio.CancelledError) as error:
        if as_json and heard.output_tokens:
            emit(_facts(heard, error), as_json=True, text="")
        elif isinstance(error, asyncio.CancelledError) and heard.output_tokens:
            telling.end()
            note(f"· {heard.ending.words} {format_usd(heard.spent_nano)} is paid for what came.")
        raise
    if as_json:
        emit(_facts(heard), as_json=True, text="")
    elif heard.ending.words:
        note(f"· {told(heard.ending)}")
    return heard.text


def told(ending: AnswerEnding) -> str:
    """Why an answer is not whole and what to do about it; empty if it is whole."""
    fix = LONGER[ending.limited_by] if ending.limited_by is not None else ""
    return f"{ending.words} {fix}".rstrip()


def _facts(heard: Heard, error: BaseException | None = None) -> dict[str, object]:
    """An answer as JSON tells it, also one that broke off: what came of it is paid."""
    facts: dict[str, object] = {
        "answer": heard.text,
        "finish_reason": heard.ending.reason,
        "quote": heard.quote,
        "done": heard.done,
    }
    if heard.output != heard.text:
        facts |= {"thinking": heard.thinking, "output": heard.output}
    if isinstance(error, IdlewattError):
        facts["error"] = {"code": error.wire_code, "message": error.message, "fix": error.fix}
    return facts


class _Telling:
    """Shows an answer as it comes: its text on stdout, the facts on stderr."""

    def __init__(self, show_thinking: bool) -> None:
        self._show_thinking = show_thinking
        self._thinks = False
        self._begun = False
        self._output = AnswerOutput()
        self._thinking = TextDrawing(tab="\t")

    def __call__(self, event: ChatEvent) -> None:
        match event:
            case ChatStage():
                note(f"· {plain(event.detail, MAX_LINE_CHARS)}")
            case ChatQuote():
                note(
                    f"· {plain(event.model, MAX_LINE_CHARS)}: {event.input_tokens} tokens in, "
                    f"at most {event.max_output_tokens} out, at most {format_usd(event.ceiling_nano)}"
                )
            case ChatDelta(text=""):
                pass
            case ChatDelta(thinking=True):
                if event.text:
                    self._think(event.text)
            case ChatDelta():
                if self._thinks and self._show_thinking and not self._begun:
                    say("")
                self._begun = True
                self._output.write(event.text)
            case ChatDone():
                self.end()
                thought = f" ({event.thinking_tokens} of it thinking)" if event.thinking_tokens else ""
                note(
                    f"· {event.input_tokens} in + {event.output_tokens} out{thought} "
                    f"for {format_usd(event.cost_nano)}{speed_said(', ', event.tokens_per_s)}, "
                    f"first token after {event.ttft_ms:.0f} ms, "
                    f"{format_usd(event.deposit_left_nano)} left in the channel; receipt {event.receipt.sequence} "
                    "signed"
                )
            case ChatFailed() if self._begun:
                self.end()  # the command ends with a line of its own
            case _:
                pass

    def end(self) -> None:
        """The answer is over."""
        self._output.end()

    def _think(self, text: str) -> None:
        if self._show_thinking:
            say(click.style(self._thinking.feed(text), dim=True), end="")
        elif not self._thinks:
            note("· it thinks; --show-thinking shows what")
        self._thinks = True
