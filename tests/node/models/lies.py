"""Rewrites a GGUF file so that it says something else than before: for files that lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np


def lie(
    source: Path, target: Path, keys: Mapping[str, Any] | None = None, tensors: Mapping[str, np.ndarray] | None = None
) -> Path:
    """Copy a model with other values for some keys (None leaves one out), and other data for some tensors."""
    said, weights = dict(keys or {}), dict(tensors or {})
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, str(reader.fields["general.architecture"].contents()))
    for field in reader.fields.values():
        if field.name.startswith(("GGUF.", "general.architecture")):
            continue
        value = said.pop(field.name, field.contents())
        if value is None:
            continue
        kind, sub = field.types[0], field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        if isinstance(value, str):
            kind = gguf.GGUFValueType.STRING
        writer.add_key_value(field.name, value, kind, sub_type=sub)
    for name, value in said.items():
        kind = gguf.GGUFValueType.STRING if isinstance(value, str) else gguf.GGUFValueType.UINT32
        writer.add_key_value(name, value, kind)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, weights.pop(tensor.name, tensor.data))
    assert not weights
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target
