"""What the structs that declare settings say about each: its name, bounds, help, variable and option."""

from __future__ import annotations

import functools
import itertools
import typing
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import inspect as types

from app.variables import PREFIX

if TYPE_CHECKING:
    from msgspec.structs import FieldInfo

MAX_INTEGER = 2**63 - 1
"""msgspec's largest bound: where it stands, nothing is said about it."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One setting, as it is declared."""

    name: str
    """As the file has it, ``section.key`` in a section."""
    default: Any
    holder: type[msgspec.Struct]
    field: str
    """Its name in the struct that holds it."""

    @property
    def section(self) -> str:
        """The section it stands in; empty above the first."""
        return self.name.rpartition(".")[0]

    @property
    def key(self) -> str:
        """Its key there."""
        return self.name.rpartition(".")[2]

    @property
    def variable(self) -> str:
        """The variable that sets it."""
        return f"{PREFIX}{self.name.replace('.', '_').upper()}"

    @property
    def option(self) -> str:
        """The option of a command that sets it; money is written in dollars there."""
        return f"--{self.name.removesuffix('_nano').replace('.', '-').replace('_', '-')}"

    @property
    def annotation(self) -> Any:
        """Its declared type, with its bounds."""
        return _fields(self.holder)[self.field].type

    @property
    def type(self) -> types.Type:
        """Its type with its bounds, ``None`` left out."""
        return _core(types.type_info(self.annotation))

    @property
    def help(self) -> str:
        """Its docstring on one line, with names in double backticks."""
        return " ".join(_docstring(self.holder, self.field).split())

    @property
    def choices(self) -> tuple[str, ...]:
        """What it can be, where that is one of a few words."""
        return _literals(self.annotation)

    @property
    def example(self) -> str:
        """What it looks like, where its declaration says so."""
        return _example(types.type_info(self.annotation))

    @property
    def item_keys(self) -> tuple[str, ...]:
        """The keys of an entry, where it is a list of tables."""
        info = self.type
        if isinstance(info, types.VarTupleType) and isinstance(info.item_type, types.StructType):
            return tuple(field.encode_name for field in info.item_type.fields)
        return ()

    @property
    def bounds(self) -> str:
        """What it can be, in words."""
        info = self.type
        match info:
            case types.BoolType():
                return "true or false"
            case types.IntType() | types.FloatType():
                return f"nano (billionths of a dollar), {_range(info)}" if self.name.endswith("_nano") else _range(info)
            case types.DecimalType():
                return "a number"
            case types.VarTupleType():
                return "a list" if info.max_length is None else f"a list of up to {info.max_length}"
        if choices := self.choices:
            return " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1])))
        return f"like {self.example}" if self.example else "text"


@functools.cache
def settings_of(holder: type[msgspec.Struct], section: str = "") -> tuple[Setting, ...]:
    """Every setting of a struct and of the sections below it: what it inherits first, sections last.

    Every field must have a default; one that is a struct is a section.
    """
    plain: list[Setting] = []
    below: list[Setting] = []
    names = dict(zip(holder.__struct_fields__, holder.__struct_encode_fields__, strict=True))
    defaults = dict(zip(holder.__struct_fields__, holder.__struct_defaults__, strict=True))
    for field in _in_order(holder):
        name = f"{section}.{names[field]}" if section else names[field]
        if isinstance(defaults[field], msgspec.Struct):
            inner: type[msgspec.Struct] = type(defaults[field])
            below += settings_of(inner, name)
        else:
            plain.append(Setting(name=name, default=defaults[field], holder=holder, field=field))
    return *plain, *below


def as_toml(value: object) -> str:
    """A setting's value as it is written in the file; ``not set`` for none."""
    match value:
        case None:
            return "not set"
        case bool():
            return str(value).lower()
        case int() | float() | Decimal():
            return str(value)
        case tuple() | list():
            return f"[{', '.join(map(as_toml, value))}]"
        case msgspec.Struct():
            pairs = msgspec.to_builtins(value, builtin_types=(Decimal,)).items()
            return f"{{{', '.join(f'{key} = {as_toml(part)}' for key, part in pairs)}}}"
    text = msgspec.json.encode(str(value)).decode()
    # A terminal must not obey a value.
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def _in_order(holder: type[msgspec.Struct]) -> list[str]:
    """Its fields: its parent's, those further up, its own."""
    owners = _owners(holder)
    parents = [base for base in holder.__mro__[1:] if issubclass(base, msgspec.Struct)]
    return [field for owner in (*parents, holder) for field, declared_by in owners.items() if declared_by is owner]


@functools.cache
def _owners(holder: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct]]:
    """Which struct declares each field."""
    owners: dict[str, type[msgspec.Struct]] = {}
    for base in reversed(holder.__mro__):
        if issubclass(base, msgspec.Struct):
            owners |= {field: base for field in base.__struct_fields__ if field not in owners}
    return owners


@functools.cache
def _fields(holder: type[msgspec.Struct]) -> dict[str, FieldInfo]:
    return {field.name: field for field in msgspec.structs.fields(holder)}


def _core(info: types.Type) -> types.Type:
    while True:
        match info:
            case types.Metadata():
                info = info.type
            case types.UnionType():
                info = next(part for part in info.types if not isinstance(part, types.NoneType))
            case _:
                return info


def _example(info: types.Type) -> str:
    match info:
        case types.Metadata():
            return str((info.extra_json_schema or {}).get("examples", [""])[0]) or _example(info.type)
        case types.UnionType():
            return next(filter(None, map(_example, info.types)), "")
        case _:
            return ""


def _literals(annotation: Any) -> tuple[str, ...]:
    """A literal's words as they are declared; msgspec sorts them."""
    if typing.get_origin(annotation) is Literal:
        return typing.get_args(annotation)
    return next((found for part in typing.get_args(annotation) if (found := _literals(part))), ())


def _range(info: types.IntType | types.FloatType) -> str:
    least = info.ge if info.ge is not None else info.gt
    most = info.le if info.le is not None else info.lt
    if info.lt is not None and isinstance(info, types.IntType):
        most = info.lt - 1
    if least is None and most is None:
        return "a number"
    if most is None or most == MAX_INTEGER:
        return f"at least {least:,}"
    return f"{least:,} to {most:,}" if least is not None else f"at most {most:,}"


def _docstring(holder: type[msgspec.Struct], field: str) -> str:
    """A field's docstring, which only the source has: it is read when help is shown."""
    return _docstrings(_owners(holder)[field]).get(field, "")


@functools.cache
def _docstrings(owner: type[msgspec.Struct]) -> dict[str, str]:
    import ast  # every command imports this module, and few show help
    import inspect

    try:
        source = inspect.getsource(owner)
    except (OSError, TypeError):
        return {}  # an installation without its source has no help
    (described,) = ast.parse(source).body
    assert isinstance(described, ast.ClassDef)
    return {
        field.target.id: str(said.value.value)
        for field, said in itertools.pairwise(described.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(said, ast.Expr)
        and isinstance(said.value, ast.Constant)
    }
