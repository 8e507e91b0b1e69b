"""A chat template is a stranger's program: it is tried before anybody pays, and its odd answers are told."""

from __future__ import annotations

import asyncio
import datetime
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.home import Home
from chain.devnet import DevnetReady
from node.engine.load_check import LoadChecks
from node.engine.protocol import EngineError, LoadError
from node.engine.worker.abilities import placed, try_template
from node.engine.worker.template import ChatTemplate, TemplateLimits
from node.models.gguf import inspect
from node.relay.server import RelayServer
from node.values import ChatDone, ChatFailed
from node.values.inference import ChatMessage, TemplateOptions
from tests.node.conftest import PASSPHRASE, RunNode
from tests.node.engine.characters import read_by
from tests.node.engine.helpers import answer, ask, engine_of
from tests.node.engine.tiny import CHATML, TURN_END, TURN_START, write_tiny
from tests.node.helpers import ask as ask_node
from tests.node.helpers import turn

SYSTEM = ChatMessage("system", "Be brief.")
USER = ChatMessage("user", "How many?")
ANSWER = ChatMessage("assistant", "Eight")
AGAIN = ChatMessage("user", "And now?")
LOOPS = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"


def prompt(source: str | None, *messages: ChatMessage, options: TemplateOptions | None = None) -> str:
    """What a model with this template reads, if it was tried at load."""
    return read_by(ChatTemplate(source), messages, options or TemplateOptions())


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ raise_exception('Only tools.') }}", "Only tools."),
        ("{# nothing #}", "it renders nothing"),
        ("{{ messages[0]['role'] }}: hello", "it leaves the user's text out"),
        ("{{ messages[1]['content'] }}", "failed"),
        ("{% for t in functions %}{{ t.name }}{% endfor %}{{ missing.part }}", "missing"),
        (
            "{% for i in range(999) %}{{ ('a' * 1000000) | replace('a', 'b' * 500) | length }}{% endfor %}",
            "too much time",
        ),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "too much time"),
    ],
)
def test_a_model_that_no_question_reaches_is_refused_at_load_with_the_reason(source: str, reason: str):
    """Such a model was the cheapest offer, and each buyer opened a deposit before it heard why it has no answer."""
    # Little only where time is what runs out: collecting this process's garbage may take as long.
    cpu_s = 0.2 if reason == "too much time" else 10
    with pytest.raises(LoadError, match="can't render a plain question") as error:
        try_template(ChatTemplate(source, limits=TemplateLimits(cpu_s=cpu_s)))
    assert error.value.code == "model_unusable"
    assert reason in error.value.message


def test_a_template_that_pythons_own_compiler_refuses_is_refused_with_the_reason():
    """A hundred loops in each other ended the worker with an exception, and its owner read nothing of templates."""
    with pytest.raises(LoadError, match=r"can't be read: too many levels of indentation"):
        ChatTemplate("{% for m in messages %}" * 100 + "{{ messages[0]['content'] }}" + "{% endfor %}" * 100)


def test_a_template_that_can_not_be_interrupted_ends_its_process_and_is_named(tmp_path: Path):
    """Two nested lists take 2^60 comparisons in Python's own code, where no signal is seen: the worker hung."""
    nested = (
        "{% set n = namespace(a=[1], b=[1]) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}"
        "{% set n.b = [n.b, n.b] %}{% endfor %}{{ messages[0]['content'] }}{{ n.a == n.b }}"
    )
    path = write_tiny(tmp_path / "nested.gguf", template=nested)
    problem = LoadChecks(timeout_s=240).problem(path, inspect(path))
    assert problem is not None
    assert (problem.code, "chat template takes too much time" in problem.message) == ("model_unusable", True)


async def test_the_owner_reads_why_a_template_was_refused(tmp_path: Path):
    """A model was offered that answers nobody."""
    path = write_tiny(tmp_path / "broken.gguf", template="{{ raise_exception('Ask with tools only') }}")
    with pytest.raises(EngineError, match=r"can't render a plain question.*Ask with tools only"):
        async with engine_of(path, tmp_path / "engine.log"):
            pass


