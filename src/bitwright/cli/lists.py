"""`models`, `methods`, `accelerators`, `systems`, `substrate`, `technology`: what there is, and files to begin with."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitwright import registry
from bitwright.cli import names, outputs
from bitwright.cli.app import app
from bitwright.cli.given import Json, Overwrite, Substrate
from bitwright.cli.show import deliver
from bitwright.cli.working import working
from bitwright.errors import InputError, unknown_name

if TYPE_CHECKING:
    from bitwright.registry import Refused
    from bitwright.reports.files import Target
    from bitwright.studies.catalogue import Entries, Entry

ABOUT = "Show what can be set on this one."
OneMethod = Annotated[str | None, typer.Argument(metavar="[NAME]", help=ABOUT, autocompletion=names.methods)]
OneMachine = Annotated[str | None, typer.Argument(metavar="[NAME|FILE]", help=ABOUT, autocompletion=names.accelerators)]
OneSubstrate = Annotated[
    str, typer.Argument(metavar="[common|FILE]", help="Show this one.", autocompletion=names.substrates)
]
OneTechnology = Annotated[str, typer.Argument(metavar="[28|45|FILE]", help="Show this one.")]
Yaml = Annotated[bool, typer.Option("--yaml", help="Print it as a file of its own, to change and to use.")]
OutModels = Annotated[list[str] | None, outputs.option("models")]
OutEntries = Annotated[list[str] | None, outputs.option("entries or parameters; with NAME parameters")]
OutSystems = Annotated[list[str] | None, outputs.option("systems")]
OutEntry = Annotated[list[str] | None, outputs.option("parameters")]
OutPrices = Annotated[list[str] | None, outputs.option("prices or dram")]


@app.command()
def models(out: OutModels = None, overwrite: Overwrite = False, json: Json = False) -> None:
    """List the networks that have names."""
    from bitwright.networks.catalogue import Models
    from bitwright.networks.catalogue import models as entries
    from bitwright.reports.listings import print_listing

    files = outputs.targets(out, Models, overwrite=overwrite)
    found = entries()
    records = [{"model": entry.name, "what it is": entry.summary} for entry in found]
    following = "bitwright simulate resnet18; with trained weights, bitwright evaluate minilm-l6"
    deliver(
        "models",
        found,
        lambda: {"models": found},
        lambda console: print_listing(records, console, following),
        files=files,
        json=json,
    )


@app.command()
def methods(name: OneMethod = None, out: OutEntries = None, overwrite: Overwrite = False, json: Json = False) -> None:
    """List the quantization methods, or the options of one."""
    with working():
        from bitwright.api import methods as entries
        from bitwright.studies.catalogue import METHODS, Entries, Entry, refused_methods

        files = outputs.targets(out, Entries if name is None else Entry, overwrite=overwrite)
        found, refused = entries(), refused_methods()
    by_name = {entry.name: entry for entry in found}
    if name is None:
        _list("method", found, refused, "bitwright methods int8 shows its options and an example", files, json=json)
    elif name in by_name:
        _one("methods", "method", by_name[name], "--option", files, json=json)
    else:
        from bitwright.studies.systems import refuse_systems

        refuse_systems([name])
        registry.refuse(METHODS, name)
        raise unknown_name("method", name, by_name)


@app.command()
def accelerators(
    name: OneMachine = None,
    substrate: Substrate = "common",
    yaml: Yaml = False,
    out: OutEntries = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """List the accelerators, or the parameters of one; --yaml prints one as a file, also one of ZigZag or Timeloop."""
    if name is None and (yaml or substrate != "common"):
        raise InputError("--yaml and --substrate are for one accelerator; name it: bitwright accelerators lpa --yaml")
    _one_form(yaml=yaml, json=json, out=out)
    with working():
        from bitwright.api import accelerators as entries
        from bitwright.reports.setting_files import machine_yaml
        from bitwright.studies.catalogue import Entries, Entry, accelerator, refused_accelerators
        from bitwright.studies.setting_files import read_machine

        files = outputs.targets(out, Entries if name is None else Entry, overwrite=overwrite)
        found = entries() if name is None else Entries([accelerator(name, substrate)])
        refused = refused_accelerators() if name is None else ()
        base = "" if name is None else read_machine(name).base
    if name is None:
        following = "bitwright accelerators systolic-ws shows its parameters"
        _list("accelerator", found, refused, following, files, json=json)
    elif yaml:
        sys.stdout.write(machine_yaml(found[0], base))
    else:
        _one("accelerators", "accelerator", found[0], "--set", files, json=json)


@app.command()
def systems(out: OutSystems = None, overwrite: Overwrite = False, json: Json = False) -> None:
    """List the systems: which methods go with which machines."""
    with working():
        from bitwright.api import systems as entries
        from bitwright.reports.listings import print_listing, systems_record
        from bitwright.studies.catalogue import Systems

        files = outputs.targets(out, Systems, overwrite=overwrite)
        found = entries()
    words = [
        {
            "system": each.name,
            "methods": ", ".join(each.methods),
            "accelerators": ", ".join(each.accelerators),
            "what it is": each.summary,
        }
        for each in found
    ]
    deliver(
        "systems",
        found,
        lambda: systems_record(found),
        lambda console: print_listing(words, console),
        files=files,
        json=json,
    )


@app.command()
def substrate(
    name: OneSubstrate = "common",
    yaml: Yaml = False,
    out: OutEntry = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Show what all machines stand on; --yaml prints it as a file."""
    _one_form(yaml=yaml, json=json, out=out)
    with working():
        from bitwright.reports.setting_files import substrate_yaml
        from bitwright.studies.catalogue import Entry
        from bitwright.studies.catalogue import substrate as entry
        from bitwright.studies.setting_files import NATIVE, find_substrate

        files = outputs.targets(out, Entry, overwrite=overwrite)
        base = find_substrate(name).base
        if base == NATIVE and name == NATIVE:
            raise InputError(
                "the native substrate is each machine's own; see one by bitwright accelerators NAME --substrate native"
            )
        found = entry(name)
    if yaml:
        sys.stdout.write(substrate_yaml(found, base))
    else:
        _one("substrate", "substrate", found, "--set", files, json=json)


