"""What is found out about a model's thinking from its template and vocabulary alone."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from node.engine.thinking.derive import derive_form
from node.engine.thinking.form import ThinkingForm
from node.engine.thinking.splitter import ThinkingSplitter
from node.engine.worker.template import ChatTemplate, TemplateLimits
from tests.node.engine.thinking_families import FAMILIES, QUESTION, Family
from tests.node.engine.tiny import CHATML


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_template_shows_how_its_model_marks_thinking(family: Family):
    template = ChatTemplate(family.template)
    specials = [*family.control, *family.user_defined]
    form = template.thinking(specials)
    assert form is not None
    found = (form.begin, form.end, form.role, form.answer, form.channel)
    assert found == (family.begin, family.end, family.role, family.answer, family.channel)
    assert form.tokens <= set(specials)
    if family.stop:
        assert form.stop == family.stop
    prompt = template.render([{"role": "user", "content": QUESTION}])
    assert prompt == family.prompt
    opened = not family.wrote.startswith(family.begin) and family.end in family.wrote
    assert form.is_opened_by(prompt) is opened


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_template_shows_the_same_without_its_vocabulary(family: Family):
    form = ChatTemplate(family.template).thinking()
    assert form is not None
    assert (form.begin, form.end, form.answer) == (family.begin, family.end, family.answer)


@pytest.mark.parametrize(
    ("source", "specials", "pair"),
    [
        ("{{ messages[0].content.split('</think>')[-1] }}", [], ("<think>", "</think>")),
        (CHATML + "<think>\n", [], ("<think>", "</think>")),
        (CHATML + "{% if enable_thinking is defined and not enable_thinking %}<|muse|><|/muse|>{% endif %}", [], None),
        (
            CHATML + "{% if enable_thinking is defined and not enable_thinking %}<|ponder_thought|><|done|>{% endif %}",
            [],
            ("<|ponder_thought|>", "<|done|>"),
        ),
        (CHATML, ["<|begin_of_thought|>", "<|end_of_thought|>"], ("<|begin_of_thought|>", "<|end_of_thought|>")),
        (CHATML, ["<think>", "</think>"], ("<think>", "</think>")),
        (CHATML, ["<|think|>", "<|im_end|>"], None),
        (CHATML, [], None),
        (None, [], None),
        ("{{ raise_exception('never') }}", [], None),
        # Templates that write a message down as data know nothing of thinking.
        ("{% for m in messages %}{{ m['content'] }}{% endfor %}", [], None),
        ("{{ messages | tojson }}", [], None),
    ],
)
def test_where_no_answer_shows_it_an_empty_or_open_pair_or_a_name_does(source, specials, pair):
    form = ChatTemplate(source).thinking(specials)
    assert (form and (form.begin, form.end)) == pair


def test_a_template_that_takes_too_long_is_asked_once():
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}</think>"
    template = ChatTemplate(endless, limits=TemplateLimits(cpu_s=0.1))
    assert template.thinking() == ThinkingForm("<think>", "</think>")


@pytest.mark.parametrize("long", ["<" + "a" * 300 + ">", "a" * 5_000])
def test_a_marker_of_any_length_is_none(long):
    marked = f"{{{{ m.thinking }}}}{long}" if long.startswith("<") else f"{long}<think>{{{{ m.thinking }}}}</think>"
    template = "{% for m in messages %}{% if m.thinking %}<a>" + marked + "{% endif %}{{ m['content'] }}{% endfor %}"
    assert ChatTemplate(template.replace("</think>", "</a>").replace("<think>", "<b>")).thinking() is None


def test_channels_may_follow_each_other_without_an_end():
    template = (
        "{% for m in messages %}<|{{ m['role'] }}|>{% if m.thinking %}<|to|>self<|say|>{{ m.thinking }}{% endif %}"
        "{% if m['role'] == 'assistant' %}<|to|>you<|say|>{% endif %}{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    form = ChatTemplate(template).thinking()
    assert form is not None
    assert (form.begin, form.end, form.answer) == ("<|to|>self<|say|>", "", "<|to|>you<|say|>")
    splitter = ThinkingSplitter(form)
    parts = splitter.feed("<|to|>self<|say|>Hm.<|to|>you<|say|>Four.") + splitter.finish()
    assert [part.text for part in parts if part.thinking and not part.marker] == ["Hm."]
    assert [part.text for part in parts if not part.thinking] == ["Four."]


SAID = [
    "Zuqa7question",
    "Zuqa7musing",
    "Zuqa7reply",
    "<think>",
    "</think>",
    "<|a|>",
    "<|a",
    "b",
    "\n",
    " ",
    '"',
    "[T K]",
]


@settings(max_examples=300, deadline=None)
@example(["Zuqa7questionZuqa7musing", "Zuqa7question<think>"], False)
@given(st.lists(st.lists(st.sampled_from(SAID), max_size=9).map("".join), min_size=1, max_size=6), st.booleans())
def test_whatever_a_template_writes_what_is_found_can_be_used(texts, knows_tokens):
    written = itertools.cycle(texts)
    specials = ["<|a|>", "<think>", "b" * 3] if knows_tokens else []
    form = derive_form(lambda _messages, _begins, _names: next(written), specials=specials, source=texts[0])
    if form is not None:
        splitter = ThinkingSplitter(form)
        parts = [part for text in texts for part in splitter.feed(text)] + splitter.finish()
        assert "".join(part.text for part in parts) == "".join(texts)