@pytest.mark.parametrize(
    "loop",
    [
        "{% for t in tools %}{{ t.name }}{% endfor %}",
        "{{ tools | length }}",
        "{% if tools is defined %}{{ tools[0] }}{% endif %}",
        "{{ 'Functions: ' + functions }}",
    ],
)
def test_a_template_that_wants_tools_is_served_without_any(loop: str):
    """Templates that loop over absent tools failed on every plain question (NousResearch's, Command R's)."""
    assert prompt(loop + LOOPS, USER).endswith("[user]How many?")


def test_a_template_that_takes_one_question_is_served_for_single_questions():
    """A second turn raised, or left the first one out, in the middle of a paid chat."""
    source = "{% if messages | length > 1 %}{{ raise_exception('One only') }}{% endif %}{{ messages[0]['content'] }}"
    use = try_template(ChatTemplate(source))
    assert "chat" in use.abilities
    assert "turns" not in use.abilities
    assert any("One only" in note for note in use.notes)
    assert prompt(source, USER) == "How many?"
    with pytest.raises(EngineError, match="single questions only"):
        prompt(source, USER, ANSWER, AGAIN)
    # Without a place for it, a system message goes into the question.
    assert prompt(source, SYSTEM, USER) == "Be brief.\n\nHow many?"


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}",
        "{% for m in messages if m['role'] != 'system' %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}",
    ],
    ids=["raises", "drops it"],
)
def test_a_system_message_without_a_place_is_put_before_the_next_question(source: str):
    """Gemma's template refused every chat with a system message; others dropped the message and said nothing."""
    use = try_template(ChatTemplate(source))
    assert "system" in use.abilities
    assert any("no place for a system message" in note for note in use.notes)
    assert prompt(source, SYSTEM, USER) == "[user]Be brief.\n\nHow many?"
    assert prompt(source, SYSTEM, USER, ANSWER, SYSTEM, AGAIN) == (
        "[user]Be brief.\n\nHow many?[assistant]Eight[user]Be brief.\n\nAnd now?"
    )


def test_a_system_message_in_the_middle_is_moved_where_only_the_first_has_a_place():
    """Newer templates raise on a system message that is not the first one."""
    source = (
        "{% for m in messages %}{% if m['role'] == 'system' and not loop.first %}"
        "{{ raise_exception('at the beginning') }}{% endif %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
    )
    assert prompt(source, SYSTEM, USER, ANSWER, SYSTEM, AGAIN) == (
        "[system]Be brief.[user]How many?[assistant]Eight[user]Be brief.\n\nAnd now?"
    )
    assert prompt(source, SYSTEM, SYSTEM, USER) == "[system]Be brief.\n\nBe brief.[user]How many?"


def test_a_system_message_is_not_lost_when_an_answer_is_continued():
    """Mistral's templates put it into the last message, if that is the user's: a prefilled answer lost it."""
    source = (
        "{% for m in messages if m['role'] != 'system' %}[{{ m['role'] }}]"
        "{% if loop.last and m['role'] == 'user' and messages[0]['role'] == 'system' %}{{ messages[0]['content'] }} "
        "{% endif %}{{ m['content'] }}{% endfor %}"
    )
    assert prompt(source, SYSTEM, USER) == "[user]Be brief. How many?"
    assert prompt(source, SYSTEM, USER, ANSWER) == "[user]Be brief.\n\nHow many?[assistant]Eight"


@pytest.mark.parametrize("alone", ["", "{{ messages[0].nothing.at_all }}"])
def test_a_system_message_without_a_question_is_not_lost(alone: str):
    """Templates that put it into the last user's message dropped it where there was none, or refused."""
    source = (
        "{% set users = messages | selectattr('role', 'equalto', 'user') | list %}"
        "{% if not users %}" + alone + "{% endif %}{% for m in messages %}{% if m['role'] != 'system' %}"
        "{% if m == users[-1] and messages[0]['role'] == 'system' %}{{ messages[0]['content'] }} {% endif %}"
        "[{{ m['role'] }}]{{ m['content'] }}{% endif %}{% endfor %}"
    )
    assert prompt(source, SYSTEM) == "[user]Be brief."
    assert prompt(source, SYSTEM, USER) == "Be brief. [user]How many?"
    assert prompt(LOOPS, SYSTEM) == "[system]Be brief."


