"""What is registered: methods with their options, accelerators with their parameters, one entry each.

What an option takes, its unit and its source are read from its field; commands that show it at work are made from the
systems of operating points.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, TypedDict

from bitwright import registry
from bitwright.accelerators.protocol import Accelerator
from bitwright.accelerators.substrate import Substrate
from bitwright.circuits import CIRCUITS
from bitwright.errors import InputError
from bitwright.methods.plan import FORMATS, Part
from bitwright.methods.protocol import GROUP as METHODS
from bitwright.methods.protocol import Method, compose, recipes
from bitwright.methods.rules import GROUP as RULES
from bitwright.settings import Setting, plain, setting
from bitwright.shown import Headline, Shown, Table, Tabled
from bitwright.studies.machines import COMMON, build_accelerators
from bitwright.studies.setting_files import GROUP as ACCELERATORS
from bitwright.studies.setting_files import Stated, find_machine, find_substrate, read_machine
from bitwright.studies.systems import SYSTEMS, methods_of

NETWORK, TRAINED, MACHINE, OPERANDS = "resnet18", "minilm-l6", "systolic-ws", "int8"
"""What examples take where nothing speaks for another."""
SHARES = "x_share", "w_share"
"""Options that state what run-time precision would decide by numbers."""


class SettingLine(TypedDict):
    """An option of a method or a parameter of a machine."""

    of: Annotated[str, "whose it is"]
    name: Annotated[str, "its key"]
    default: Annotated[str, "its value where nothing is said"]
    unit: Annotated[str, "of a number; empty where there is none"]
    takes: Annotated[str, "the values that it may have, in words"]
    description: Annotated[str, "what it is"]
    source: Annotated[str, "where the default comes from"]


class EntryLine(TypedDict):
    """A method, a recipe or an accelerator."""

    name: Annotated[str, "what it is called"]
    summary: Annotated[str, "one line about it"]
    example: Annotated[str, "a command that shows it at work"]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Entry(Tabled):
    """A method, a recipe or an accelerator; the frame `parameters` has a line for each that can be set.

    Attributes
    ----------
    name, summary : str
        What it is called, and one line about it.
    parameters : tuple of Setting
        What can be set, with its defaults.
    example : str
        A command that shows it at work.
    notes : tuple of str
        Of a machine made of another tool's file: how it was read, and what has no place here.
    """

    TABLES: ClassVar[Mapping[str, Table]] = {"parameters": Table(SettingLine, lambda entry: setting_lines([entry]))}

    name: str
    summary: str
    parameters: tuple[Setting, ...]
    example: str
    notes: tuple[str, ...] = ()

    def headline(self) -> Headline:
        """Everything that can be set on it, with its default."""
        figures = [(each.name, f"{plain(each.default)} {each.unit}".strip()) for each in self.parameters]
        return Headline(f"{self.name}: {self.summary}", figures)


def setting_lines(entries: Iterable[Entry]) -> Iterator[SettingLine]:
    """A line for each thing that can be set on each."""
    for entry in entries:
        for each in entry.parameters:
            yield {
                "of": entry.name,
                "name": each.name,
                "default": plain(each.default),
                "unit": each.unit,
                "takes": each.takes,
                "description": each.description,
                "source": each.source,
            }


class Entries(tuple[Entry, ...], Tabled):
    """Methods or accelerators; frames: `entries`, one line each; `parameters`, one per thing that can be set."""

    TABLES: ClassVar[Mapping[str, Table]] = {
        "entries": Table(EntryLine, lambda found: found._lines()),
        "parameters": Table(SettingLine, setting_lines),
    }

    def headline(self) -> Headline:
        """One line about each."""
        return Headline(f"{len(self)} entries", [(each.name, each.summary) for each in self])

    def _lines(self) -> Iterator[EntryLine]:
        for each in self:
            yield {"name": each.name, "summary": each.summary, "example": each.example}

    __repr__ = Shown.__repr__


@dataclasses.dataclass(frozen=True, kw_only=True)
class SystemEntry:
    """A published system.

    Attributes
    ----------
    name, summary : str
        What it is called, and one line about it.
    methods, accelerators : tuple of str
        What it consists of.
    """

    name: str
    methods: tuple[str, ...]
    accelerators: tuple[str, ...]
    summary: str


class SystemLine(TypedDict):
    """A method of a system on a machine of the system."""

    system: Annotated[str, "its name"]
    method: Annotated[str, "one of its methods"]
    accelerator: Annotated[str, "one of its machines"]


class Systems(tuple[SystemEntry, ...], Tabled):
    """Published systems; the frame `systems` has a line for each method on each machine of one."""

    TABLES: ClassVar[Mapping[str, Table]] = {"systems": Table(SystemLine, lambda found: found._lines())}

    def headline(self) -> Headline:
        """One line about each."""
        return Headline(f"{len(self)} systems", [(each.name, each.summary) for each in self])

    def _lines(self) -> Iterator[SystemLine]:
        for each in self:
            for method in each.methods:
                for accelerator in each.accelerators:
                    yield {"system": each.name, "method": method, "accelerator": accelerator}

    __repr__ = Shown.__repr__


def systems() -> Systems:
    """Every system: which methods go with which accelerators.

    Examples
    --------
    >>> {entry.name: entry.accelerators for entry in systems()}["panacea"]
    ('panacea',)
    """
    return Systems(
        SystemEntry(name=name, methods=tuple(methods_of(each)), accelerators=tuple(each.machines), summary=each.about)
        for name, each in SYSTEMS.items()
    )


def circuit(name: str) -> Entry:
    """A circuit that has RTL, with its parameters.

    Examples
    --------
    >>> [each.name for each in circuit("multiply-accumulate").parameters][:2]
    ['x_bits', 'w_bits']
    """
    kind = CIRCUITS[name]
    fields = kind.model_fields
    return Entry(
        name=name,
        summary=f"{kind.summary}; source: {kind.source}",
        parameters=tuple(setting(key, field, field.get_default()) for key, field in fields.items()),
        example=f"bitwright rtl {name} --out {name}",
    )


def circuits() -> Entries:
    """Every circuit that has RTL."""
    return Entries(circuit(name) for name in CIRCUITS)


def methods() -> Entries:
    """Every method and recipe that has a name, sorted; a recipe's defaults are its own.

    Examples
    --------
    >>> {"int8", "aqs", "lpq"} <= {entry.name for entry in methods()}
    True
    """
    found = []
    for name in registry.usable(METHODS):
        method = registry.lookup(METHODS, name)
        found.append(_method(name, method.summary, name, method, {}))
    for recipe, (name, method, values) in recipes()[0].items():
        changed = ", ".join(f"{key}={plain(value)}" for key, value in values.items())
        summary = f"{name} with {changed}" if changed else f"{name} with its defaults"
        found.append(_method(recipe, summary, name, method, values))
    return Entries(sorted(found, key=lambda entry: entry.name))


def refused_methods() -> tuple[registry.Refused, ...]:
    """Plug-ins that register methods, recipes, and formats and rules of plans, and cannot be used."""
    every = (*registry.refused(METHODS), *recipes()[1], *registry.refused(FORMATS), *registry.refused(RULES))
    return tuple(dict.fromkeys(every))


def accelerators() -> Entries:
    """Every registered accelerator, sorted.

    Examples
    --------
    >>> [entry.name for entry in accelerators() if entry.name.startswith("systolic")]
    ['systolic-os', 'systolic-ws']
    """
    names = sorted(registry.usable(ACCELERATORS))
    return Entries(_machine(find_machine(name), find_substrate(COMMON)) for name in names)


def refused_accelerators() -> tuple[registry.Refused, ...]:
    """Plug-ins that register accelerators and cannot be used."""
    return registry.refused(ACCELERATORS)


def accelerator(name: str, substrate: str = COMMON) -> Entry:
    """One accelerator on a substrate, registered or the machine in a file, which is built to see that it can be.

    A file may be an architecture of ZigZag or Timeloop, too; its notes say what of it has no place here.

    Raises
    ------
    InputError
        As `build_accelerators`.

    Examples
    --------
    >>> accelerator("lpa", "native").parameters[-3].default  # rows
    8
    """
    machine = read_machine(name)
    below = find_substrate(substrate)
    build_accelerators([machine], substrate=below)
    return _machine(machine, below)


def substrate(name: str = COMMON) -> Entry:
    """What all machines have in common on a substrate that is `common` or comes from a file."""
    stated = find_substrate(name)
    if stated.base != COMMON:
        raise InputError(
            f"{name} begins with the native substrate, which is each machine's own, so that its file already says all "
            "that it states; see a machine by bitwright accelerators NAME --substrate"
        )
    return Entry(
        name=stated.name,
        summary="what every machine stands on, unless it says otherwise",
        parameters=_settings(Substrate, stated.values),
        example=f"bitwright simulate {NETWORK} --substrate {stated.file or 'mine.yaml'}",
    )


def _machine(stated: Stated, below: Stated) -> Entry:
    machine = registry.lookup(ACCELERATORS, stated.base)
    built: Accelerator | None = None
    parameters = {key: field for key, field in machine.model_fields.items() if field.is_required()}
    if not parameters:
        built = build_accelerators([dataclasses.replace(stated, name=stated.base)], substrate=below)[stated.base]
    return Entry(
        name=stated.name,
        summary=machine.summary,
        parameters=_settings(machine, built.parameters() if built else stated.values),
        example=_machine_example(stated),
        notes=stated.notes,
    )


def _method(name: str, summary: str, base: str, method: Method, values: Mapping[str, Any]) -> Entry:
    return Entry(
        name=name,
        summary=summary,
        parameters=_settings(method.options, values),
        example=_method_example(name, base, method),
    )


def _settings(model: Any, values: Mapping[str, Any]) -> tuple[Setting, ...]:
    return tuple(
        setting(name, field, values.get(name, field.get_default(call_default_factory=True)))
        for name, field in model.model_fields.items()
    )


def _machine_example(stated: Stated) -> str:
    """One inference by a method of a system that has the machine, its own where there is one."""
    own = [SYSTEMS[stated.base]] if stated.base in SYSTEMS else []
    has = [system for system in (*own, *SYSTEMS.values()) if stated.base in system.machines]
    method = has[0].choices[0][0].format(on="") if has else OPERANDS
    needed = _needed(method, stated.base)
    return f"bitwright simulate {NETWORK} --method {method} --accelerator {_file_of(stated)}{needed}"


def _file_of(stated: Stated) -> str:
    """What is given for a machine: its name or file; another tool's is not, but the file that is made of it."""
    return "mine.yaml" if stated.notes else stated.file or stated.name


def _needed(method: str, machine: str) -> str:
    """What stands in for numbers, which the example's network has none of."""
    fields = {field for _, part, _ in compose(method).methods for field in part.options.model_fields}
    shares = "".join(f" --option {name}=0.8" for name in SHARES if name in fields)
    return " --distribution gaussian" if registry.lookup(ACCELERATORS, machine).needs_codes else shares


def _method_example(name: str, base: str, method: Method) -> str:
    """One inference on a machine of a system that has the method; else its score."""
    alone = Part.OPERANDS in method.fills or method.on
    chosen = [(system, choice.format(on="").split("+")) for system in SYSTEMS.values() for choice, _ in system.choices]
    itself = [each for each in chosen if each[1][-1] == name]
    alike = [each for each in chosen if each[1][-1] in {base, *method.recipes}]
    for system, (*first, _) in (*itself, *alike):
        machine = system.machines[0]
        given = name if alone else "+".join([*first, name])
        return f"bitwright simulate {NETWORK} --method {given} --accelerator {machine}{_needed(given, machine)}"
    return f"bitwright evaluate {TRAINED} --method {name if alone else f'{OPERANDS}+{name}'}"
