"""`models`, `methods`, `accelerators`, `systems`, `substrate`, `technology`: what there is, and files to begin with."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitwright import registry
from bitwright.cli import names
from bitwright.cli.app import app
from bitwright.cli.given import Json, Substrate
from bitwright.cli.show import show
from bitwright.cli.working import working
from bitwright.errors import InputError, unknown_name

if TYPE_CHECKING:
    from bitwright.registry import Refused
    from bitwright.studies.catalogue import Entry

ABOUT = "Show what can be set on this one."
OneMethod = Annotated[str | None, typer.Argument(metavar="[NAME]", help=ABOUT, autocompletion=names.methods)]
OneMachine = Annotated[str | None, typer.Argument(metavar="[NAME|FILE]", help=ABOUT, autocompletion=names.accelerators)]
OneSubstrate = Annotated[
    str, typer.Argument(metavar="[common|FILE]", help="Show this one.", autocompletion=names.substrates)
]
OneTechnology = Annotated[str, typer.Argument(metavar="[28|45|FILE]", help="Show this one.")]
Yaml = Annotated[bool, typer.Option("--yaml", help="Print it as a file of its own, to change and to use.")]


@app.command()
def models(json: Json = False) -> None:
    """List the networks that have names."""
    from bitwright.networks.catalogue import models as entries
    from bitwright.reports.listings import print_listing

    records = [{"model": entry.name, "what it is": entry.summary} for entry in entries()]
    following = "bitwright simulate resnet18; with trained weights, bitwright evaluate minilm-l6"
    show(lambda: {"models": entries()}, lambda console: print_listing(records, console, following), json=json)


@app.command()
def methods(name: OneMethod = None, json: Json = False) -> None:
    """List the quantization methods, or the options of one."""
    with working():
        from bitwright.api import methods as entries
        from bitwright.studies.catalogue import METHODS, refused_methods

        found, refused = entries(), refused_methods()
    by_name = {entry.name: entry for entry in found}
    if name is None:
        _list("method", found, refused, "bitwright methods int8 shows its options and an example", json=json)
    elif name in by_name:
        _one("method", by_name[name], "--option", json=json)
    else:
        from bitwright.studies.systems import refuse_systems

        refuse_systems([name])
        registry.refuse(METHODS, name)
        raise unknown_name("method", name, by_name)


@app.command()
def accelerators(
    name: OneMachine = None, substrate: Substrate = "common", yaml: Yaml = False, json: Json = False
) -> None:
    """List the accelerators, or the parameters of one; --yaml prints one as a file, also one of ZigZag or Timeloop."""
    if name is None and (yaml or substrate != "common"):
        raise InputError("--yaml and --substrate are for one accelerator; name it: bitwright accelerators lpa --yaml")
    with working():
        from bitwright.api import accelerators as entries
        from bitwright.reports.setting_files import machine_yaml
        from bitwright.studies.catalogue import accelerator, refused_accelerators
        from bitwright.studies.setting_files import read_machine

        found = entries() if name is None else (accelerator(name, substrate),)
        refused = refused_accelerators() if name is None else ()
        base = "" if name is None else read_machine(name).base
    if name is None:
        _list("accelerator", found, refused, "bitwright accelerators systolic-ws shows its parameters", json=json)
    elif yaml:
        _write(lambda: machine_yaml(found[0], base), json=json)
    else:
        _one("accelerator", found[0], "--set", json=json)


@app.command()
def systems(json: Json = False) -> None:
    """List the systems: which methods go with which machines."""
    with working():
        from bitwright.api import systems as entries

    from bitwright.reports.listings import print_listing

    found = [
        {
            "system": entry.name,
            "methods": list(entry.methods),
            "accelerators": list(entry.accelerators),
            "what it is": entry.summary,
        }
        for entry in entries()
    ]
    words = [
        {key: value if isinstance(value, str) else ", ".join(value) for key, value in one.items()} for one in found
    ]
    show(lambda: {"systems": found}, lambda console: print_listing(words, console), json=json)


@app.command()
def substrate(name: OneSubstrate = "common", yaml: Yaml = False, json: Json = False) -> None:
    """Show what all machines stand on; --yaml prints it as a file."""
    with working():
        from bitwright.reports.setting_files import substrate_yaml
        from bitwright.studies.catalogue import substrate as entry
        from bitwright.studies.setting_files import NATIVE, find_substrate

        base = find_substrate(name).base
        if base == NATIVE and name == NATIVE:
            raise InputError(
                "the native substrate is each machine's own; see one by bitwright accelerators NAME --substrate native"
            )
        found = entry(name)
    if yaml:
        _write(lambda: substrate_yaml(found, base), json=json)
    else:
        _one("substrate", found, "--set", json=json)


@app.command()
def technology(name: OneTechnology = "28", yaml: Yaml = False, json: Json = False) -> None:
    """Show the prices of a node; --yaml prints them as a file, with DRAM and SRAM."""
    with working():
        from bitwright.reports.prices import print_technology, technology_record
        from bitwright.reports.setting_files import technology_yaml
        from bitwright.technology import load

        found = load(name)
    if yaml:
        _write(lambda: technology_yaml(found), json=json)
    else:
        show(lambda: technology_record(found), lambda console: print_technology(found, console), json=json)


def _list(
    kind: str, entries: "tuple[Entry, ...]", refused: "tuple[Refused, ...]", following: str, *, json: bool
) -> None:
    from bitwright.reports.listings import print_listing

    records = [{kind: entry.name, "what it is": entry.summary} for entry in entries]
    show(
        lambda: {f"{kind}s": entries, "refused": refused},
        lambda console: print_listing(records, console, following, refused),
        json=json,
    )


def _one(kind: str, entry: "Entry", key: str, *, json: bool) -> None:
    from bitwright.reports.listings import print_entry

    shown: dict[str, Any] = {kind: entry}
    show(lambda: shown, lambda console: print_entry(entry, console, key), json=json)


def _write(text: Callable[[], str], *, json: bool) -> None:
    if json:
        raise InputError("--yaml and --json are two forms; give one of them")
    sys.stdout.write(text())