@app.command()
def technology(
    name: OneTechnology = "28",
    yaml: Yaml = False,
    out: OutPrices = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Show the prices of a node; --yaml prints them as a file, with DRAM and SRAM."""
    _one_form(yaml=yaml, json=json, out=out)
    with working():
        from bitwright.reports.prices import PriceList, print_technology, technology_record
        from bitwright.reports.setting_files import technology_yaml
        from bitwright.technology import load

        files = outputs.targets(out, PriceList, overwrite=overwrite)
        found = load(name)
    if yaml:
        sys.stdout.write(technology_yaml(found))
        return
    deliver(
        "technology",
        PriceList(found),
        lambda: technology_record(found),
        lambda console: print_technology(found, console),
        files=files,
        json=json,
    )


def _list(
    kind: str,
    entries: "Entries",
    refused: "tuple[Refused, ...]",
    following: str,
    files: "list[Target]",
    *,
    json: bool,
) -> None:
    from bitwright.reports.listings import print_listing

    records = [{kind: entry.name, "what it is": entry.summary} for entry in entries]
    deliver(
        f"{kind}s",
        entries,
        lambda: {f"{kind}s": entries, "refused": refused},
        lambda console: print_listing(records, console, following, refused),
        files=files,
        json=json,
    )


def _one(verb: str, kind: str, entry: "Entry", key: str, files: "list[Target]", *, json: bool) -> None:
    from bitwright.reports.listings import print_entry

    shown: dict[str, Any] = {kind: entry}
    deliver(verb, entry, lambda: shown, lambda console: print_entry(entry, console, key), files=files, json=json)


def _one_form(*, yaml: bool, json: bool, out: list[str] | None) -> None:
    if yaml and (json or out):
        raise InputError(f"--yaml and {'--json' if json else '--out'} are two forms; give one of them")
