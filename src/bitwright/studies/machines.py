"""Accelerators by name, with parameters that the user sets.

A setting is `key=value` for every accelerator that has the parameter, or `name.key=value` for one of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pydantic

from bitwright import registry
from bitwright.accelerators.protocol import Accelerator
from bitwright.errors import InputError, unknown_name

GROUP = "bitwright.accelerators"


def accelerator_names() -> list[str]:
    """The names of all registered accelerators, sorted."""
    return registry.names(GROUP)


def build_accelerators(names: Iterable[str], settings: Mapping[str, Any] | None = None) -> dict[str, Accelerator]:
    """Machines by name, with `settings` for those that have such a parameter.

    Raises
    ------
    InputError
        Unknown accelerator or parameter (with the nearest name), or a value that is refused.

    Examples
    --------
    >>> build_accelerators(["systolic-ws"], {"rows": 16})["systolic-ws"].parameters()["rows"]
    16
    """
    classes = {name: registry.lookup(GROUP, name) for name in names}
    if not classes:
        raise InputError(f"no accelerator is named; there are: {', '.join(accelerator_names())}")
    given: dict[str, dict[str, Any]] = {name: {} for name in classes}
    for key, value in (settings or {}).items():
        target, parameter = _target(key, classes)
        takers = [name for name in target if parameter in classes[name].model_fields]
        if not takers:
            known = {field for name in target for field in classes[name].model_fields}
            raise unknown_name(f"parameter of {', '.join(target)}", parameter, known)
        for name in takers:
            given[name][parameter] = value
    return {name: _build(name, classes[name], given[name]) for name in classes}


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
