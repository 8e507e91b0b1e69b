from __future__ import annotations

import resource
import signal

import pytest

from node.engine.protocol import EngineError, LoadError
from node.engine.worker import template as module
from node.engine.worker.template import ChatTemplate, TemplateLimits
from tests.node.engine.tiny import CHATML

HELLO = [{"role": "user", "content": "hello"}]


def test_a_chatml_template_is_rendered_with_the_answers_beginning():
    assert ChatTemplate(CHATML).render(HELLO) == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"


def test_a_model_without_a_template_gets_the_text_alone():
    assert ChatTemplate(None).render(HELLO) == "hello"
    assert ChatTemplate(None).completes
    assert not ChatTemplate(CHATML).completes


def test_templates_may_use_what_other_runtimes_offer_them():
    source = (
        "{{ bos_token }}{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}"
        "{% generation %}{{ m | tojson(indent=2) }}{% endgeneration %}{% endfor %}"
        "{{ strftime_now('%Y') | length }}{{ '-' * 3 }}{{ eos_token }}"
    )
    rendered = ChatTemplate(source, bos="<s>", eos="</s>").render(HELLO * 2)
    assert rendered == '<s>{\n  "role": "user",\n  "content": "hello"\n}4---</s>'


def test_a_templates_refusal_is_told_in_one_printable_line():
    with pytest.raises(EngineError) as error:
        ChatTemplate("{{ raise_exception('no system\\n\\x1b[31mrole') }}").render(HELLO)
    assert error.value.code == "bad_request"
    assert "no system??[31mrole" in error.value.message


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ 'x' * 10000000 }}",
        "{{ [1] * 10000000 }}",
        "{{ 10 ** 1000000 }}",
        "{{ range(10 ** 9) }}",
        "{{ undefined.attribute }}",
        "{% for i in range(99999) %}{{ 'x' * 100000 }}{% endfor %}",
        "{{ '%999999999999d' % 1 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    ],
    ids=str,
)
def test_a_hostile_template_ends_as_a_bad_request(source: str):
    with pytest.raises(EngineError) as error:
        ChatTemplate(source).render(HELLO)
    assert error.value.code == "bad_request"
    assert "\n" not in error.value.message


def test_a_template_that_never_ends_is_stopped():
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(EngineError, match="too much time"):
        ChatTemplate(endless, limits=TemplateLimits(cpu_s=0.1)).render(HELLO)


@pytest.mark.skipif(module.sys.platform != "linux", reason="the limit is Linux's")
def test_a_template_that_eats_memory_is_stopped():
    limits = TemplateLimits(memory_bytes=32 * 1024 * 1024)
    with pytest.raises(EngineError, match="too much time or memory"):
        ChatTemplate("{{ '%200000000d' % 1 }}", limits=limits).render(HELLO)


def test_the_bounds_are_taken_back():
    def bounds() -> tuple[object, ...]:
        handlers = signal.getsignal(signal.SIGVTALRM), signal.getsignal(signal.SIGPROF)
        timers = signal.getitimer(signal.ITIMER_VIRTUAL), signal.getitimer(signal.ITIMER_PROF)
        return resource.getrlimit(resource.RLIMIT_DATA), handlers, timers

    before = bounds()
    ChatTemplate(CHATML).render(HELLO)
    assert bounds() == before
    assert before[-1] == ((0.0, 0.0), (0.0, 0.0))


def test_other_systems_have_no_memory_limit():
    limits = TemplateLimits(memory_bytes=-(1 << 40), platform="darwin")
    assert ChatTemplate(None, limits=limits).render(HELLO)


@pytest.mark.parametrize("source", ["{% for %}", "{{", "x" * (module.MAX_TEMPLATE_CHARS + 1)], ids=len)
def test_a_broken_template_makes_the_model_unusable(source: str):
    with pytest.raises(LoadError) as error:
        ChatTemplate(source)
    assert error.value.code == "model_unusable"
