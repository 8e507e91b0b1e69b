"""How families of reasoning models mark their thinking: short templates of ours, each in one family's way."""

from __future__ import annotations

from dataclasses import dataclass

from node.engine.thinking.form import Channel

QUESTION = "hello"
_ASK = (
    "{% for m in messages %}{% if m['role'] == 'user' %}<|user|>{{ m['content'] }}<|stop|>"
    "{% elif m['role'] == 'assistant' %}"
)
_END = "{% endif %}{% endfor %}"
_ANSWER = "{% if add_generation_prompt %}"
_FI = "{% endif %}"
_THOUGHT = "{% if m.reasoning_content %}"


@dataclass(frozen=True, slots=True)
class Family:
    """A template, what a model of it writes, and what that means."""

    name: str
    template: str
    prompt: str
    """What the template makes of `QUESTION`."""
    wrote: str
    begin: str
    end: str
    answer: str = ""
    role: str = ""
    stop: str = ""
    channel: Channel | None = None
    control: tuple[str, ...] = ()
    user_defined: tuple[str, ...] = ()


def _pair(begin: str, end: str, *, opens: bool = False) -> str:
    asked = f"<|assistant|>{begin}" if opens else "<|assistant|>"
    return (
        f"{_ASK}<|assistant|>{_THOUGHT}{begin}{{{{ m.reasoning_content }}}}{end}{_FI}"
        f"{{{{ m['content'] }}}}<|stop|>{_END}"
        f"{_ANSWER}{asked}{_FI}"
    )


_PROMPT = f"<|user|>{QUESTION}<|stop|><|assistant|>"
_ROLES = ("<|user|>", "<|assistant|>", "<|stop|>")