def test_system_messages_keep_their_order_and_none_is_lost():
    """A merged message must not push another one out."""
    other = ChatMessage("system", "In French.")
    assert placed([SYSTEM, other], "nowhere") == [ChatMessage("user", "Be brief.\n\nIn French.")]
    assert placed([USER, SYSTEM], "nowhere") == [ChatMessage("user", "How many?\n\nBe brief.")]
    assert placed([USER, ANSWER, SYSTEM], "first") == [USER, ANSWER, ChatMessage("user", "Be brief.")]
    assert placed([SYSTEM, USER, SYSTEM, other, AGAIN], "first") == [
        SYSTEM,
        USER,
        ChatMessage("user", "Be brief.\n\nIn French.\n\nAnd now?"),
    ]


def test_a_last_answer_is_continued_not_closed():
    """A prefilled answer was closed, and the model began a new one or said nothing."""
    assert prompt(CHATML, USER, ANSWER) == ("<|im_start|>user\nHow many?<|im_end|>\n<|im_start|>assistant\nEight")
    trimming = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] | trim }}[/]{% endfor %}"
    assert prompt(trimming, USER, ChatMessage("assistant", "Eight, ")) == "[user]How many?[/][assistant]Eight, "


def test_a_template_that_drops_the_last_answer_says_so():
    """What can't be continued must not be answered as something else."""
    with pytest.raises(EngineError, match="can't leave an answer open") as error:
        prompt(
            "{% for m in messages if m['role'] == 'user' or m != messages[-1] %}{{ m['content'] }} {% endfor %}",
            USER,
            ANSWER,
        )
    assert error.value.code == "bad_request"


def test_today_is_today():
    """Models were told a date of last year, since the template's own default was used."""
    today = datetime.datetime.now().astimezone()
    source = "{{ strftime_now('%d %b %Y') }}|{{ strftime_now }}|{{ date_string }}" + LOOPS
    said = prompt(source, USER)
    # Midnight may pass between the two looks at the clock.
    days = (today, today + datetime.timedelta(days=1))
    assert any(said.startswith(f"{day:%d %b %Y}|{day:%Y-%m-%d}|{day:%d %b %Y}[") for day in days)


def test_a_template_is_told_whether_and_how_much_to_think():
    """A reasoning model could not be told to answer at once, and billed its thinking."""
    source = "{{ enable_thinking }} {{ reasoning_effort | default('medium') }}" + LOOPS
    use = try_template(ChatTemplate(source))
    assert {"enable_thinking", "reasoning_effort"} <= set(use.abilities)
    options = TemplateOptions(enable_thinking=False, reasoning_effort="low")
    assert prompt(source, USER, options=options).startswith("False low[")
    assert (
        prompt("{% if thinking %}T{% endif %}" + LOOPS, USER, options=TemplateOptions(enable_thinking=True))[0] == "T"
    )


def test_an_option_that_the_template_does_not_read_is_refused():
    """An option that is ignored in silence is paid for."""
    assert try_template(ChatTemplate(LOOPS)).abilities == ("chat", "turns", "system")
    with pytest.raises(EngineError, match="doesn't know reasoning_effort") as error:
        prompt(LOOPS, USER, options=TemplateOptions(reasoning_effort="high"))
    assert error.value.code == "bad_request"


def test_a_word_that_the_template_refuses_is_told():
    """The template's own reason says which words there are."""
    source = (
        "{% if reasoning_effort and reasoning_effort not in ['low'] %}{{ raise_exception('should be low') }}{% endif %}"
    )
    with pytest.raises(EngineError, match="should be low"):
        prompt(source + LOOPS, USER, options=TemplateOptions(reasoning_effort="high"))


def test_a_file_without_a_template_continues_the_text_and_nothing_else():
    """A base model was offered as a chat model: it wrote both sides of the conversation."""
    assert try_template(ChatTemplate(None)).abilities == ("completion",)
    assert prompt(None, ChatMessage("user", "Once upon a time")) == "Once upon a time"
    assert prompt(None, USER, ANSWER, AGAIN) == "How many?EightAnd now?"


@pytest.mark.parametrize("marker", [TURN_START, TURN_END])
async def test_a_file_without_a_template_ends_at_its_turn_markers(tmp_path: Path, marker: int):
    """A chat model whose file lost its template went on to write the next question."""
    eager = {"emphasis": {marker: 60.0}, "silent": (), "seed": 3}
    path = write_tiny(tmp_path / "base.gguf", template=None, **eager)
    async with engine_of(path, tmp_path / "engine.log") as engine:
        text, _, finished = await answer(engine, ask(max_tokens=200))
        info = await engine.info()
    assert finished.reason == "stop"
    assert "<|im" not in text
    assert info.abilities == ("completion",)
    assert "no chat template" in info.notes[0]


