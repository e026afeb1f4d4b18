"""Machines and substrates as files: what one is made from, and values of its parameters, in YAML.

    accelerator: lpa        # a machine's file: the registered accelerator that it is one of
    name: lpa-48            # optional: what results call it; the file's name otherwise
    parameters: {rows: 48}  # what it leaves out is the substrate's

A substrate's file has `substrate: common` or `native` instead, and parameters that all machines have.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic

from bitwright import registry, strict_yaml
from bitwright.accelerators.plugin import GROUP
from bitwright.accelerators.substrate import Substrate
from bitwright.errors import InputError, unknown_name
from bitwright.exchange import machines
from bitwright.settings import refusal, shown
from bitwright.studies.reader import Reader

COMMON, NATIVE = "common", "native"
MACHINE, SUBSTRATE, NAME, PARAMETERS = "accelerator", "substrate", "name", "parameters"
PRICES = "node_nm"
"""The parameter that may be a path: as in its file, relative to that."""
NAMES = re.compile(r"\w[\w .+-]{0,62}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stated:
    """A machine or a substrate that somebody asked for.

    Attributes
    ----------
    name : str
        What results call it.
    base : str
        The registered accelerator, or `common` or `native`.
    values : mapping
        The parameters that its file states; none where it has no file.
    file : str
        The file's path; empty where there is none.
    places : mapping
        Parameter -> file and line.
    notes : tuple of str
        How another tool's file was read, and what of it has no place here.
    """

    name: str
    base: str
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    file: str = ""
    places: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def record(self) -> Any:
        """It in a few words, as JSON holds it: its name, or what its file says."""
        return {"name": self.name, "base": self.base, **self.values} if self.file else self.name


def is_file(name: str) -> bool:
    """Whether a machine or a substrate is asked for by its file."""
    return name.endswith(strict_yaml.SUFFIXES)


def find_machine(name: str) -> Stated:
    """The registered accelerator of that name, or the machine in that YAML file.

    Raises
    ------
    InputError
        An unknown accelerator, a file that cannot be used, or one whose machine has a registered accelerator's name.

    Examples
    --------
    >>> find_machine("lpa").base
    'lpa'
    """
    if not is_file(name):
        registry.lookup(GROUP, name)
        return Stated(name=name, base=name)
    reader = Reader(_machine_document(name))
    form = machines.form_of(reader.document)
    if form is not None:
        raise InputError(
            f"{name} is an architecture of {form}; make a machine's file of it first, which says what has no place: "
            f"bitwright accelerators {name} --yaml > mine.yaml"
        )
    data = reader.mapping((), reader.document.data, (MACHINE, NAME, PARAMETERS), what="a machine")
    base = reader.text((MACHINE,), reader.required((), data, MACHINE))
    if base not in registry.names(GROUP):
        raise reader.error((MACHINE,), str(unknown_name("accelerator", base, registry.names(GROUP))))
    own = _name(reader, data, name)
    if own in registry.names(GROUP):
        raise reader.error(
            (NAME,),
            f"this machine would be called {own}, which is a registered accelerator; "
            f"rename the file, or give it another name: {NAME}: my-{own}",
        )
    return _stated(reader, data, name=own, base=base, file=name, model=registry.lookup(GROUP, base))


def read_machine(name: str) -> Stated:
    """As `find_machine`; a file may be an architecture of ZigZag or Timeloop, too, which becomes a machine.

    Raises
    ------
    InputError
        As `find_machine`; an architecture that nothing here comes near.
    """
    document = _machine_document(name) if is_file(name) else None
    if document is None or machines.form_of(document) is None:
        return find_machine(name)
    found = machines.imported(document)
    own = re.sub(r"[^\w .+-]+", "-", Path(name).stem)[:60].lstrip(" .+-") or "imported"
    own = f"my-{own}" if own in registry.names(GROUP) else own
    source = f"made of {Path(name).name!a}, an architecture of {found.form}"
    return Stated(name=own, base=found.base, values=found.values, file=name, notes=(source, *found.notes))


def _machine_document(name: str) -> strict_yaml.Document:
    """A machine's file; another tool's may name its mappings, such as `!Component`, and give a key twice."""
    text = strict_yaml.read_text(name, what="machine")
    if machines.FOREIGN.search(text):
        machines.check_filled_in(text, name)
        return strict_yaml.parse(text, file=name, above=(), twice=True)
    return strict_yaml.parse(text, file=name)


def find_substrate(name: str) -> Stated:
    """The substrate of that name, `common` or `native`, or the one in that YAML file.

    Raises
    ------
    InputError
        An unknown substrate, or a file that cannot be used.

    Examples
    --------
    >>> find_substrate("native").name
    'native'
    """
    if not is_file(name):
        if name not in (COMMON, NATIVE):
            raise InputError(
                f"unknown substrate {name!r}; it is {COMMON} (the same for all machines) or {NATIVE} (as published), "
                "or a file of your own, NAME.yaml"
            )
        return Stated(name=name, base=name)
    reader = Reader(strict_yaml.read(name, what="substrate"))
    data = reader.mapping((), reader.document.data, (SUBSTRATE, NAME, PARAMETERS), what="a substrate")
    base = reader.choice((SUBSTRATE,), reader.required((), data, SUBSTRATE), (COMMON, NATIVE))
    own = _name(reader, data, name)
    if own in (COMMON, NATIVE):
        raise reader.error((NAME,), f"{own} is a substrate already; rename the file, or give it another {NAME}:")
    return _stated(reader, data, name=own, base=base, file=name, model=Substrate)


def _name(reader: Reader, data: Mapping[str, Any], file: str) -> str:
    """The name in the file, or the file's own."""
    given = reader.text((NAME,), data[NAME]) if NAME in data else Path(file).stem
    if not NAMES.fullmatch(given):
        raise reader.error(
            (NAME,),
            f"{given!r} cannot be a name; give one with {NAME}: of letters, digits, spaces and . _ + - (63 at most)",
        )
    return given


def _stated(
    reader: Reader, data: Mapping[str, Any], *, name: str, base: str, file: str, model: type[pydantic.BaseModel]
) -> Stated:
    """The parameters of a file, of the types that the model has; whether they go together is seen when it is built."""
    values = data.get(PARAMETERS) or {}
    if not isinstance(values, Mapping):
        raise reader.error((PARAMETERS,), f"{PARAMETERS} is a mapping of keys to values, not {shown(values)}")
    places = {str(key): reader.where((PARAMETERS, str(key))) for key in values}
    for key in values:
        if key not in model.model_fields:
            owner = base if model is not Substrate else "all machines"
            raise InputError(
                f"{places[str(key)]}: {unknown_name(f'parameter of {owner}', str(key), model.model_fields)}"
            )
    try:
        model.model_validate(values, strict=True)
    except pydantic.ValidationError as error:
        wrong = [each for each in error.errors() if each["loc"] and each["type"] not in ("missing", "value_error")]
        if wrong:
            raise InputError(
                f"{places[str(wrong[0]['loc'][0])]}: {refusal(model, f'parameter of {name}', wrong[0])}"
            ) from None
    found = dict(values)
    if isinstance(found.get(PRICES), str) and not found[PRICES].isdigit():
        found[PRICES] = str(Path(file).parent / found[PRICES])
    return Stated(name=name, base=base, values=found, file=file, places=places)