FAMILIES: tuple[Family, ...] = (
    Family(
        "a pair of tags that are text",
        _pair("<think>\n", "\n</think>\n\n"),
        _PROMPT,
        "<think>\nHm, </b>.\n</think>\n\nFour.",
        "<think>",
        "</think>",
        control=_ROLES,
    ),
    Family(
        "a pair that nobody knew, opened by the template",
        _pair("<muse:new>", "</muse:new>", opens=True),
        _PROMPT + "<muse:new>",
        "Hm, </b>.</muse:new>Four.",
        "<muse:new>",
        "</muse:new>",
        control=_ROLES,
        user_defined=("<muse:new>", "</muse:new>"),
    ),
    Family(
        "Apertus: thoughts are blocks, between tokens that have no text",
        _ASK + "<|assistant|>{% if m['content'] is mapping %}{% for b in m['content'].blocks %}"
        "{% if b.type == 'thoughts' %}<|inner_prefix|>{{ b.text }}<|inner_suffix|>{% else %}{{ b.text }}{% endif %}"
        "{% endfor %}{% else %}{{ m['content'] }}{% endif %}<|stop|>" + _END + _ANSWER + "<|assistant|>" + _FI,
        _PROMPT,
        "<|inner_prefix|>Hm, </b>.<|inner_suffix|>Four.",
        "<|inner_prefix|>",
        "<|inner_suffix|>",
        control=(*_ROLES, "<|inner_prefix|>", "<|inner_suffix|>"),
    ),
    Family(
        "Mistral: thinking is a part of the content",
        _ASK + "<|assistant|>{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for b in m['content'] %}"
        "{% if b['type'] == 'thinking' %}[THINK]{{ b['thinking'] }}[/THINK]{% else %}{{ b['text'] }}{% endif %}"
        "{% endfor %}{% endif %}<|stop|>" + _END + _ANSWER + "<|assistant|>" + _FI,
        _PROMPT,
        "[THINK]Hm, </b>.[/THINK]Four.",
        "[THINK]",
        "[/THINK]",
        control=(*_ROLES, "[THINK]", "[/THINK]"),
    ),
    Family(
        "Cohere: the answer has a header and a closing marker",
        _ASK
        + "<|assistant|>"
        + _THOUGHT
        + "<|START_THINKING|>{{ m.reasoning_content }}<|END_THINKING|>"
        + _FI
        + "<|START_RESPONSE|>{{ m['content'] }}<|END_RESPONSE|><|stop|>"
        + _END
        + _ANSWER
        + "<|assistant|>"
        + _FI,
        _PROMPT,
        "<|START_THINKING|>Hm, </b>.<|END_THINKING|><|START_RESPONSE|>Four.<|END_RESPONSE|>",
        "<|START_THINKING|>",
        "<|END_THINKING|>",
        answer="<|START_RESPONSE|>",
        stop="<|END_RESPONSE|>",
        control=(*_ROLES, "<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    ),
    Family(
        "Gemma 4: only thinking before a call is written down",
        _ASK + "<|assistant|>{% if m.reasoning_content and m.tool_calls %}<|channel>thought\n{{ m.reasoning_content }}"
        "\n<channel|><|tool>{{ m.tool_calls[0]['function']['name'] }}<tool|>{% endif %}{{ m['content'] }}<|stop|>"
        + _END
        + _ANSWER
        + "<|assistant|>{% if enable_thinking is defined and not enable_thinking %}"
        "<|channel>thought\n<channel|>{% endif %}" + _FI,
        _PROMPT,
        "<|channel>thought\nHm, </b>.\n<channel|>Four.",
        "<|channel>thought",
        "<channel|>",
        control=_ROLES,
        user_defined=("<|channel>", "<channel|>", "<|tool>", "<tool|>"),
    ),
    Family(
        "Solar: a message of thinking ends with a token that ends answers",
        "{% for m in messages %}<|begin|>{{ m['role'] }}{% if m.reasoning_content %}<|think|>{{ m.reasoning_content }}"
        "<|end|><|begin|>assistant{% endif %}<|content|>{{ m['content'] }}<|end|>{% endfor %}"
        + _ANSWER
        + "<|begin|>assistant"
        + _FI,
        f"<|begin|>user<|content|>{QUESTION}<|end|><|begin|>assistant",
        "<|think|>Hm, </b>.<|end|><|begin|>assistant<|content|>Four.",
        "<|think|>",
        "<|end|>",
        answer="<|content|>",
        role="<|begin|>assistant",
        stop="<|end|>",
        control=("<|begin|>", "<|think|>", "<|content|>", "<|end|>"),
    ),
    Family(
        "gpt-oss: channels of the harmony format",
        "{% for m in messages %}<|start|>{{ m['role'] }}"
        "{% if m['role'] == 'user' %}<|message|>{{ m['content'] }}<|end|>"
        "{% else %}{% if m.thinking %}<|channel|>analysis<|message|>{{ m.thinking }}<|end|><|start|>assistant"
        "{% endif %}<|channel|>final<|message|>{{ m['content'] }}<|return|>{% endif %}{% endfor %}"
        + _ANSWER
        + "<|start|>assistant"
        + _FI,
        f"<|start|>user<|message|>{QUESTION}<|end|><|start|>assistant",
        "<|channel|>analysis<|message|>Hm, </b>.<|end|><|start|>assistant<|channel|>final<|message|>Four.",
        "<|channel|>analysis<|message|>",
        "<|end|>",
        answer="<|channel|>final<|message|>",
        role="<|start|>assistant",
        stop="<|return|>",
        channel=Channel("<|channel|>", "<|message|>", "final"),
        control=("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>"),
    ),
    Family(
        "Kimi K3: sections that are opened and closed by name, the first one by the template",
        "{% for m in messages %}<|open|>{{ m['role'] }}<|sep|>{% if m['role'] == 'user' %}{{ m['content'] }}{% else %}"
        "<|open|>think<|sep|>{{ m.reasoning or '' }}<|close|>think<|sep|><|open|>response<|sep|>{{ m['content'] }}"
        "<|close|>response<|sep|>{% endif %}<|close|>message<|sep|>{% endfor %}"
        + _ANSWER
        + "<|open|>assistant<|sep|><|open|>{{ 'think' if thinking is not defined or thinking else 'response' }}<|sep|>"
        + _FI,
        f"<|open|>user<|sep|>{QUESTION}<|close|>message<|sep|><|open|>assistant<|sep|><|open|>think<|sep|>",
        "Hm, </b>.<|close|>think<|sep|><|open|>response<|sep|>Four.<|close|>response<|sep|>",
        "<|open|>think<|sep|>",
        "<|close|>think<|sep|>",
        answer="<|open|>response<|sep|>",
        stop="<|close|>response<|sep|>",
        channel=Channel("<|open|>", "<|sep|>", "response"),
        control=("<|open|>", "<|close|>", "<|sep|>"),
    ),
    Family(
        "Hy3: an empty pair stands where thinking is off, and in every past answer",
        _ASK
        + "<|assistant|><think:new>{{ m.reasoning_content or '' }}</think:new>{{ m['content'] }}<|stop|>"
        + _END
        + _ANSWER
        + "<|assistant|><think:new>{% if reasoning_effort is not defined %}</think:new>{% endif %}"
        + _FI,
        _PROMPT + "<think:new></think:new>",
        "Four.",
        "<think:new>",
        "</think:new>",
        control=(*_ROLES, "<think:new>", "</think:new>"),
    ),
    Family(
        "Apriel: the template begins the thinking in words",
        _ASK + "<|assistant|>\n{% if m.reasoning_content %}{{ m.reasoning_content }}\n[BEGIN FINAL RESPONSE]\n"
        "{% endif %}{{ m['content'] }}<|stop|>" + _END + _ANSWER + "<|assistant|>\nMy steps so far:\n" + _FI,
        _PROMPT + "\nMy steps so far:\n",
        "Hm, </b>.\n[BEGIN FINAL RESPONSE]\nFour.",
        "My steps so far:",
        "[BEGIN FINAL RESPONSE]",
        control=_ROLES,
    ),
)
