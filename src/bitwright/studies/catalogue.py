"""What is registered: methods with their options, accelerators with their parameters, one entry each."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from bitwright import registry
from bitwright.methods.protocol import GROUP as METHODS
from bitwright.studies.frontier import FAMILIES, methods_of
from bitwright.studies.machines import GROUP as ACCELERATORS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameter:
    """One option of a method or parameter of a machine: its default, and what it is."""

    name: str
    default: Any
    description: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A method, a recipe or an accelerator: its name, one line about it, and what can be set."""

    name: str
    summary: str
    parameters: tuple[Parameter, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SystemEntry:
    """A published system: its name, the methods and the accelerators it consists of, and one line about it."""

    name: str
    methods: tuple[str, ...]
    accelerators: tuple[str, ...]
    summary: str


def systems() -> tuple[SystemEntry, ...]:
    """Every system: which methods go with which accelerators.

    Examples
    --------
    >>> {entry.name: entry.accelerators for entry in systems()}["panacea"]
    ('panacea',)
    """
    return tuple(
        SystemEntry(name=name, methods=tuple(methods_of(each)), accelerators=tuple(each.machines), summary=each.about)
        for name, each in FAMILIES.items()
    )


def methods() -> tuple[Entry, ...]:
    """Every method and recipe that has a name, sorted; a recipe's defaults are its own.

    Examples
    --------
    >>> {"int8", "aqs", "lpq"} <= {entry.name for entry in methods()}
    True
    """
    found = []
    for name in registry.names(METHODS):
        method = registry.lookup(METHODS, name)
        found.append(Entry(name=name, summary=method.summary, parameters=_parameters(method.options, {})))
        for recipe, values in method.recipes.items():
            changed = ", ".join(f"{key}={value}" for key, value in values.items())
            summary = f"{name} with {changed}" if changed else f"{name} with its defaults"
            found.append(Entry(name=recipe, summary=summary, parameters=_parameters(method.options, values)))
    return tuple(sorted(found, key=lambda entry: entry.name))


def accelerators() -> tuple[Entry, ...]:
    """Every registered accelerator, sorted.

    Examples
    --------
    >>> [entry.name for entry in accelerators() if entry.name.startswith("systolic")]
    ['systolic-os', 'systolic-ws']
    """
    found = []
    for name in registry.names(ACCELERATORS):
        machine = registry.lookup(ACCELERATORS, name)
        found.append(Entry(name=name, summary=machine.summary, parameters=_parameters(machine, {})))
    return tuple(found)


def _parameters(model: Any, changed: Mapping[str, Any]) -> tuple[Parameter, ...]:
    return tuple(
        Parameter(
            name=name,
            default=changed.get(name, field.get_default(call_default_factory=True)),
            description=field.description or "",
        )
        for name, field in model.model_fields.items()
    )
