"""Accelerators by name, with parameters that the user sets, and the substrate they stand on.

A setting is `key=value` for every accelerator that has the parameter, or `name.key=value` for one of them. The common
substrate is what the machines' defaults are; the native one is each machine's published configuration, its class's
`native`. What the user sets goes before either.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pydantic

from bitwright import registry
from bitwright.accelerators.protocol import Accelerator, Published
from bitwright.errors import InputError, unknown_name

GROUP = "bitwright.accelerators"
COMMON, NATIVE = "common", "native"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """A parameter's value, and its value on the common substrate."""

    value: Any
    common: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Footing:
    """What machines stand on.

    Attributes
    ----------
    name : str
        `common` or `native`.
    differences : mapping
        By machine and parameter, what is not as on the common substrate, whether native or set by the user; machines
        without any are left out.
    """

    name: str
    differences: Mapping[str, Mapping[str, Difference]]


def accelerator_names() -> list[str]:
    """The names of all registered accelerators, sorted."""
    return registry.names(GROUP)


def build_accelerators(
    names: Iterable[str], settings: Mapping[str, Any] | None = None, substrate: str = COMMON
) -> dict[str, Accelerator]:
    """Machines by name on a substrate, `common` or `native`, with `settings` for those that have such a parameter.

    Raises
    ------
    InputError
        Unknown accelerator, substrate or parameter (with the nearest name), or a value that is refused.

    Examples
    --------
    >>> build_accelerators(["systolic-ws"], {"rows": 16})["systolic-ws"].parameters()["rows"]
    16
    >>> build_accelerators(["systolic-ws"], substrate="native")["systolic-ws"].parameters()["rows"]
    32
    """
    if substrate not in (COMMON, NATIVE):
        raise InputError(
            f"unknown substrate {substrate!r}; it is {COMMON} (the same for all machines) or {NATIVE} (as published)"
        )
    classes = {name: registry.lookup(GROUP, name) for name in names}
    if not classes:
        raise InputError(f"no accelerator is named; there are: {', '.join(accelerator_names())}")
    given: dict[str, dict[str, Any]] = {
        name: dict(machine.native) if substrate == NATIVE and isinstance(machine, Published) else {}
        for name, machine in classes.items()
    }
    for key, value in (settings or {}).items():
        target, parameter = _target(key, classes)
        takers = [name for name in target if parameter in classes[name].model_fields]
        if not takers:
            known = {field for name in target for field in classes[name].model_fields}
            raise unknown_name(f"parameter of {', '.join(target)}", parameter, known)
        for name in takers:
            given[name][parameter] = value
    return {name: _build(name, classes[name], given[name]) for name in classes}


def footing(machines: Mapping[str, Accelerator], substrate: str = COMMON) -> Footing:
    """What `machines`, built on `substrate`, stand on.

    Examples
    --------
    >>> footing(build_accelerators(["systolic-ws"], {"rows": 32})).differences
    {'systolic-ws': {'rows': Difference(value=32, common=24)}}
    """
    found = {name: _differences(machine) for name, machine in machines.items()}
    return Footing(name=substrate, differences={name: each for name, each in found.items() if each})


def _differences(machine: Any) -> dict[str, Difference]:
    """Parameters that are not their defaults; one without a default has no common value."""
    defaults = {
        name: field.get_default(call_default_factory=True)
        for name, field in type(machine).model_fields.items()
        if not field.is_required()
    }
    return {
        name: Difference(value=value, common=defaults[name])
        for name, value in machine.parameters().items()
        if name in defaults and value != defaults[name]
    }


def _target(key: str, classes: Mapping[str, Any]) -> tuple[Sequence[str], str]:
    """Which accelerators a setting is for, and the parameter's name."""
    name, dot, parameter = key.rpartition(".")
    if not dot:
        return list(classes), key
    if name not in classes:
        raise unknown_name("accelerator among those asked for", name, classes)
    return [name], parameter


def _build(name: str, machine: Any, parameters: Mapping[str, Any]) -> Accelerator:
    try:
        made: Accelerator = machine(**parameters)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        raise InputError(f"parameter {key} of {name} is {first['input']!r}, but it {message}") from None
    made.area()  # a missing price list is refused before anything runs
    return made
