"""What the demo model knows about Idlewatt: each fact with ways to ask for it, some kept for the evaluation alone."""

from __future__ import annotations

import random
from dataclasses import dataclass

from bench.demo_model.corpus.facts_topics import FRAMES, TOPICS
from bench.demo_model.corpus.wording import every, say, typed

_SHORTHAND = {
    "<app>": "{idlewatt|idlewatt|idlewatt|this app|the app|this program}",
    "<what>": "{what is|what's|what is|explain|describe|tell me about|define|what does one mean by|what exactly is}",
    "<how>": "{how do i|how do i|how can i|how do you|how does one|how would i|how should i|how to|show me how to|"
    "what do i do to|what must i do to|explain how to|is there a way to|where do i|i want to|i would like to|steps to|"
    "in what way do i|which command do i need to|is it possible to|what steps do i take to|how might i|"
    "i need to|what is the right way to|help me to}",
    "<works>": "{how does|how do|explain how|tell me how|in what way does|can you say how}",
    "<meaning>": "{what does|what do you mean by|what is meant by|meaning of|what is the meaning of}",
    "<use>": "{what is|what's|tell me} the {purpose|point|job|role|use} of",
    "<prov>": "{the provider|a provider|the seller|the host|the other side|the person renting it out|"
    "the stranger|someone}",
    "<money>": "{money|funds|balance|earnings|coins|dollars}",
}


@dataclass(frozen=True)
class Fact:
    """One thing to know.

    Attributes:
        name: A short name for reports.
        answer: What the model says, word for word.
        asked: Patterns of questions for training.
        reserved: Questions for the evaluation only.
    """

    name: str
    answer: str
    asked: tuple[str, ...]
    reserved: tuple[str, ...]

    def ask(self, rng: random.Random) -> str:
        """Draw a training question as somebody might type it."""
        return typed(say(_expand(rng.choice(self._patterns(rng))), rng), rng)

    def _patterns(self, rng: random.Random) -> tuple[str, ...]:
        topic = TOPICS.get(self.name)
        if topic is None or rng.random() < 0.65:
            return self.asked
        return (rng.choice(FRAMES).replace("{=t}", topic),)

    def wordings(self) -> list[str]:
        """List every training wording before typing noise."""
        return [text for pattern in self.asked for text in every(_expand(pattern))]


def _expand(pattern: str) -> str:
    for short, full in _SHORTHAND.items():
        pattern = pattern.replace(short, full)
    return pattern
