"""Measures the shipped demo model on questions its training excludes: `python -m bench.demo_model.evaluate`.

Every question goes through llama.cpp, the GGUF's own tokenizer and chat template, greedily. The program prints one JSON
object and exits with 1 when an aim is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment
from llama_cpp import Llama

from bench.demo_model.corpus import IDLEWATT_FACTS, SMALLTALK, arithmetic, out_of_scope
from bench.demo_model.corpus.arithmetic import COMPARISON, DIFFERENCE, SUM
from bench.demo_model.tokenizer import TURN_END_ID
from node.models.demo import demo_model_path

AIMS = {"sums": 0.95, "differences": 0.95, "comparisons": 0.95, "idlewatt": 0.90}
_LONGEST_ANSWER_TOKENS = 120


@dataclass(frozen=True)
class Question:
    """One question of the evaluation and the answer it must get, word for word."""

    category: str
    text: str
    answer: str


def questions(seed: int, each: int) -> list[Question]:
    """Draw the evaluation.

    Args:
        seed: Decides which reserved problems are drawn, and their wordings.
        each: How many problems of each kind of arithmetic (fewer where fewer are reserved).
    """
    rng = random.Random(f"{seed} evaluation")
    drawn = []
    for category, kind in (("sums", SUM), ("differences", DIFFERENCE), ("comparisons", COMPARISON)):
        reserved = [problem for problem in arithmetic.problems_below(100, kind) if problem.reserved]
        for problem in rng.sample(reserved, min(each, len(reserved))):
            drawn.append(Question(category, *arithmetic.ask(problem, rng)))
    for category, facts in (("idlewatt", IDLEWATT_FACTS), ("smalltalk", SMALLTALK)):
        drawn += [Question(category, _as_typed(text, rng), fact.answer) for fact in facts for text in fact.reserved]
    drawn += [Question("out_of_scope", _as_typed(text, rng), out_of_scope.HONEST) for text in out_of_scope.RESERVED]
    return drawn


def _as_typed(text: str, rng: random.Random) -> str:
    return rng.choice((text, text.capitalize() + "?", text + "?"))


class Model:
    """The GGUF behind llama.cpp, answering greedily.

    Args:
        path: The GGUF.
        threads: CPU threads for llama.cpp.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._llama = Llama(str(path), n_ctx=512, n_threads=threads, seed=0, verbose=False)
        self._template = Environment(autoescape=False).from_string(self._llama.metadata["tokenizer.chat_template"])
        self.tokens = 0
        self.seconds = 0.0

    def tokenize(self, text: str) -> list[int]:
        """Split text as llama.cpp does, special tokens spelled out in it included."""
        return list(self._llama.tokenize(text.encode(), add_bos=False, special=True))

    def answer(self, question: str) -> str:
        """Answer one question."""
        turns = [{"role": "user", "content": question}]
        prompt = self.tokenize(self._template.render(messages=turns, add_generation_prompt=True))
        began = time.perf_counter()
        said: list[int] = []
        for token in self._llama.generate(prompt, temp=0.0, repeat_penalty=1.0):
            if token == TURN_END_ID or len(said) >= _LONGEST_ANSWER_TOKENS:
                break
            said.append(token)
        self.tokens += len(said) + 1
        self.seconds += time.perf_counter() - began
        return self._llama.detokenize(said).decode(errors="replace")

    def close(self) -> None:
        """Free the model."""
        self._llama.close()


def wrong_answers(model: Model, asked: list[Question]) -> Iterator[tuple[Question, str]]:
    """Ask every question and yield those answered wrong, with what was said."""
    for question in asked:
        said = model.answer(question.text)
        if said != question.answer:
            yield question, said


def main() -> int:
    """Measure, print, and tell by the exit status whether the aims are met."""
    parser = argparse.ArgumentParser(description="Measure Idlewatt's demo model on questions its training excludes.")
    parser.add_argument("--model", type=Path, default=demo_model_path())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", type=int, default=500, help="problems of each kind of arithmetic")
    parser.add_argument("--show-wrong", type=int, default=20, help="how many wrong answers to list")
    options = parser.parse_args()
    asked = questions(options.seed, options.each)
    model = Model(options.model)
    wrong = list(wrong_answers(model, asked))
    results = {}
    for category in dict.fromkeys(question.category for question in asked):
        count = sum(question.category == category for question in asked)
        missed = sum(question.category == category for question, _ in wrong)
        results[category] = {"questions": count, "accuracy": round(1 - missed / count, 4), "aim": AIMS.get(category)}
    met = all(results[category]["accuracy"] >= aim for category, aim in AIMS.items())
    report = {
        "model": str(options.model),
        "sha256": hashlib.sha256(options.model.read_bytes()).hexdigest(),
        "bytes": options.model.stat().st_size,
        "results": results,
        "met": met,
        "tokens_per_s": round(model.tokens / model.seconds),
        "wrong": [
            {"category": question.category, "question": question.text, "said": said, "expected": question.answer}
            for question, said in wrong[: options.show_wrong]
        ],
    }
    print(json.dumps(report, indent=2))
    model.close()
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
