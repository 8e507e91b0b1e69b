"""Reduces a schema to shapes."""

from __future__ import annotations

from dataclasses import dataclass

from node.engine.worker.schema.document import Document
from node.engine.worker.schema.keywords import LIMITS, Limits, bad
from node.engine.worker.schema.parts import Mode
from node.engine.worker.schema.reading import Reader
from node.engine.worker.schema.shapes import Shape
from node.engine.worker.schema.shaping import Shaper
from node.values.inference import MAX_SCHEMA_CHARS


@dataclass(frozen=True)
class Reduced:
    """A schema as a shape, and the shapes that it refers to by name."""

    root: Shape
    shared: dict[str, Shape]


def reduced(text: str, limits: Limits = LIMITS) -> Reduced:
    """The schema in a form that a grammar can be written from.

    Args:
        text: The schema as JSON.
        limits: How large it may be.

    Raises:
        EngineError: With code ``bad_request`` if it is no schema, asks for what a grammar can't hold, or is too large.
    """
    if len(text) > MAX_SCHEMA_CHARS:
        raise bad(f"A JSON schema may have {MAX_SCHEMA_CHARS} characters.")
    document = Document(text)
    shaper = Shaper(Reader(document, limits), limits)
    root = shaper.shape(((document.number(document.whole, document.root_base), Mode.HELD),))
    if root is None:
        raise bad(shaper.why)
    return Reduced(root, shaper.shared)
