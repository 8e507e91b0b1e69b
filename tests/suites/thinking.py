"""llama.cpp's collection of chat templates: which markers of thinking each shows, compared with what was read by hand.

A template that isn't listed here is new: its line tells what was found, and a person compares that with the template.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from node.engine.protocol import LoadError
from node.engine.thinking.form import ThinkingForm
from node.engine.worker.abilities import try_template
from node.engine.worker.template import ChatTemplate
from tests.suites.row import Row, SourceError, Sources

THINK = ("<think>", "</think>", "")
CHANNELS = ("<|channel>thought", "<channel|>", "")
NONE = None
READ_BY_HAND: dict[str, tuple[str, str, str] | None] = {
    "Apertus-8B-Instruct": ("<|inner_prefix|>", "<|inner_suffix|>", ""),
    "Apriel-1.6-15b-Thinker-fixed": ("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]", ""),
    "Bielik-11B-v3.0-Instruct": THINK,
    "ByteDance-Seed-OSS": ("<seed:think>", "</seed:think>", ""),
    "Cohere2MoE": ("<|START_THINKING|>", "<|END_THINKING|>", "<|START_TEXT|>"),
    "CohereForAI-c4ai-command-r-plus-tool_use": NONE,
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": (
        "<|START_THINKING|>",
        "<|END_THINKING|>",
        "<|START_RESPONSE|>",
    ),
    "GLM-4.6": THINK,
    "GLM-4.7-Flash": THINK,
    "GigaChat3-10B-A1.8B": NONE,
    "GigaChat3.1-10B-A1.8B": NONE,
    "HuggingFaceTB-SmolLM3-3B": THINK,
    "Kimi-K2-Instruct": NONE,
    "Kimi-K2-Thinking": THINK,
    "Kimi-K3": ("<|open|>think<|sep|>", "<|close|>think<|sep|>", "<|open|>response<|sep|>"),
    "LFM2-8B-A1B": NONE,
    "LFM2.5-8B-A1B": THINK,
    "LFM2.5-Instruct": THINK,
    "MiMo-VL": NONE,
    "MiniMax-M1": NONE,
    "MiniMax-M2": THINK,
    "MiniMax-M3": ("<mm:think>", "</mm:think>", ""),
    "Mistral-Small-3.2-24B-Instruct-2506": NONE,
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": THINK,
    "NVIDIA-Nemotron-Nano-v2": THINK,
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": NONE,
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": NONE,
    "Qwen-QwQ-32B": THINK,
    "Qwen-Qwen2.5-7B-Instruct": NONE,
    "Qwen-Qwen3-0.6B": THINK,
    "Qwen3-Coder": NONE,
    "Qwen3.5-4B": THINK,
    "Reka-Edge": THINK,
    "Spark2.5": THINK,
    "StepFun3.5-Flash": THINK,
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": THINK,
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": THINK,
    "deepseek-ai-DeepSeek-V3.1": THINK,
    "deepseek-ai-DeepSeek-V3.2": THINK,
    "deepseek-ai-DeepSeek-V4": THINK,
    "deepseek-ai-DeepSeek-V4-Flash-0731": THINK,
    "fireworks-ai-llama-3-firefunction-v2": NONE,
    "google-gemma-2-2b-it": NONE,
    "google-gemma-4-31B-it": CHANNELS,
    "google-gemma-4-31B-it-interleaved": CHANNELS,
    "ibm-granite-granite-3.3-2B-Instruct": THINK,
    "ibm-granite-granite-4.0": NONE,
    "ibm-granite-granite-4.1": NONE,
    "inclusionai-ling-3.0-flash": THINK,
    "llama-cpp-deepseek-r1": THINK,
    "llama-cpp-rwkv-world": THINK,
    "meetkai-functionary-medium-v3.1": NONE,
    "meetkai-functionary-medium-v3.2": NONE,
    "meta-llama-Llama-3.1-8B-Instruct": NONE,
    "meta-llama-Llama-3.2-3B-Instruct": NONE,
    "meta-llama-Llama-3.3-70B-Instruct": NONE,
    "microsoft-Phi-3.5-mini-instruct": NONE,
    "mistralai-Ministral-3-14B-Reasoning-2512": ("[THINK]", "[/THINK]", ""),
    "mistralai-Mistral-Nemo-Instruct-2407": NONE,
    "moonshotai-Kimi-K2": NONE,
    "muse-glimmer": ("to=self<|message|>", "<|eom|>", "to=user<|message|>"),
    "openai-gpt-oss-120b": ("<|channel|>analysis<|message|>", "<|end|>", "<|channel|>final<|message|>"),
    "openbmb-MiniCPM5-1B": THINK,
    "poolside-Laguna-S-2.1": THINK,
    "poolside-Laguna-XS-2.1": THINK,
    "poolside-Laguna-XS.2": THINK,
    "tencent-Hy3": ("<think:opensource>", "</think:opensource>", ""),
    "unsloth-Apriel-1.5": ("<thinking>", "</thinking>", ""),
    "unsloth-mistral-Devstral-Small-2507": NONE,
    "upstage-Solar-Open-100B": ("<|think|>", "<|end|>", "<|content|>"),
}
"""What opens and closes thinking and what heads the answer, from the template's text; none where it has no thinking."""


def rows(sources: Sources) -> Iterator[Row]:
    """One line a template."""
    folder = sources.sdist() / "vendor" / "llama.cpp" / "models" / "templates"
    files = sorted(folder.glob("*.jinja"))
    if not files:
        raise SourceError(f"there are no chat templates in {folder}.")
    for file in files:
        template = ChatTemplate(file.read_text(), bos="<s>", eos="</s>")
        yield compared(file.stem, template.thinking(given=names_for(template)))


def names_for(template: ChatTemplate) -> Mapping[str, Any]:
    """What a template is given when its model is served; nothing for one that isn't."""
    try:
        return try_template(template).names
    except LoadError:
        return {}


def compared(name: str, form: ThinkingForm | None) -> Row:
    """What a template shows beside what was read in it."""
    found = None if form is None else (form.begin, form.end, form.answer)
    note = "no thinking" if found is None else " … ".join(filter(None, found))
    if name not in READ_BY_HAND:
        return Row(what=name, tried=1, passed=0, least=0, note=f"new: {note}")
    wanted = READ_BY_HAND[name]
    if found != wanted:
        note += f"; by hand: {'no thinking' if wanted is None else ' … '.join(filter(None, wanted))}"
    return Row(what=name, tried=1, passed=int(found == wanted), note=note)
