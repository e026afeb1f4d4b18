"""Accelerators by name, with parameters that the user sets, and the substrate they stand on.

A setting is `key=value` for every accelerator that has the parameter, or `name.key=value` for one of them. The common
substrate is what the machines' defaults are; the native one is each machine's published configuration, its class's
`native`. A substrate of the user's own goes before either, then what the file of a machine states, then settings.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pydantic

from bitwright import registry
from bitwright.accelerators.books import Billed, books_of
from bitwright.accelerators.protocol import Accelerator, Published
from bitwright.errors import InputError, unknown_name
from bitwright.settings import refusal
from bitwright.studies.setting_files import COMMON, GROUP, NATIVE, Stated, find_machine, find_substrate

SYNTHESIZED = "synthesized"
__all__ = [
    "COMMON",
    "GROUP",
    "NATIVE",
    "Difference",
    "Footing",
    "Stated",
    "accelerator_names",
    "bases",
    "build_accelerators",
    "build_one",
    "footing",
    "kinds",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """A parameter of a machine that is not as on the common substrate.

    Attributes
    ----------
    value, common : object
        What it is, and what it is on the common substrate.
    """

    value: Any
    common: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Footing:
    """What machines stand on.

    Attributes
    ----------
    name : str
        `common`, `native`, or that of a substrate of the user's own.
    differences : mapping
        By machine and parameter, what is not as on the common substrate, whether native or set by the user; machines
        without any are left out.
    base : str
        `common` or `native`: what a substrate of the user's own begins with.
    kinds : mapping
        By machine of another name, the registered accelerator that it is.
    published : mapping
        By machine whose circuits are priced by their synthesis, the components that keep published prices.
    """

    name: str
    differences: Mapping[str, Mapping[str, Difference]]
    base: str = COMMON
    kinds: Mapping[str, str] = dataclasses.field(default_factory=dict)
    published: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


def accelerator_names() -> list[str]:
    """The names of all registered accelerators that stand without being told anything, sorted."""
    classes = {name: registry.lookup(GROUP, name) for name in sorted(registry.usable(GROUP))}
    return [
        name for name, each in classes.items() if not any(field.is_required() for field in each.model_fields.values())
    ]


def build_accelerators(
    names: Iterable[str | Stated], settings: Mapping[str, Any] | None = None, substrate: str | Stated = COMMON
) -> dict[str, Accelerator]:
    """Machines by name on a substrate, with `settings` for those that have such a parameter.

    Parameters
    ----------
    names : iterable of str or Stated
        Registered accelerators, and files of machines (`mine.yaml`), which are built under the files' names.
    settings : mapping or None
        They go before what a file of a machine states, which goes before the substrate.
    substrate : str or Stated
        `common`, `native`, or the file of one.

    Raises
    ------
    InputError
        Unknown accelerator, substrate or parameter (with the nearest name), a value that is refused, or two machines of
        one name.

    Examples
    --------
    >>> build_accelerators(["systolic-ws"], {"rows": 16})["systolic-ws"].parameters()["rows"]
    16
    >>> build_accelerators(["systolic-ws"], substrate="native")["systolic-ws"].parameters()["rows"]
    32
    """
    below = find_substrate(substrate) if isinstance(substrate, str) else substrate
    wanted = _wanted(names)
    if not wanted:
        raise InputError(f"no accelerator is named; there are: {', '.join(accelerator_names())}")
    classes = {name: registry.lookup(GROUP, each.base) for name, each in wanted.items()}
    given: dict[str, dict[str, Any]] = {
        name: {**_below(machine, below), **wanted[name].values} for name, machine in classes.items()
    }
    places = {name: {**below.places, **each.places} for name, each in wanted.items()}
    for key, value in (settings or {}).items():
        target, parameter = _target(key, classes)
        takers = [name for name in target if parameter in classes[name].model_fields]
        if not takers:
            known = {field for name in target for field in classes[name].model_fields}
            raise unknown_name(f"parameter of {', '.join(target)}", parameter, known)
        for name in takers:
            given[name][parameter] = value
            places[name].pop(parameter, None)
    return {name: _build(name, classes[name], given[name], places[name]) for name in classes}


def build_one(
    name: str, settings: Mapping[str, Any] | None = None, substrate: str | Stated = COMMON
) -> tuple[str, Accelerator]:
    """A machine and what results call it. Raises as `build_accelerators`."""
    ((found, machine),) = build_accelerators([name], settings, substrate).items()
    return found, machine


def bases(names: Iterable[str]) -> dict[str, str]:
    """The registered accelerator that each machine is, by what results call it. Raises as `build_accelerators`."""
    return {name: each.base for name, each in _wanted(names).items()}


def kinds(machines: Mapping[str, Accelerator]) -> dict[str, str]:
    """The registered accelerator that each machine is; those whose names say it are left out.

    Examples
    --------
    >>> machine = build_accelerators(["lpa"])["lpa"]
    >>> kinds({"lpa": machine, "mine": machine})
    {'mine': 'lpa'}
    """
    known = set(registry.names(GROUP))
    found = {name: registry.name_of(GROUP, type(machine)) for name, machine in machines.items() if name not in known}
    return {name: kind for name, kind in found.items() if kind is not None}


def footing(machines: Mapping[str, Accelerator], substrate: str | Stated = COMMON) -> Footing:
    """What `machines`, built on `substrate`, stand on.

    Examples
    --------
    >>> footing(build_accelerators(["systolic-ws"], {"rows": 32})).differences
    {'systolic-ws': {'rows': Difference(value=32, common=24)}}
    """
    below = find_substrate(substrate) if isinstance(substrate, str) else substrate
    found = {name: _differences(machine) for name, machine in machines.items()}
    return Footing(
        name=below.name,
        base=below.base,
        differences={name: each for name, each in found.items() if each},
        kinds=kinds(machines),
        published={
            name: tuple(each.name for each in books_of(machine).components if not each.circuit.synthesized)
            for name, machine in machines.items()
            if isinstance(machine, Billed) and machine.prices == SYNTHESIZED
        },
    )


def _wanted(names: Iterable[str | Stated]) -> dict[str, Stated]:
    """By what results call them; a name given twice is one machine."""
    found: dict[str, Stated] = {}
    for name in names:
        each = find_machine(name) if isinstance(name, str) else name
        other = found.setdefault(each.name, each)
        if other.file != each.file:
            raise InputError(
                f"{other.file} and {each.file} both make a machine called {each.name}; give one another name: inside"
            )
    return found


def _below(machine: Any, substrate: Stated) -> dict[str, Any]:
    """What a class of machines has from the substrate."""
    published = machine.native if substrate.base == NATIVE and isinstance(machine, Published) else {}
    return {**published, **{key: value for key, value in substrate.values.items() if key in machine.model_fields}}


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


def _build(name: str, machine: Any, parameters: Mapping[str, Any], places: Mapping[str, str]) -> Accelerator:
    try:
        made: Accelerator = machine(**parameters)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = places.get(str(first["loc"][0])) if first["loc"] else None
        message = refusal(machine, f"parameter of {name}", first)
        raise InputError(f"{place}: {message}" if place else message) from None
    made.area()  # a missing price list is refused before anything runs
    return made