@asynccontextmanager
async def market(run_node: RunNode, relay: RelayServer, devnet: DevnetReady, home: Path, template: str | None):
    """A seller with a model of this template, and a buyer."""
    models = Home(home / "seller").prepare().models
    write_tiny(models / "tiny.gguf", template=template)
    urls = {"relay": relay.url, "chain": devnet.l2_url}
    async with run_node("seller", **urls) as seller, run_node("buyer", **urls) as buyer:
        await seller.create_wallet("main", PASSPHRASE)
        await buyer.create_wallet("main", PASSPHRASE)
        await asyncio.gather(seller.go_online(), buyer.faucet("main"))
        yield buyer


async def test_what_a_buyer_tells_the_template_is_quoted_rendered_and_receipted(run_node, relay, devnet, tmp_path):
    """`chat_template_kwargs` were dropped on the way, and the thinking that was switched off was billed."""
    template = CHATML + "{% if enable_thinking is false %}<|im_end|>{{ 'no thinking ' * 8 }}{% endif %}"
    async with market(run_node, relay, devnet, tmp_path, template) as buyer:
        (offer,) = await buyer.market()
        assert offer.abilities == ("chat", "turns", "system", "enable_thinking")
        plain = (await ask_node(buyer, turn()))[-1]
        told = (await ask_node(buyer, turn(template_options=TemplateOptions(enable_thinking=False))))[-1]
        refused = (await ask_node(buyer, turn(template_options=TemplateOptions(reasoning_effort="low"))))[-1]
    assert isinstance(plain, ChatDone), plain
    assert isinstance(told, ChatDone), told
    assert told.input_tokens > plain.input_tokens
    assert isinstance(refused, ChatFailed)
    assert (refused.code, refused.cost_nano) == ("no_offer", 0)
    assert "can't be told whether or how much to think" in refused.message


async def test_a_base_model_is_offered_for_completion_only(run_node, relay, devnet, tmp_path):
    """The cheapest offer was a base model: who asked it a question paid for the rest of a made-up dialogue."""
    async with market(run_node, relay, devnet, tmp_path, None) as buyer:
        (offer,) = await buyer.market()
        assert offer.abilities == ("completion",)
        asked = (await ask_node(buyer, turn()))[-1]
        named = (await ask_node(buyer, turn("the", offer_id=offer.offer_id)))[-1]
    assert isinstance(asked, ChatFailed)
    assert (asked.code, asked.cost_nano) == ("no_offer", 0)
    assert "only continue texts" in asked.message
    assert isinstance(named, ChatDone), named
    assert named.input_tokens == 1, "the text alone, with no turns around it"


def test_models_say_what_a_template_can_not_do_before_anything_is_rented_out(tmp_path: Path):
    """A broken template was found out by serving it: the list of models said that the file fits."""
    checks = LoadChecks()
    broken = write_tiny(tmp_path / "broken.gguf", template="{{ raise_exception('Ask with tools only') }}")
    problem = checks.problem(broken, inspect(broken))
    assert problem is not None
    assert "can't render a plain question: refuses this conversation: Ask with tools only" in problem.message
    strict = write_tiny(
        tmp_path / "strict.gguf",
        template="{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + LOOPS,
    )
    assert checks.problem(strict, inspect(strict)) is None
    (note,) = checks.notes(strict)
    assert "no place for a system message" in note
    base = write_tiny(tmp_path / "base.gguf", template=None)
    assert checks.problem(base, inspect(base)) is None
    assert "no chat template" in checks.notes(base)[0]


async def test_a_template_with_a_long_text_of_its_own_can_be_bought(run_node, relay, devnet, tmp_path):
    """Mistral's and others' templates add hundreds of tokens: each quote looked overbilled, after the deposit."""
    async with market(run_node, relay, devnet, tmp_path, "{{ 'you are a model; ' * 25 }}" + CHATML) as buyer:
        (offer,) = await buyer.market()
        done = (await ask_node(buyer, turn(max_tokens=8)))[-1]
    assert isinstance(done, ChatDone), done
    assert done.input_tokens > 300
    assert abs(offer.template_tokens - done.input_tokens) <= len("hello")
