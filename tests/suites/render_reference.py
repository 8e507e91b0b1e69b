"""Run by the interpreter of `tests/suites/requirements.lock`: cases as JSON on stdin, prompts and reasons on stdout."""

import json
import sys

from transformers.utils.chat_template_utils import render_jinja_template

NAMES = {"bos_token": "<s>", "eos_token": "</s>"}


def render(case: dict) -> tuple[str | None, str]:
    try:
        prompts, _ = render_jinja_template(
            [case["messages"]],
            chat_template=case["template"],
            add_generation_prompt=not case["is_continued"],
            continue_final_message=case["is_continued"],
            **NAMES,
            **case["options"],
        )
    except Exception as error:  # a template may raise anything, and that is the answer
        return None, f"{type(error).__name__}: {error}"
    return prompts[0], ""


json.dump([render(case) for case in json.load(sys.stdin)], sys.stdout)
