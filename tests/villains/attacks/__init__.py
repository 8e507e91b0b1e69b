"""Attacks by sequencers, payers, provers and bystanders, one module each; ``make villains`` prints them as a table.

A module has ``ATTACK`` (see ``tests.villains.attack``) and ``async def fight(template, folder) -> Result``, which
runs the real attack and asserts that nothing is lost. It is found by being here.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from tests.villains.attack import Attack, Fight


def attacks() -> dict[str, tuple[Attack, Fight]]:
    """Every attack with what runs it, by name and in that order."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [import_module(f"{__name__}.{name}") for name in names]
    found: dict[str, tuple[Attack, Fight]] = {module.ATTACK.name: (module.ATTACK, module.fight) for module in modules}
    assert [name.replace("-", "_") for name in found] == names, "a module is called as its attack"
    return found
